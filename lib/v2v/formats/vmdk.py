# SPDX-License-Identifier: GPL-2.0-or-later
"""VMDK: VMware's disks, as a descriptor with extents or one file that holds both.

Sources: VMware "Virtual Disk Format 5.0"; the extent types of ESXi (VMFSSPARSE,
SESPARSE) as qemu's block/vmdk.c reads them.  A descriptor may name any file of the
host and qemu opens it, even with the format pinned (CVE-2022-47951), so each extent
must be a plain name that stays where it may be read.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

from v2v import charsets, views
from v2v.document import File
from v2v.errors import SourceError
from v2v.formats import (
    Checked,
    Image,
    Part,
    RawDeviceError,
    checked_size,
    ends,
    part,
    stretches,
    truncated,
)
from v2v.mapping import vmfs
from v2v.mapping.pieces import Mapped

SECTOR = 512
_MAX_DESCRIPTOR = 1 << 20
# The CID of a parent where there is none.
NONE = "ffffffff"
_GD_AT_END = 2**64 - 1
_COMPRESSED = 1 << 16
# Types that are files.  Devices (fullDevice, RDM) are not images of a disk.
_FILES = {"FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE", "ZERO"}
_EXTENT = re.compile(
    r"^\s*(RW|RDONLY|RD|NOACCESS)\s+(\d{1,99})\s+([A-Z]+)"
    r'(?:\s+"([^"]*)"(?:\s+(\d{1,99}))?)?',
    re.IGNORECASE,
)
_ENCODING = re.compile(
    rb'(?:\A|\n)[ \t]{0,9}(?:ddb\.)?encoding[ \t]{0,9}=[ \t]{0,9}"?([\w.-]{1,40})', re.I
)
_PROTOCOL = re.compile(r"^[A-Za-z0-9+.\-]+:")
# As sscanf(3) in block/vmdk.c reads the text that follows a line's start: blanks are
# of any kind, are lacking or are ends of lines, and the name need not end.
_SEEN = re.compile(
    rb"\s{0,256}(RW)\s{1,256}([+-]?\d{1,99})\s{0,256}(\S{1,10})\s{0,256}"
    rb'"([^\n\r"]{1,511})'
)
_BLANKS = re.compile(rb"\s{257}")
# Split into 2 GiB each, as usual, it is a disk of 8 TiB.  QEMU takes time that grows
# with their square.
_MAX_EXTENTS = 4096
_MAX_PER_TABLE = 512  # that of all writers, and as much as QEMU takes
_MAX_TABLES = 2**21  # of 64 TiB, in the usual grains of 64 KiB
_DEEPEST = 256


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A stretch of the disk: ``sectors`` of 512 bytes, in file ``name``."""

    sectors: int
    type: str
    name: str
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What the text of a VMDK says."""

    create_type: str
    cid: str
    parent_cid: str
    parent: str | None
    extents: tuple[Extent, ...]
    # The serial number that a guest may be shown, 32 hexadecimal digits.
    uuid: str | None = None

    @property
    def size(self) -> int:
        """The virtual size in bytes: that of all extents together."""
        return sum(extent.sectors for extent in self.extents) * SECTOR


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat."""
    return head[:4] in (b"KDMV", b"COWD") or _is_text(head)


def _is_text(head: bytes) -> bool:
    return b"# disk descriptorfile" in head[:512].lower()


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    image = part(place, offset, length)
    path = image.path
    head, _ = ends(image)
    if head[:4] == b"COWD":
        raise SourceError(
            f"{path} is the data of a snapshot, without its descriptor",
            f"name the small text file beside it: {path.name.replace('-delta', '')}",
        )
    if head[:4] == b"KDMV":
        return _examine_sparse(image, head)
    if not _is_text(head):
        raise SourceError(
            f"{path} is no VMDK: it has neither a sparse header nor a descriptor",
            "if this is the -flat.vmdk, name the descriptor beside it, or give "
            "--input-format raw",
        )
    data = _text(image)
    found = parse(path, data)
    size = checked_size(path, found.size)
    _check_as_seen(path, data, found)
    for extent in found.extents:
        _examine_extent(path, extent, checked)
    return Image(
        size=size,
        differencing=found.parent_cid != NONE,
        parent=found.parent,
        mapped=_mapped(path, found),
    )


def _mapped(path: Path, found: Descriptor) -> Mapped | None:
    """Return where the data of a delta of ESXi lie; None for other kinds."""
    kinds = [extent.type for extent in found.extents]
    if kinds not in (["VMFSSPARSE"], ["SESPARSE"]):
        return None
    file = path.parent / found.extents[0].name
    mapped = vmfs.mapped(file.resolve())
    # The descriptor's word counts for the size, as it does for qemu.
    return replace(mapped, size=found.size) if mapped else None


def descriptor(place: Path | Part) -> Descriptor:
    """Return the descriptor of the VMDK at *place*, in text or embedded.

    Raises SourceError if there is none, or it cannot be read.
    """
    image = part(place)
    return parse(image.path, _text(image))


