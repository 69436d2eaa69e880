# SPDX-License-Identifier: GPL-2.0-or-later
"""The version of a program or driver of Windows: VS_FIXEDFILEINFO of its resources."""

from __future__ import annotations

import struct

_NAME = "VS_VERSION_INFO\0".encode("utf-16-le")
_SIGNATURE = 0xFEEF04BD
MOST = 16 * 2**20  # bytes of a driver that are looked through


def version(data: bytes) -> tuple[int, int, int, int] | None:
    """Return the four numbers of the file *data*; None if it has none.

    The block is found by its name, which it has nowhere else.
    """
    if not data.startswith(b"MZ"):
        return None
    at = data.find(_NAME, 0, MOST)
    if at < 0:
        return None
    # What follows begins at four bytes of its own resource, wherever that is.
    for pad in range(0, 4, 2):
        start = at + len(_NAME) + pad
        if len(data) >= start + 16:
            signature, _, high, low = struct.unpack_from("<4I", data, start)
            if signature == _SIGNATURE:
                return high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF
    return None
