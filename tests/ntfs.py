# SPDX-License-Identifier: GPL-2.0-or-later
"""Change how an NTFS says that it was left; for those that mkntfs made."""

from __future__ import annotations

import struct
from collections.abc import Callable

Read = Callable[[int, int], bytes]
_RECORD = 1024  # bytes, as mkntfs makes them
_DATA, _VOLUME_INFORMATION = 0x80, 0x70


def flags_at(read: Read) -> int:
    """Return where the flags of the volume are: 1 is for chkdsk."""
    at = _attribute(read, 3, _VOLUME_INFORMATION)
    return at + int.from_bytes(read(at + 0x14, 2), "little") + 10


def journal_at(read: Read) -> int:
    """Return where the journal, $LogFile, begins."""
    at = _attribute(read, 2, _DATA)
    run = read(at + int.from_bytes(read(at + 0x20, 2), "little"), 16)
    size, offset = run[0] & 15, run[0] >> 4
    cluster = int.from_bytes(run[1 + size : 1 + size + offset], "little")
    return cluster * read(0x0D, 1)[0] * 512


def mft_at(read: Read) -> int:
    """Return where the MFT begins."""
    return int.from_bytes(read(0x30, 8), "little") * read(0x0D, 1)[0] * 512


def restart(number: int, client: int, flags: int, major: int = 1) -> bytes:
    """Return a restart page of the journal, of 4 KiB.

    The page with the highest *number* counts; *client* 0xFFFF is nobody; of *flags* 2
    means closed; *major*: 2 where Windows 8 and later hold more in memory.
    """
    page = bytearray(4096)
    page[:8] = b"RSTR" + struct.pack("<HH", 0x1E, 9)
    struct.pack_into("<IIHhH", page, 0x10, 4096, 4096, 0x30, 1, major)
    struct.pack_into("<QHHHH", page, 0x30, number, 1, 0xFFFF, client, flags)
    return bytes(page)


def _attribute(read: Read, record: int, kind: int) -> int:
    start = mft_at(read) + record * _RECORD
    at = start + int.from_bytes(read(start + 0x14, 2), "little")
    while int.from_bytes(read(at, 4), "little") != kind:
        at += int.from_bytes(read(at + 4, 4), "little")
    return at