def _text(image: Part) -> bytes:
    head, _ = ends(image)
    at, length = 0, image.length
    if head[:4] == b"KDMV":
        if len(head) < SECTOR:
            raise truncated(image.path)
        at, length = (n * SECTOR for n in struct.unpack_from("<QQ", head, 28))
        if not at or not length:
            raise SourceError(
                f"{image.path} has no descriptor of its own", "copy it again"
            )
    return image.read(at, _bounded(image.path, length))


def _bounded(path: Path, count: int) -> int:
    if count > _MAX_DESCRIPTOR:
        raise SourceError(
            f"{path}: a descriptor of {count} bytes is no descriptor",
            "copy it again from the source",
        )
    return count


def parse(path: Path, data: bytes) -> Descriptor:
    """Return what the descriptor text *data* of *path* says.  Raises SourceError."""
    text = _decoded(data)
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key.strip().lower(), value.strip().strip('"'))
    extents = tuple(_extents(path, text))
    if not extents:
        raise SourceError(f"{path}: the descriptor names no extent", "copy it again")
    return Descriptor(
        create_type=values.get("createtype", ""),
        cid=values.get("cid", "").lower(),
        parent_cid=values.get("parentcid", NONE).lower(),
        parent=values.get("parentfilenamehint"),
        extents=extents,
        uuid=_uuid(values.get("ddb.uuid", "")),
    )


def _check_as_seen(path: Path, data: bytes, found: Descriptor) -> None:
    """Raise SourceError unless QEMU finds the extents in *data* that we have *found*.

    It knows no charset, has its own idea of lines, and passes over what it does not
    understand; a disk would be short then, or be made of files that nobody checked.
    """
    if len(found.extents) > _MAX_EXTENTS:
        raise SourceError(
            f"{path} has {len(found.extents)} extents, more than any disk",
            "do not trust this file; copy the disk again from the source",
        )
    lines = [0, *(match.end() for match in re.finditer(rb"\n", data))]
    seen = [m.groups() for at in lines if (m := _SEEN.match(data, at))]
    ours = [
        (b"RW", b"%d" % e.sectors, e.type.encode(), os.fsencode(e.name))
        for e in found.extents
    ]
    if _BLANKS.search(data) or seen != ours:
        raise SourceError(
            f"{path} is written in a way that QEMU reads otherwise: an extent is "
            "read-only or of zeroes, has odd blanks, or a name that is no UTF-8",
            "make one disk of it: vmware-vdiskmanager -r OLD -t 0 NEW; or correct the "
            "descriptor if it is yours",
        )


def _uuid(text: str) -> str | None:
    """Return the digits of ``60 00 C2 9f …``, in lower case."""
    digits = re.sub(r"[ -]", "", text).lower()
    return digits if re.fullmatch(r"[0-9a-f]{32}", digits) else None


def _decoded(data: bytes) -> str:
    """Return the text; its own encoding= matters only for the names in it."""
    data = data.rstrip(b"\0")
    named = _ENCODING.search(data)
    return charsets.decoded(data, named[1].decode() if named else None)[0]


def _extents(path: Path, text: str) -> list[Extent]:
    found = []
    for match in map(_EXTENT.match, text.splitlines()):
        if not match:
            continue
        _, sectors, kind, name, offset = match.groups()
        if kind.upper() not in _FILES:
            raise RawDeviceError(
                f"{path} has an extent of type {kind}, which is a device and no file",
                "convert the raw device mapping to a virtual disk on the source",
            )
        found.append(
            Extent(
                sectors=int(sectors),
                type=kind.upper(),
                name=name or "",
                offset=int(offset or 0),
            )
        )
    return found


def _examine_extent(path: Path, extent: Extent, checked: Checked) -> None:
    """Check that *extent* of the descriptor at *path* may be opened, and is whole."""
    if extent.type == "ZERO":
        return
    name = extent.name
    if "/" in name or "\\" in name or _PROTOCOL.match(name) or name in ("", ".", ".."):
        raise SourceError(
            f"{path} names {name!r} as a part of the disk, outside its own folder",
            "a VMDK from elsewhere must not name other files of this host; correct "
            "the descriptor if it is yours",
        )
    file = checked(views.beside(path, name))
    if not file.is_file():
        raise SourceError(
            f"{file}, a part of {path}, is no regular file",
            "put the file there, or correct the descriptor",
        )
    if extent.type in ("FLAT", "VMFS"):
        if file.stat().st_size < (extent.offset + extent.sectors) * SECTOR:
            raise truncated(file)
    elif (head := ends(file)[0])[:4] == b"KDMV":
        _examine_sparse(part(file), head)


