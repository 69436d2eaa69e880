# SPDX-License-Identifier: GPL-2.0-or-later
"""Expanding disks of Parallels are served with their parents."""

import os
import random
import struct
from pathlib import Path

import pytest

import differencing
from archives import content
from containers import access, converted, node, served
from v2v.document import File, Layer
from v2v.errors import SourceError
from v2v.formats import parallels

MIB = 2**20
SIZE = 33 * MIB + 512


def test_a_delta_reads_with_its_parent(tmp_path: Path) -> None:
    below = bytearray(content(1, SIZE))
    differencing.image(tmp_path / "0.hds", bytes(below), "parallels")
    data = bytearray(SIZE)
    for block in (0, 9, 33):
        some = random.Random(block).randbytes(MIB)[: SIZE - block * MIB]
        data[block * MIB : block * MIB + len(some)] = some
        below[block * MIB : block * MIB + len(some)] = some
    differencing.image(tmp_path / "1.hds", bytes(data), "parallels")
    reach = access(tmp_path, tmp_path / "private")
    layer = Layer(
        server="qemu",
        path=str(tmp_path / "1.hds"),
        format="parallels",
        backing=(File(path=str(tmp_path / "0.hds"), format="parallels"),),
    )
    assert converted(node(layer, reach)) == below
    assert served(layer, reach) == below


@pytest.mark.parametrize("magic", [b"WithoutFreeSpace", b"WithouFreSpacExt"])
def test_old_and_new_tables_count_differently(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "a.hds"
    unit = 63 if magic.endswith(b"Ext") else 1
    head = struct.pack("<16s5IQI", magic, 2, 16, 1, 63, 2, 100, 0).ljust(64, b"\0")
    head += struct.pack("<2I", 0, 63 // unit * 2)
    data = os.urandom(37 * 512)
    path.write_bytes(head.ljust(126 * 512, b"\0") + data)
    layer = Layer(server="qemu", path=str(path), format="parallels")
    made = converted(node(layer, access(tmp_path, tmp_path / "private")))
    assert made == bytes(63 * 512) + data


def test_what_is_open_cut_off_or_absurd_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hds"
    reach = access(tmp_path, tmp_path / "private")
    for fields in (
        (2, 16, 1, 63, 2, 100, 0x746F6E59),
        (3, 16, 1, 63, 2, 100, 0),
        (2, 16, 1, 0, 2, 100, 0),
        (2, 16, 1, 63, 1, 100, 0),
        (2, 16, 1, 63, 2, 2**60, 0),
        (2, 16, 1, 63, 2, 0, 0),
    ):
        head = struct.pack("<16s5IQI", b"WithouFreSpacExt", *fields)
        path.write_bytes(head.ljust(4096, b"\0"))
        with pytest.raises(SourceError):
            parallels.examine(path, reach.checked)
    head = struct.pack("<16s5IQI", b"WithouFreSpacExt", 2, 16, 1, 63, 2, 100, 0)
    path.write_bytes(head.ljust(64, b"\0") + struct.pack("<2I", 1, 9) + bytes(9000))
    with pytest.raises(SourceError, match="truncated"):
        node(Layer(server="qemu", path=str(path), format="parallels"), reach)
