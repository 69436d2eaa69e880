# SPDX-License-Identifier: GPL-2.0-or-later
"""An image in pieces (the chunks of an OVF), as one file to qemu and without a copy.

A VMDK descriptor of FLAT extents strings together links to the pieces.  Its extents
are whole sectors; a piece need not be.  The one sector that lies on both sides of such
a border is copied, and what follows begins at any byte: qemu's raw driver shifts it.
What the last one lacks to a sector is zeroes, whatever follows it in its file.

In the same way an image gets another start: a header that names no parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from v2v.errors import SourceError
from v2v.formats import Strung
from v2v.mapping.pieces import SECTOR

# qemu opens each, and takes a second for a thousand: it looks at every one for each.
MAX_PIECES = 2000
_DESCRIPTOR, _SEAMS, _HEAD = "descriptor", "seams", "head"

Node = dict[str, Any]


class _Extent(NamedTuple):
    """Whole sectors at ``where``, any byte, of a file."""

    sectors: int
    name: str
    where: int


def write(image: Strung, folder: Path, head: bytes = b"") -> None:
    """Write what strings the pieces of *image* together into *folder*, which is new.

    *head*, whole sectors, stands in place of as many bytes.  Raises SourceError if the
    pieces are too many.
    """
    check_count(image.path, len(image.pieces))
    folder.mkdir(parents=True)
    if head:
        (folder / _HEAD).write_bytes(head)
    names: dict[Path, str] = {}
    for piece in image.pieces:
        if piece.path not in names:
            names[piece.path] = f"f{len(names)}"
            (folder / names[piece.path]).symlink_to(piece.path)
    extents = list(_extents(image, names, len(head)))
    seams = [e.where for e in extents if e.name == _SEAMS]
    data = [image.read(at, min(SECTOR, image.length - at)) for at in seams]
    (folder / _SEAMS).write_bytes(b"".join(s.ljust(SECTOR, b"\0") for s in data))
    numbers = {at: number for number, at in enumerate(seams)}
    lines = [
        *("# Disk DescriptorFile", "version=1", "CID=fffffffe"),
        *("parentCID=ffffffff", 'createType="twoGbMaxExtentFlat"'),
    ]
    shifts = []
    for extent in extents:
        sector, shift = divmod(extent.where, SECTOR)
        if extent.name == _SEAMS:
            sector, shift = numbers[extent.where], 0
        shifts.append(f"{shift}\n")
        lines.append(f'RW {extent.sectors} FLAT "{extent.name}" {sector}')
    (folder / _DESCRIPTOR).write_text("\n".join([*lines, ""]))
    (folder / "shifts").write_text("".join(shifts))


def check_count(path: Path, count: int) -> None:
    """Raise SourceError if *count* pieces, of which *path* is one, are too many."""
    if count > MAX_PIECES:
        raise SourceError(
            f"{path} is one of {count} pieces, and at most {MAX_PIECES} can be read "
            "in place",
            "join them first, with cat, in the order of their numbers",
        )


def _extents(image: Strung, names: dict[Path, str], head: int) -> Iterator[_Extent]:
    """Yield the extents of *image*, with *head* bytes of its own start.

    One of a seam has its place in the image.
    """
    if head:
        yield _Extent(head // SECTOR, _HEAD, 0)
    at = head
    for start, piece in zip(image.starts, image.pieces, strict=True):
        end = start + piece.length
        if at < end:
            if count := (end - at) // SECTOR:
                where = piece.offset + at - start
                yield _Extent(count, names[piece.path], where)
                at += count * SECTOR
            if at < end:
                yield _Extent(1, _SEAMS, at)
                at += SECTOR


def node(folder: Path) -> Node:
    """Return the protocol node of what write() put into *folder*."""
    shifts = map(int, (folder / "shifts").read_text().split())
    storage = {"driver": "file", "filename": str(folder / _DESCRIPTOR)}
    made: Node = {
        "driver": "vmdk",
        "file": {**storage, "read-only": True},
        "backing": None,
        "read-only": True,
    }
    moved = {
        str(number): {"driver": "raw", "offset": shift}
        for number, shift in enumerate(shifts)
        if shift
    }
    return {**made, "extents": moved} if moved else made
