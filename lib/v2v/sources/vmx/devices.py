# SPDX-License-Identifier: GPL-2.0-or-later
"""What is plugged into VMware's machines: disks, drives, network cards and the rest.

A device is there if its ``present`` is TRUE, and that of its controller; only IDE needs
no controller's, and floppy drives are there until it is FALSE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from v2v.document import Bus, Disk, Finding, Layer, Nic, Removable, disk_id
from v2v.sources import descriptions, macs
from v2v.sources.vmx.text import Settings, number, true, word

# The order in which the BIOS of VMware and virt-v2v count them.
_BUSES = ("scsi", "nvme", "sata", "ide")
_SLOT = re.compile(
    r"(scsi|nvme|sata|ide)(\d{1,3}):(\d{1,3})\.(?:filename|present|devicetype)"
)
_DISK_TYPES = {"", "disk", "scsi-harddisk", "ata-harddisk", "plaindisk", "rawdisk"}
_NO_MEDIUM = {"", "auto detect", "emptybackingstring", "-1"}
# How a card is attached: ours.  Absent (ESXi): a port group.
_NETWORKS = {"nat": "network", "hostonly": "internal", "pvn": "internal"}
_LOST = re.compile(
    r"(pcipassthru\d{1,3}|nvdimm\d{1,3}|sgx|parallel\d|sharedfolder\d{1,3})\.present"
)
_SERIAL = re.compile(r"serial\d\.present")
# What holds data elsewhere than the disk's own file.
_LAYERED = ("undoable", "append")
_MAX_FLOPPIES = 2


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A place on a bus with a device in it; ``kind`` is its deviceType."""

    name: str
    bus: Bus
    kind: str
    file: str

    @property
    def is_disk(self) -> bool:
        """A deviceType may be missing on any bus; an image of a CD is no disk."""
        return self.kind in _DISK_TYPES and not self.file.lower().endswith(".iso")

    @property
    def is_cdrom(self) -> bool:
        return "cdrom" in self.kind or (
            self.kind in _DISK_TYPES and self.file.lower().endswith(".iso")
        )


def _slots(values: Settings) -> Iterator[_Slot]:
    """Yield all that is plugged in: by bus, controller and unit, as numbers."""
    for slot in _named(values):
        if _controlled(values, slot) and true(values, f"{slot.name}.present"):
            yield slot


def _named(values: Settings) -> Iterator[_Slot]:
    """Yield all slots that the file speaks of, be there something in them or not."""
    found = {m.groups()[:3] for m in map(_SLOT.fullmatch, values) if m}
    for bus, controller, unit in sorted(
        found, key=lambda s: (_BUSES.index(s[0]), int(s[1]), int(s[2]))
    ):
        name = f"{bus}{controller}:{unit}"
        yield _Slot(
            name=name,
            bus=cast(Bus, bus),
            kind=word(values, f"{name}.devicetype"),
            file=values.get(f"{name}.filename", ""),
        )


def _controlled(values: Settings, slot: _Slot) -> bool:
    controller = slot.name.partition(":")[0]
    return slot.bus == "ide" or true(values, f"{controller}.present")


def disks(values: Settings, path: Path) -> tuple[Disk, ...]:
    """Return the hard disks of *path* in slot order, their files named as there.

    Raises SourceError if there are more than any machine has.
    """
    found = [slot for slot in _slots(values) if slot.is_disk]
    descriptions.limited(path, len(found))
    first = _booted(values, [slot.name for slot in found])
    return tuple(
        Disk(
            id=disk_id(index),
            bus=slot.bus,
            model=word(values, f"{slot.name.partition(':')[0]}.virtualdev") or None,
            slot=slot.name,
            boot=_place(values, "hdd") if slot.name == first else None,
            shared=_is_shared(values, slot.name),
            source=_layer(slot.file),
        )
        for index, slot in enumerate(found)
    )


def _layer(name: str) -> Layer:
    """Return the layer for the file *name*; emulators of old took raw ones too."""
    if name.lower().endswith((".img", ".raw")):
        return Layer(server="file", path=name, format="raw")
    return Layer(server="qemu", path=name, format="vmdk")


def _is_shared(values: Settings, slot: str) -> bool:
    """Whether another machine may write to the disk too: a cluster."""
    bus = word(values, f"{slot.partition(':')[0]}.sharedbus")
    return (
        "multi-writer" in word(values, f"{slot}.sharing")
        or true(values, f"{slot}.shared")
        or bus in ("virtual", "physical")
    )


def _order(values: Settings) -> list[str]:
    """Return the classes of devices that the BIOS tries: hdd, cdrom, ethernet0 …

    UEFI keeps its own order, in the nvram file.
    """
    if word(values, "firmware") == "efi":
        return []
    return [w.strip() for w in word(values, "bios.bootorder").split(",")[:64]]


def _place(values: Settings, device: str) -> int | None:
    """Return the place of *device* in the boot order, from 1.

    The disk has one in any case; a card only if it is named.
    """
    order = _order(values)
    if device in order:
        return order.index(device) + 1
    return len(list(filter(None, order))) + 1 if device == "hdd" else None


def _booted(values: Settings, slots: list[str]) -> str | None:
    """Return which of *slots* the BIOS starts from; UEFI does not heed hddOrder."""
    if word(values, "firmware") != "efi":
        wanted = word(values, "bios.hddorder").split(",")[0].strip()
        if wanted in slots:
            return wanted
    return slots[0] if slots else None


