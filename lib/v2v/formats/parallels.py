# SPDX-License-Identifier: GPL-2.0-or-later
"""Expanding disks of Parallels, the .hds files in a .hdd bundle.

Source: docs/interop/parallels.txt of QEMU.  A file does not say whether it is a
snapshot's delta: DiskDescriptor.xml beside it does.  QEMU would read zeroes for what
is the parent's; by our map every one of them takes a parent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import (
    Checked,
    Image,
    Part,
    broken,
    checked_blocks,
    checked_size,
    part,
)
from v2v.mapping.pieces import SECTOR, Mapped, Piece, runs, within

_OLD, _NEW = b"WithoutFreeSpace", b"WithouFreSpacExt"
_VERSION = 2
_HEADER = 64
_IN_USE = 0x746F_6E59
_MAX_CLUSTER = 2**16  # sectors


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat."""
    return head[:16] in (_OLD, _NEW)


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    image = part(place, offset, length)
    if not matches(image.read(0, min(16, image.length)), b""):
        raise SourceError(
            f"{image.path} is no expanding disk of Parallels",
            "a plain one is raw: --input-format raw",
        )
    head = image.read(0, _HEADER)
    version, _, _, cluster, entries, sectors, used = struct.unpack_from(
        "<5IQI", head, 16
    )
    if head[:16] == _OLD:
        sectors &= 0xFFFF_FFFF
    if version != _VERSION or not 0 < cluster <= _MAX_CLUSTER:
        raise broken(image.path, f"version {version}, clusters of {cluster} sectors")
    if used == _IN_USE:
        raise SourceError(
            f"{image.path} was not closed",
            "shut the VM down on the source, and copy it again",
        )
    size = checked_size(image.path, sectors * SECTOR)
    if entries * cluster < sectors:
        raise broken(image.path, "its block table is too small for the disk")
    checked_blocks(image.path, -(-sectors // cluster))
    unit = cluster if head[:16] == _NEW else 1
    return Image(size=size, mapped=_mapped(image, cluster * SECTOR, unit, size))


def _mapped(image: Part, cluster: int, unit: int, size: int) -> Mapped:
    """Return where the clusters lie; entries of the table count *unit* sectors."""

    def place(entry: int) -> int:
        return image.offset + entry * unit * SECTOR

    def pieces() -> Iterator[Piece]:
        at = 0
        for numbers in image.table(_HEADER, -(-size // cluster), "I", "little"):
            yield from within(runs(numbers, at, cluster, place), size)
            at += len(numbers) * cluster

    return Mapped(
        file=image.path, size=size, pieces=pieces, label=f"parallels {image.offset}"
    )
