# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's names for disks mean: /dev/sdb1 is the second disk of the VM.

The appliance has the VM's disks in the VM's order, all as sda, sdb …; so the order, and
for some buses the slot, says which of them the guest meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from v2v.document import Disk, disk_id

KERNEL_NAME = re.compile(r"/dev/(sd|hd|vd|xvd)([a-z]{1,3})(\d{0,3})")
_NVME = re.compile(r"/dev/nvme(\d{1,3})n(\d{1,3})(?:p(\d{1,3}))?")
# HP's Smart Array: a controller, a disk, a partition.
_CCISS = re.compile(r"/dev/cciss/c\d{1,2}d(\d{1,2})(?:p(\d{1,3}))?")
# Of a controller, a slot, a serial number: VMware's, which the new machine lacks.
BY_NAME = r"disk/by-(?:id|path)/(?!dm-|md-|lvm-|raid-)[^\s,\"']+"
_BY = re.compile(rf"/dev/{BY_NAME}?(?:-part(\d{{1,3}}))?")
# On VMware's controllers the target is the unit's number: scsi0:1 is 0:0:1:0.
_SCSI_PATH = re.compile(r"/dev/disk/by-path/pci-[0-9a-f:.]+-scsi-\d+:0:(\d+):0")
_CUT = 20  # letters that virtio-blk has for a serial number
# What is before a serial number: scsi-3 is that of VPD page 0x83, scsi-S another.
_STYLE = re.compile(r"/dev/disk/by-(?:id/[a-z]+-.|path/)")
_IDE_SLOT = re.compile(r"ide(\d):(\d)")
# Any name of a disk or partition that another machine does not give, within a text.
NAME = re.compile(
    r"(?<![\w/-])/dev/(?:(?:sd|hd|vd|xvd)[a-z]{1,3}\d{0,3}|nvme\d+n\d+(?:p\d+)?"
    rf"|cciss/c\d+d\d+(?:p\d+)?|{BY_NAME})(?![\w/-])"
)


def device(
    name: str, disks: Sequence[Disk], learned: Mapping[str, str] | None = None
) -> str | None:
    """Return the appliance's name of the guest's device *name*; None if unclear.

    Without *disks* names are taken as they come: sdb, hdb and xvdb are the second disk.
    ``learned`` is what learned() returned.
    """
    if match := KERNEL_NAME.fullmatch(name):
        if learned and match[2] in learned:
            return _part(learned[match[2]], match[3])
        return _part(_lettered(match[1], match[2], disks), match[3])
    if match := _NVME.fullmatch(name):
        return _part(_nvme(int(match[1]), int(match[2]), disks), match[3])
    if match := _CCISS.fullmatch(name):
        number = int(match[1])
        known = number < len(disks) or not disks
        return _part(disk_id(number) if known else None, match[2])
    if match := _BY.fullmatch(name):
        return _part(_linked(_whole(match), disks, learned or {}), match[1])
    return None


def _linked(link: str, disks: Sequence[Disk], learned: Mapping[str, str]) -> str | None:
    """Return the disk of udev's *link*: the sole one, the root's, by what it is called
    after, or the other of two."""
    if len(disks) == 1 or link in learned:
        return learned.get(link, disk_id(0))
    return _called(link, disks) or _other(link, disks, learned)


def _other(link: str, disks: Sequence[Disk], learned: Mapping[str, str]) -> str | None:
    """Return the other disk of two than the root's: links of one style are one each."""
    style = _STYLE.match(link)
    alike = [
        disk
        for known, disk in learned.items()
        if style and (own := _STYLE.match(known)) and own[0] == style[0]
    ]
    if len(disks) != 2 or not alike:
        return None
    return {"sda": "sdb", "sdb": "sda"}.get(alike[0])


def _whole(match: re.Match[str]) -> str:
    """Return the link to the whole disk, of one that _BY matches."""
    return match[0].removesuffix(f"-part{match[1]}")


