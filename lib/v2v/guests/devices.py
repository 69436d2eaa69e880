# SPDX-License-Identifier: GPL-2.0-or-later
"""The block devices of a guest and what is on each.

By blkid alone: libguestfs' own list also looks for LDM, md and more, which takes 9 s in
an emulated appliance where this takes one.
"""

from __future__ import annotations

from dataclasses import dataclass

from v2v.guests.appliance import Appliance


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device with a file system, swap or other content: libblkid's words."""

    name: str
    type: str
    uuid: str | None = None
    label: str | None = None
    # GUID of the partition's type, in lower case; of a GPT only.
    partition_type: str | None = None
    partition_uuid: str | None = None


def found(appliance: Appliance) -> list[Device]:
    """Return the devices of *appliance* that hold something."""
    g = appliance.g
    partitions = g.list_partitions()
    disks = [
        disk
        for disk in g.list_devices()
        if not any(partition.startswith(disk) for partition in partitions)
    ]
    all_ = [*partitions, *disks, *g.list_md_devices(), *g.lvs()]
    return [device for name in all_ if (device := _device(appliance, name))]


def _device(appliance: Appliance, name: str) -> Device | None:
    try:
        facts = appliance.g.blkid(name)
    except RuntimeError:
        return None  # nothing that libblkid knows
    scheme = facts.get("PART_ENTRY_SCHEME")
    gpt = facts.get("PART_ENTRY_TYPE", "").lower() if scheme == "gpt" else ""
    return Device(
        name=name,
        type=facts.get("TYPE", "unknown"),
        uuid=facts.get("UUID"),
        label=facts.get("LABEL"),
        partition_type=gpt or None,
        partition_uuid=facts.get("PART_ENTRY_UUID"),
    )


def is_plain(devices: list[Device]) -> bool:
    """Whether nothing is there that only libguestfs' whole inspection can sort out."""
    odd = {
        "ntfs",
        "btrfs",
        "BitLocker",
        "crypto_LUKS",
        "linux_raid_member",
        "zfs_member",
    }
    return not odd & {device.type for device in devices}
