# SPDX-License-Identifier: GPL-2.0-or-later
"""VDI: VirtualBox's own disks.

Source: VDICore.h of VirtualBox and block/vdi.c of QEMU.  QEMU reads only images with
blocks of 1 MiB and without a parent; a snapshot's image whose link to its parent is
empty it reads as if it were whole.  All others are read by our own map.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
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
    ends,
    part,
    truncated,
)
from v2v.mapping import blocks, parents
from v2v.mapping.pieces import Mapped

_SIGNATURE = b"\x7f\x10\xda\xbe"
_SIGNATURE_AT = 64
_HEADER = 512
_VERSION = 0x0001_0001
_BLOCK = 2**20
_MAX_FILES = 1000
# Types: 1 dynamic, 2 fixed; 3 undo and 4 differencing hold only what differs.
_WHOLE = (1, 2)
_DISCARDED = 0xFFFF_FFFE  # this and the number above it: no block in the file


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat."""
    return head[_SIGNATURE_AT : _SIGNATURE_AT + 4] == _SIGNATURE


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    image = part(place, offset, length)
    head = image.read(0, min(_HEADER, image.length))
    if not matches(head, b""):
        raise SourceError(
            f"{image.path} is no VDI image", "give its real format with --input-format"
        )
    head = image.read(0, _HEADER)
    version, _, kind = struct.unpack_from("<III", head, 68)
    if version != _VERSION:
        raise SourceError(
            f"{image.path} is of version {version >> 16}.{version & 0xFFFF} of VDI, "
            "not 1.1",
            "open it once in a newer VirtualBox, or clone it there",
        )
    size = checked_size(image.path, struct.unpack_from("<Q", head, 368)[0])
    parent = uuid.UUID(bytes_le=head[424:440])
    if kind not in _WHOLE or parent.int:
        name = str(parent) if parent.int else None
        mapped = _mapped(image, head, size)
        return Image(size=size, differencing=True, parent=name, mapped=mapped)
    mapped = _mapped(image, head, size)
    block, extra = struct.unpack_from("<II", head, 376)
    return Image(size=size, mapped=mapped if block != _BLOCK or extra else None)


def _mapped(image: Part, head: bytes, size: int) -> Mapped:
    """Return where the blocks lie.

    Raises SourceError if the block map, or a block that it places, is cut off.
    """
    map_at, data_at = struct.unpack_from("<II", head, 340)
    block, extra, count = struct.unpack_from("<III", head, 376)
    odd = block % 512 or extra % 512 or map_at % 512 or data_at % 512
    if not block or odd or count * block < size:
        raise broken(image.path, "its block map does not fit the disk")
    needed = checked_blocks(image.path, -(-size // block))
    last = -1
    for numbers in image.table(map_at, needed, "I", "little"):
        last = max(last, max((n for n in numbers if n < _DISCARDED), default=-1))
    if last >= count:
        raise broken(image.path, f"its block map names block {last} of {count}")
    if data_at + (last + 1) * (block + extra) > image.length:
        raise truncated(image.path)
    return blocks.vdi(image, map_at, data_at, (size, block, extra))


def chain(path: Path, checked: Checked) -> tuple[File, ...]:
    """Return the parents of the VDI at *path*, nearest first.

    Its header has only the parent's UUID; so has the parent's own.  Raises SourceError
    if one is not in the folder of the child, or the one above.
    """
    seen: dict[Path, Mapping[bytes, Path]] = {}

    def by_id(folder: Path) -> Mapping[bytes, Path]:
        if folder not in seen:
            seen[folder] = _by_id(folder, checked)
        return seen[folder]

    return parents.chain(path, "vdi", partial(_parent, by_id=by_id, checked=checked))


def _by_id(folder: Path, checked: Checked) -> Mapping[bytes, Path]:
    """Return the images in *folder* that may be read, by their identifiers."""
    found: dict[bytes, Path] = {}
    for file in islice(sorted(folder.glob("*.[vV][dD][iI]")), _MAX_FILES):
        if _may_be_read(file, checked) and (head := _head(file)):
            found.setdefault(head[392:408], file)
    return found


def _parent(
    path: Path, by_id: Callable[[Path], Mapping[bytes, Path]], checked: Checked
) -> Path | None:
    head = _head(path)
    if not head or not any(head[424:440]):
        return None
    wanted = head[424:440]
    for folder in (path.parent, path.parent.parent):
        if wanted in (known := by_id(folder)):
            return checked(known[wanted])
    name = uuid.UUID(bytes_le=wanted)
    return parents.beside(path, [f"{{{name}}}.vdi"], checked)


def _may_be_read(file: Path, checked: Checked) -> bool:
    """Whether *file*, which nobody has named, is one that may be looked into."""
    try:
        return checked(file).is_file()
    except SourceError:
        return False


def _head(path: Path) -> bytes | None:
    head, _ = ends(path, 0, None)
    return head[:_HEADER] if matches(head, b"") and len(head) >= _HEADER else None


def doubts(child: Path, parent: Path) -> tuple[str, ...]:
    """Return what is odd in *child*, a VDI on *parent*: whether that was written to
    after the child was made."""
    own, below = _head(child), _head(parent)
    if not own or not below or not any(own[440:456]) or own[440:456] == below[408:424]:
        return ()
    return (f"its parent {parent.name} was changed after it was made on that",)
