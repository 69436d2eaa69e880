# SPDX-License-Identifier: GPL-2.0-or-later
"""Bring a registry hive up to date from its logs, as Windows does when it starts.

A hive that was in use when the machine stopped, or a snapshot was taken, lacks what is
only in its logs yet; and once it is written to, Windows throws the logs away.  Formats:
https://github.com/msuhanov/regf, "Format of transaction log files".  Everything here is
bytes to bytes; what is read may be hostile.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from v2v.errors import GuestError

MAX_LOG = 64 * 2**20  # bytes
_MAX_BINS = 512 * 2**20  # bytes of a hive but for its base block
_ROOM = 16 * 2**20
_BASE, _SECTOR, _PAGE = 4096, 512, 4096  # bytes
# Of the base block: where what is.
_SEQUENCES_AT, _WRITTEN_AT, _KIND_AT, _SIZE_AT, _SUM_AT = 4, 12, 28, 40, 508
_HIVE, _OLD_LOGS, _NEW_LOG = 0, (1, 2), 6
_ENTRY = struct.Struct("<4sIIIII8s8s")
_REFERENCE = struct.Struct("<II")
_HASHED = 32  # bytes of an entry that its second hash is of
_SEED = 0x82EF4D887A4E55C5
_MASK = 0xFFFFFFFF
_REMEDY = "start the guest on the source and shut it down there; then try again"

State = Literal["clean", "dirty", "broken"]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one write of the registry changed: ``pages`` are (offset in bins, data)."""

    sequence: int
    bins: int
    pages: tuple[tuple[int, bytes], ...]


def state(primary: bytes) -> State:
    """Return how the hive *primary* was left: "broken" if it is none at all.

    A dirty hive lacks what is in its logs.
    """
    if len(primary) < _BASE or primary[:4] != b"regf":
        return "broken"
    first, second = _sequences(primary)
    is_whole = first == second and _has_right_sum(primary)
    return "clean" if is_whole else "dirty"


def replayed(primary: bytes, logs: Sequence[bytes]) -> bytes:
    """Return the dirty hive *primary* with all that *logs* (LOG, LOG1, LOG2) hold.

    The logs may be in any order; of the new format what both hold is put in order and
    taken up to the first gap.  Raises GuestError if no log is of any use.
    """
    base = primary if _has_right_sum(primary) else _recovered(primary, logs)
    done = _from_new(base, logs) or _from_old(base, logs)
    if done is None:
        raise GuestError("its logs hold nothing that completes it", _REMEDY)
    if not _is_sound(done):
        raise GuestError("its logs are damaged: they do not fit it", _REMEDY)
    return done


def _from_new(primary: bytes, logs: Sequence[bytes]) -> bytes | None:
    """Replay logs of Windows 8.1 and later; None if they have no entry for us."""
    since, most = _sequences(primary)[1], _most(primary, logs)
    there: dict[int, _Entry] = {}
    for log in logs:
        if _is_log(log, (_NEW_LOG,)):
            there.update((one.sequence, one) for one in _entries(log, since, most))
    entries = list(_unbroken(there))
    if not entries:
        return None
    data = bytearray(primary)
    for entry in entries:
        _grow(data, entry.bins)
        for offset, page in entry.pages:
            data[_BASE + offset : _BASE + offset + len(page)] = page
    return _finished(data, entries[-1].sequence + 1, entries[-1].bins)


def _unbroken(entries: dict[int, _Entry]) -> Iterator[_Entry]:
    """Yield *entries* in order up to the first gap: what is behind it builds on it."""
    number = min(entries, default=0)
    while number in entries:
        yield entries[number]
        number += 1


def _most(primary: bytes, logs: Sequence[bytes]) -> int:
    """Return how large a hive may become: new bins are in its logs, or are empty."""
    return min(len(primary) + 4 * sum(map(len, logs)) + _ROOM, _MAX_BINS)


def _entries(log: bytes, since: int, most: int) -> Iterator[_Entry]:
    """Yield the entries of *log* from sequence *since* on, up to one that is bogus.

    ``most``: bytes of bins.
    """
    at, last = _SECTOR, None
    while at + _ENTRY.size <= min(len(log), MAX_LOG):
        magic, size, _, sequence, bins, count, hash1, hash2 = _ENTRY.unpack_from(
            log, at
        )
        follows = last is None or sequence == last + 1
        if magic != b"HvLE" or not follows or size % _SECTOR or at + size > len(log):
            return
        entry = log[at : at + size]
        if size < _ENTRY.size or _marvin(entry[:_HASHED]) != hash2:
            return
        if sequence >= since:
            pages = _pages(entry, count, bins)
            if bins > most or pages is None or _marvin(entry[_ENTRY.size :]) != hash1:
                return
            yield _Entry(sequence=sequence, bins=bins, pages=pages)
        at, last = at + size, sequence


def _pages(entry: bytes, count: int, bins: int) -> tuple[tuple[int, bytes], ...] | None:
    """Return the pages of *entry*; None if they are not within it, or the hive."""
    data_at = _ENTRY.size + count * _REFERENCE.size
    if not _is_size(bins) or data_at > len(entry):
        return None
    pages = []
    for offset, size in _REFERENCE.iter_unpack(entry[_ENTRY.size : data_at]):
        if data_at + size > len(entry) or offset + size > bins:
            return None
        pages.append((offset, entry[data_at : data_at + size]))
        data_at += size
    return tuple(pages)


