# SPDX-License-Identifier: GPL-2.0-or-later
"""What a raw disk begins with: a partition table, or at once a file system.

A look at some bytes of it, which a guest may write as it likes: it is told to the user,
and decides nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import Part
from v2v.formats.raw import GPT

# Enough for the superblock of btrfs at 64 KiB.
_HEAD = 2**16 + 4096
_SECTOR = 512
# Where a table of an MBR has its entries; two of their types stand for a GPT, or none.
_ENTRIES = range(446, 510, 16)
_PROTECTIVE = (0, 0xEE)
_BOOTABLE = b"\x55\xaa"
_EXT = "ext2, ext3 or ext4"
_CD = "ISO 9660"


@dataclass(frozen=True)
class _Mark:
    """Bytes ``magic`` at ``at`` show a file system, or what else is in partitions."""

    name: str
    at: int
    magic: bytes


_MARKS = (
    _Mark(_EXT, 1080, b"\x53\xef"),
    _Mark("XFS", 0, b"XFSB"),
    _Mark("btrfs", 2**16 + 64, b"_BHRfS_M"),
    _Mark("NTFS", 3, b"NTFS    "),
    _Mark("exFAT", 3, b"EXFAT   "),
    _Mark("FAT", 82, b"FAT32   "),
    _Mark("FAT", 54, b"FAT12   "),
    _Mark("FAT", 54, b"FAT16   "),
    _Mark("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    _Mark("JFS", 2**15, b"JFS1"),
    _Mark("ReiserFS", 2**16 + 52, b"ReIsEr"),
    _Mark("swap", 4086, b"SWAPSPACE2"),
    _Mark("LVM", 512, b"LABELONE"),
)
# These leave the first sector to a boot loader (extlinux), which may be there.
_STARTS = (_EXT, "btrfs")


def name(place: Path | Part) -> str:
    """Return the name of what *place* holds instead of partitions; empty if nothing.

    Raises SourceError if it cannot be read.
    """
    head = _head(place)
    if _has_table(head):
        return ""
    for mark in _MARKS:
        if head.startswith(mark.magic, mark.at):
            starts = mark.name in _STARTS and head[510:512] == _BOOTABLE
            return "" if starts else mark.name
    return ""


def is_cd(place: Path | Part) -> bool:
    """Whether *place* holds the file system of a CD.  Raises SourceError."""
    return _head(place).startswith(b"CD001", 2**15 + 1)


def has_table(place: Path | Part) -> bool:
    """Whether *place* begins with a partition table.  Raises SourceError."""
    return _has_table(_head(place))


def end(place: Path | Part) -> int:
    """Return where the last partition of *place* ends, in bytes; 0 if there is none.

    Raises SourceError if it cannot be read.
    """
    head = _head(place)
    if head.startswith(GPT, _SECTOR):
        header = head[_SECTOR:].ljust(_SECTOR, b"\0")
        at, count, size = struct.unpack_from("<QII", header, 72)
        if at != 2 or not 128 <= size <= 1024 or count > 128:
            return 0
        table = head[at * _SECTOR :][: count * size]
        starts = range(0, len(table) - 127, size)
        last = [
            struct.unpack_from("<Q", table, start + 40)[0]
            for start in starts
            if any(table[start : start + 16])
        ]
        return (max(last, default=-1) + 1) * _SECTOR
    if not _has_table(head) or head.startswith(GPT, 4096):
        return 0
    entries = [struct.unpack_from("<4xB3xII", head, at) for at in _ENTRIES]
    ends = [start + count for kind, start, count in entries if kind not in _PROTECTIVE]
    return max(ends, default=0) * _SECTOR


def _has_table(head: bytes) -> bool:
    if head.startswith(GPT, 512) or head.startswith(GPT, 4096):
        return True
    entries = [head[at : at + 16] for at in _ENTRIES]
    if head[510:512] != _BOOTABLE or not all(e[0] in (0, 0x80) for e in entries):
        return False
    return any(entry[4] and any(entry[12:16]) for entry in entries)


def _head(place: Path | Part) -> bytes:
    if isinstance(place, Part):
        return place.read(0, min(_HEAD, place.length))
    try:
        with place.open("rb") as file:
            return file.read(_HEAD)
    except OSError as e:
        raise SourceError(f"{place}: {e.strerror}", "check the path") from e
