# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpack a stream piece by piece, so that memory is bounded whatever it holds.

Sources: RFC 1952 (gzip: members follow each other, and tapes pad with zeroes), the
xz file format 1.0.4 (streams follow each other, with zeroes between).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol

from v2v import process, sandbox
from v2v.views import deflated
from v2v.views.packings import MEMBER, PLAIN, Packing

# Bytes that are read, and given out, at once.
_PIECE = 2**20
# What xz -9 and the usual --long take is far below.
_MEMORY = 2**29
# Of a program: its window (1 GiB), and itself.
_ADDRESSES = 2**31


class DamagedError(Exception):
    """The packed file is cut off, or is not what it should be; says how."""


class _Member(Protocol):
    """One gzip member, bzip2 or xz stream, in work."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, most: int, /) -> bytes: ...


class _Source(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Stretch:
    """The next *length* bytes of *file*."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._left = length

    def read(self, count: int, /) -> bytes:
        data = self._file.read(min(count, self._left))
        self._left -= len(data)
        return data


def pieces(packing: Packing, file: IO[bytes], length: int) -> Iterator[bytes]:
    """Yield what the next *length* bytes of *file*, packed by *packing*, hold.

    At most 1 MiB each; a program takes all up to the end.

    Raises DamagedError if it is cut off, damaged, or followed by something else;
    HostError if a program for it is missing.
    """
    if packing.command:
        command = packing.command
        within = [*sandbox.helper(command[0]), "prlimit", f"--as={_ADDRESSES}"]
        try:
            yield from process.output(command, file, _PIECE, within=within)
        except process.ToolError as e:
            raise DamagedError(_reason(e.message)) from e
        return
    try:
        stretch = _Stretch(file, length)
        if packing is PLAIN:
            yield from _plain(stretch, length)
            return
        if packing is MEMBER:
            yield from deflated.pieces(stretch)
            return
        yield from _members(_NEW[packing.name], packing.magics, stretch)
    except (zlib.error, OSError, lzma.LZMAError, ValueError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise DamagedError(str(e)) from e


def _plain(file: _Source, length: int) -> Iterator[bytes]:
    while length:
        data = file.read(min(_PIECE, length))
        if not data:
            raise DamagedError("it is cut off")
        yield data
        length -= len(data)


def _xz() -> _Member:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)


class _Gzip:
    """zlib keeps no input of its own, which the others do: make it do so."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.eof = False
        self.unused_data = b""
        self._rest = b""
        self._is_full = False

    @property
    def needs_input(self) -> bool:
        return not self._rest and not self._is_full

    def decompress(self, data: bytes, most: int, /) -> bytes:
        made = self._inner.decompress(self._rest + data, most)
        self._rest = self._inner.unconsumed_tail
        self._is_full = len(made) == most
        self.eof = self._inner.eof
        self.unused_data = self._inner.unused_data
        return made


_NEW: dict[str, Callable[[], _Member]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": _xz,
}


def _members(
    new: Callable[[], _Member], magics: tuple[bytes, ...], file: _Source
) -> Iterator[bytes]:
    """Yield what the members in *file*, one after the other, hold."""
    data = file.read(_PIECE)
    while data:
        if not data.startswith(magics):
            raise DamagedError("something follows its end that is not packed")
        member = new()
        while not member.eof:
            if not data and member.needs_input and not (data := file.read(_PIECE)):
                raise DamagedError("it ends before its data do: it is cut off")
            if made := member.decompress(data, _PIECE):
                yield made
            data = b""
        data = _next(member.unused_data, file)


def _next(data: bytes, file: _Source) -> bytes:
    """Return what follows in *file* after *data* and zeroes; nothing at its end."""
    data = data.lstrip(b"\0")
    while not data and (more := file.read(_PIECE)):
        data = more.lstrip(b"\0")
    # Enough of it to know it by its first bytes.
    return data + file.read(16) if 0 < len(data) < 16 else data


def _reason(said: str) -> str:
    """Return what the last line of a program says, without whom and what of."""
    return said.rpartition(" : ")[2].rpartition("stdin: ")[2].strip(" .")
