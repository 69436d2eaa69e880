# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks in a VMA, the backup of Proxmox VE: clusters in the order of the backup.

Source: vma_spec.txt of pve-qemu.  A header names configuration files and devices.
Extents follow: up to 59 clusters of 64 KiB, each with a mask of the 4 KiB blocks that
are stored; the others are zeroes.
"""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import checked_size, read, truncated
from v2v.mapping.pieces import SECTOR, Mapped, Piece, within

MAGIC = b"VMA\0"
_EXTENT = b"VMAE"
_CLUSTER, _BLOCK = 65536, 4096
_BLOCKS = _CLUSTER // _BLOCK
_INFOS_AT, _INFOS = 40, 59
_EXTENT_HEADER = 512
_SMALLEST, _LARGEST = 12288, 64 * 2**20
_NAMES_AT, _DATA_AT, _DEVICES_AT, _SLOTS = 2044, 3068, 4096, 256
_MD5_AT = 32
# The stream of a running machine's memory, which is no disk.
_STATE = "vmstate"

# So many clusters share an array of the index: memory goes with what is stored.
_SEGMENT = 512


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What the header says: configuration files by name, sizes of disks by name."""

    files: dict[str, bytes]
    disks: dict[str, int]
    numbers: dict[str, int]
    length: int
    uid: bytes


def header(path: Path) -> Backup:
    """Return what the header of the VMA *path* says.  Raises SourceError."""
    head = read(path, 0, _SMALLEST)
    version, blob_at, blob_size, length = _fields(path, head)
    if head[:4] != MAGIC or version != 1 or not _SMALLEST <= length <= _LARGEST:
        raise _broken(path, "its header is none")
    whole = bytearray(read(path, 0, length))
    sum_ = bytes(whole[_MD5_AT : _MD5_AT + 16])
    whole[_MD5_AT : _MD5_AT + 16] = bytes(16)
    if hashlib.md5(whole, usedforsecurity=False).digest() != sum_:
        raise _broken(path, "the checksum of its header is wrong")
    if length % SECTOR:
        raise _broken(path, f"its header of {length} bytes is no whole sectors")
    if blob_at + blob_size > length:
        raise _broken(path, "its header is cut off")
    blob = bytes(whole[blob_at : blob_at + blob_size])
    names = struct.unpack_from(f">{_SLOTS}I", whole, _NAMES_AT)
    data = struct.unpack_from(f">{_SLOTS}I", whole, _DATA_AT)
    files = {
        _text(path, blob, name): _blob(path, blob, place)
        for name, place in zip(names, data, strict=True)
        if name and place
    }
    numbers, disks = {}, {}
    for number in range(1, _SLOTS):
        name, _, size = struct.unpack_from(">IIQ", whole, _DEVICES_AT + number * 32)
        if name and (called := _text(path, blob, name)) != _STATE:
            if called in disks:
                raise _broken(path, f"it has two disks called {called!r:.60}")
            numbers[called], disks[called] = number, checked_size(path, size)
    uid = bytes(whole[8:24])
    return Backup(files=files, disks=disks, numbers=numbers, length=length, uid=uid)


def _fields(path: Path, head: bytes) -> tuple[int, int, int, int]:
    """Return version, place and size of the blobs, and the length of the header."""
    (version,) = struct.unpack_from(">I", head, 4)
    return (version, *struct.unpack_from(">III", head, 48))


def _blob(path: Path, blobs: bytes, place: int) -> bytes:
    if place + 2 > len(blobs):
        raise _broken(path, "its header is cut off")
    (size,) = struct.unpack_from("<H", blobs, place)
    if place + 2 + size > len(blobs):
        raise _broken(path, "its header is cut off")
    return blobs[place + 2 : place + 2 + size]


def _text(path: Path, blobs: bytes, place: int) -> str:
    return _blob(path, blobs, place).partition(b"\0")[0].decode("utf-8", "replace")


def mapped(path: Path, name: str) -> Mapped:
    """Return where the disk *name* lies.

    Raises SourceError if there is no such disk in the backup, or it is broken.
    """
    backup = header(path)
    if name not in backup.disks:
        raise SourceError(f"{path} has no disk {name}", "back the VM up again with it")
    facts = path.stat()
    clusters = _index(path, facts.st_size, facts.st_mtime_ns)[backup.numbers[name]]
    size = backup.disks[name]

    def pieces() -> Iterator[Piece]:
        return within(_pieces(clusters), size)

    return Mapped(file=path, size=size, pieces=pieces, label=name)


