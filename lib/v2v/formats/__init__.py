# SPDX-License-Identifier: GPL-2.0-or-later
"""What the header of a disk image says, read by ourselves before qemu may open it.

A module per format.  Images are hostile: their headers may name other files of the
host, or lie about sizes.  ``examine`` refuses what must not be opened.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from v2v.document import BlockSize, Chunk, File, Format
from v2v.errors import SourceError
from v2v.mapping.pieces import Mapped

Checked = Callable[[str | Path], Path]

# No guest has a larger disk; a hostile header has.
MAX_SIZE = 64 * 2**40
# So many blocks, of 1 MiB, has a disk of that size.
MAX_BLOCKS = 2**26
# How much of an image's own tables is held in memory at once.
_CHUNK = 2**20


class RawDeviceError(SourceError):
    """An image stands for a device of its host, and has no bytes itself."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a header says: virtual size in bytes, and what qemu must be told.

    ``differencing``: holds only what differs from a parent.  ``parent``: the name of
    that parent as the header has it, to be trusted by nobody.  ``mapped``: where its
    data lie, if qemu is not to read the container by itself.  ``base``: the image says
    that others hold what was written since.  ``doubts``: what is odd in it.
    ``logical_block_size``: see Disk.
    """

    size: int | None = None
    differencing: bool = False
    parent: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    mapped: Mapped | None = None
    base: bool = False
    doubts: tuple[str, ...] = ()
    logical_block_size: BlockSize = 512


@dataclass(frozen=True, kw_only=True)
class Part:
    """Where an image lies: a whole file, or a member of an OVA.  Bytes."""

    path: Path
    offset: int
    length: int

    def read(self, at: int, count: int) -> bytes:
        """Return *count* bytes at *at* of the image.  Raises SourceError if cut off."""
        if at + count > self.length:
            raise truncated(self.path)
        return read(self.path, self.offset + at, count)

    def table(
        self,
        at: int,
        count: int,
        code: Literal["I", "Q"],
        order: Literal["little", "big"],
    ) -> Iterator[array[int]]:
        """Yield the *count* numbers at *at*, of 4 (I) or 8 (Q) bytes, in pieces.

        Raises SourceError if they are cut off.
        """
        size = array(code).itemsize
        if at + count * size > self.length:
            raise truncated(self.path)
        for first in range(0, count, _CHUNK // size):
            numbers = array(code)
            some = min(_CHUNK // size, count - first)
            numbers.frombytes(self.read(at + first * size, some * size))
            if order != sys.byteorder:
                numbers.byteswap()
            yield numbers


@dataclass(frozen=True, kw_only=True)
class Strung(Part):
    """An image in pieces, one after another; ``path`` is the first one's file.

    ``starts`` says where in the image each piece begins.
    """

    pieces: tuple[Part, ...]
    starts: tuple[int, ...]

    def read(self, at: int, count: int) -> bytes:
        """See Part."""
        if at + count > self.length:
            raise truncated(self.path)
        found = []
        number = max(0, bisect_right(self.starts, at) - 1)
        while count:
            piece, inside = self.pieces[number], at - self.starts[number]
            some = min(count, piece.length - inside)
            found.append(piece.read(inside, some))
            at, count, number = at + some, count - some, number + 1
        return b"".join(found)


def strung(pieces: Sequence[Part]) -> Strung:
    """Return *pieces*, at least one, as one image."""
    *starts, length = accumulate((piece.length for piece in pieces), initial=0)
    return Strung(
        path=pieces[0].path,
        offset=0,
        length=length,
        pieces=tuple(pieces),
        starts=tuple(starts),
    )


class ImageFormat(Protocol):
    """What every module of this package offers."""

    def matches(self, head: bytes, tail: bytes) -> bool:
        """Whether an image that starts with *head* (4 KiB) and ends with *tail*
        (512 bytes) is of this format."""
        ...

    def examine(
        self,
        place: Path | Part,
        checked: Checked,
        offset: int = 0,
        length: int | None = None,
    ) -> Image:
        """Return what the header of the image at *offset* of *place* says.

        Every other file that it names goes through *checked*.  Raises SourceError if
        it is broken, truncated, or names what must not be opened.
        """
        ...


def names() -> list[str]:
    """Return the formats there are, by qemu's names."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def load(name: str) -> ImageFormat:
    """Return the module of the format called *name*."""
    return cast(ImageFormat, import_module(f"{__name__}.{name}"))


