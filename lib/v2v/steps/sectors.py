# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks with sectors of 4096 bytes (4Kn): which they are, and what they need.

Partition tables count sectors, so such a disk must stay one.  Of the buses that QEMU
emulates, virtio and SCSI have such disks, and no BIOS starts from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from v2v import layers
from v2v.document import VM, Finding, boot_disk
from v2v.formats import raw

# Whole sectors of either size, with all that raw.block_size looks at.
_HEAD = 8192
FINDINGS = ("disk-sectors-bios", "disk-sectors-bus")


def seen(vm: VM, uris: Sequence[str]) -> VM:
    """Return *vm*, whose disks are served at *uris*, with what their GPTs say.

    A container, or its description, need not: qcow2 has no place for it.  Raises
    SourceError for a disk that cannot be read.
    """
    found = tuple(
        disk.having(logical_block_size=4096)
        if disk.logical_block_size == 512 and _is_large(layers.start(uri, disk, _HEAD))
        else disk
        for disk, uri in zip(vm.disks, uris, strict=True)
    )
    return vm if found == vm.disks else vm.having(disks=found)


def _is_large(head: bytes) -> bool:
    return raw.block_size(head) == 4096


def block_sizes(vm: VM) -> tuple[int, ...]:
    """Return of how many bytes the sectors of each disk are."""
    return tuple(disk.logical_block_size for disk in vm.disks)


def findings(vm: VM) -> Iterator[Finding]:
    """Yield why *vm*, whose guest was looked at, cannot have its large sectors."""
    first = boot_disk(vm)
    is_bios = vm.firmware == "bios" and vm.guest and vm.guest.type != "unknown"
    if first and first.logical_block_size != 512 and is_bios:
        yield Finding(
            code="disk-sectors-bios",
            severity="block",
            message=f"{first.id} has sectors of 4096 bytes, from which no BIOS starts",
            remedy="correct the firmware in the description if the VM has UEFI; or "
            "copy the disk on the source to one with sectors of 512 bytes",
            disk=first.id,
        )
    bus = vm.devices.block if vm.devices else None
    if bus not in ("sata", "ide"):
        return
    for disk in vm.disks:
        if disk.logical_block_size != 512:
            yield Finding(
                code="disk-sectors-bus",
                severity="block",
                message=f"{disk.id} has sectors of 4096 bytes, and the guest drives "
                f"no bus but {bus.upper()}, where QEMU emulates only such of 512",
                remedy="install virtio drivers in the guest (--virtio-win for Windows)"
                "; or copy the disk on the source to one with sectors of 512 bytes",
                disk=disk.id,
            )
