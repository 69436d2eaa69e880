# SPDX-License-Identifier: GPL-2.0-or-later
"""The geometry in the boot sector of a Windows before Vista.

Its boot code asks the BIOS for sectors by cylinder and head, and takes the number of
heads from the NTFS' own first sector.  Each BIOS makes up its own; what SeaBIOS does
hangs on the size of the disk (facts 4.6).
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Change
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.windows.place import Work

_VISTA = 6000  # the first build that does without
_MAGIC, _HEADS = slice(3, 11), slice(0x1A, 0x1C)
# The disk's bytes, of less than which it has so many heads.
_SIZES = ((2_114_445_312, 0x40), (4_228_374_780, 0x80))
_MOST = 0xFF
_REASON = "the boot code of Windows 5.x counts heads as the new BIOS does"


def plan(work: Work, device: str) -> Iterator[Action]:
    """Yield the edit of the first sector of *device*, the system's volume."""
    g = work.appliance.g
    windows = work.guest.windows
    if not windows or windows.build >= _VISTA or device not in g.list_partitions():
        return  # what is on a whole disk has no partition's geometry
    sector = bytes(g.pread_device(device, 512, 0))
    if sector[_MAGIC] != b"NTFS    ":
        return
    before = int.from_bytes(sector[_HEADS], "little")
    after = heads(g.blockdev_getsize64(g.part_to_dev(device)))
    if before == after:
        return

    def apply(appliance: Appliance) -> None:
        appliance.g.pwrite_device(device, after.to_bytes(2, "little"), _HEADS.start)

    change = Change(
        path=f"{device}:/$Boot",
        kind="edit",
        reason=_REASON,
        before=f"{before} heads",
        after=f"{after} heads",
    )
    yield Action(change=change, apply=apply)


def heads(size: int) -> int:
    """Return how many heads the BIOS gives a disk of *size* bytes."""
    return next((count for most, count in _SIZES if size < most), _MOST)
