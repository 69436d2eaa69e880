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


def sparse(
    path: Path,
    clusters: list[int],
    mask: int,
    size: int = 4 * 2**40,
    zeroes: list[int] | None = None,
) -> None:
    """Write a VMA of a disk of *size* that has *clusters*, with the blocks of *mask*.

    The blocks themselves are a hole in the file.  *zeroes* are clusters without any.
    """
    archives.vma(path, {}, {"d": bytes(65536)}, [])
    head = bytearray(path.read_bytes())
    struct.pack_into(">Q", head, 4096 + 32 + 8, size)
    head[32:48] = bytes(16)
    head[32:48] = hashlib.md5(head).digest()
    with path.open("wb") as file:
        file.write(head)
        entries = [(cluster, mask) for cluster in clusters]
        entries += [(cluster, 0) for cluster in zeroes or []]
        for first in range(0, len(entries), EXTENT):
            some = entries[first : first + EXTENT]
            infos = [bits << 48 | 1 << 32 | cluster for cluster, bits in some]
            infos += [0] * (EXTENT - len(some))
            count = sum(bits.bit_count() for _, bits in some)
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
    sparse(tmp_path / "a", clusters, 0xFFFF, 4 * 2**30)
    tracemalloc.start()
    try:
        (last,) = deque(vma.mapped(tmp_path / "a", "d").pieces(), maxlen=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last.at + last.length == 4 * 2**30
    assert peak < len(clusters) * 9 + MIB // 4


def test_a_cluster_far_away_costs_a_page(tmp_path: Path) -> None:
    """A file of 5 MB claims a block here and there on 4 TiB; the rest is lost."""
    sparse(tmp_path / "a", list(range(0, 2**26, 2**16)), 1)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"67107840 of 67108864 clusters of d"):
            vma.mapped(tmp_path / "a", "d")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


def test_a_backup_that_was_cut_off_between_two_extents_is_told(tmp_path: Path) -> None:
    """What is missing must not be read as zeroes; vma(1) refuses it too."""
    path = tmp_path / "a"
    archives.vma(path, {}, {"d": bytes(range(1, 129)) * 65536}, list(range(128)))
    assert sum(p.length for p in vma.mapped(path, "d").pieces()) == 8 * MIB
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(data.rindex(b"VMAE"))
    with pytest.raises(SourceError, match=r"10 of 128 clusters of d are missing"):
        vma.mapped(path, "d")


def test_a_cluster_of_zeroes_is_there(tmp_path: Path) -> None:
    sparse(tmp_path / "a", [1], 1, 4 * 65536, zeroes=[0, 2, 3])
    (piece,) = vma.mapped(tmp_path / "a", "d").pieces()
    assert (piece.at, piece.length) == (65536, BLOCK)


@pytest.mark.parametrize("mask", [0, 1])
def test_a_cluster_beyond_the_end_is_told(tmp_path: Path, mask: int) -> None:
    sparse(tmp_path / "a", [0, 1], mask, 65536)
    with pytest.raises(SourceError, match="cluster 1 of device 1 is twice or beyond"):
        vma.mapped(tmp_path / "a", "d")


@pytest.mark.report("https://github.com/LINBIT/linstor-server/issues/359")
def test_a_disk_may_end_within_a_cluster(tmp_path: Path) -> None:
    """EFI disks of 540672 bytes, and volumes of DRBD, do."""
    archives.vma(tmp_path / "a", {}, {"d": b"x" * 540672}, list(range(9)))
    mapped = vma.mapped(tmp_path / "a", "d")
    pieces = list(mapped.pieces())
    assert mapped.size == 540672
    assert pieces[-1].at + pieces[-1].length == 540672


def headed(path: Path, offset: int, data: bytes) -> None:
    """Write *data* at *offset* of the header of *path*, and its checksum anew."""
    length = vma.header(path).length
    head = bytearray(path.read_bytes()[:length])
    head[offset : offset + len(data)] = data
    head[32:48] = bytes(16)
    head[32:48] = hashlib.md5(head).digest()
    with path.open("r+b") as file:
        file.write(head)


def test_two_disks_of_one_name_are_told(tmp_path: Path) -> None:
    archives.vma(tmp_path / "a", {}, {"d": bytes(65536), "e": bytes(65536)}, [0])
    first = (tmp_path / "a").read_bytes()[4096 + 32 : 4096 + 36]
    headed(tmp_path / "a", 4096 + 64, first)
    with pytest.raises(SourceError, match="two disks called 'd'"):
        vma.header(tmp_path / "a")


def test_a_text_that_ends_beyond_the_header_is_told(tmp_path: Path) -> None:
    archives.vma(tmp_path / "a", {"c": b"x" * 9}, {}, [])
    at = (tmp_path / "a").read_bytes().index(b"\x09\x00xxxxxxxxx")
    headed(tmp_path / "a", at, b"\xff\xff")
    with pytest.raises(SourceError, match="its header is cut off"):
        vma.header(tmp_path / "a")


@pytest.mark.parametrize("mask", [0x0001, 0x8000, 0xFFFF, 0xA5F0, 0x7FFE])
def test_the_blocks_of_a_cluster_are_runs(tmp_path: Path, mask: int) -> None:
    others = [number for number in range(8) if number not in (7, 3)]
    sparse(tmp_path / "a", [7, 3], mask, 8 * 65536, zeroes=others)
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
