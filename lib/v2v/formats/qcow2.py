# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2: the header, as docs/interop/qcow2.txt of QEMU specifies it.

A header may name a backing file or a data file, any path or URL of the host; guests
have written such headers into their raw disks to read the converter's files.
"""

from __future__ import annotations

import struct
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import Checked, Image, ends, truncated

MAGIC = b"QFI\xfb"
# dirty, corrupt, external data, compression type, extended L2 entries
_KNOWN = 0b11111
_DATA_FILE = 0b00100
_CORRUPT = 0b00010
_MAX_SIZE = 2**46  # bytes: 64 TiB


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat."""
    return head[:4] == MAGIC


def examine(
    path: Path, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    head, _ = ends(path, offset, length)
    if head[:4] != MAGIC:
        raise SourceError(f"{path} is no qcow2 image", "check its format")
    if len(head) < 104:
        raise truncated(path)
    version, backing_at, backing_size, bits, size, crypt, l1, table = (
        struct.unpack_from(">IQIIQIIQ", head, 4)
    )
    if version not in (2, 3) or not 9 <= bits <= 21 or size > _MAX_SIZE:
        raise SourceError(f"{path}: the header is broken", "copy it again")
    if crypt:
        raise SourceError(f"{path} is encrypted", "decrypt it with qemu-img first")
    features = struct.unpack_from(">Q", head, 72)[0] if version == 3 else 0
    _check_features(path, features)
    end = path.stat().st_size - offset if length is None else length
    if table + l1 * 8 > end:
        raise truncated(path)
    if not backing_at:
        return Image(size=size)
    name = head[backing_at : backing_at + backing_size].decode(errors="replace")
    return Image(size=size, differencing=True, parent=name)


def _check_features(path: Path, features: int) -> None:
    if features & _DATA_FILE:
        raise SourceError(
            f"{path} keeps its data in another file that it names itself",
            "make it one file: qemu-img convert -O qcow2",
        )
    if features & _CORRUPT:
        raise SourceError(f"{path} is marked as corrupt", "see qemu-img check -r all")
    if features & ~_KNOWN:
        raise SourceError(
            f"{path} uses a feature that is not known", "see qemu-img info"
        )
