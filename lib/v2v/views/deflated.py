# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpack a member of a zip archive, with the header in front of it.

Source: PKWARE's APPNOTE.TXT 6.3.10.  The header, or what follows the data, has the
checksum; so a member can be unpacked, and proved, without the archive's directory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

from v2v.mapping.zipped import DEFLATED, DESCRIPTOR, HEADER, MAGIC, STREAMED

_PIECE = 2**20


class CutOffError(ValueError):
    """The member ends before its data do."""


class _Source(Protocol):
    def read(self, count: int, /) -> bytes: ...


def pieces(file: _Source) -> Iterator[bytes]:
    """Yield what the member, which is all of *file*, holds: at most 1 MiB each.

    Raises ValueError or zlib.error if it is damaged.
    """
    fixed = file.read(HEADER.size)
    if len(fixed) < HEADER.size or not fixed.startswith(MAGIC):
        raise ValueError("it is no member of a zip archive")
    _, _, flags, method, _, _, crc, _, _, length, more = HEADER.unpack(fixed)
    if method != DEFLATED or flags & 1:
        raise ValueError(f"it is encrypted, or packed by method {method}")
    file.read(length + more)
    found = 0
    inner = zlib.decompressobj(wbits=-15)
    data = b""
    while not inner.eof:
        data = inner.unconsumed_tail or file.read(_PIECE)
        if made := inner.decompress(data, _PIECE):
            found = zlib.crc32(made, found)
            yield made
        elif not data and not inner.eof:
            raise CutOffError("it ends before its data do: it is cut off")
    rest = inner.unused_data + file.read(32)
    if found != _expected(crc, rest if flags & STREAMED else None):
        raise ValueError("its checksum is not that of what it holds")


def _expected(crc: int, behind: bytes | None) -> int:
    """Return the checksum; *behind* is what follows the data, if it is there."""
    if behind is None:
        return crc
    start = 4 if behind.startswith(DESCRIPTOR) else 0
    if len(behind) < start + 4:
        raise CutOffError("it ends before its checksum")
    (found,) = struct.unpack_from("<I", behind, start)
    return int(found)