def recognise(
    place: Path | Part, offset: int = 0, length: int | None = None
) -> Format | None:
    """Return the format whose magic the image at *place* bears, or None.

    None is not "raw": it says that no container was recognised.
    """
    head, tail = ends(place, offset, length)
    for name in names():
        if name != "raw" and load(name).matches(head, tail):
            return cast(Format, name)
    return None


def ends(
    place: Path | Part, offset: int = 0, length: int | None = None
) -> tuple[bytes, bytes]:
    """Return the first 4096 and the last 512 bytes.  Raises SourceError."""
    if isinstance(place, Strung):
        some, last = min(4096, place.length), min(512, place.length)
        return place.read(0, some), place.read(place.length - last, last)
    if isinstance(place, Part):
        return ends(place.path, place.offset, place.length)
    try:
        with place.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            stop = end if length is None else min(end, offset + length)
            file.seek(offset)
            head = file.read(min(4096, max(0, stop - offset)))
            file.seek(max(offset, stop - 512))
            tail = file.read(max(0, stop - file.tell()))
    except OSError as e:
        raise SourceError(f"{place}: {e.strerror}", "check the file") from e
    return head, tail


def read(path: Path, offset: int, count: int) -> bytes:
    """Return exactly *count* bytes at *offset*.  Raises SourceError if cut off."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(count)
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the file") from e
    if len(data) != count:
        raise truncated(path)
    return data


def stretches(places: Iterable[int], size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of what tables of *size* bytes at *places* take together.

    In the order of the file, each byte once, at most 1 MiB or a table at once: however
    many tables a header names, and how often, they take no more time than the file.
    """
    start = end = 0
    for place in sorted(places):
        if start < end and place <= end and place + size - start <= max(_CHUNK, size):
            end = max(end, place + size)
            continue
        if start < end:
            yield start, end - start
        start, end = max(place, end), place + size
    if start < end:
        yield start, end - start


def truncated(path: Path) -> SourceError:
    """Return the error for an image that ends before its own header says so."""
    return SourceError(
        f"{path} is truncated: it ends before its header says so",
        "copy it again from the source and compare the sizes",
    )


def part(place: Path | Part, offset: int = 0, length: int | None = None) -> Part:
    """Return the image at *offset* of *place*; *length* None is up to the end.

    What is a Part already is returned as it is.  Raises SourceError if the file ends
    before.
    """
    if isinstance(place, Part):
        return place
    try:
        with place.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
    except OSError as e:
        raise SourceError(f"{place}: {e.strerror}", "check the file") from e
    rest = max(0, end - offset)
    if length is not None and length > rest:
        raise truncated(place)
    return Part(path=place, offset=offset, length=rest if length is None else length)


def of(file: File) -> Part:
    """Return where *file* of a chain lies.  Raises SourceError if it ends before."""
    if file.parts:
        return strung([of_chunk(chunk) for chunk in file.parts])
    return part(Path(file.path), file.offset or 0, file.length)


def of_chunk(chunk: Chunk) -> Part:
    """Return where *chunk* lies.  Raises SourceError if its file ends before."""
    return part(Path(chunk.path), chunk.offset, chunk.length)


def checked_size(path: Path, size: int) -> int:
    """Return the virtual *size* of *path*.  Raises SourceError if no disk has it."""
    if 0 < size <= MAX_SIZE:
        return size
    raise broken(path, f"a disk of {size} bytes is none")


def checked_blocks(path: Path, count: int) -> int:
    """Return the *count* of blocks in a table of *path*.

    Raises SourceError if no disk has as many, which takes hours to read.
    """
    if count <= MAX_BLOCKS:
        return count
    raise broken(path, f"a table of {count} blocks is none")


def broken(path: Path, reason: str) -> SourceError:
    """Return the error for an image whose own header contradicts itself."""
    return SourceError(
        f"{path} is broken: {reason}",
        "copy it again from the source, or check it there",
    )
