# SPDX-License-Identifier: GPL-2.0-or-later
"""Hyper-V's configurations: the tree of keys, and the .xml of before 2016."""

import uuid
from typing import Any
from xml.sax.saxutils import escape

from v2v.document import VM, Disk, Nic

Tree = dict[str, Any]
MIB = 2**20
FIRMWARE = "_ac6b8dc1-3257-4a70-b1b2-a9c9215659ad_"
FLOPPY = "_8f0d2762-0b00-4e04-af4f-19010527cb93_"
IDE = "_83f8638b-8dca-4152-9eda-2ca8b33039b4_"
SCSI = "d422512d-2bf2-4752-809d-7b82b5fcb1b4"
NIC = "2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778"
LEGACY = "11111111-aaaa-bbbb-cccc-222222222222"

# What a configuration has no words for.
UNSAID = ("cpu", "clock", "removable.connected", "nics.vlan", "disks.slot")


def write(vm: VM) -> bytes:
    """Return the .xml of *vm*."""
    return xml(tree(vm))


def xml(keys: Tree) -> bytes:
    """Return the .xml of the tree *keys*: UTF-16 with its mark, as Hyper-V writes."""
    text = f'<?xml version="1.0"?>\r\n{_element("configuration", keys)}'
    return text.encode("utf-16")


def _element(name: str, value: Any) -> str:
    if isinstance(value, dict):
        inside = "".join(_element(key, child) for key, child in value.items())
        return f"<{name}>{inside}</{name}>"
    kind = {bool: "bool", int: "integer", str: "string"}[type(value)]
    return f'<{name} type="{kind}">{escape(str(value))}</{name}>'


def tree(vm: VM) -> Tree:
    """Return the keys of *vm*: disks on IDE and SCSI, with slots like ``scsi0:1``."""
    efi = vm.firmware == "efi"
    keys: Tree = {
        "properties": {"name": vm.name, "subtype": int(efi), "version": 2304},
        "settings": {
            "memory": {"bank": {"size": vm.memory // MIB}},
            "processors": {
                "count": vm.vcpus,
                "nested_virtualization": {"enabled": vm.cpu.nested},
            },
        },
        "security": {"settings": {"tpm_enabled": vm.tpm}},
        FIRMWARE: {
            "secure_boot_enabled": vm.secure_boot,
            "boot": {"device0": "HardDrive", "device1": "Optical"},
        },
        "manifest": {},
        IDE: {},
    }
    if vm.description is not None:
        keys["properties"]["notes"] = vm.description
    if vm.uuid:
        keys[FIRMWARE]["bios_guid"] = f"{{{vm.uuid.upper()}}}"
    if vm.genid:
        keys["global_settings"] = {"devices": {"generation_id": _genid(vm.genid)}}
    _add_disks(keys, vm)
    _add_drives(keys, vm)
    for number, nic in enumerate(vm.nics):
        _plug(keys, LEGACY if nic.model == "tulip" else NIC, f"NIC-{number}", _nic(nic))
    return keys


def _genid(text: str) -> str:
    raw = uuid.UUID(text).bytes_le
    low, high = (int.from_bytes(half, "little") for half in (raw[:8], raw[8:]))
    return f"{high:016x}{low:016X}"


def _plug(keys: Tree, kind: str, instance: str, node: Tree) -> None:
    """Add a device: its node's name is in another case than the manifest says."""
    number = len(keys["manifest"]) + 1
    keys["manifest"][f"vdev{number:03}"] = {"device": kind, "instance": instance}
    keys[f"_{instance.lower()}_"] = node


def _add_disks(keys: Tree, vm: VM) -> None:
    controllers: Tree = {}
    for disk in vm.disks:
        bus = "ide" if disk.bus == "ide" else "scsi"
        controller, _, unit = (disk.slot or "").removeprefix(bus).partition(":")
        place = keys[IDE] if bus == "ide" else controllers.setdefault(controller, {})
        name = f"controller{controller if bus == 'ide' else 0}"
        place.setdefault(name, {})[f"drive{unit}"] = _disk(disk)
    for number, node in controllers.items():
        _plug(keys, SCSI, f"SCSI-{number}", node)


def _disk(disk: Disk) -> Tree:
    path = disk.source.path if disk.source else None
    return {"type": "VHD", "pathname": path or "", "pool_id": ""}


def _add_drives(keys: Tree, vm: VM) -> None:
    """Add the CDs, on a controller on which no disk is; and the floppies."""
    cds: Tree = {}
    floppies: Tree = {}
    for number, drive in enumerate(vm.removable):
        if drive.type == "floppy":
            kind, place = "VFD", floppies
        else:
            kind, place = "ISO" if drive.path else "NONE", cds
        place[f"drive{number}"] = {"type": kind, "pathname": drive.path or ""}
    if cds:
        _plug(keys, SCSI, "SCSI-CDs", {"controller0": cds})
    keys[FLOPPY] = {"controller0": floppies}


def _nic(nic: Nic) -> Tree:
    return {
        "FriendlyName": "Network Adapter",
        "MacAddress": nic.mac.replace(":", "-").upper(),
        "MacAddressIsStatic": nic.mac_source == "static",
        "IsConnected": nic.connected,
        "Connection": {"AltSwitchName": nic.network or ""},
    }
