# SPDX-License-Identifier: GPL-2.0-or-later
"""What Windows' own volumes say of themselves in their first bytes.

NTFS: whether it was shut down.  BitLocker: what would open it.  Dynamic disks.  Read
from the device, before anything is mounted, a few KiB in all; nothing is trusted.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# Bytes at an offset, of a size: fewer at the end of the device.
Read = Callable[[int, int], bytes]

_SECTOR = 512
_MAX_CLUSTER, _MAX_RECORD, _MAX_PAGE = 2 * 2**20, 64 * 2**10, 64 * 2**10  # bytes
# Records of the MFT, and the attributes in them (ntfs-3g's layout.h).
_LOGFILE, _VOLUME = 2, 3
_DATA, _VOLUME_INFORMATION, _END = 0x80, 0x70, 0xFFFFFFFF
_DIRTY, _CHECKING = 0x0001, 0x4000
_NO_CLIENT, _CLOSED, _CACHED = 0xFFFF, 0x0002, 2
# What protects a BitLocker volume's key, by cryptsetup's bitlk.h.
_BITLOCKER, _TO_GO = b"-FVE-FS-", b"MSWIN4.1"
_FVE = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
_FVE_AT, _TO_GO_AT = 160, 424
_MAX_METADATA = 64 * 2**10  # bytes
_ENTRIES_AT, _KEY, _PROTECTION_AT, _ENCRYPTED = 112, 2, 26, 4
_PROTECTORS = {
    0x0000: "clear key",
    0x0100: "TPM",
    0x0200: "startup key",
    0x0500: "TPM and PIN",
    0x0800: "recovery password",
    0x1000: "smart card",
    0x2000: "password",
}
_LDM_MBR = 0x42
LDM_GPT = frozenset(
    {"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "af9b60a0-1431-4f62-bc68-3311714a69ad"}
)


@dataclass(frozen=True, kw_only=True)
class Ntfs:
    """How an NTFS was left.

    ``dirty``: it is marked for chkdsk; ``open``: its journal was not closed, as in a
    snapshot of a running guest, or after Fast Startup.
    """

    dirty: bool = False
    open: bool = False


@dataclass(frozen=True, kw_only=True)
class BitLocker:
    """An encrypted volume: ``protectors`` in words; ``partial``: not all is encrypted.

    A "clear key" lies beside the data: protection is suspended, or was never finished.
    """

    protectors: tuple[str, ...] = ()
    partial: bool = False


@dataclass(frozen=True)
class _Geometry:
    cluster: int
    record: int
    mft: int


def ntfs(read: Read) -> Ntfs | None:
    """Return how the NTFS that *read* reads was left; None if it is none."""
    geometry = _geometry(read(0, _SECTOR))
    if geometry is None:
        return None
    volume = _attribute(_record(read, geometry, _VOLUME), _VOLUME_INFORMATION)
    value = _resident(volume)
    flags = int.from_bytes(value[10:12], "little") if len(value) >= 12 else 0
    return Ntfs(dirty=bool(flags & (_DIRTY | _CHECKING)), open=_is_open(read, geometry))


def _geometry(sector: bytes) -> _Geometry | None:
    """Return sizes and places of an NTFS's boot *sector*, in bytes."""
    if len(sector) < _SECTOR or sector[3:11] != b"NTFS    ":
        return None
    unit, per_cluster = struct.unpack_from("<HB", sector, 0x0B)
    mft = struct.unpack_from("<Q", sector, 0x30)[0]
    per_record = struct.unpack_from("<b", sector, 0x40)[0]
    # Above 128 it is the negative of a power of two.
    cluster = unit * (per_cluster if per_cluster <= 128 else 1 << 256 - per_cluster)
    record = per_record * cluster if per_record > 0 else 1 << -per_record
    if unit not in (512, 1024, 2048, 4096) or not 0 < cluster <= _MAX_CLUSTER:
        return None
    if not _SECTOR <= record <= _MAX_RECORD or mft * cluster >= 2**60:
        return None
    return _Geometry(cluster, record, mft * cluster)


def _record(read: Read, geometry: _Geometry, number: int) -> bytes:
    """Return a record of the MFT with its sectors' ends put right; b"" if it is none.

    Those of the system are in its first piece.
    """
    data = read(geometry.mft + number * geometry.record, geometry.record)
    return _fixed(data, b"FILE") if len(data) == geometry.record else b""


def _fixed(data: bytes, magic: bytes) -> bytes:
    """Undo NTFS's update sequence: the last two bytes of each sector are elsewhere."""
    if data[:4] != magic:
        return b""
    at, count = struct.unpack_from("<HH", data, 4)
    ends = range(_SECTOR - 2, len(data), _SECTOR)
    if count != len(ends) + 1 or at + 2 * count > len(data):
        return b""
    fixed = bytearray(data)
    for number, end in enumerate(ends, 1):
        if data[end : end + 2] != data[at : at + 2]:
            return b""  # half written
        fixed[end : end + 2] = data[at + 2 * number : at + 2 * number + 2]
    return bytes(fixed)


