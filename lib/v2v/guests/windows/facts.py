# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry says of a Windows guest: its name, clock and volumes."""

from __future__ import annotations

import re
import uuid
from typing import Literal

from v2v.document import Drive
from v2v.guests.appliance import printable
from v2v.guests.windows import zones
from v2v.guests.windows.partition import Place
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.version import VERSION

_LETTER = re.compile(r"\\dosdevices\\([a-z]:)", re.I)
_MOST_DRIVES = 26
_GPT = b"DMIO:ID:"
# It goes into scripts, where other characters would mean something.
_FOLDER = re.compile(r"[A-Za-z]:(?:\\[A-Za-z0-9 ._~-]{1,64}){1,8}\\?")


def hostname(registry: Registry) -> str | None:
    """Return the name of the machine."""
    key = rf"{registry.current}\Services\Tcpip\Parameters"
    name = registry.system.text(key, "Hostname") or registry.system.text(
        rf"{registry.current}\Control\ComputerName\ComputerName", "ComputerName"
    )
    return printable(name) if name else None


def clock(registry: Registry) -> Literal["utc", "localtime"]:
    """Return what Windows takes its hardware clock for: mostly the local time."""
    key = rf"{registry.current}\Control\TimeZoneInformation"
    # Some write it as a QWORD; REG_NONE says nothing.
    is_utc = registry.system.number(key, "RealTimeIsUniversal") == 1
    return "utc" if is_utc else "localtime"


def timezone(registry: Registry) -> str | None:
    """Return the time zone as IANA calls it; None if there is none that is known."""
    key = rf"{registry.current}\Control\TimeZoneInformation"
    for name in ("TimeZoneKeyName", "StandardName"):
        # Of before Vista the name is in the guest's language: English ones are keys.
        zone = zones.iana(registry.system.text(key, name) or "")
        if zone:
            return zone
    return None


def machine_uuid(registry: Registry) -> str | None:
    """Return the UUID of the machine (SMBIOS) that Windows ran on last."""
    text = registry.system.text("HardwareConfig", "LastConfig") or ""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def system_root(registry: Registry) -> str:
    """Return the folder of the system as Windows calls it: ``C:\\Windows``."""
    for name in ("SystemRoot", "PathName"):
        text = registry.software.text(VERSION, name) or ""
        if _FOLDER.fullmatch(text):
            return text[0].upper() + text[1:].rstrip("\\")
    return "C:\\Windows"


def drive(registry: Registry) -> str:
    """Return the letter of the system's volume, with its colon."""
    return system_root(registry)[:2]


def drives(registry: Registry) -> tuple[Drive, ...]:
    """Return the letters of volumes on disks, and what each hangs on."""
    values = registry.system.values("MountedDevices")
    found = []
    for name, value in sorted(values.items()):
        match = _LETTER.fullmatch(name)
        place = _place(value.data)
        if match and place:
            found.append(
                Drive(
                    letter=match[1].upper(),
                    partition=place.partition,
                    signature=place.signature,
                    offset=place.offset,
                )
            )
    return tuple(found[:_MOST_DRIVES])


def _place(data: bytes) -> Place | None:
    """Return what a value of MountedDevices means; CDs and USB are texts."""
    if len(data) == 12:
        signature, offset = data[:4], data[4:]
        return Place(
            signature=int.from_bytes(signature, "little"),
            offset=int.from_bytes(offset, "little"),
        )
    if len(data) == 24 and data.startswith(_GPT):
        return Place(partition=str(uuid.UUID(bytes_le=data[len(_GPT) :])))
    return None
