# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files count as packed, and what is in them by name."""

import gzip
from pathlib import Path

import pytest

from v2v.errors import SourceError
from v2v.views import packings

GZIP = gzip.compress(b"data", mtime=0)


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("x.qcow2.gz", "x.qcow2"),
        ("X.RAW.GZ", "X.RAW"),
        ("x.gz", "x"),
        ("x.tgz", "x.tar"),
        ("x.ova", "x.ova"),
        ("x.ova.gz", "x.ova"),
        ("x.xva", "x.xva"),
        ("x.vma", "x.vma"),
    ],
)
def test_what_is_named_or_must_be_an_archive_counts(
    tmp_path: Path, name: str, inner: str
) -> None:
    path = tmp_path / name
    path.write_bytes(GZIP)
    found = packings.of(path)
    assert found and found.name == "gzip"
    assert packings.inner(path) == inner


@pytest.mark.parametrize("name", ["x.qcow2", "x.img", "x.raw", "x.vmdk", "x", "x.iso"])
def test_a_disk_counts_by_its_name_alone(tmp_path: Path, name: str) -> None:
    """A guest may have written these bytes into its raw disk."""
    path = tmp_path / name
    path.write_bytes(GZIP)
    assert packings.of(path) is None


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.raw.gz", b"QFI\xfb", "does not begin like that"),
        ("x.raw.xz", GZIP, "begins like gzip"),
        ("x.raw.zst", b"", "does not begin like that"),
    ],
)
def test_a_name_that_lies_is_refused(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(SourceError, match=said):
        packings.of(path)


def test_what_is_no_file_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "x.gz").mkdir()
    assert packings.of(tmp_path / "x.gz") is None
    assert packings.of(tmp_path / "y.gz") is None
