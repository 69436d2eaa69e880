# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in several images, each with a stretch of it, and their snapshots (Parallels).

QEMU has no means to put images one behind the other.  Our map of all those that were
made by one snapshot is one image to it, and the next snapshot's lies below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from v2v import formats
from v2v.document import Chunk, Layer
from v2v.errors import SourceError
from v2v.mapping import kept, stretches, strung, tables
from v2v.mapping.pieces import Mapped, Piece
from v2v.mapping.stretches import Stretch
from v2v.servers import Access, Graph
from v2v.servers.file import allow_open

# So many images of ours may lie over one file, to shift it into place.
_SHIFTS = 10


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    parts = address.parts
    strung.check_count(Path(address.path or ""), len(parts))
    if not parts or not address.length:
        raise SourceError(
            f"{address.path} is said to be in pieces, and none is named",
            "describe the source again with v2v-inspect",
        )
    allow_open(len(parts) * _SHIFTS)
    levels = list(_levels(parts))
    made = []
    for number, level in enumerate(levels, 1):
        stretched = [_stretch(part, access) for part in level]
        mapped = stretches.joined(stretched, address.length)
        folder = kept.written(mapped, parent=number < len(levels))
        made.append(tables.nodes(folder))
    for (_, bottom), (top, _) in pairwise(made):
        bottom["backing"] = top
    return Graph(node=made[0][0])


def _levels(parts: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """Yield the images that lie side by side, the uppermost first."""
    stacks: dict[int, list[Chunk]] = {}
    for part in parts:
        stacks.setdefault(part.at or 0, []).append(part)
    for depth in range(max(map(len, stacks.values()))):
        yield [stack[depth] for stack in stacks.values() if depth < len(stack)]


def _stretch(part: Chunk, access: Access) -> Stretch:
    """Return what *part* holds.

    Raises SourceError if it must not be opened, or is shorter than it must be.
    """
    path = access.checked(part.path)
    image = formats.load(part.format).examine(path, access.checked)
    mapped = image.mapped
    if part.format == "raw":
        mapped = _plain(path, image.size or 0)
    if mapped is None:
        raise SourceError(
            f"{path}, an image of format {part.format}, cannot be a part of a disk",
            "describe the source again with v2v-inspect",
        )
    if mapped.size < part.length:
        raise SourceError(
            f"{path} holds {mapped.size} bytes of the disk, and should hold "
            f"{part.length}",
            "copy it again from the source and compare the sizes",
        )
    return Stretch(at=part.at or 0, length=part.length, image=mapped)


def _plain(path: Path, size: int) -> Mapped:
    return Mapped(
        file=path, size=size, pieces=lambda: iter([Piece(0, size, 0)]), label="plain"
    )
