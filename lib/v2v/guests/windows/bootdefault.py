# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Windows a boot store (BCD) starts, if nobody chooses."""

from __future__ import annotations

import re
import struct
import uuid
from dataclasses import dataclass

from v2v.guests.windows.facts import Place
from v2v.guests.windows.hive import Hive

_MANAGER = r"Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements"
_DEFAULT, _DEVICE, _FOLDER = "23000003", "21000001", "22000002"
_GUID = re.compile(r"\{[0-9A-Fa-f-]{36}\}")
# Of a device: a partition, of a disk with GPT or MBR.
_PARTITION, _GPT, _MBR = 6, 0, 1


@dataclass(frozen=True)
class Default:
    """The system that is started: its volume, and its folder there ("\\Windows")."""

    place: Place
    folder: str


def default(bcd: Hive) -> Default | None:
    """Return what *bcd* starts by default; None if that is no partition (WinPE)."""
    own = bcd.text(rf"{_MANAGER}\{_DEFAULT}", "Element") or ""
    if not _GUID.fullmatch(own):
        return None
    elements = rf"Objects\{own}\Elements"
    device = bcd.value(rf"{elements}\{_DEVICE}", "Element")
    place = volume(device.data) if device else None
    folder = bcd.text(rf"{elements}\{_FOLDER}", "Element") or ""
    return Default(place, folder) if place else None


def volume(device: bytes) -> Place | None:
    """Return the volume that an element of a *device* names, if it is a partition.

    Seen in real stores for GPT; for MBR as bcdedit's users describe it.
    """
    if len(device) < 0x48 or struct.unpack_from("<I", device, 0x10)[0] != _PARTITION:
        return None
    style = struct.unpack_from("<I", device, 0x34)[0]
    if style == _GPT:
        return Place(guid=str(uuid.UUID(bytes_le=device[0x20:0x30])))
    if style == _MBR:
        offset, signature = struct.unpack_from("<Q16xI", device, 0x20)
        return Place(signature=signature, offset=offset)
    return None
