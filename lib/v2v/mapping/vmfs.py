# SPDX-License-Identifier: GPL-2.0-or-later
"""The snapshots of ESXi: COWD (vmfsSparse) and seSparse deltas.

Source: block/vmdk.c of QEMU; VMware has published neither.  QEMU reads both rightly,
but grain by grain, and the grain of a COWD delta is a sector: 6 MB/s.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from v2v import formats
from v2v.formats import Part, broken, checked_size
from v2v.mapping.pieces import SECTOR, Mapped, Piece, runs, within

_Word = Literal["I", "Q"]
COWD = b"COWD"
SESPARSE = struct.pack("<Q", 0xCAFEBABE)
_COWD_PER_TABLE = 4096
# For 64 TiB of the smallest table's span, seSparse has 4 million.
_MAX_TABLES = 2**23
# seSparse: what the highest four bits of a grain's entry say.
_STATE, _UNMAPPED, _ZERO, _ALLOCATED = 0xF << 60, 1 << 60, 2 << 60, 3 << 60
_SE_TABLE = 1 << 60  # in an entry of the directory: a table is there


def mapped(path: Path) -> Mapped | None:
    """Return what the delta *path* holds; None if it is of neither kind.

    Raises SourceError if it is broken.
    """
    image = formats.part(path, 0, None)
    head = image.read(0, min(SECTOR, image.length))
    if head[:4] == COWD and len(head) == SECTOR:
        return _cowd(image, head)
    if head[:8] == SESPARSE and len(head) == SECTOR:
        return _sesparse(image, head)
    return None


def _cowd(image: Part, head: bytes) -> Mapped:
    version, _, sectors, grain, directory, tables = struct.unpack_from("<6I", head, 4)
    if version != 1 or not grain or grain & (grain - 1) or grain > 2**16:
        raise broken(image.path, f"a COWD of version {version}, grains of {grain}")
    if tables * _COWD_PER_TABLE * grain < sectors or tables > _MAX_TABLES:
        raise broken(image.path, "its grain directory is too small for the disk")
    size = checked_size(image.path, sectors * SECTOR)

    def pieces() -> Iterator[Piece]:
        step = grain * SECTOR
        needed = -(-sectors // (_COWD_PER_TABLE * grain))
        at = 0
        for place in _tables(image, directory * SECTOR, needed, "I"):
            if place:
                table = _table(image, place * SECTOR, _COWD_PER_TABLE, "I")
                yield from within(runs(table, at, step, _sector), size)
            at += _COWD_PER_TABLE * step

    return Mapped(file=image.path, size=size, pieces=pieces)


def _sector(number: int) -> int:
    return number * SECTOR


def _tables(image: Part, at: int, count: int, word: _Word) -> Iterator[int]:
    """Yield the entries of a directory.  Raises SourceError if two name one table."""
    seen: set[int] = set()
    for numbers in image.table(at, count, word, "little"):
        for number in numbers:
            if number in seen:
                raise broken(image.path, "two parts of the disk share a grain table")
            if number:
                seen.add(number)
            yield number


def _table(image: Part, at: int, count: int, word: _Word) -> array[int]:
    (numbers,) = image.table(at, count, word, "little")
    return numbers


def _sesparse(image: Part, head: bytes) -> Mapped:
    fields = struct.unpack_from("<26Q", head)
    version, capacity, grain, table_size = fields[1:5]
    directory, directory_size, tables_at = fields[16:19]
    if version != 0x0000_0002_0000_0001 or grain != 8 or table_size != 64:
        raise broken(
            image.path, f"a seSparse of version {version:#x}, grains of {grain}"
        )
    _check_journal(image, fields[10])
    size = checked_size(image.path, capacity * SECTOR)
    per_table = table_size * SECTOR // 8
    span = per_table * grain * SECTOR
    needed = -(-size // span)
    if directory_size * SECTOR // 8 < needed or needed > _MAX_TABLES:
        raise broken(image.path, "its grain directory is too small for the disk")

    def place(entry: int) -> int | None:
        number = _grain(image, entry)
        return None if number is None else (fields[24] + number * grain) * SECTOR

    def pieces() -> Iterator[Piece]:
        at = 0
        for entry in _tables(image, directory * SECTOR, needed, "Q"):
            if entry >> 32 == _SE_TABLE >> 32:
                where = (tables_at + (entry & 0xFFFF_FFFF) * table_size) * SECTOR
                table = _table(image, where, per_table, "Q")
                yield from within(runs(table, at, grain * SECTOR, place), size)
            elif entry:
                raise broken(image.path, f"a grain table with the entry {entry:#x}")
            at += span

    return Mapped(file=image.path, size=size, pieces=pieces)


def _grain(image: Part, entry: int) -> int | None:
    """Return the number of the grain that *entry* of a table names; None: zeroes."""
    state = entry & _STATE
    if state in (_UNMAPPED, _ZERO):
        return None
    if state != _ALLOCATED:
        raise broken(image.path, f"a grain with the entry {entry:#x}")
    return (entry & 0x0FFF << 48) >> 48 | (entry & (1 << 48) - 1) << 12


def _check_journal(image: Part, sector: int) -> None:
    """Raise SourceError if the last writes are in the journal only."""
    magic, _, _, replay = struct.unpack("<4Q", image.read(sector * SECTOR, 32))
    if magic != 0xCAFE_CAFE:
        raise broken(image.path, "its volatile header is missing")
    if replay:
        raise broken(
            image.path, "it was not closed: the last writes are in its journal only"
        )