def removable(values: Settings) -> Iterator[Removable]:
    """Yield the CD drives, then the floppy drives."""
    for slot in _slots(values):
        if slot.is_cdrom:
            image = slot.kind != "cdrom-raw"
            yield _drive(values, "cdrom", slot.name, slot.bus, image=image)
    for index in range(_MAX_FLOPPIES):
        slot_name = f"floppy{index}"
        named = any(key.startswith(f"{slot_name}.") for key in values)
        if named and true(values, f"{slot_name}.present", default=True):
            image = word(values, f"{slot_name}.filetype") == "file"
            yield _drive(values, "floppy", slot_name, "unknown", image=image)


def _drive(
    values: Settings,
    kind: Literal["cdrom", "floppy"],
    slot: str,
    bus: Bus,
    *,
    image: bool,
) -> Removable:
    name = values.get(f"{slot}.filename", "")
    empty = (
        not image
        or name.lower() in _NO_MEDIUM
        or name.startswith(("vmware-null-remote", "/dev/"))
        or true(values, f"{slot}.clientdevice")
    )
    return Removable(
        type=kind,
        bus=bus,
        slot=slot,
        path=None if empty else name,
        connected=true(values, f"{slot}.startconnected", default=True),
    )


def nics(values: Settings, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    for index in range(10):
        card = f"ethernet{index}"
        if not true(values, f"{card}.present"):
            continue
        mac = _mac(values, card)
        kind = _NETWORKS.get(word(values, f"{card}.connectiontype"), "bridge")
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source=_mac_source(values, card) if mac else "made",
            model=_nic_model(values, card),
            type=cast(Literal["bridge"], kind),
            network=_network(values, card),
            slot=card,
            pci_slot=number(values, f"{card}.pcislotnumber") or None,
            connected=true(values, f"{card}.startconnected", default=True),
            boot=_place(values, card),
        )


def _mac_source(values: Settings, card: str) -> Literal["static", "generated"]:
    fixed = word(values, f"{card}.addresstype") in ("static", "manual")
    return "static" if fixed else "generated"


def _mac(values: Settings, card: str) -> str | None:
    """Return the address that the guest really used: another may be left over."""
    given = macs.parse(values.get(f"{card}.address"))
    generated = macs.parse(values.get(f"{card}.generatedaddress"))
    if _mac_source(values, card) == "static":
        return given or generated
    return generated or given


def _nic_model(values: Settings, card: str) -> str | None:
    model = word(values, f"{card}.virtualdev")
    if model == "vmxnet" and values.get(f"{card}.features") == "15":
        return "vmxnet2"
    return model or None


def _network(values: Settings, card: str) -> str | None:
    """Return the network's name: a port group, a distributed one's id, or a vmnet."""
    for key in ("networkname", "dvs.portgroupid", "opaquenetwork.id", "vnet"):
        if name := values.get(f"{card}.{key}"):
            return name
    return None


def passthrough(values: Settings) -> Iterator[str]:
    """Yield what the machine has and no other host can give it."""
    for key in values:
        if (match := _LOST.fullmatch(key)) and true(values, key):
            yield match[1]
        elif _SERIAL.fullmatch(key) and true(values, key):
            port = key.partition(".")[0]
            if word(values, f"{port}.filetype") == "device":
                yield f"{port} (a port of the host)"
    for slot in _slots(values):
        if "passthru" in slot.kind:
            yield f"{slot.name} ({slot.kind})"


def findings(values: Settings) -> Iterator[Finding]:
    """Yield what is to be said of the devices."""
    for name in list(passthrough(values))[:64]:
        yield descriptions.caution("device-lost", f"{name:.60} cannot be taken over")
    yield from _hidden(values)
    disk = (slot for slot in _slots(values) if slot.is_disk)
    for index, slot in enumerate(disk):
        yield from _mode(values, slot, disk_id(index))
    for nic in nics(values, ""):
        if nic.mac_source == "made":
            yield descriptions.mac_made(nic.slot or "a network card")


def _hidden(values: Settings) -> Iterator[Finding]:
    """Yield what VMware does not see, though the file may be meant to give it."""
    left = [
        slot.name
        for slot in _named(values)
        if slot.is_disk
        and slot.file
        and word(values, f"{slot.name}.present") != "false"
        and not (_controlled(values, slot) and true(values, f"{slot.name}.present"))
    ]
    if left:
        shown = ", ".join(left[:5]) + (" …" if len(left) > 5 else "")
        yield descriptions.caution(
            "disk-hidden",
            f"disks that VMware does not see are left out: {shown}",
            'if they are the VM\'s, set present = "TRUE" of them and their controllers',
        )


def _mode(values: Settings, slot: _Slot, disk: str) -> Iterator[Finding]:
    mode = word(values, f"{slot.name}.mode")
    if mode in _LAYERED and values.get(f"{slot.name}.redo"):
        yield Finding(
            code="disk-redo",
            severity="block",
            message=f"{disk} ({slot.name}): what was written since is in a redo log, "
            f"{values[f'{slot.name}.redo']:.200}",
            remedy="commit or discard it in VMware; or take the disk as it was before: "
            "--allow disk-redo",
            disk=disk,
        )
    elif mode == "independent-nonpersistent" or mode in _LAYERED:
        yield descriptions.caution(
            "disk-mode", f"{slot.name} is in mode {mode}; what its file holds is taken"
        )
