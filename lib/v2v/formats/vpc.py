# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD, which QEMU calls vpc: the disks of Virtual PC, Hyper-V and XenServer.

Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0 and
block/vpc.c of QEMU.  A fixed VHD is a raw disk with a footer.  QEMU reads a
differencing one as if it were whole, with zeroes for all that is its parent's: such
are read by our own map of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from v2v.document import File
from v2v.errors import SourceError
from v2v.formats import (
    Checked,
    Image,
    Part,
    broken,
    checked_blocks,
    checked_size,
    part,
    truncated,
)
from v2v.mapping import blocks, parents

_COOKIE = b"conectix"
_FOOTER = 512
_DYNAMIC_COOKIE = b"cxsparse"
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_UNUSED = 0xFFFF_FFFF
_SECTOR = 512
_MAX_LOCATOR = 2**16
# These show the guest the geometry, rounded down, instead of the current size.
_BY_GEOMETRY = (b"vpc ", b"qemu")
_LARGEST_GEOMETRY = (65535, 16, 255)


@dataclass(frozen=True, kw_only=True)
class _Footer:
    """The footer, of which a dynamic VHD has a copy in front."""

    data: bytes
    creator: bytes
    current_size: int
    geometry: tuple[int, int, int]
    kind: int
    header_at: int

    @property
    def by_geometry(self) -> bool:
        return self.creator in _BY_GEOMETRY and self.geometry != _LARGEST_GEOMETRY

    @property
    def size(self) -> int:
        """The size of the disk as its creator shows it to a guest, in bytes."""
        cylinders, heads, sectors = self.geometry
        if self.by_geometry:
            return cylinders * heads * sectors * _SECTOR
        return self.current_size


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat.

    Old versions of Virtual PC wrote footers of 511 bytes.
    """
    return _COOKIE in (head[:8], tail[:8], tail[1:9])


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat.

    ``options`` makes qemu take the size that the VHD's creator meant.
    """
    image = part(place, offset, length)
    footer = _footer(image)
    size = checked_size(image.path, footer.size)
    if footer.kind == _FIXED:
        if size > image.length - _FOOTER:
            raise truncated(image.path)
        return Image(size=size, options=_options(footer))
    header = _dynamic_header(image, footer)
    if footer.kind == _DIFFERENCING:
        block = _check_blocks(image, header, size)
        (table_at,) = struct.unpack_from(">Q", header, 16)
        return Image(
            size=size,
            differencing=True,
            parent=_parent_names(image, header)[-1] or None,
            mapped=blocks.vhd(image, table_at, block, size),
        )
    _check_blocks(image, header, size)
    return Image(size=size, options=_options(footer))


def chain(path: Path, checked: Checked) -> tuple[File, ...]:
    """Return the parents of the VHD at *path*, nearest first.

    Raises SourceError if one is missing, or is not the one that its child names.
    """
    return parents.chain(path, "vpc", partial(_parent, checked=checked))


def _parent(path: Path, checked: Checked) -> Path | None:
    image = part(path, 0, None)
    footer = _footer(image)
    if footer.kind != _DIFFERENCING:
        return None
    header = _dynamic_header(image, footer)
    found = parents.beside(path, _parent_names(image, header), checked)
    if _footer(part(found, 0, None)).data[68:84] != header[40:56]:
        raise parents.changed(path, found)
    return found


def _parent_names(image: Part, header: bytes) -> list[str]:
    """Return what the header calls the parent: by its locators, and last by name."""
    names = []
    for at in range(576, 768, 24):
        platform, _, length, _, place = struct.unpack_from(">4sIIIQ", header, at)
        if platform in (b"W2ru", b"W2ku") and length <= _MAX_LOCATOR:
            names.append(image.read(place, length).decode("utf-16-le", "replace"))
    name = header[64:576].decode("utf-16-be", "replace").partition("\0")[0]
    return [*sorted(names, key=lambda name: not name.startswith(".")), name]


def _options(footer: _Footer) -> dict[str, str]:
    """QEMU knows some creators by name and takes the geometry for all others."""
    return {} if footer.by_geometry else {"force_size_calc": "current_size"}


def _footer(image: Part) -> _Footer:
    """Return the copy in front where there is one, as QEMU does; else the footer."""
    data = image.read(0, min(_FOOTER, image.length))
    in_front = data[:8] == _COOKIE
    if not in_front:
        data = _at_end(image)
    if len(data) < _FOOTER:
        raise truncated(image.path)
    kind = struct.unpack_from(">I", data, 60)[0]
    if in_front == (kind == _FIXED):
        # QEMU would obey what is in front, and that can be a guest's own first sector.
        raise broken(image.path, "its footer contradicts its first sector")
    if _checksum(data, 64) != struct.unpack_from(">I", data, 64)[0]:
        raise broken(image.path, "the checksum of its footer is wrong")
    if kind not in (_FIXED, _DYNAMIC, _DIFFERENCING):
        raise broken(image.path, f"no VHD is of type {kind}")
    return _Footer(
        data=data,
        creator=data[28:32],
        current_size=struct.unpack_from(">Q", data, 48)[0],
        geometry=struct.unpack_from(">HBB", data, 56),
        kind=kind,
        header_at=struct.unpack_from(">Q", data, 16)[0],
    )


def _at_end(image: Part) -> bytes:
    """Return the footer of a fixed VHD."""
    at = max(0, image.length - _FOOTER)
    data = image.read(at, image.length - at)
    if data[:8] == _COOKIE:
        return data
    if data[1:9] == _COOKIE:
        raise SourceError(
            f"{image.path} has a footer of 511 bytes, as Virtual PC of old wrote them",
            "add a byte to a copy of it: truncate -s +1 COPY",
        )
    raise SourceError(
        f"{image.path} has no footer of a VHD: it is none, or is truncated",
        "compare its size with the source's; or give --input-format",
    )


def _checksum(data: bytes, place: int) -> int:
    """Return the one's complement of the sum of all bytes but the four at *place*."""
    return ~(sum(data) - sum(data[place : place + 4])) & 0xFFFF_FFFF


def _dynamic_header(image: Part, footer: _Footer) -> bytes:
    data = image.read(footer.header_at, 1024)
    if data[:8] != _DYNAMIC_COOKIE:
        raise broken(image.path, "its dynamic header is not where the footer says")
    if _checksum(data, 36) != struct.unpack_from(">I", data, 36)[0]:
        raise broken(image.path, "the checksum of its dynamic header is wrong")
    return data


def _check_blocks(image: Part, header: bytes, size: int) -> int:
    """Return the size of a block in bytes.

    Raises SourceError if the block table, or a block that it places, is cut off.
    """
    (table_at,) = struct.unpack_from(">Q", header, 16)
    entries, block = struct.unpack_from(">II", header, 28)
    if block < _SECTOR or block & (block - 1):
        raise broken(image.path, f"blocks of {block} bytes")
    if entries * block < size:
        raise broken(image.path, "its block table is too small for the disk")
    last = -1
    count = checked_blocks(image.path, -(-size // block))
    for numbers in image.table(table_at, count, "I", "big"):
        last = max(last, max((n for n in numbers if n != _UNUSED), default=-1))
    # Each block has a bitmap of its sectors in front, in whole sectors.
    bitmap = -(-block // _SECTOR // 8 // _SECTOR) * _SECTOR
    if last >= 0 and last * _SECTOR + bitmap + block > image.length:
        raise truncated(image.path)
    return int(block)
