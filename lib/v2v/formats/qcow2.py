# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2: QEMU's own disks.

Source: docs/interop/qcow2.txt of QEMU.  A header may name a backing file and a data
file anywhere on the host or the network, and a guest can write such a header into
its raw disk; so neither is ever followed.  What lies under an image is for the
document to say (Layer.backing).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import (
    Checked,
    Image,
    Part,
    broken,
    checked_size,
    part,
    stretches,
    truncated,
)

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQIIB")
_SNAPSHOT = struct.Struct(">QIHHIIQII")
# Incompatible features: bits of the header's word.
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _WIDE_L2 = (1 << n for n in range(5))
_KNOWN = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _WIDE_L2
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_ZERO = 1
# As QEMU has them (QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE, QCOW_MAX_SNAPSHOTS).
_MAX_L1 = 32 * 2**20
_MAX_REFCOUNT_TABLE = 8 * 2**20
_MAX_SNAPSHOTS = 65536
_MAX_NAME = 1023


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What of the header is needed to find everything else; sizes in bytes."""

    size: int
    cluster_bits: int
    crypt: int
    backing: tuple[int, int]
    l1: tuple[int, int]
    refcounts: tuple[int, int]
    refcount_bits: int
    snapshots: tuple[int, int]
    features: int
    compression: int

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        return self.cluster // (16 if self.features & _WIDE_L2 else 8)


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat."""
    return head[:4] == _MAGIC


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat.

    ``differencing`` where the header names a backing file; that is not opened.
    """
    image = part(place, offset, length)
    header = _header(image)
    _refuse(image.path, header)
    _check_tables(image, header)
    if not _is_surely_whole(image, header):
        _check_clusters(image, header)
    parent = _backing(image, header)
    return Image(size=header.size, differencing=parent is not None, parent=parent)


def snapshots(place: Path | Part) -> list[str]:
    """Return the names of the internal snapshots of the image at *place*.

    Raises SourceError if its table of them is broken.
    """
    image = part(place)
    header = _header(image)
    at, count = header.snapshots
    if count > _MAX_SNAPSHOTS:
        raise broken(image.path, f"it counts {count} snapshots")
    names = []
    for _ in range(count):
        entry = _SNAPSHOT.unpack(image.read(at, _SNAPSHOT.size))
        id_length, name_length, extra = entry[2], entry[3], entry[8]
        start = at + _SNAPSHOT.size + extra + id_length
        names.append(image.read(start, name_length).decode("utf-8", "replace"))
        at = -(-(start + name_length) // 8) * 8
    return names


def _header(image: Part) -> _Header:
    data = image.read(0, min(image.length, 112))
    if data[:4] != _MAGIC:
        raise SourceError(
            f"{image.path} is no qcow2 image",
            "give its real format with --input-format",
        )
    data = image.read(0, _HEADER.size) + data[_HEADER.size :]
    fields = _HEADER.unpack_from(data)
    version, backing_at, backing_length, cluster_bits, size, crypt = fields[1:7]
    l1_size, l1_at, refcounts_at, refcount_clusters, count, snapshots_at = fields[7:]
    if version not in (2, 3):
        raise SourceError(
            f"{image.path} is of version {version} of qcow, not 2 or 3",
            "convert it with qemu-img convert -O qcow2 on the source",
        )
    if not 9 <= cluster_bits <= 21:
        raise broken(image.path, f"clusters of 2^{cluster_bits} bytes")
    features, refcount_order, compression = _extended(image, version)
    return _Header(
        size=checked_size(image.path, size),
        cluster_bits=cluster_bits,
        crypt=crypt,
        backing=(backing_at, backing_length),
        l1=(l1_at, l1_size),
        refcounts=(refcounts_at, refcount_clusters << cluster_bits),
        refcount_bits=1 << refcount_order,
        snapshots=(snapshots_at, count),
        features=features,
        compression=compression,
    )


def _extended(image: Part, version: int) -> tuple[int, int, int]:
    """Return what version 3 adds: features, log2 of refcount bits, compression."""
    if version == 2:
        return 0, 4, 0
    data = image.read(_HEADER.size, _FEATURES.size)
    features, _, _, order, length, compression = _FEATURES.unpack(data)
    if length < 104 or length % 8 or order > 6:
        raise broken(image.path, "its header has an impossible length or refcounts")
    return features, order, compression if length > 104 else 0


def _refuse(path: Path, header: _Header) -> None:
    """Raise SourceError for what we must not or cannot read."""
    if header.features & _DATA_FILE:
        raise SourceError(
            f"{path} keeps its data in another file, which its header names",
            "merge them with qemu-img convert -O qcow2 where you trust the image",
        )
    if header.crypt:
        raise SourceError(
            f"{path} is encrypted", "decrypt it with qemu-img convert on the source"
        )
    if header.features & ~_KNOWN or header.compression > 1:
        raise SourceError(
            f"{path} needs features of qcow2 that are not known here",
            "convert it with qemu-img convert -O qcow2 on the source",
        )
    if header.features & _CORRUPT:
        raise SourceError(
            f"{path} is marked as corrupt",
            "repair a copy of it with qemu-img check -r all",
        )


def _check_tables(image: Part, header: _Header) -> None:
    at, count = header.l1
    covered = header.cluster * header.l2_entries
    if count * 8 > _MAX_L1 or at % header.cluster:
        raise broken(image.path, "its first-level table is impossible")
    if count * covered < header.size:
        raise broken(image.path, "its first-level table is too small for the disk")
    if header.refcounts[1] > _MAX_REFCOUNT_TABLE:
        raise broken(image.path, "its table of reference counts is impossible")


def _is_surely_whole(image: Part, header: _Header) -> bool:
    """Whether every cluster that has a reference count lies within the file.

    Quick: the last reference count that is not zero is that of the last cluster.  It
    may be a leaked one that is not in the file, so False decides nothing.
    """
    at, length = header.refcounts
    if header.features & _DIRTY or at + length > image.length:
        return False
    blocks: array[int] = array("Q")
    for some in image.table(at, length // 8, "Q", "big"):
        blocks.extend(some)
    index = next((i for i in reversed(range(len(blocks))) if blocks[i]), None)
    if index is None or blocks[index] + header.cluster > image.length:
        return False
    used = len(image.read(blocks[index], header.cluster).rstrip(b"\0"))
    per_block = header.cluster * 8 // header.refcount_bits
    clusters = index * per_block + -(-used * 8 // header.refcount_bits)
    return used > 0 and clusters * header.cluster <= image.length


def _check_clusters(image: Part, header: _Header) -> None:
    """Raise SourceError if a cluster of the disk is not whole within the file.

    QEMU reads zeroes behind the end of a file, without a word.
    """
    at, _ = header.l1
    needed = -(-header.size // (header.cluster * header.l2_entries))
    tables: array[int] = array("Q")
    for some in image.table(at, needed, "Q", "big"):
        places = array("Q", (number & _OFFSET for number in some if number & _OFFSET))
        if any(place % header.cluster for place in places):
            raise broken(image.path, "a second-level table is not at a cluster")
        tables.extend(places)
    for start, length in stretches(tables, header.cluster):
        for entries in image.table(start, length // 8, "Q", "big"):
            if _end(entries, header) > image.length:
                raise truncated(image.path)


def _end(entries: array[int], header: _Header) -> int:
    """Return where in the file the last of the clusters of *entries* ends."""
    if entries == array("Q", bytes(8 * len(entries))):
        return 0  # of a hole there may be any number
    if header.features & _WIDE_L2:
        return max(_end_of_parts(entries, header), default=0)
    return max((_end_of_one(e, header) for e in filter(None, entries)), default=0)


def _end_of_one(entry: int, header: _Header) -> int:
    if entry & _COMPRESSED:
        return _end_of_compressed(entry, header)
    at = 0 if entry & _ZERO else entry & _OFFSET
    return at + header.cluster if at else 0


def severed(image: Part) -> bytes:
    """Return how *image* begins if it is to name no backing file: one sector."""
    head = image.read(0, 512)
    # Offset and length of the name.
    return head[:8] + bytes(12) + head[20:]


def _end_of_parts(entries: array[int], header: _Header) -> Iterator[int]:
    """Yield where each cluster of 32 parts ends: after the last one that is there."""
    for entry, parts in zip(entries[::2], entries[1::2], strict=True):
        if entry & _COMPRESSED:
            yield _end_of_compressed(entry, header)
        elif there := parts & 0xFFFF_FFFF:
            yield (entry & _OFFSET) + there.bit_length() * header.cluster // 32


def _end_of_compressed(entry: int, header: _Header) -> int:
    """Sectors are counted, but a writer may stop within the last one."""
    bits = 62 - (header.cluster_bits - 8)
    at = entry & (1 << bits) - 1
    sectors = (entry & _COMPRESSED - 1) >> bits
    return (at // 512 + sectors) * 512 + 1


def _backing(image: Part, header: _Header) -> str | None:
    at, length = header.backing
    if not at:
        return None
    if length > _MAX_NAME or at + length > header.cluster:
        raise broken(image.path, "the name of its backing file is impossible")
    return image.read(at, length).decode("utf-8", "replace")