def _from_old(primary: bytes, logs: Sequence[bytes]) -> bytes | None:
    """Replay the log of Windows up to 8 that belongs to *primary*, if one does.

    It was written for the same time as the hive.
    """
    written = primary[_WRITTEN_AT : _WRITTEN_AT + 8]
    for log in logs:
        first, second = _sequences(log) if len(log) >= _SECTOR else (0, 1)
        if (
            first == second
            and _is_log(log, _OLD_LOGS)
            and log[_WRITTEN_AT : _WRITTEN_AT + 8] == written
            and (done := _with_dirty_sectors(primary, log))
        ):
            return done
    return None


def _with_dirty_sectors(primary: bytes, log: bytes) -> bytes | None:
    """Return *primary* with the sectors of *log*, whose bitmap says where they go."""
    bins = _number(log, _SIZE_AT)
    bitmap_at = _SECTOR + 4
    bitmap = log[bitmap_at : bitmap_at + bins // _SECTOR // 8]
    if log[_SECTOR:bitmap_at] != b"DIRT" or not _is_size(bins):
        return None
    at = -(-(bitmap_at + bins // _SECTOR // 8) // _SECTOR) * _SECTOR
    count = int.from_bytes(bitmap, "little").bit_count()
    if not count or at + count * _SECTOR > len(log) or bins > _most(primary, [log]):
        return None
    data = bytearray(primary)
    _grow(data, bins)
    for number in _bits(bitmap):
        to = _BASE + number * _SECTOR
        data[to : to + _SECTOR] = log[at : at + _SECTOR]
        at += _SECTOR
    return _finished(data, max(_sequences(primary)) + 1, bins)


def _bits(bitmap: bytes) -> Iterator[int]:
    for number, byte in enumerate(bitmap):
        for bit in range(8):
            if byte >> bit & 1:
                yield number * 8 + bit


def _recovered(primary: bytes, logs: Sequence[bytes]) -> bytes:
    """Return *primary* with the base block of a log: its own is damaged.

    Raises GuestError if no log has one.
    """
    for log in logs:
        if _is_log(log, (*_OLD_LOGS, _NEW_LOG)):
            data = bytearray(log[:_SECTOR] + primary[_SECTOR:])
            struct.pack_into("<I", data, _KIND_AT, _HIVE)
            return bytes(data)
    raise GuestError("its header is damaged, and in no log is a copy", _REMEDY)


def _finished(data: bytearray, sequence: int, bins: int) -> bytes:
    struct.pack_into("<II", data, _SEQUENCES_AT, sequence & _MASK, sequence & _MASK)
    struct.pack_into("<I", data, _SIZE_AT, bins)
    struct.pack_into("<I", data, _SUM_AT, _sum(data))
    return bytes(data)


def _grow(data: bytearray, bins: int) -> None:
    data.extend(bytes(max(_BASE + bins - len(data), 0)))


def _is_sound(data: bytes) -> bool:
    """Whether the bins of the hive *data* follow each other to their end."""
    at, end = 0, _number(data, _SIZE_AT)
    while at < end:
        magic, own, size = struct.unpack_from("<4sII", data, _BASE + at)
        if magic != b"hbin" or own != at or not size or size % _PAGE:
            return False
        at += size
    return at == end


def _is_log(log: bytes, kinds: Sequence[int]) -> bool:
    return (
        _SECTOR <= len(log) <= MAX_LOG
        and log[:4] == b"regf"
        and _has_right_sum(log)
        and _number(log, _KIND_AT) in kinds
    )


def _is_size(bins: int) -> bool:
    return 0 < bins <= _MAX_BINS and not bins % _PAGE


def _sequences(base: bytes) -> tuple[int, int]:
    return _number(base, _SEQUENCES_AT), _number(base, _SEQUENCES_AT + 4)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _has_right_sum(base: bytes) -> bool:
    return _number(base, _SUM_AT) == _sum(base)


def _sum(base: bytes | bytearray) -> int:
    """Return the checksum of a base block: its dwords, but never 0 or -1."""
    sum_ = 0
    for word in _words(bytes(base[:_SUM_AT])):
        sum_ ^= word
    return {0: 1, _MASK: _MASK - 1}.get(sum_, sum_)


def _words(data: bytes) -> array[int]:
    words = array("I", data)
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _marvin(data: bytes) -> bytes:
    """Return Microsoft's Marvin32 hash of *data*, 8 bytes."""
    low, high = _SEED & _MASK, _SEED >> 32
    # What does not fill a word, and its end, which is a bit; then a word of nothing.
    whole = len(data) & ~3
    end = (data[whole:] + b"\x80").ljust(4, b"\0") + bytes(4)
    for word in _words(data[:whole] + end):
        low = (low + word) & _MASK
        high ^= low
        low = ((low << 20 | low >> 12) + high) & _MASK
        high = (high << 9 | high >> 23) & _MASK ^ low
        low = ((low << 27 | low >> 5) + high) & _MASK
        high = (high << 19 | high >> 13) & _MASK
    return struct.pack("<II", low, high)
