# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Windows guest needs to find its disks, for tests: registries, packages."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

import hives
import virtio_win as made_tree
import windows_registry
from v2v.document import Windows
from v2v.guests.windows import controllers, replay, selection, virtio_win
from v2v.guests.windows.hive import dword
from v2v.guests.windows.inf import Service, Setting
from v2v.guests.windows.packages import Arch, Device, Package
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.selection import Selection

# By what they are called here: Windows 7, 8.1 and 10 of VMs, 10 of a PC.
REAL = {
    "win7": "win7-x86-vmware-static-SYSTEM",
    "win81": "win81-x64-virtualbox-SYSTEM",
    "win10": "win10-x64-vmware-SYSTEM",
    "pc": "win10-1709-x64-physical-dirty-SYSTEM",
}


def made(folder: Path, keys: hives.Keys) -> Registry:
    """Return a registry whose SYSTEM has *keys* besides the usual ones."""
    return windows_registry.registry(folder, system=keys)


def real(shared: Path, name: str, folder: Path) -> Registry:
    """Return the registry of the real guest *name* (see REAL), its logs replayed."""
    file = hives.real(shared, REAL[name], folder)
    if name == "pc":
        logs = [hives.content(shared, f"{REAL[name]}.LOG{n}") for n in (1, 2)]
        file.write_bytes(replay.replayed(file.read_bytes(), logs))
    return windows_registry.registry(folder, file=file)


def again(registry: Registry, folder: Path) -> Registry:
    """Return *registry* as it is read once it has been saved."""
    file = folder / "SYSTEM.saved"
    registry.system.save(file)
    return windows_registry.registry(folder, file=file)


def package(name: str, arch: Arch = "x86_64", **changes: object) -> Package:
    """Return viostor or vioscsi, with the ids that their INFs have, of 2024."""
    ids = _IDS[name]
    devices = [
        Device(id=device_id, section=f"{name}_inst", description=f"{name} device")
        for device_id in ids
    ]
    bare = [
        Device(
            id=f"PCI\\{controllers.spellings(device_id)[1]}",
            section=f"{name}_inst",
            description=f"{name} device",
            rank=2,
        )
        for device_id in ids
    ]
    fields: dict[str, object] = {
        "inf": f"{name}.inf",
        "content": name.encode(),
        "arch": arch,
        "provider": "Somebody, Inc.",
        "catalog": f"{name}.cat",
        "class_guid": controllers.SCSI_ADAPTER,
        "date": datetime.date(2024, 7, 11),
        "version": (100, 95, 104, 26200),
        "devices": (*devices, *bare),
        "service": Service(
            name=name,
            start=0,
            group="SCSI miniport",
            image=rf"system32\drivers\{name}.sys",
            values=(
                Setting(key="Parameters", name="BusType", value=dword(_TYPES[name])),
                Setting(key=r"Parameters\PnpInterface", name="5", value=dword(1)),
            ),
        ),
        "folder": rf"C:\Windows\Drivers\VirtIO\{name}",
    }
    return Package(**{**fields, **changes})  # type: ignore[arg-type]


_IDS: Mapping[str, tuple[str, str]] = {
    "viostor": (
        r"PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
        r"PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01",
    ),
    "vioscsi": (
        r"PCI\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",
        r"PCI\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01",
    ),
}
_TYPES = {"viostor": 1, "vioscsi": 0x0A}


def selected(windows: Windows, arch: str, folder: Path) -> Selection:
    """Return what a guest gets of a virtio-win that is made in *folder*."""
    made = {
        path: content
        for path, content in made_tree.files().items()
        if f"/{_FOLDERS[windows.id]}/" in path
    }
    media = virtio_win.media(made_tree.folder(folder / "virtio-win", made))
    assert media
    return selection.selected(media, windows, arch)


_FOLDERS = {"win7": "w7", "win8.1": "w8.1", "win10": "w10"}


def program(machine: int) -> bytes:
    """Return the least that says for which machine it is."""
    head = b"MZ".ljust(0x3C, b"\0") + (0x40).to_bytes(4, "little")
    return head + b"PE\0\0" + machine.to_bytes(2, "little")
