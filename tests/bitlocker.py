# SPDX-License-Identifier: GPL-2.0-or-later
"""A volume of BitLocker, as far as it can be read without its key."""

from __future__ import annotations

import struct
import uuid

_IDENTIFIER = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001")
_PLACES = (0x10000, 0x20000, 0x40000)


def volume(
    *protections: int, state: int = 4, to_go: bool = False, lost: int = 1
) -> bytearray:
    """Return a volume of 1 MiB, whose key is protected in these ways.

    ``state``: 4 is encrypted; ``lost``: so many copies of the metadata are broken.
    """
    disk = bytearray(2**20)
    disk[:3] = b"\xeb\x58\x90"
    disk[3:11] = b"MSWIN4.1" if to_go else b"-FVE-FS-"
    struct.pack_into("<HB", disk, 11, 512, 8)
    at = 424 if to_go else 160
    disk[at : at + 16] = _IDENTIFIER.bytes_le
    struct.pack_into("<3Q", disk, at + 16, *_PLACES)
    disk[510:512] = b"\x55\xaa"
    entries = b"".join(
        struct.pack("<HHHH", 44, 2, 8, 1) + bytes(26) + struct.pack("<H8x", how)
        for how in protections
    )
    other = struct.pack("<HHHH4x", 12, 7, 2, 1)
    block = b"-FVE-FS-" + struct.pack("<HHHH", 64, 2, state, state)
    block = block.ljust(64, b"\0") + struct.pack("<I", 48 + 12 + len(entries))
    block = block.ljust(112, b"\0") + other + entries
    for place in _PLACES[lost:]:
        disk[place : place + len(block)] = block
    return disk
