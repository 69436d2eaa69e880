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
_UNDEFINED, _ZERO, _UNMAPPED, _WHOLE, _PARTLY = 1, 2, 3, 6, 7
# So many sectors' bits are in one bitmap block of a VHDX, of 1 MiB.
_VHDX_CHUNK = 2**23
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
    image: Part, at: int, block: int, place: int, bitmap: bytes
) -> Iterator[Piece]:
    """Yield the pieces of the block at *place* of *image* that *bitmap* says it has."""
    for first, count in bits(bitmap, block // SECTOR):
        start = first * SECTOR
        yield Piece(at + start, count * SECTOR, image.offset + place + start)


def vhdx(image: Part, table_at: int, block: int, size: int) -> Mapped:
    """Return what a VHDX of *size* bytes with 512-byte sectors holds.

    After the entries of each chunk of blocks comes one for the chunk's bitmap, in
    which the first sector's bit is the lowest.
    """
    ratio = _VHDX_CHUNK * SECTOR // block
    blocks = -(-size // block)

    def pieces() -> Iterator[Piece]:
        for first in range(0, blocks, ratio):
            entries = _chunk(image, table_at, first // ratio * (ratio + 1), ratio)
            count = min(ratio, blocks - first)
            for number, entry in enumerate(entries[:count]):
                at = (first + number) * block
                yield from _vhdx_block(image, at, block, entry, entries[ratio], number)

    return _mapped(image, size, pieces)


def _chunk(image: Part, table_at: int, first: int, ratio: int) -> list[int]:
    """Return the *ratio* entries of blocks and the one of their bitmap."""
    tables = image.table(table_at + first * 8, ratio + 1, "Q", "little")
    return [number for numbers in tables for number in numbers]


def _vhdx_block(
    image: Part, at: int, block: int, entry: int, bitmap: int, number: int
) -> Iterator[Piece]:
    state, place = entry & 7, (entry >> 20) * _MIB
    if state in (_UNDEFINED, _ZERO, _UNMAPPED):
        yield Piece(at, block, None)
    elif state == _WHOLE:
        yield Piece(at, block, image.offset + place)
    elif state == _PARTLY:
        if bitmap & 7 != _WHOLE:
            raise broken(image.path, "a part of it has no bitmap of its sectors")
        length = block // SECTOR // 8
        here = image.read((bitmap >> 20) * _MIB + number * length, length)
        yield from _sectors(image, at, block, place, here.translate(_REVERSED))
    elif state:
        raise broken(image.path, f"a block in state {state}")


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


def _mapped(image: Part, size: int, pieces: Callable[[], Iterator[Piece]]) -> Mapped:
    return Mapped(
        file=image.path,
        size=size,
        pieces=lambda: within(pieces(), size),
        label=f"{image.offset}",
    )