def _attribute(record: bytes, kind: int) -> bytes:
    """Return the first attribute of *kind* in *record*; b"" if there is none."""
    if len(record) < 0x18:
        return b""
    at = int.from_bytes(record[0x14:0x16], "little")
    while at + 0x18 <= len(record):
        own, size = struct.unpack_from("<II", record, at)
        if own == _END or size < 0x18 or at + size > len(record):
            return b""
        if own == kind:
            return record[at : at + size]
        at += size
    return b""


def _resident(attribute: bytes) -> bytes:
    if not attribute or attribute[8]:
        return b""
    size, at = struct.unpack_from("<IH", attribute, 0x10)
    return attribute[at : at + size]


def _is_open(read: Read, geometry: _Geometry) -> bool:
    """Whether the journal was not closed: somebody is still a client of it.

    Of its two restart pages the newer counts; one that was wiped says nothing.  Windows
    8 and later make it one of version 2 while they run; ntfs-3g does not write to that.
    """
    attribute = _attribute(_record(read, geometry, _LOGFILE), _DATA)
    at = _first_cluster(attribute)
    if at is None:
        return False
    areas = sorted(_restarts(read, at * geometry.cluster))
    if not areas:
        return False
    _, client, flags, version = areas[-1]
    return version >= _CACHED or (client != _NO_CLIENT and not flags & _CLOSED)


def _restarts(read: Read, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, first client, flags, version) of the restart pages at *start*."""
    at, size = 0, 4096
    for _ in range(2):
        head = read(start + at, 0x20)
        if len(head) == 0x20 and head[:4] == b"RSTR":
            size = int.from_bytes(head[0x10:0x14], "little")
            if size not in (1 << n for n in range(9, 17)):
                return
            page = _fixed(read(start + at, size), b"RSTR")
            area_at = int.from_bytes(head[0x18:0x1A], "little")
            if area_at + 0x10 <= len(page):
                number, client, flags = struct.unpack_from("<Q4xHH", page, area_at)
                yield number, client, flags, int.from_bytes(head[0x1C:0x1E], "little")
        at += size


def _first_cluster(attribute: bytes) -> int | None:
    """Return where the first piece of an attribute that is not resident begins."""
    if len(attribute) < 0x22 or not attribute[8]:
        return None
    at = int.from_bytes(attribute[0x20:0x22], "little")
    if at >= len(attribute):
        return None
    sizes = attribute[at]
    length, offset = sizes & 0x0F, sizes >> 4
    start = at + 1 + length
    if not 0 < offset <= 8 or not 0 < length <= 8 or start + offset > len(attribute):
        return None
    cluster = int.from_bytes(attribute[start : start + offset], "little", signed=True)
    return cluster if 0 <= cluster < 2**40 else None


def bitlocker(read: Read) -> BitLocker | None:
    """Return what protects the volume that *read* reads; None if it is not BitLocker's.

    Without protectors if its metadata cannot be read.
    """
    sector = read(0, _SECTOR)
    if len(sector) < _SECTOR:
        return None
    if sector[3:11] == _BITLOCKER:
        at = _FVE_AT
    elif sector[3:11] == _TO_GO and sector[_TO_GO_AT : _TO_GO_AT + 16] == _FVE:
        at = _TO_GO_AT
    else:
        return None
    for offset in struct.unpack_from("<3Q", sector, at + 16):
        if offset < 2**60 and (found := _metadata(read(offset, _MAX_METADATA))):
            return found
    return BitLocker()


def _metadata(block: bytes) -> BitLocker | None:
    """Read one of the three copies of BitLocker's metadata."""
    if len(block) < _ENTRIES_AT or block[:8] != _BITLOCKER:
        return None
    state = int.from_bytes(block[12:14], "little")
    size = int.from_bytes(block[64:68], "little")
    at, end = _ENTRIES_AT, min(64 + size, len(block))
    found = []
    while at + 8 <= end:
        length, kind = struct.unpack_from("<HH", block, at)
        if length < 8:
            break
        own = block[at + 8 : at + length]
        if kind == _KEY and len(own) >= _PROTECTION_AT + 2:
            number = int.from_bytes(own[_PROTECTION_AT : _PROTECTION_AT + 2], "little")
            found.append(_PROTECTORS.get(number, f"protector {number:#06x}"))
        at += length
    return BitLocker(
        protectors=tuple(dict.fromkeys(found)), partial=state != _ENCRYPTED
    )


def is_dynamic(sector: bytes) -> bool:
    """Whether the disk with the first *sector* is a dynamic one (LDM) with an MBR."""
    types = (kind for kind, _ in partitions(sector))
    return _LDM_MBR in types


def partitions(sector: bytes, unit: int = _SECTOR) -> Sequence[tuple[int, int]]:
    """Return (type, offset in bytes) of the four primary partitions of an MBR.

    ``unit`` is the size of the disk's sectors in bytes.
    """
    if len(sector) < _SECTOR or sector[510:512] != b"\x55\xaa":
        return ()
    entries = [sector[at : at + 16] for at in range(446, 510, 16)]
    return [
        (entry[4], int.from_bytes(entry[8:12], "little") * unit) for entry in entries
    ]


def signature(sector: bytes) -> int:
    """Return the signature of a disk with an MBR."""
    return int.from_bytes(sector[440:444], "little")
