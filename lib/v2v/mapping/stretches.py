# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks in several images, each of which holds a stretch of the disk: as one map.

Their files are taken to lie one behind the other, each from a multiple of 64 KiB on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from v2v.errors import SourceError
from v2v.mapping.pieces import Mapped, Piece, places, truncated


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """``length`` bytes at ``at`` of a disk are those at the start of ``image``."""

    at: int
    length: int
    image: Mapped


def joined(stretches: Sequence[Stretch], size: int) -> Mapped:
    """Return what *stretches*, at least one, hold of a disk of *size* bytes.

    Raises SourceError if two of them are of the same place of the disk, or one lies
    beyond its end.
    """
    stretches = sorted(stretches, key=lambda stretch: stretch.at)
    end = 0
    for one in stretches:
        if one.at < end or not 0 < one.length <= size - one.at:
            raise SourceError(
                f"{one.image.file} has a place on its disk where another part lies, or "
                "beyond the end of the disk",
                "copy the disk again from the source",
            )
        end = one.at + one.length
    files = tuple(one.image.file for one in stretches)
    label = [f"{one.at} {one.length} {one.image.label}" for one in stretches]
    return Mapped(
        file=files[0],
        others=files[1:],
        size=size,
        pieces=lambda: _pieces(stretches),
        label="\0".join(label),
    )


def _pieces(stretches: Sequence[Stretch]) -> Iterator[Piece]:
    lengths = [one.image.file.stat().st_size for one in stretches]
    starts = places(lengths)
    for one, start, length in zip(stretches, starts, lengths, strict=False):
        for piece in _cut(one):
            where = piece.where
            if where is not None:
                if where + piece.length > length:
                    raise truncated(one.image.file)
                where += start
            yield Piece(one.at + piece.at, piece.length, where)


def _cut(stretch: Stretch) -> Iterator[Piece]:
    """Yield the pieces of *stretch* that are within it."""
    end = min(stretch.length, stretch.image.size)
    for piece in stretch.image.pieces():
        if piece.at >= end:
            return
        yield Piece(piece.at, min(piece.length, end - piece.at), piece.where)
