# SPDX-License-Identifier: GPL-2.0-or-later
"""How large the blocks of an .xz file are: only from small ones can be read anywhere.

Source: "The .xz File Format" 1.0.4, sections 2.1 (streams), 2.2 (padding), 4 (index).
All that is read is at the ends of the streams, with a sum of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_HEADER = 12
_FOOTER_MAGIC = b"YZ"
_MAX_INDEX = 2**24
_MAX_STREAMS = 1000
_MAX_BLOCKS = 2**20
_MAX_PADDING = 2**20


class _OddError(Exception):
    """The index is not what it should be."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What the indexes of all streams say: sizes in bytes, unpacked."""

    count: int
    largest: int
    total: int


def blocks(path: Path) -> Blocks | None:
    """Return what the indexes of *path* say; None if they are broken or too long."""
    sizes: list[int] = []
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            for _ in range(_MAX_STREAMS):
                end, found = _stream(file, end)
                sizes += found
                if len(sizes) > _MAX_BLOCKS:
                    return None
                if end == 0:
                    total = sum(sizes)
                    return Blocks(
                        count=len(sizes), largest=max(sizes, default=0), total=total
                    )
    except (_OddError, OSError):
        return None
    return None


def _stream(file: IO[bytes], end: int) -> tuple[int, list[int]]:
    """Return where the stream that ends before *end* starts, and its blocks' sizes."""
    end = _without_padding(file, end)
    footer = _read(file, end - _HEADER, _HEADER)
    sum_, backward = struct.unpack_from("<II", footer)
    if footer[-2:] != _FOOTER_MAGIC or zlib.crc32(footer[4:10]) != sum_:
        raise _OddError
    length = (backward + 1) * 4
    if length > _MAX_INDEX:
        raise _OddError
    at = end - _HEADER - length
    packed, sizes = _index(_read(file, at, length))
    start = at - packed - _HEADER
    if start < 0:
        raise _OddError
    return start, sizes


def _without_padding(file: IO[bytes], end: int) -> int:
    """Return where the padding before *end* begins: zeroes, four at a time."""
    for _ in range(_MAX_PADDING):
        if end < 4 or _read(file, end - 4, 4) != bytes(4):
            return end
        end -= 4
    raise _OddError


def _index(data: bytes) -> tuple[int, list[int]]:
    """Return how many bytes the blocks take, and the unpacked size of each."""
    (sum_,) = struct.unpack("<I", data[-4:])
    if zlib.crc32(data[:-4]) != sum_ or data[0] != 0:
        raise _OddError
    numbers = _numbers(data[1:-4])
    count = next(numbers)
    if count > _MAX_BLOCKS:
        raise _OddError
    packed = 0
    sizes = []
    for _ in range(count):
        # Blocks are padded to four bytes.
        packed += -(-next(numbers) // 4) * 4
        sizes.append(next(numbers))
    return packed, sizes


def _numbers(data: bytes) -> Iterator[int]:
    """Yield the numbers in *data*: seven bits a byte, the lowest first."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            if shift > 56:
                raise _OddError
        else:
            yield value
            value = shift = 0
    raise _OddError


def _read(file: IO[bytes], at: int, count: int) -> bytes:
    if at < 0:
        raise _OddError
    file.seek(at)
    data = file.read(count)
    if len(data) != count:
        raise _OddError
    return data