def learned(spec: str, root: str, disks: Sequence[Disk]) -> dict[str, str]:
    """Return which disks are not in the VM's order: the guest's letter -> the disk.

    ``spec`` is what fstab calls the root file system, which was found on *root*: the
    kernel may have met the controllers in another order, or a disk is not there.  Of
    the others nothing is known then, but where there are two.  A link that udev made
    of a serial number or a place, as SUSE's fstab has it, is taken for the root's disk.
    """
    if (link := _BY.fullmatch(spec)) and (on := KERNEL_NAME.fullmatch(root)):
        return {_whole(link): f"sd{on[2]}"} if (link[1] or "") == on[3] else {}
    said, is_on = KERNEL_NAME.fullmatch(spec), KERNEL_NAME.fullmatch(root)
    if not said or not is_on or said[3] != is_on[3] or device(spec, disks) == root:
        return {}
    found = {said[2]: f"sd{is_on[2]}"}
    if len(disks) == 2 and said[2] in "ab" and is_on[2] in "ab":
        return {**found, is_on[2]: f"sd{said[2]}"}
    return {**found, is_on[2]: ""}


def _part(disk: str | None, number: str | None) -> str | None:
    return f"/dev/{disk}{number or ''}" if disk else None


def _lettered(prefix: str, letters: str, disks: Sequence[Disk]) -> str | None:
    """Return what the appliance calls the disk sda, sdb … of the guest."""
    if not disks:
        return f"sd{letters}"
    if prefix == "hd" and (slots := _ide(disks)):
        return slots.get(letters)
    # NVMe disks have no letters, and in the appliance all have.
    there = [disk_id(i) for i, d in enumerate(disks) if d.bus != "nvme"]
    own = {disk_id(i): name for i, name in enumerate(there)}
    return own.get(f"sd{letters}")


def _called(name: str, disks: Sequence[Disk]) -> str | None:
    """Return what the appliance calls the disk of udev's link *name*.

    By the disk's serial number, which a link has in whole or its first 20 letters, or
    by its place on the one SCSI controller of the VM.
    """
    own = [i for i, d in enumerate(disks) if d.serial and _ends(name, d.serial)]
    if match := _SCSI_PATH.fullmatch(name):
        slots = {disk.slot or "": i for i, disk in enumerate(disks)}
        buses = {s.partition(":")[0] for s in slots if s.startswith("scsi")}
        own += [slots[s] for bus in buses if (s := f"{bus}:{match[1]}") in slots]
        if len(buses) > 1:
            return None
    return disk_id(own[0]) if len(own) == 1 else None


def _ends(name: str, serial: str) -> bool:
    whole = name.endswith((f"_{serial}", f"-{serial}"))
    return whole or (len(serial) > _CUT and name.endswith(f"-{serial[:_CUT]}"))


def _ide(disks: Sequence[Disk]) -> dict[str, str]:
    """Return what old IDE drivers call the disks, by letter: hdc is ide1:0.

    Nothing, if a slot is not known.
    """
    found = {}
    for index, disk in enumerate(disks):
        if disk.bus == "ide":
            match = _IDE_SLOT.fullmatch(disk.slot or "")
            if not match:
                return {}
            letter = chr(ord("a") + 2 * int(match[1]) + int(match[2]))
            found[letter] = disk_id(index)
    return found


def _nvme(controller: int, namespace: int, disks: Sequence[Disk]) -> str | None:
    """Return what the appliance calls a disk that is nvme0n1 in the guest."""
    nvme = {disk_id(i): d for i, d in enumerate(disks) if d.bus == "nvme"}
    # VMware makes a disk a namespace of its controller: nvme0:1 is nvme0n2.
    slot = f"nvme{controller}:{namespace - 1}"
    for name, disk in nvme.items():
        if disk.slot == slot:
            return name
    if len(nvme) == 1:
        return next(iter(nvme))
    # Of a VM of which only disks are known.
    unknown = not disks or all(disk.bus == "unknown" for disk in disks)
    return disk_id(controller) if unknown and namespace == 1 else None


def is_of_hardware(spec: str) -> bool:
    """Whether device *spec* is a name that another machine does not give."""
    return NAME.fullmatch(spec) is not None
