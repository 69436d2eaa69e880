# SPDX-License-Identifier: GPL-2.0-or-later
"""What a packed file says of its size unpacked, before it is unpacked.

Only a lie or a bomb can be found by it early; what counts is what comes out.
Source: RFC 8878 3.1.1.1 for zstd.  gzip says it only modulo 2^32, so not at all.
"""

from __future__ import annotations

from pathlib import Path

from v2v import formats
from v2v.views import xzindex
from v2v.views.packings import Packing

_ZSTD = b"(\xb5/\xfd"


def declared(path: Path, packing: Packing) -> int:
    """Return the least number of bytes that *path* says to hold; 0 if it says none."""
    if packing.name == "xz":
        known = xzindex.blocks(path)
        return known.total if known else 0
    if packing.name == "zstd":
        return zstd(formats.ends(path, 0, None)[0])
    return 0


def zstd(head: bytes) -> int:
    """Return the size of the first frame, which starts with *head*; 0 if unknown."""
    if len(head) < 18 or not head.startswith(_ZSTD):
        return 0
    descriptor = head[4]
    single = bool(descriptor & 0x20)
    count = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(head[at : at + count], "little")
    return size + 256 if count == 2 else size
