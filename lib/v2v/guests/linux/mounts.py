# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the file systems of a Linux system belong: fstab, units, and partition types.

What is mounted is what v2v has to read or change, or to count the room of.
"""

from __future__ import annotations

from collections.abc import Sequence

from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.linux import fstab, order, subvolumes
from v2v.guests.linux.fstab import Entry
from v2v.guests.linux.resolver import Resolver
from v2v.guests.linux.subvolumes import Subvolume

# The Discoverable Partitions Specification, as systemd-gpt-auto-generator(8) reads it;
# but for /var, which has to bear the machine's id.
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_PLACES = {
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "/boot",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "/home",
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "/srv",
    "8484680c-9521-48c6-9c11-b0720656f69e": "/usr",  # x86-64
    "b0e01050-ee5f-4390-949a-9101b17104e9": "/usr",  # arm64
}
BOOT = ("/boot", "/boot/efi", "/efi")
_MAX = 100


def points(
    appliance: Appliance, root: str, devices: list[Device], resolver: Resolver
) -> dict[str, str]:
    """Return mount point -> what to mount, of the system mounted from *root*.

    ``root`` and the values are devices, or subvolumes as libguestfs spells them.
    """
    names = [device.name for device in devices]
    entries = fstab.entries(appliance)
    for entry in entries:
        if entry.point == "/":
            resolver.learn(entry.spec, subvolumes.device_of(root, names))
    found = {"/": root}
    _add_named(appliance, entries, resolver, found)
    used = {subvolumes.device_of(name, names) for name in found.values()}
    free = [device for device in devices if device.name not in used]
    found |= _discovered(appliance, root, free, {e.point for e in entries})
    if "/boot" in {entry.point for entry in entries} - found.keys():
        _find_boot(appliance, entries, free, found)
    return found


def _add_named(
    appliance: Appliance,
    entries: Sequence[Entry],
    resolver: Resolver,
    found: dict[str, str],
) -> None:
    """Add to *found*, which has the root, what files of the system give a place to.

    A device has one place, but for the subvolumes of btrfs: a name that leads to it
    again is a name of another machine.
    """
    trees: dict[str, list[Subvolume]] = {}
    for entry in entries[:_MAX]:
        hidden = "noauto" in entry.options and entry.point not in BOOT
        if entry.point == "/" or entry.is_bind or hidden:
            continue
        device = resolver.device(entry.spec)
        if device is None or device.type == "swap":
            continue
        place = _place(appliance, device, entry, trees)
        if place and (device.type == "btrfs" or place not in found.values()):
            found[entry.point] = place


def _place(
    appliance: Appliance,
    device: Device,
    entry: Entry,
    trees: dict[str, list[Subvolume]],
) -> str | None:
    """Return what to mount for *entry*, which is on *device*."""
    if device.type != "btrfs":
        return device.name
    if device.name not in trees:
        trees[device.name] = subvolumes.seen(appliance, device.name)
    subvolume = subvolumes.meant(trees[device.name], entry)
    return subvolume.name if subvolume else None


def _discovered(
    appliance: Appliance, root: str, free: Sequence[Device], named: set[str]
) -> dict[str, str]:
    """Return what systemd mounts by the types of partitions, without any file.

    ``free`` are the devices that no file gives a place; ``named`` the places that
    files give to others.
    """
    found: dict[str, str] = {}
    for kind, point in _PLACES.items():
        name = None if point in named | found.keys() else _of_type(kind, root, free)
        if name and _is_empty(appliance, point):
            found[point] = name
    if (name := _of_type(ESP, root, free)) and not named & {"/efi", "/boot/efi"}:
        for point in ("/efi", "/boot", "/boot/efi"):
            if point not in named | found.keys() and _is_empty(appliance, point):
                return {**found, point: name}
    return found


def _of_type(kind: str, root: str, free: Sequence[Device]) -> str | None:
    """Return the partition of *kind*, of the root's disk if several have one."""
    all_ = [device.name for device in free if device.partition_type == kind]
    disk = root.removeprefix("btrfsvol:").rstrip("0123456789")
    same = [name for name in all_ if name.rstrip("0123456789") == disk]
    found = same or all_
    return found[0] if len(found) == 1 else None


def _is_empty(appliance: Appliance, folder: str) -> bool:
    there = appliance.g.is_dir(folder, followsymlinks=False)
    return there and not appliance.names(folder)


def _find_boot(
    appliance: Appliance,
    entries: Sequence[Entry],
    free: Sequence[Device],
    found: dict[str, str],
) -> None:
    """Find /boot by what it holds, where fstab has it on a disk of unclear order."""
    entry = next(e for e in entries if e.point == "/boot")
    if not order.is_of_hardware(entry.spec):
        return
    alike = [d for d in free if entry.type in ("auto", d.type)]
    holding = [d.name for d in alike if _has_kernel(appliance, d.name)]
    if len(holding) == 1:
        found["/boot"] = holding[0]


def _has_kernel(appliance: Appliance, device: str) -> bool:
    """Whether the file system on *device* is a /boot."""
    try:
        appliance.g.mount_ro(device, "/boot")
    except RuntimeError:
        return False
    try:
        return bool(appliance.glob("/boot/vmlinuz*"))
    finally:
        appliance.g.umount("/boot")
