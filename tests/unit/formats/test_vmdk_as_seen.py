# SPDX-License-Identifier: GPL-2.0-or-later
"""A descriptor is read as QEMU will read it, or refused: it has its own parser."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from v2v import formats, paths
from v2v.errors import SourceError
from v2v.formats import vmdk

_HEAD = '# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType="{}"\n'


def descriptor(folder: Path, extents: bytes) -> Path:
    (folder / "d").write_bytes(bytes(4096))
    path = folder / "a.vmdk"
    path.write_bytes(_HEAD.format("monolithicFlat").encode() + extents)
    return path


def size_for_qemu(path: Path) -> int | None:
    """Return the size in bytes that QEMU sees; None if it opens nothing."""
    asked = ["qemu-img", "info", "--output=json", "-f", "vmdk", str(path)]
    done = subprocess.run(asked, capture_output=True, check=False)
    size: int | None = json.loads(done.stdout)["virtual-size"] if done.stdout else None
    return size


@pytest.mark.parametrize(
    "extents",
    [
        b'RW 8 FLAT "d" 0\n',
        b'  RW\t8  FLAT "d" 0 and more\r\n',
        b'\n# Extent description\nRW 8 FLAT "d" 0\n\n# ddb\n',
        b'RW 4 FLAT "d" 0\nRW 4 FLAT "d" 4\n',
    ],
)
def test_what_is_taken_qemu_reads_alike(tmp_path: Path, extents: bytes) -> None:
    path = descriptor(tmp_path, extents)
    image = vmdk.examine(path, partial(paths.checked, allowed=(tmp_path,)))
    assert image.size == size_for_qemu(path) == 4096


@pytest.mark.parametrize(
    "extents",
    [
        b'\nRW 8 FLAT "d" 0\n',  # QEMU takes it twice
        b'RW 8 FLAT "d" 0\nRW 8 ZERO\n',
        b'RW 8 FLAT "d" 0\nRDONLY 8 FLAT "d" 0\n',
        b'RW 8 FLAT "d" 0\nNOACCESS 8 ZERO\n',
        b'RW 8 FLAT "d" 0\n' + b" " * 300 + b'RW 8 FLAT "d" 0\n',
    ],
)
def test_what_qemu_would_read_otherwise_is_refused(
    tmp_path: Path, extents: bytes
) -> None:
    path = descriptor(tmp_path, extents)
    size = vmdk.descriptor(path).size
    with pytest.raises(SourceError, match="QEMU reads otherwise"):
        vmdk.examine(path, partial(paths.checked, allowed=(tmp_path,)))
    assert size != size_for_qemu(path) or b" " * 300 in extents


@pytest.mark.parametrize(
    "hidden",
    [
        b'RW\v8\vFLAT\v"%b"\v0',
        b'RW\n8\nFLAT\n"%b"\n0',
        b'RW +8 FLAT "%b" 0',
        b'RW 8FLAT "%b" 0',
        b'x\rRW 8 FLAT "%b" 0',
        b'encoding="hz"\n~{\nRW 8 FLAT "%b" 0\n~}',
        b'encoding="iso2022_jp"\n\x1b$B\nRW 8 FLAT "%b" 0\n\x1b(B',
    ],
)
def test_no_file_is_hidden_from_us_that_qemu_opens(
    tmp_path: Path, hidden: bytes
) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096))
    extents = b'RW 8 FLAT "d" 0\n' + hidden.replace(b"%b", str(secret).encode()) + b"\n"
    path = descriptor(folder, extents)
    with pytest.raises(SourceError):
        vmdk.examine(path, partial(paths.checked, allowed=(folder,)))


def test_more_extents_than_any_disk_has_are_refused_at_once(tmp_path: Path) -> None:
    path = descriptor(tmp_path, b'RW 1 FLAT "d" 0\n' * 5000)
    with pytest.raises(SourceError, match="5000 extents"):
        vmdk.examine(path, partial(paths.checked, allowed=(tmp_path,)))


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ([], []),
        ([8, 0, 8, 0], [(0, 16)]),
        ([0, 4, 40], [(0, 12), (40, 8)]),
        ([2**20, 0, 8], [(0, 16), (2**20, 8)]),
    ],
)
def test_a_table_that_is_named_often_is_read_once(
    places: list[int], found: list[tuple[int, int]]
) -> None:
    assert list(formats.stretches(places, 8)) == found


def test_tables_are_read_in_pieces_that_hold_all_of_them() -> None:
    found = list(formats.stretches(range(0, 3 * 2**20, 512), 512))
    assert [length for _, length in found] == [2**20] * 3
    assert sum(length for _, length in formats.stretches([0, 2**20 - 8], 2**20)) == (
        2**21 - 8
    )