def _examine_sparse(image: Part, head: bytes) -> Image:
    """Check the sparse header *head*: what it places must lie within the file."""
    path = image.path
    if len(head) < SECTOR:
        raise truncated(path)
    flags, capacity, grain, _, _, per_table, _, directory = struct.unpack_from(
        "<IQQQQIQQ", head, 8
    )
    if not capacity:
        # qemu then obeys the embedded descriptor, with any extent in it.
        raise SourceError(
            f"{path} gives no capacity in its header", "copy it again from the source"
        )
    checked_size(path, capacity * SECTOR)
    if not 0 < grain <= 2**16 or not 0 < per_table <= _MAX_PER_TABLE:
        raise SourceError(f"{path}: the header is broken", "copy it again")
    if directory == _GD_AT_END:
        _examine_stream_end(image)
    else:
        tables = -(-capacity // (grain * per_table))
        last = _last_grain(image, directory, tables, per_table)
        if last and _grain_end(image, last, grain, flags) > image.length:
            raise truncated(path)
    return _embedded(image, capacity)


def _examine_stream_end(image: Part) -> None:
    """A streamOptimized VMDK ends with a footer and an end-of-stream marker."""
    if image.length < 3 * SECTOR:
        raise truncated(image.path)
    tail = image.read(image.length - 2 * SECTOR, 2 * SECTOR)
    # Some writers pad the file after the marker; qemu needs the footer right here.
    if tail[:4] != b"KDMV" or tail[SECTOR : SECTOR + 16].strip(b"\0"):
        raise truncated(image.path)


def _last_grain(image: Part, directory: int, tables: int, per_table: int) -> int:
    """Return the sector of the grain that is last in the file; 0 if there is none.

    Raises SourceError if a grain table lies outside the file.
    """
    if tables > _MAX_TABLES:
        raise SourceError(f"{image.path}: the header is broken", "copy it again")
    places: array[int] = array("Q")
    for some in image.table(directory * SECTOR, tables, "I", "little"):
        places.extend(number * SECTOR for number in some if number)
    last = 0
    for start, length in stretches(places, per_table * 4):
        for grains in image.table(start, length // 4, "I", "little"):
            last = max(last, *grains)
    # 1 marks a grain of zeroes.
    return last if last > 1 else 0


def _grain_end(image: Part, sector: int, grain: int, flags: int) -> int:
    """Return where the grain at *sector* ends: bytes from the start of the extent.

    Behind the end of a file qemu reads zeroes without a word, so a grain that is cut
    off must be found here.
    """
    if not flags & _COMPRESSED:
        return (sector + grain) * SECTOR
    # Grain marker: u64 sector of the disk, u32 size of the compressed data.
    (size,) = struct.unpack_from("<I", image.read(sector * SECTOR, 12), 8)
    return sector * SECTOR + 12 + int(size)


def _embedded(image: Part, capacity: int) -> Image:
    """A sparse extent of a split disk has no descriptor of its own."""
    try:
        found = descriptor(image)
    except SourceError:
        return Image(size=capacity * SECTOR)
    # The embedded extent line names this very file, often by an old name: qemu does
    # not follow it, nor do we.
    return Image(
        size=capacity * SECTOR,
        differencing=found.parent_cid != NONE,
        parent=found.parent,
    )


def chain(path: Path, checked: Checked) -> tuple[File, ...]:
    """Return the parents of the snapshot disk at *path*, nearest first.

    Raises SourceError if one is missing, is not the parent that the child was made
    on (CID), or the chain runs in a circle.
    """
    found: list[File] = []
    seen = {path}
    child = _descriptor_or_none(path)
    while child and child.parent_cid != NONE:
        parent = _parent(path, child, checked)
        if parent in seen or len(seen) > _DEEPEST:
            raise SourceError(
                f"{path}: the chain of snapshots runs in a circle, or has no end",
                "consolidate the snapshots on the source, then copy again",
            )
        seen.add(parent)
        found.append(File(path=os.fspath(parent), format="vmdk"))
        above, child = child, _descriptor_or_none(parent)
        if child and child.cid != above.parent_cid:
            raise SourceError(
                f"{path} was made on a disk with CID {above.parent_cid}, and "
                f"{parent} has {child.cid}: the parent was changed after the snapshot",
                "consolidate the snapshots on the source, then copy again",
            )
        path = parent
    return tuple(found)


def _descriptor_or_none(path: Path) -> Descriptor | None:
    head, _ = ends(path)
    return descriptor(path) if matches(head, b"") and head[:4] != b"COWD" else None


def _parent(path: Path, child: Descriptor, checked: Checked) -> Path:
    """Return the parent of *path*: where the hint says, or beside the child."""
    hint = (child.parent or "").replace("\\", "/")
    if not hint:
        raise SourceError(f"{path} is a snapshot and names no parent", "copy it again")
    named = path.parent / hint
    beside = views.beside(path, hint.rpartition("/")[2])
    return checked(named if not _is_there(beside) and _is_there(named) else beside)


def _is_there(path: Path) -> bool:
    """Path.exists() raises for a name that is too long."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
