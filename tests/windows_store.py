# SPDX-License-Identifier: GPL-2.0-or-later
"""A boot store (BCD), made from what a test says is in it."""

from __future__ import annotations

import struct
import uuid

import hives
from v2v.guests.windows.bcd import MANAGER

LOADER = "{0a1b2c3d-1111-4222-8333-444455556666}"
_SIZE = 0x58


def gpt(partition: str, disk: str) -> bytes:
    """Return the element of a device that is a partition of a GPT."""
    own, whole = (uuid.UUID(guid).bytes_le for guid in (partition, disk))
    return _device(own, 0, whole)


def mbr(signature: int, offset: int) -> bytes:
    """Return the element of a device that is a partition of an MBR."""
    return _device(
        struct.pack("<Q8x", offset), 1, struct.pack("<I", signature).ljust(16, b"\0")
    )


def _device(place: bytes, style: int, disk: bytes) -> bytes:
    head = struct.pack("<16xIIII", 6, 0, 0x48, 0)
    return (head + place + struct.pack("<II", 0, style) + disk).ljust(_SIZE, b"\0")


def keys(
    device: bytes,
    *,
    efi: bool,
    graphics_off: bool = False,
    manager: bytes | None = None,
) -> dict[str, dict[str, hives.Content]]:
    """Return the keys of a store that starts the Windows on *device*.

    *manager* is where the boot manager is, if that is another partition.
    """
    end = "efi" if efi else "exe"
    found: dict[str, dict[str, hives.Content]] = {
        "Description": {"KeyName": "BCD00000000", "System": 1},
        rf"Objects\{MANAGER}\Description": {"Type": 0x10100002},
        rf"Objects\{LOADER}\Description": {"Type": 0x10200003},
    }
    elements: dict[str, dict[str, hives.Content]] = {
        MANAGER: {
            "11000001": manager or device,
            "12000004": "Windows Boot Manager",
            "23000003": LOADER,
            "24000001": [LOADER],
            "25000004": (30).to_bytes(8, "little"),
        },
        LOADER: {
            "11000001": device,
            "12000002": rf"\Windows\system32\winload.{end}",
            "12000004": "Windows",
            "21000001": device,
            "22000002": r"\Windows",
        },
    }
    if graphics_off:
        elements[LOADER]["16000046"] = b"\1"
    for guid, own in elements.items():
        for number, content in own.items():
            key = rf"Objects\{guid}\Elements\{number}"
            found[key] = {"Element": content}
    return found
