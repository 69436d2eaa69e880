# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a byte range of an image a member of an mdadm RAID1, without the md driver.

    md_superblock.py IMAGE OFFSET SIZE UUID NAME MEMBER

Metadata 1.0, at the end: so the content starts where the range does.  MEMBER is 0 or 1
of two; both hold the same content and are in step.  The layout is that of struct
mdp_superblock_1 in linux/raid/md_p.h.
"""

from __future__ import annotations

import struct
import sys
import uuid
from pathlib import Path

_SECTOR = 512
_MEMBERS = 2
_MAGIC = 0xA92B4EFC
_IN_STEP = 2**64 - 1
_TIME = 1700000000
# Room for the superblock that mdadm keeps at the end: sectors.
_RESERVED = 128


def superblock(sectors: int, array: uuid.UUID, name: str, member: int) -> bytes:
    """Return the superblock of *member* of a RAID1 on devices of *sectors*."""
    used = sectors - _RESERVED
    made = bytearray(256 + 2 * _MEMBERS)
    struct.pack_into("<IIII", made, 0, _MAGIC, 1, 0, 0)
    made[16:32] = array.bytes
    made[32:64] = name.encode().ljust(32, b"\0")
    struct.pack_into("<QIIQII", made, 64, _TIME, 1, 0, used, 0, _MEMBERS)
    struct.pack_into("<QQQQII", made, 128, 0, used, place(sectors), 0, member, 0)
    made[168:184] = uuid.uuid5(array, str(member)).bytes
    struct.pack_into("<QQQ", made, 192, _TIME, 1, _IN_STEP)
    struct.pack_into("<I", made, 220, _MEMBERS)
    struct.pack_into("<HH", made, 256, *range(_MEMBERS))
    total = sum(struct.unpack(f"<{len(made) // 4}I", made))
    struct.pack_into("<I", made, 216, (total + (total >> 32)) & 0xFFFFFFFF)
    return bytes(made)


def place(sectors: int) -> int:
    """Return the sector of the superblock on a device of *sectors*."""
    return (sectors - 16) & ~7


def main() -> None:
    image, offset, size, array, name, member = sys.argv[1:]
    sectors = int(size) // _SECTOR
    with Path(image).open("r+b") as file:
        file.seek(int(offset) + place(sectors) * _SECTOR)
        file.write(superblock(sectors, uuid.UUID(array), name, int(member)))


if __name__ == "__main__":
    main()
