# SPDX-License-Identifier: GPL-2.0-or-later
"""Which stretch of a disk lies where in a file: the one thing that readers say.

Pieces come in the order of the disk, do not overlap, and are whole sectors of 512
bytes in the disk and at any sector of the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from v2v.errors import SourceError

SECTOR = 512
# Where a file may begin behind another.
_ALIGNED = 65536


class Piece(NamedTuple):
    """``length`` bytes at ``at`` of the disk lie at ``where`` of the file.

    ``where`` None: they are zeroes, whatever a parent has there.
    """

    at: int
    length: int
    where: int | None


Pieces = Iterable[Piece]


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A disk of ``size`` bytes whose data lie in ``file``, as ``pieces()`` say.

    What no piece covers is the parent's, or zeroes if there is none.  ``pieces``
    raises SourceError for a table that is broken.  ``label`` tells apart what one file
    holds.  ``others`` are more files, behind ``file`` as ``places`` has it.
    ``grain``: where pieces begin in the disk are multiples of it, and in the
    file such behind one and the same remainder: then their map is the smaller.
    """

    file: Path
    size: int
    pieces: Callable[[], Iterator[Piece]]
    label: str = ""
    others: tuple[Path, ...] = ()
    grain: int = SECTOR

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that hold data of the disk."""
        return (self.file, *self.others)


def places(lengths: Sequence[int]) -> list[int]:
    """Return where files of *lengths* begin, one behind the other; and the last ends.

    A piece places its data so, if a disk is in several files.
    """
    whole = (-(-length // _ALIGNED) * _ALIGNED for length in lengths[:-1])
    starts = [*accumulate(whole, initial=0)]
    return [*starts, starts[-1] + lengths[-1]]


def merged(pieces: Pieces) -> Iterator[Piece]:
    """Yield *pieces* with neighbours made one that are neighbours in the file too."""
    last: Piece | None = None
    for piece in pieces:
        if last is None:
            last = piece
        elif piece.at == last.at + last.length and _follows(last, piece):
            last = Piece(last.at, last.length + piece.length, last.where)
        else:
            yield last
            last = piece
    if last is not None:
        yield last


def _follows(last: Piece, piece: Piece) -> bool:
    if last.where is None or piece.where is None:
        return last.where is piece.where
    return piece.where == last.where + last.length


def runs(
    numbers: array[int], at: int, step: int, places: Callable[[int], int | None]
) -> Iterator[Piece]:
    """Yield the pieces of a table: its n-th number places *step* bytes, at *at* + n
    times *step* of the disk.

    *places* turns a number, none of them 0, into a place in the file, or None.
    """
    if not any(numbers):
        return
    for number in numbers:
        if number:
            yield Piece(at, step, places(number))
        at += step


def bits(bitmap: bytes, count: int) -> Iterator[tuple[int, int]]:
    """Yield (first, length) of each run of ones in *count* bits, highest bit first."""
    word = int.from_bytes(bitmap, "big") >> (len(bitmap) * 8 - count)
    text = f"{word:0{count}b}"
    start = text.find("1")
    while start >= 0:
        end = text.find("0", start)
        end = count if end < 0 else end
        yield start, end - start
        start = text.find("1", end)


def within(pieces: Pieces, size: int) -> Iterator[Piece]:
    """Yield those of *pieces* that are of a disk of *size*: tables reach beyond."""
    for piece in pieces:
        if piece.at >= size:
            return
        yield piece


def truncated(path: Path) -> SourceError:
    """Return the error for a container that ends before its own tables say so."""
    return SourceError(
        f"{path} is truncated: it ends before its tables say so",
        "copy it again from the source and compare the sizes",
    )
