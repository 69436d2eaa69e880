# SPDX-License-Identifier: GPL-2.0-or-later
"""The index of a VMA is small, and in the order of the disk whatever the file's is."""

import hashlib
import random
import struct
import tracemalloc
import uuid
from collections import deque
from pathlib import Path

import pytest

import archives
from v2v.errors import SourceError
from v2v.mapping import vma

MIB = 2**20
UID = uuid.UUID(int=7).bytes
EXTENT = 59
BLOCK = 4096


def sparse(path: Path, clusters: list[int], mask: int) -> None:
    """Write a VMA of a disk of 4 TiB that has *clusters*, with the blocks of *mask*.

    The blocks themselves are a hole in the file.
    """
    archives.vma(path, {}, {"d": bytes(65536)}, [])
    head = bytearray(path.read_bytes())
    struct.pack_into(">Q", head, 4096 + 32 + 8, 4 * 2**40)
    head[32:48] = bytes(16)
    head[32:48] = hashlib.md5(head).digest()
    with path.open("wb") as file:
        file.write(head)
        for first in range(0, len(clusters), EXTENT):
            some = clusters[first : first + EXTENT]
            infos = [mask << 48 | 1 << 32 | cluster for cluster in some]
            infos += [0] * (EXTENT - len(some))
            count = mask.bit_count() * len(some)
            extent = struct.pack(
                ">4sHH16s16s59Q", b"VMAE", 0, count, UID, bytes(16), *infos
            )
            digest = hashlib.md5(extent).digest()
            file.write(extent[:24] + digest + extent[40:])
            file.seek(count * BLOCK, 1)
        file.truncate()


def test_a_cluster_costs_eight_bytes_of_memory(tmp_path: Path) -> None:
    clusters = list(range(4 * 2**30 // 65536))
    random.Random(1).shuffle(clusters)
    sparse(tmp_path / "a", clusters, 0xFFFF)
    tracemalloc.start()
    try:
        (last,) = deque(vma.mapped(tmp_path / "a", "d").pieces(), maxlen=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last.at + last.length == 4 * 2**30
    assert peak < len(clusters) * 9 + MIB // 4


def test_a_cluster_far_away_costs_a_page(tmp_path: Path) -> None:
    """A file of 5 MB claims a block here and there on 4 TiB."""
    sparse(tmp_path / "a", list(range(0, 2**26, 2**16)), 1)
    tracemalloc.start()
    try:
        pieces = list(vma.mapped(tmp_path / "a", "d").pieces())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pieces) == 1024
    assert peak < 8 * MIB


@pytest.mark.parametrize("mask", [0x0001, 0x8000, 0xFFFF, 0xA5F0, 0x7FFE])
def test_the_blocks_of_a_cluster_are_runs(tmp_path: Path, mask: int) -> None:
    sparse(tmp_path / "a", [7, 3], mask)
    found = {
        piece.at + offset: (piece.where or 0) + offset
        for piece in vma.mapped(tmp_path / "a", "d").pieces()
        for offset in range(0, piece.length, BLOCK)
    }
    begin = vma.header(tmp_path / "a").length + 512
    wanted: dict[int, int] = {}
    for cluster in (7, 3):
        for bit in range(16):
            if mask >> bit & 1:
                wanted[cluster * 65536 + bit * BLOCK] = begin + len(wanted) * BLOCK
    assert found == wanted
    assert list(found) == sorted(found)


def test_a_cluster_that_is_twice_is_told(tmp_path: Path) -> None:
    sparse(tmp_path / "a", [5, 5], 1)
    with pytest.raises(SourceError, match="cluster 5 of device 1 is twice"):
        vma.mapped(tmp_path / "a", "d")
