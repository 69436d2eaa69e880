# SPDX-License-Identifier: GPL-2.0-or-later
"""All that is done to a Linux guest: planned, gated, applied, proved."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from v2v.document import VM, Devices, Finding, Guest
from v2v.guests import gates
from v2v.guests.appliance import Appliance
from v2v.guests.customize import Place
from v2v.guests.linux import (
    agent,
    boot,
    drivers,
    efi,
    firstboot,
    kernels,
    network,
    removal,
    seed,
    selinux,
    stable,
    tools,
    virtual,
)
from v2v.guests.linux.firstboot import Step
from v2v.guests.plan import Action
from v2v.guests.wanted import Wanted

# All that findings() may yield: an old one of these is replaced by a new look.
FINDINGS = frozenset(
    {
        *("nic-name-undecided", *stable.FINDINGS),
        *("kernel-without-virtio", "initramfs-without-virtio"),
        *selinux.FINDINGS,
        *boot.FINDINGS,
        *efi.FINDINGS,
        *network.FINDINGS,
        *tools.FINDINGS,
    }
)
_SHOWN = 20  # of each kind

log = logging.getLogger(__name__)


def plan(
    appliance: Appliance, vm: VM, guest: Guest, devices: Devices, wanted: Wanted
) -> list[Action]:
    """Return what has to be done; nothing is written.

    Raises GuestError if the guest cannot be made to boot.
    """
    names = stable.Names(guest, vm.disks)
    actions = [
        *tools.plan(appliance, guest),
        *stable.plan(appliance, names),
        *boot.plan(appliance, names.stable, guest),
        *network.plan(appliance, vm, guest, wanted.addresses),
        *efi.plan(appliance, guest),
    ]
    actions += drivers.plan(appliance, guest, names, virtual.needed(devices))
    if devices.block == "virtio":
        actions += stable.renames(appliance, names)
    steps: list[Step] = []
    if devices.agent:
        actions += agent.plan(appliance, guest, wanted.packages)
        steps += agent.steps(appliance, guest, wanted.packages)
    if wanted.remove_tools:
        steps += removal.steps(tools.packages(appliance, guest), guest.package_format)
    place = Place(appliance=appliance, guest=guest, folder=wanted.folder)
    for work in wanted.works:
        actions += work.actions(place)
        steps += work.steps
    actions += firstboot.plan(appliance, guest, steps)
    if actions:
        actions += seed.plan(appliance)
    return [*actions, *selinux.plan(appliance, actions)]


def apply(appliance: Appliance, guest: Guest, actions: Sequence[Action]) -> None:
    """Do *actions* in their order.

    Raises GuestError if a file system that they change cannot be written.
    """
    gates.prove_writable(appliance, guest, actions)
    labels = selinux.noted(appliance, guest, actions)
    for action in actions:
        log.debug("%s %s", action.change.kind, action.change.path)
        action.apply(appliance)
    if labels:
        selinux.restore(appliance, guest, labels)


def verify(appliance: Appliance, guest: Guest, devices: Devices) -> Guest:
    """Return *guest* with its kernels as they are now.

    Raises GuestError if what is on the disk now would not boot.
    """
    boot.verify(appliance, renamed=devices.block == "virtio")
    guest = guest.having(kernels=kernels.again(appliance, guest.kernels))
    if devices.block in ("virtio", "scsi"):
        drivers.verify(guest, virtual.needed(devices))
    return guest


def findings(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Finding]:
    """Yield what is worth knowing of a guest as it is now; see FINDINGS."""
    yield from stable.findings(appliance)
    known = network.names(vm.nics, guest.interfaces)
    for name in network.undecided(vm, guest, known)[:_SHOWN]:
        yield Finding(
            code="nic-name-undecided",
            severity="warn",
            message=f"which network card {name} was cannot be told",
            remedy="check the network configuration after the first boot",
        )
    yield from network.findings(appliance, vm, guest)
    yield from tools.findings(appliance)
    yield from boot.findings(appliance, guest)
    yield from efi.findings(appliance, guest)
    yield from drivers.findings(guest)
    yield from selinux.findings(appliance)
