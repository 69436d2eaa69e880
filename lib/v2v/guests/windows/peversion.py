# SPDX-License-Identifier: GPL-2.0-or-later
"""The version in a program's resources (VS_FIXEDFILEINFO, winver.h)."""

from __future__ import annotations

import struct

_NAME = "VS_VERSION_INFO\0".encode("utf-16-le")
_SIGNATURE = 0xFEEF04BD
_FIXED = struct.Struct("<4I")
_MOST = 16  # names that are looked at; one is the real one
MAX_SIZE = 2**24  # bytes of a driver that are looked at


def file_version(content: bytes) -> tuple[int, int, int, int] | None:
    """Return the four numbers of the file's version; None if it has none."""
    at = -1
    for _ in range(_MOST):
        at = content.find(_NAME, at + 1, MAX_SIZE)
        if at < 0:
            return None
        # The value is at the next multiple of four from the block's head, which is six
        # bytes before its name.
        head = at - 6
        value = head + (6 + len(_NAME) + 3) // 4 * 4
        if value + _FIXED.size > len(content):
            return None
        signature, _, high, low = _FIXED.unpack_from(content, value)
        if signature == _SIGNATURE:
            return high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF
    return None
