# SPDX-License-Identifier: GPL-2.0-or-later
"""VHDX: Hyper-V's disks.

Source: [MS-VHDX].  QEMU reads no differencing ones and none with sectors of 4096 bytes,
and tells nothing of the holes in a dynamic one, which is read as a whole then: all are
read by our own map.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from v2v.document import File
from v2v.errors import SourceError
from v2v.formats import (
    Checked,
    Image,
    Part,
    Strung,
    broken,
    checked_blocks,
    checked_size,
    part,
    truncated,
)
from v2v.mapping import blocks, parents

_SIGNATURE = b"vhdxfile"
_KIB, _MIB = 2**10, 2**20
_HEADERS = (64 * _KIB, 128 * _KIB)
_HEADER = 4 * _KIB
_REGIONS = 192 * _KIB
_TABLE = 64 * _KIB
_MAX_ENTRIES = 2047
_MAX_ITEM = _MIB
_MAX_BLOCK = 256 * _MIB
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_SECTOR_SIZE = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_HAS_PARENT = 2
# Five are known; each may be as long as 64 KiB, and be made of the same bytes.
_MAX_LOCATORS = 64
_PARENT_KEYS = ("relative_path", "absolute_win32_path", "volume_path")

Items = Mapping[uuid.UUID, bytes]


@dataclass(frozen=True, kw_only=True)
class _Region:
    """A part of the file, in bytes."""

    at: int
    length: int


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat."""
    return head[:8] == _SIGNATURE


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    image = part(place, offset, length)
    if not matches(image.read(0, min(8, image.length)), b""):
        raise SourceError(
            f"{image.path} is no VHDX image", "give its real format with --input-format"
        )
    _check_log(image)
    regions = _regions(image)
    items = _items(image, regions)
    block, flags = struct.unpack("<II", _item(image, items, _PARAMETERS, 8))
    (size,) = struct.unpack("<Q", _item(image, items, _DISK_SIZE, 8))
    (sector,) = struct.unpack("<I", _item(image, items, _SECTOR_SIZE, 4))
    checked_size(image.path, size)
    if sector not in (512, 4096):
        raise broken(image.path, f"sectors of {sector} bytes")
    differencing = bool(flags & _HAS_PARENT)
    sizes = (size, block, sector)
    _check_blocks(image, regions[_BAT], sizes, differencing=differencing)
    mapped = blocks.vhdx(image, regions[_BAT].at, sizes, differencing=differencing)
    if isinstance(image, Strung) and sector == 512 and not differencing:
        return Image(size=size)  # in pieces, which qemu strings together
    return Image(
        size=size,
        differencing=differencing,
        parent=next(iter(_names(_locator(items))), None) if differencing else None,
        mapped=mapped,
        logical_block_size=512 if sector == 512 else 4096,
    )


def chain(path: Path, checked: Checked) -> tuple[File, ...]:
    """Return the parents of the VHDX at *path*, nearest first.

    Raises SourceError if one is missing, or is not the one that its child names.
    """
    return parents.chain(path, "vhdx", partial(_parent, checked=checked))


def _parent(path: Path, checked: Checked) -> Path | None:
    image = part(path, 0, None)
    items = _items(image, _regions(image))
    (flags,) = struct.unpack_from("<I", _item(image, items, _PARAMETERS, 8), 4)
    if not flags & _HAS_PARENT:
        return None
    locator = _locator(items)
    found = parents.beside(path, _names(locator), checked)
    written = uuid.UUID(bytes_le=_newest(part(found, 0, None))[32:48])
    links = [locator.get(key, "") for key in ("parent_linkage", "parent_linkage2")]
    if str(written) not in [link.strip("{}").lower() for link in links]:
        raise parents.changed(path, found)
    return found


def _names(locator: Mapping[str, str]) -> list[str]:
    return [locator[key] for key in _PARENT_KEYS if key in locator]


def _check_log(image: Part) -> None:
    """Raise SourceError if the log holds what is not yet in its place."""
    if any(_newest(image)[48:64]):
        raise SourceError(
            f"{image.path} was not closed: its log has writes that are not in place",
            "shut the VM down on the source and copy the disk again, or replay the "
            "log of a copy: qemu-img check -r all COPY",
        )


def _newest(image: Part) -> bytes:
    """Return the header that holds."""
    found = [h for h in (_header(image, at) for at in _HEADERS) if h]
    if not found:
        raise broken(image.path, "neither of its headers is valid")
    return max(found, key=lambda data: int(struct.unpack_from("<Q", data, 8)[0]))


