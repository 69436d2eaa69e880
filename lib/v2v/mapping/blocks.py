# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks made of blocks that hold only what differs from a parent: VHD, VHDX, VDI.

Sources: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, [MS-VHDX],
VDICore.h of VirtualBox.  QEMU reads a differencing VHD as if it had no parent, with
no word of it, and refuses the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from v2v.formats import Part, broken
from v2v.mapping.pieces import SECTOR, Mapped, Piece, bits, within

_MIB = 2**20
_VHD_UNUSED = 0xFFFF_FFFF
_VDI_ZERO, _VDI_UNUSED = 0xFFFF_FFFE, 0xFFFF_FFFF
# States of a block of a VHDX, the low three bits of its entry.
_ABSENT, _WHOLE, _PARTLY = 3, 6, 7  # up to 3: not there, undefined, zero, unmapped
# So many sectors' bits are in one bitmap block of a VHDX, of 1 MiB.
VHDX_CHUNK = 2**23
_REVERSED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))


def vhd(image: Part, table_at: int, block: int, size: int) -> Mapped:
    """Return what a VHD of *size* bytes holds; its block table is at *table_at*.

    In front of each block are a bit for each of its sectors, and the first sector's
    bit is the highest: set, the sector is here; else it is the parent's.
    """
    bitmap = block // SECTOR // 8
    padded = -(-bitmap // SECTOR) * SECTOR

    def pieces() -> Iterator[Piece]:
        at = 0
        for numbers in image.table(table_at, -(-size // block), "I", "big"):
            for number in numbers:
                if number != _VHD_UNUSED:
                    place = number * SECTOR
                    here = image.read(place, bitmap)
                    yield from _sectors(image, at, block, place + padded, here)
                at += block

    return _mapped(image, size, pieces)


def _sectors(
    image: Part, at: int, block: int, place: int, bitmap: bytes, sector: int = SECTOR
) -> Iterator[Piece]:
    """Yield the pieces of the block at *place* of *image* that *bitmap* says it has."""
    for first, count in bits(bitmap, block // sector):
        start = first * sector
        yield Piece(at + start, count * sector, image.offset + place + start)


def vhdx(
    image: Part, table_at: int, sizes: tuple[int, int, int], *, differencing: bool
) -> Mapped:
    """Return what a VHDX holds; *sizes* in bytes: of the disk, a block and a sector.

    After the entries of each chunk of blocks comes one for the chunk's bitmap, in
    which the first sector's bit is the lowest.
    """
    size, block, sector = sizes
    ratio = VHDX_CHUNK * sector // block
    blocks = -(-size // block)

    def pieces() -> Iterator[Piece]:
        for first in range(0, blocks, ratio):
            count = min(ratio, blocks - first)
            # A whole disk's table may end before the entry of its last bitmap.
            there = ratio + 1 if differencing else count
            entries = _chunk(image, table_at, first // ratio * (ratio + 1), there)
            # Without a parent there is nothing that zeroes have to hide.
            least = 1 if differencing else _ABSENT + 1
            told = [n for n, e in enumerate(entries[:count]) if e & 7 >= least]
            for number in told:
                at, entry = (first + number) * block, entries[number]
                if entry & 7 != _PARTLY:
                    yield from _vhdx_block(image, at, block, entry)
                elif differencing:
                    here = _bitmap(image, entries[-1], number, block // sector // 8)
                    place = (entry >> 20) * _MIB
                    yield from _sectors(image, at, block, place, here, sector)
                else:
                    raise broken(image.path, "a part of it is a parent's: it has none")

    # Blocks, there and in the file, lie at whole MiB.
    return _mapped(image, size, pieces, grain=SECTOR if differencing else _MIB)


def _chunk(image: Part, table_at: int, first: int, count: int) -> list[int]:
    """Return *count* entries of the table, from the *first* on."""
    tables = image.table(table_at + first * 8, count, "Q", "little")
    return [number for numbers in tables for number in numbers]


def _vhdx_block(image: Part, at: int, block: int, entry: int) -> Iterator[Piece]:
    state, place = entry & 7, (entry >> 20) * _MIB
    if 0 < state <= _ABSENT:
        yield Piece(at, block, None)
    elif state == _WHOLE:
        yield Piece(at, block, image.offset + place)
    elif state:
        raise broken(image.path, f"a block in state {state}")


def _bitmap(image: Part, entry: int, number: int, length: int) -> bytes:
    """Return the *length* bytes, highest bit first, that say which sectors of the
    chunk's *number*-th block are here; *entry* places the bitmap of the chunk."""
    if entry & 7 != _WHOLE:
        raise broken(image.path, "a part of it has no bitmap of its sectors")
    here = image.read((entry >> 20) * _MIB + number * length, length)
    return here.translate(_REVERSED)


def whole(image: Part, size: int) -> Mapped:
    """Return what an image holds whose first *size* bytes are the disk."""
    return _mapped(image, size, lambda: iter([Piece(0, size, image.offset)]))


def vdi(
    image: Part, table_at: int, data_at: int, sizes: tuple[int, int, int]
) -> Mapped:
    """Return what a VDI holds; *sizes* in bytes: of the disk, a block, and what is in
    front of each block."""
    size, block, extra = sizes

    def pieces() -> Iterator[Piece]:
        at = 0
        for numbers in image.table(table_at, -(-size // block), "I", "little"):
            for number in numbers:
                if number == _VDI_ZERO:
                    yield Piece(at, block, None)
                elif number != _VDI_UNUSED:
                    place = data_at + number * (block + extra) + extra
                    yield Piece(at, block, image.offset + place)
                at += block

    return _mapped(image, size, pieces)


def _mapped(
    image: Part,
    size: int,
    pieces: Callable[[], Iterator[Piece]],
    grain: int = SECTOR,
) -> Mapped:
    return Mapped(
        file=image.path,
        size=size,
        pieces=lambda: within(pieces(), size),
        label=f"{image.offset}",
        grain=grain,
    )
