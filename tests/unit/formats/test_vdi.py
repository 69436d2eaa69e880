# SPDX-License-Identifier: GPL-2.0-or-later
import os
import struct
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from v2v.errors import SourceError
from v2v.formats import vdi

MIB = 2**20
SIZE = 9 * MIB + 512


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vdi")
    with (folder / "raw").open("wb") as file:
        file.seek(5 * MIB)
        file.write(os.urandom(MIB))
        file.truncate(SIZE)
    for kind in ("dynamic", "fixed"):
        static = "-o static=on " if kind == "fixed" else ""
        command = f"qemu-img convert -f raw -O vdi {static}raw {kind}.vdi"
        subprocess.run(command.split(), cwd=folder, check=True)
    return folder


def changed(image: Path, copy: Path, at: int, data: bytes) -> Path:
    whole = bytearray(image.read_bytes())
    whole[at : at + len(data)] = data
    copy.write_bytes(whole)
    return copy


@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_both_kinds_are_accepted_with_their_size(images: Path, kind: str) -> None:
    found = vdi.examine(images / f"{kind}.vdi", Path)
    assert (found.size, found.differencing) == (SIZE, False)


@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_a_file_cut_off_anywhere_is_refused(
    images: Path, kind: str, tmp_path: Path
) -> None:
    data = (images / f"{kind}.vdi").read_bytes()
    short = tmp_path / "short.vdi"
    for length in [*range(0, len(data), len(data) // 40), len(data) - 1]:
        short.write_bytes(data[:length])
        with pytest.raises(SourceError):
            vdi.examine(short, Path)


def test_a_snapshot_with_an_empty_link_is_told(images: Path, tmp_path: Path) -> None:
    """QEMU opens it, and reads zeroes for all that its parent has."""
    image = images / "dynamic.vdi"
    four = struct.pack("<I", 4)
    found = vdi.examine(changed(image, tmp_path / "x.vdi", 76, four), Path)
    assert (found.differencing, found.parent) == (True, None)


def test_a_snapshot_is_told_with_its_parent(images: Path, tmp_path: Path) -> None:
    parent = uuid.uuid4()
    image = images / "dynamic.vdi"
    copy = changed(image, tmp_path / "x.vdi", 424, parent.bytes_le)
    assert vdi.examine(copy, Path).parent == str(parent)


def test_a_table_of_holes_costs_nobody_much_time(images: Path, tmp_path: Path) -> None:
    blocks = struct.pack("<III", 512, 0, 2**31)
    copy = changed(images / "dynamic.vdi", tmp_path / "x.vdi", 376, blocks)
    changed(copy, copy, 368, struct.pack("<Q", 2**40))
    with copy.open("r+b") as file:
        file.truncate(64 * 2**30)
    begun = time.monotonic()
    with pytest.raises(SourceError, match="blocks is none"):
        vdi.examine(copy, Path)
    assert time.monotonic() - begun < 2


def test_a_member_of_an_archive_is_read_in_place(images: Path, tmp_path: Path) -> None:
    data = (images / "dynamic.vdi").read_bytes()
    (tmp_path / "x").write_bytes(bytes(1536) + data + bytes(1024))
    assert vdi.examine(tmp_path / "x", Path, 1536, len(data)).size == SIZE


@pytest.mark.parametrize(
    ("at", "data", "what"),
    [
        (68, struct.pack("<I", 2), "version 0.2"),
        (340, struct.pack("<I", 0xFFFFFE00), "truncated"),
        (340, struct.pack("<I", 7), "does not fit"),
        (344, struct.pack("<I", 0xFFFFFE00), "truncated"),
        (368, struct.pack("<Q", 2**63), "is none"),
        (368, struct.pack("<Q", 2**40), "does not fit"),
        (344, struct.pack("<I", 1234567), "does not fit"),
        (376, struct.pack("<I", 0), "does not fit"),
        (376, struct.pack("<I", 2**20 + 1), "does not fit"),
        (380, struct.pack("<I", 100), "does not fit"),
        (380, struct.pack("<I", 2**31), "truncated"),
        (512, struct.pack("<I", 77), "block 77"),
    ],
)
def test_impossible_headers_are_refused(
    images: Path, tmp_path: Path, at: int, data: bytes, what: str
) -> None:
    copy = changed(images / "dynamic.vdi", tmp_path / "x.vdi", at, data)
    with pytest.raises(SourceError, match=what):
        vdi.examine(copy, Path)
