# SPDX-License-Identifier: GPL-2.0-or-later
"""All that is done to a Linux guest: planned, gated, applied, proved."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from v2v.document import VM, Devices, Finding, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import agent, boot, drivers, efi, network, stable, tools
from v2v.guests.linux.plan import Action

# Room that is left on each file system besides what is planned: bytes.
_SPARE = 2**20

log = logging.getLogger(__name__)


def plan(
    appliance: Appliance,
    vm: VM,
    guest: Guest,
    devices: Devices,
    packages: Path | None,
) -> list[Action]:
    """Return what has to be done; nothing is written.

    Raises GuestError if the guest cannot be made to boot.
    """
    names = stable.Names(guest)
    actions = [
        *tools.plan(appliance, vm, guest),
        *stable.plan(appliance, vm, guest),
        *boot.plan(appliance, names.stable),
        *network.plan(appliance, vm, guest),
        *efi.plan(appliance, vm, guest),
    ]
    if devices.block == "virtio":
        actions += drivers.plan(appliance, vm, guest)
        actions += stable.renames(appliance, guest)
    if devices.agent:
        actions += agent.plan(appliance, vm, guest, packages)
    return actions


def gate(guest: Guest, actions: Sequence[Action]) -> None:
    """Raise GuestError if a file system has too little room for *actions*."""
    needed: Counter[str] = Counter()
    free = {fs.mountpoint: fs.free for fs in guest.filesystems if fs.mountpoint}
    for action in actions:
        needed[_place(action.change.path, list(free))] += action.space
    for place, count in needed.items():
        room = free.get(place)
        if room is not None and count + _SPARE > room:
            raise GuestError(
                f"{place} in the guest has {room / 2**20:.1f} MiB free and needs "
                f"{(count + _SPARE) / 2**20:.1f} MiB",
                "remove old kernels or files there on the source",
            )


def _place(path: str, points: list[str]) -> str:
    """Return the mount point that *path* is on."""
    fitting = [p for p in points if path == p or path.startswith(p.rstrip("/") + "/")]
    return max(fitting, key=len, default="/")


def apply(appliance: Appliance, actions: Sequence[Action]) -> None:
    """Do *actions* in their order."""
    for action in actions:
        log.debug("%s %s", action.change.kind, action.change.path)
        action.apply(appliance)


def verify(appliance: Appliance, guest: Guest, devices: Devices) -> None:
    """Raise GuestError if what is on the disk now would not boot."""
    if devices.block == "virtio":
        drivers.verify(appliance, guest)


def findings(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Finding]:
    """Yield what is worth knowing of a guest as it is now."""
    for line in stable.left(appliance):
        yield Finding(
            code="fstab-device-name",
            severity="warn",
            message=f"fstab names a disk as the old machine did: {line}",
            remedy="v2v-fixup changes it if it can tell what it means",
        )
    known = network.names(vm.nics, guest.interfaces)
    for name in network.undecided(vm, guest, known):
        yield Finding(
            code="nic-name-undecided",
            severity="warn",
            message=f"which network card {name} was cannot be told",
            remedy="check the network configuration after the first boot",
        )
    for kernel in guest.kernels:
        if not set(drivers.DISK) <= set(kernel.initramfs_drivers):
            yield Finding(
                code="initramfs-without-virtio",
                severity="info",
                message=f"the initramfs of kernel {kernel.version} lacks virtio",
                remedy="v2v-fixup adds it",
            )
