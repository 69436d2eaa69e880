# SPDX-License-Identifier: GPL-2.0-or-later
"""The block devices of a guest and what is on each.

By blkid alone: libguestfs' own list also looks for LDM, md and more, which takes 9 s in
an emulated appliance where this takes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from v2v.guests.appliance import Appliance

_PARTITION = re.compile(r"(?:p(?=\d+$))?\d+$")
ENCRYPTED = ("crypto_LUKS", "BitLocker")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device with a file system, swap or other content: libblkid's words.

    ``container`` is the encrypted device that was opened to reach this one.
    """

    name: str
    type: str
    uuid: str | None = None
    label: str | None = None
    # GUID of the partition's type, in lower case; of a GPT only.
    partition_type: str | None = None
    partition_uuid: str | None = None
    partition_label: str | None = None
    container: str | None = None


def found(
    appliance: Appliance, opened: Mapping[str, str] | None = None
) -> list[Device]:
    """Return the devices of *appliance* that hold something.

    ``opened``: what encrypted devices were opened as -> the device.
    """
    g = appliance.g
    partitions = g.list_partitions()
    parted = {_PARTITION.sub("", partition) for partition in partitions}
    # A disk whose own name ends in a digit has a p before the number.
    disks = [*g.list_devices(), *g.list_md_devices()]
    whole = [disk for disk in disks if disk not in parted]
    all_ = [*partitions, *whole, *g.lvs(), *(opened or {})]
    return [
        device
        for name in dict.fromkeys(all_)
        if (device := _device(appliance, name, (opened or {}).get(name)))
    ]


def _device(appliance: Appliance, name: str, container: str | None) -> Device | None:
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
        partition_label=facts.get("PART_ENTRY_NAME"),
        container=container,
    )


def is_plain(devices: list[Device]) -> bool:
    """Whether nothing is there that only libguestfs' whole inspection can sort out."""
    odd = {"ntfs", "BitLocker", "zfs_member"}
    return not odd & {device.type for device in devices}
