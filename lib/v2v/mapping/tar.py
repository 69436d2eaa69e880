# SPDX-License-Identifier: GPL-2.0-or-later
"""The headers of a tar archive with a million small members, read one after another.

An OVA, with its few members, is read by Python's tarfile (ovf.archive); that takes
seconds per thousand, and its objects gigabytes, for an XVA.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from v2v.errors import SourceError

BLOCK = 512
_REMEDY = "copy it again from the source and compare the sizes"
# Of names and pax records that precede a member; no writer of XVA makes them.
_EXTENSIONS = b"xgLK"
_REGULAR = b"\x000"


class Member(NamedTuple):
    """A regular file in the archive; bytes."""

    name: str
    offset: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """Yield the regular files in the archive *path*.

    Raises SourceError if it is cut off or broken.
    """
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            at = 0
            while at + BLOCK <= end:
                file.seek(at)
                head = file.read(BLOCK)
                if not any(head):
                    return
                member = _member(path, head, at + BLOCK)
                at += BLOCK + -(-member.size // BLOCK) * BLOCK
                if at > end:
                    raise _cut_off(path)
                yield member
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the file") from e
    raise _cut_off(path)


def _member(path: Path, head: bytes, offset: int) -> Member:
    total = sum(head) - sum(head[148:156]) + 8 * 32
    kind = head[156:157]
    if _number(head[148:156]) != total or kind in _EXTENSIONS:
        raise SourceError(
            f"{path} is a broken archive: what is at {offset - BLOCK} is no header",
            _REMEDY,
        )
    if kind not in _REGULAR:
        raise SourceError(f"{path} has a member that is no regular file", _REMEDY)
    name = head[:100].partition(b"\0")[0].decode("utf-8", "replace")
    size = _number(head[124:136])
    if size is None:
        raise SourceError(
            f"{path} is a broken archive: a member without a size", _REMEDY
        )
    return Member(name, offset, size)


def _number(field: bytes) -> int | None:
    """Return a number in octal, or in GNU's base 256; None if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    # int() would take signs and underscores.
    if not text or text.strip(b"01234567"):
        return None
    return int(text, 8)


def _cut_off(path: Path) -> SourceError:
    return SourceError(
        f"{path} is truncated: the archive has no end",
        _REMEDY,
    )