class Clusters:
    """Where the clusters of a device are, in 8 bytes each: they come in any order.

    ``count`` is how many a whole disk has, and ``left`` how many have yet to come.
    """

    def __init__(self, size: int = 0) -> None:
        """Begin with none of a disk of *size*, in bytes."""
        self._segments: dict[int, array[int]] = {}
        self.count = self.left = -(-size // _CLUSTER)

    def add(self, number: int, where: int, mask: int) -> bool:
        """Enter cluster *number*, whose blocks *mask* are at *where*.

        Return False if it is there already, or beyond the end of the disk.
        """
        self.left -= 1
        if number >= self.count:
            return False
        if not mask:
            return True  # it is all zeroes
        segment, index = divmod(number, _SEGMENT)
        if segment not in self._segments:
            self._segments[segment] = array("Q", bytes(8 * _SEGMENT))
        entries = self._segments[segment]
        if entries[index]:
            return False
        entries[index] = where // SECTOR << _BLOCKS | mask
        return True

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield number, place and mask of each cluster, in the order of the disk."""
        for segment in sorted(self._segments):
            for index, entry in enumerate(self._segments[segment], segment * _SEGMENT):
                if entry:
                    place = (entry >> _BLOCKS) * SECTOR
                    yield index, place, entry & (1 << _BLOCKS) - 1


def _pieces(clusters: Clusters) -> Iterator[Piece]:
    for number, where, mask in clusters:
        for first, count, before in _runs(mask):
            yield Piece(
                number * _CLUSTER + first * _BLOCK,
                count * _BLOCK,
                where + before * _BLOCK,
            )


@lru_cache(maxsize=4096)
def _runs(mask: int) -> tuple[tuple[int, int, int], ...]:
    """Return the runs of blocks in *mask*: first, length, how many blocks before it."""
    found = []
    first = before = 0
    while mask >> first:
        if mask >> first & 1:
            end = first
            while mask >> end & 1:
                end += 1
            found.append((first, end - first, before))
            before += end - first
            first = end
        else:
            first += 1
    return tuple(found)


@lru_cache(maxsize=2)
def _index(path: Path, size: int, changed: int) -> Mapping[int, Clusters]:
    """Return the clusters of each disk, by the number of its device.

    Read once while *path* stays as it is.
    """
    backup = header(path)
    found = {
        number: Clusters(backup.disks[name]) for name, number in backup.numbers.items()
    }
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        at = backup.length
        while at < end:
            file.seek(at)
            head = file.read(_EXTENT_HEADER)
            if len(head) < _EXTENT_HEADER:
                raise truncated(path)
            at = _extent(path, head, at, backup, found)
            if at > end:
                raise truncated(path)
    for name, number in backup.numbers.items():
        # qemu notes a cluster of zeroes too: one that is not there is lost.
        if found[number].left > 0:
            some, whole = found[number].left, found[number].count
            raise _broken(path, f"{some} of {whole} clusters of {name:.60} are missing")
    return found


def _extent(
    path: Path, head: bytes, at: int, backup: Backup, found: Mapping[int, Clusters]
) -> int:
    """Enter the clusters of the extent with *head*; return where the next one is."""
    if head[:4] != _EXTENT or head[8:24] != backup.uid:
        raise _broken(path, f"what is at {at} is no extent of it")
    zeroed = head[:24] + bytes(16) + head[40:]
    if hashlib.md5(zeroed, usedforsecurity=False).digest() != head[24:40]:
        raise _broken(path, f"the checksum of the extent at {at} is wrong")
    where = at + _EXTENT_HEADER
    for info in struct.unpack_from(f">{_INFOS}Q", head, _INFOS_AT):
        mask, device, cluster = info >> 48, info >> 32 & 0xFF, info & 0xFFFF_FFFF
        clusters = found.get(device)
        if clusters is not None and not clusters.add(cluster, where, mask):
            raise _broken(
                path, f"cluster {cluster} of device {device} is twice or beyond the end"
            )
        where += mask.bit_count() * _BLOCK if device else 0
    (blocks,) = struct.unpack_from(">H", head, 6)
    if where != at + _EXTENT_HEADER + blocks * _BLOCK:
        raise _broken(path, f"the extent at {at} contradicts itself")
    return where


def _broken(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"{path} is broken: {reason}", "copy the backup again and compare the sizes"
    )
