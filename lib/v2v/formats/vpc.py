# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD, which QEMU calls vpc: the disks of Virtual PC, Hyper-V and XenServer.

Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0 and
block/vpc.c of QEMU.  A fixed VHD is a raw disk with a footer.  QEMU reads a
differencing one as if it were whole, with zeroes for all that is its parent's: such
are read by our own map of them.  So are those that QEMU refuses for a checksum, or
for the 511 bytes of old footers; and XenServer's, in which a sector that was never
written may hold anything (blktap: vhd/lib/libvhd.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
_XEN = b"tap\0"
# XenServer's own flag, behind that of a saved state.
_SAVED_AT, _HIDDEN_AT = 84, 85


@dataclass(frozen=True, kw_only=True)
class _Footer:
    """The footer, of which a dynamic VHD has a copy in front.

    ``summed``: whether its checksum is right; ``length`` in bytes, in the file.
    """

    data: bytes
    creator: bytes
    current_size: int
    geometry: tuple[int, int, int]
    kind: int
    header_at: int
    summed: bool
    length: int

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
        return _fixed(image, footer, size)
    header = _dynamic_header(image, footer)
    summed = _checksum(header, 36) == struct.unpack_from(">I", header, 36)[0]
    block = _check_blocks(image, header, size)
    (table_at,) = struct.unpack_from(">Q", header, 16)
    mapped = blocks.vhd(image, table_at, block, size)
    found = Image(
        size=size,
        base=footer.creator == _XEN and footer.data[_HIDDEN_AT] == 1,
        doubts=tuple(_doubts(footer, summed=summed)),
    )
    if footer.kind == _DIFFERENCING:
        parent = _parent_names(image, header)[-1] or None
        return replace(found, differencing=True, parent=parent, mapped=mapped)
    if footer.creator == _XEN or found.doubts or size % _SECTOR:
        return replace(found, mapped=mapped)
    return replace(found, options=_options(footer))


def _fixed(image: Part, footer: _Footer, size: int) -> Image:
    """Return what a fixed VHD is: all of the file in front of its footer."""
    if size > image.length - footer.length:
        raise truncated(image.path)
    doubts = tuple(_doubts(footer, summed=True))
    sectors = not size % _SECTOR and not image.length % _SECTOR
    if not doubts and sectors and footer.length == _FOOTER:
        return Image(size=size, options=_options(footer))
    return Image(size=size, mapped=blocks.whole(image, size), doubts=doubts)


def _doubts(footer: _Footer, *, summed: bool) -> Iterator[str]:
    """Yield what is odd; *summed*: whether the dynamic header's checksum is right."""
    if not footer.summed:
        yield "the checksum of its footer is wrong"
    if not summed:
        yield "the checksum of its dynamic header is wrong"
    if footer.data[_SAVED_AT] == 1:
        yield "it is marked as one of a machine in a saved state"


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
    front = image.read(0, min(_FOOTER, image.length))
    last = _at_end(image)
    in_front = front[:8] == _COOKIE
    if not in_front and last is None:
        raise _no_footer(image)
    if in_front and len(front) < _FOOTER:
        raise truncated(image.path)
    found = _read(front, _FOOTER) if in_front or last is None else last
    if in_front == (found.kind == _FIXED) or (last and last.kind != found.kind):
        # QEMU would obey what is in front, and that can be a guest's own first sector.
        raise broken(image.path, "its footer contradicts its first sector")
    if not found.summed and last and last.summed:
        found = last
    if found.kind not in (_FIXED, _DYNAMIC, _DIFFERENCING):
        raise broken(image.path, f"no VHD is of type {found.kind}")
    return found


def _read(data: bytes, length: int) -> _Footer:
    return _Footer(
        data=data,
        creator=data[28:32],
        current_size=struct.unpack_from(">Q", data, 48)[0],
        geometry=struct.unpack_from(">HBB", data, 56),
        kind=struct.unpack_from(">I", data, 60)[0],
        header_at=struct.unpack_from(">Q", data, 16)[0],
        summed=_checksum(data, 64) == struct.unpack_from(">I", data, 64)[0],
        length=length,
    )


def _at_end(image: Part) -> _Footer | None:
    """Return the footer at the end, if there is one; old ones lack the last byte."""
    at = max(0, image.length - _FOOTER)
    data = image.read(at, image.length - at)
    if len(data) == _FOOTER and data[:8] == _COOKIE:
        return _read(data, _FOOTER)
    if len(data) == _FOOTER and data[1:9] == _COOKIE:
        return _read(data[1:] + b"\0", _FOOTER - 1)
    return None


def _no_footer(image: Part) -> SourceError:
    return SourceError(
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
