# SPDX-License-Identifier: GPL-2.0-or-later
"""What is plugged into the machine of an XVA: block devices and network cards.

Source: xapi's classes VBD, VDI and VIF.  All scalars are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from v2v.document import Disk, Layer, Nic, Removable, disk_id
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE
from v2v.sources import macs

_NULL = ("", "OpaqueRef:NULL", "NULL")
_MAX_DEVICES = 1000
_NAME = re.compile(r"(?:/dev/)?(?:xv|h|s)d([a-z])")

Snapshot = Mapping[str, Any]
# The objects of the database by their references, and the class of each.
Objects = Mapping[str, tuple[str, Snapshot]]


def record(snapshot: Snapshot, key: str) -> Snapshot:
    """Return the map at *key* of *snapshot*; an empty one if there is none."""
    found = snapshot.get(key)
    return found if isinstance(found, dict) else {}


def text(snapshot: Snapshot, key: str) -> str:
    """Return the text at *key* of *snapshot*; or nothing."""
    found = snapshot.get(key)
    return found.strip() if isinstance(found, str) else ""


def listed(snapshot: Snapshot, key: str) -> list[str]:
    """Return the texts of the list at *key* of *snapshot*, bounded."""
    found = snapshot.get(key)
    if not isinstance(found, list):
        return []
    return [item for item in found[:_MAX_DEVICES] if isinstance(item, str)]


def number(value: object) -> int:
    """Return *value* as a number; 0 if it is none, or has more digits than sense."""
    return int(str(value)) if re.fullmatch(r"[0-9]{1,18}", str(value)) else 0


def true(value: object) -> bool:
    """Whether *value* is a boolean of XML-RPC that holds, or xapi's word for that."""
    return value in ("1", "true")


def _found(
    machine: Snapshot, objects: Objects, key: str, order: str
) -> list[tuple[int, Snapshot]]:
    """Return the objects that *key* of *machine* names, by the place that *order* of
    each says."""
    names = dict.fromkeys(listed(machine, key))
    known = [objects[name][1] for name in names if name in objects]
    return sorted(
        ((_place(text(item, order)), item) for item in known), key=lambda pair: pair[0]
    )


def _place(word: str) -> int:
    """Return the place of a device: a number, or the letter in ``xvda``."""
    match = _NAME.fullmatch(word)
    return ord(match[1]) - ord("a") if match else number(word) % _MAX_DEVICES


def _slot(place: int) -> str:
    return f"xv{disk_id(place)[1:]}"


def boots(machine: Snapshot, letter: str) -> int | None:
    """Return when the firmware tries the class of devices *letter* (c disk, d CD, n
    network), from 1; None if it never does.  A paravirtual guest has no firmware."""
    order = text(record(machine, "HVM_boot_params"), "order").lower()[:16]
    return order.index(letter) + 1 if letter in order else None


def disks(machine: Snapshot, objects: Objects, path: Path) -> Iterator[Disk]:
    """Yield the hard disks in the order of their devices.

    Raises SourceError for one that is larger than any.
    """
    found = [
        (place, vbd)
        for place, vbd in _found(machine, objects, "VBDs", "userdevice")
        if vbd.get("type") == "Disk" and text(vbd, "VDI") not in _NULL
    ]
    started = [
        index for index, (_, vbd) in enumerate(found) if true(vbd.get("bootable"))
    ]
    first = (started or [0])[0]
    for index, (place, vbd) in enumerate(found):
        reference = text(vbd, "VDI")
        vdi = objects.get(reference, ("", {}))[1]
        size = _size(vdi, reference, path)
        yield Disk(
            id=disk_id(index),
            bus="xen",
            slot=_slot(place),
            boot=(boots(machine, "c") or 1) if index == first else None,
            size=size,
            readonly=vbd.get("mode") == "RO" or true(vdi.get("read_only")),
            shared=true(vdi.get("sharable")),
            source=Layer(server="xva", path=str(path), member=reference, length=size),
        )


def _size(vdi: Snapshot, reference: str, path: Path) -> int:
    size = number(vdi.get("virtual_size"))
    if size > MAX_SIZE:
        raise SourceError(
            f"{path}: the disk {reference:.60} of {size} bytes is larger than any",
            "do not trust this file; export the VM again: xe vm-export",
        )
    return size


def removable(machine: Snapshot, objects: Objects) -> Iterator[Removable]:
    """Yield the CD and floppy drives, with the names of the media in them."""
    for place, vbd in _found(machine, objects, "VBDs", "userdevice"):
        kinds: dict[object, Literal["cdrom", "floppy"]]
        kinds = {"CD": "cdrom", "Floppy": "floppy"}
        kind = kinds.get(vbd.get("type"))
        if kind:
            medium = objects.get(text(vbd, "VDI"), ("", {}))[1]
            empty = true(vbd.get("empty"))
            yield Removable(
                type=kind,
                bus="xen" if kind == "cdrom" else "unknown",
                slot=_slot(place),
                path=None if empty else text(medium, "name_label")[:255] or None,
            )


def nics(machine: Snapshot, objects: Objects, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    for index, (place, vif) in enumerate(_found(machine, objects, "VIFs", "device")):
        network = objects.get(text(vif, "network"), ("", {}))[1]
        given = macs.parse(text(vif, "MAC"))
        made_there = true(vif.get("MAC_autogenerated"))
        yield Nic(
            mac=given or macs.made(vm_id, index),
            mac_source=("generated" if made_there else "static") if given else "made",
            network=text(network, "name_label") or None,
            slot=f"vif{place}",
            boot=boots(machine, "n") if index == 0 else None,
        )
