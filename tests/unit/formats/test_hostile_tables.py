# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables that are far larger, or named far oftener, than any disk needs."""

import time
from functools import partial
from pathlib import Path

import pytest

from hostile import images
from v2v import formats, paths
from v2v.errors import SourceError
from v2v.formats import vdi

_TIME = 20.0  # CPU seconds; each took minutes or hours


@pytest.mark.parametrize(
    ("format", "name", "size", "head"),
    [
        ("parallels", "a.hds", 17 * 2**30, images.parallels(1, 2**32 - 1, 2**32 - 1)),
        (
            "vdi",
            "a.vdi",
            17 * 2**30,
            images.vdi(kind=4, block=512, count=2**32 - 1, size=2**40),
        ),
        ("vpc", "a.vhd", 17 * 2**30, images.tiny_vhd(4)),
        ("vpc", "a.vhd", 17 * 2**30, images.tiny_vhd(3)),
    ],
)
def test_a_table_of_billions_of_blocks_is_refused(
    tmp_path: Path, format: str, name: str, size: int, head: bytes
) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    began = time.process_time()
    with pytest.raises(SourceError, match="a table of"):
        formats.load(format).examine(path, partial(paths.checked, allowed=(tmp_path,)))
    assert time.process_time() - began < _TIME


def test_a_search_for_a_parent_opens_no_file_that_must_not_be_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "vm" / "Snapshots"
    folder.mkdir(parents=True)
    parent = bytearray(images.vdi())
    parent[392:408] = b"p" * 16
    (tmp_path / "secret.vdi").write_bytes(parent)
    for place in (folder, folder.parent):
        (place / "link.vdi").symlink_to(tmp_path / "secret.vdi")
    child = bytearray(images.vdi(kind=4))
    child[424:440] = b"p" * 16
    (folder / "a.vdi").write_bytes(child)
    asked: list[Path] = []

    def checked(path: str | Path) -> Path:
        asked.append(Path(path))
        return paths.checked(path, (tmp_path / "vm",))

    with pytest.raises(SourceError, match="not beside it"):
        vdi.chain(folder / "a.vdi", checked)
    assert folder / "link.vdi" in asked