def _header(image: Part, at: int) -> bytes | None:
    data = image.read(at, _HEADER)
    return data if data[:4] == b"head" and _crc_holds(data) else None


def _regions(image: Part) -> Mapping[uuid.UUID, _Region]:
    data = image.read(_REGIONS, _TABLE)
    (count,) = struct.unpack_from("<I", data, 8)
    if data[:4] != b"regi" or not _crc_holds(data) or count > _MAX_ENTRIES:
        raise broken(image.path, "its region table is not valid")
    found = {}
    for n in range(count):
        name, at, length, required = struct.unpack_from("<16sQII", data, 16 + 32 * n)
        known = uuid.UUID(bytes_le=name)
        if known in (_BAT, _METADATA):
            found[known] = _Region(at=at, length=length)
        elif required & 1:
            raise SourceError(
                f"{image.path} needs a feature of VHDX that is not known here",
                "convert it on the source: Convert-VHD OLD NEW",
            )
    if len(found) != 2:
        raise broken(image.path, "its region table lacks a region")
    return found


def _items(image: Part, regions: Mapping[uuid.UUID, _Region]) -> Items:
    """Return the metadata items that matter, by their names."""
    at = regions[_METADATA].at
    data = image.read(at, _TABLE)
    (count,) = struct.unpack_from("<H", data, 10)
    if data[:8] != b"metadata" or count > _MAX_ENTRIES:
        raise broken(image.path, "its metadata table is not valid")
    found = {}
    for n in range(count):
        name, start, length = struct.unpack_from("<16sII", data, 32 + 32 * n)
        known = uuid.UUID(bytes_le=name)
        if known in (_PARAMETERS, _DISK_SIZE, _SECTOR_SIZE, _PARENT):
            if length > _MAX_ITEM:
                raise broken(image.path, "a metadata item is too long")
            found[known] = image.read(at + start, length)
    return found


def _item(image: Part, items: Items, name: uuid.UUID, size: int) -> bytes:
    data = items.get(name, b"")
    if len(data) < size:
        raise broken(image.path, "its metadata table lacks an item")
    return data[:size]


def _locator(items: Items) -> Mapping[str, str]:
    """Return how the parent is to be found: key and value pairs, UTF-16."""
    data = items.get(_PARENT, b"")
    if len(data) < 20:
        return {}
    (count,) = struct.unpack_from("<H", data, 18)
    found = {}
    for n in range(min(count, (len(data) - 20) // 12, _MAX_LOCATORS)):
        places = struct.unpack_from("<IIHH", data, 20 + 12 * n)
        key, value = (
            data[at : at + length].decode("utf-16-le", "replace")
            for at, length in (places[0::2], places[1::2])
        )
        found[key] = value
    return found


def _check_blocks(
    image: Part, table: _Region, sizes: tuple[int, int, int], *, differencing: bool
) -> None:
    """Raise SourceError if the block table, or a block that it places, is cut off.

    ``sizes``, in bytes: of the disk, a block and a sector.
    """
    size, block, sector = sizes
    if not _MIB <= block <= _MAX_BLOCK or block & (block - 1):
        raise broken(image.path, f"blocks of {block} bytes")
    count = checked_blocks(image.path, -(-size // block))
    # After each such number of blocks, the table has an entry for their bitmaps.
    ratio = blocks.VHDX_CHUNK * sector // block
    entries = count + (count - 1) // ratio
    if differencing:  # the last chunk too has an entry for its bitmap
        entries = -(-count // ratio) * (ratio + 1)
    if entries * 8 > table.length:
        raise broken(image.path, "its block table is too small for the disk")
    last = 0
    for numbers in image.table(table.at, entries, "Q", "little"):
        # States 6 and 7: in the file, at the MiB that the upper bits count.
        last = max(last, max((n for n in numbers if n & 6 == 6), default=0))
    if last and (last >> 20) * _MIB + block > image.length:
        raise truncated(image.path)


def _crc_holds(data: bytes) -> bool:
    """Whether the CRC-32C at byte 4 is that of *data* with zeroes in its place."""
    crc = 0xFFFF_FFFF
    table = _crc_table()
    for byte in data[:4] + bytes(4) + data[8:]:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    (given,) = struct.unpack_from("<I", data, 4)
    return int(given) == crc ^ 0xFFFF_FFFF


@cache
def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F6_3B78 if number & 1 else 0)
        table.append(number)
    return table
