# SPDX-License-Identifier: GPL-2.0-or-later
"""How a system ended: hibernated, in use, or shut down.

Nothing may be mounted before: that replays journals.
"""

from __future__ import annotations

from collections.abc import Sequence

from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device

# The end of the first page of a swap area says what it holds (mkswap(8), kernel/power).
_SWAP_MAGIC_AT = 4086
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")
# Of ext2 to ext4: where the superblock is, and its s_state and s_feature_incompat.
_EXT = ("ext2", "ext3", "ext4")
_SUPERBLOCK_AT, _STATE_AT, _INCOMPAT_AT = 1024, 0x3A, 0x60
_ERRORS, _NEEDS_RECOVERY = 0x2, 0x4


def hibernated(appliance: Appliance, there: Sequence[Device]) -> str | None:
    """Return the device that holds the memory of a hibernated system, if any does."""
    for device in there:
        # libblkid calls the area of a hibernated system swsuspend.
        if device.type not in ("swap", "swsuspend"):
            continue
        magic = bytes(appliance.g.pread_device(device.name, 10, _SWAP_MAGIC_AT))
        if magic.startswith(_HIBERNATED):
            return device.name
    return None


def dirty(appliance: Appliance, there: Sequence[Device]) -> list[str]:
    """Return the devices whose file systems were in use, as far as that is seen."""
    return [d.name for d in there if d.type in _EXT and _is_dirty(appliance, d.name)]


def _is_dirty(appliance: Appliance, device: str) -> bool:
    """Whether the ext4 (or older) on *device* was in use, or is broken."""
    head = bytes(appliance.g.pread_device(device, 0x64, _SUPERBLOCK_AT))
    if len(head) < 0x64:
        return False
    state = int.from_bytes(head[_STATE_AT : _STATE_AT + 2], "little")
    incompatible = int.from_bytes(head[_INCOMPAT_AT : _INCOMPAT_AT + 4], "little")
    return bool(state & _ERRORS or incompatible & _NEEDS_RECOVERY)
