# SPDX-License-Identifier: GPL-2.0-or-later
"""The file systems of a guest as the document has them, and what they are made for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from v2v.document import Filesystem, Firmware
from v2v.guests.appliance import Appliance, printable
from v2v.guests.devices import Device
from v2v.guests.linux import mounts, subvolumes

_BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"


def filesystems(
    appliance: Appliance, there: list[Device], places: Mapping[str, str]
) -> Iterator[Filesystem]:
    """Yield each device; one of which several subvolumes are mounted, for each."""
    names = [device.name for device in there]
    points: dict[str, list[str]] = {}
    for point, name in places.items():
        points.setdefault(subvolumes.device_of(name, names), []).append(point)
    for device in there:
        if device.name not in points:
            yield _filesystem(appliance, device, None)
        for point in points.get(device.name, ()):
            yield _filesystem(appliance, device, point)


def _filesystem(appliance: Appliance, device: Device, point: str | None) -> Filesystem:
    size = free = None
    if point:
        facts = appliance.g.statvfs(point)
        size = facts["blocks"] * facts["frsize"]
        free = facts["bavail"] * facts["frsize"]
    return Filesystem(
        device=device.name,
        type=device.type,
        uuid=device.uuid,
        partuuid=device.partition_uuid,
        label=printable(device.label) if device.label else None,
        container=device.container,
        size=size,
        free=free,
        mountpoint=printable(point) if point else None,
    )


def firmware(there: list[Device]) -> Firmware | None:
    """Return what the partitions are made for; None if they do not say.

    An ESP means UEFI, unless there is a place for GRUB's BIOS code as well.
    """
    types = {device.partition_type for device in there}
    if _BIOS_BOOT in types:
        return "bios"
    return "efi" if mounts.ESP in types else None
