# SPDX-License-Identifier: GPL-2.0-or-later
"""All that is done to a Linux guest: planned, gated, applied, proved."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.document import VM, Devices, Finding, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.customize import Place, Work
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
from v2v.guests.linux.addresses import Address
from v2v.guests.linux.firstboot import Step
from v2v.guests.linux.plan import Action

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
# Room that is left on each file system besides what is planned: bytes.
_SPARE = 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user wants to be done besides.

    ``packages`` is the folder with the agent's packages; ``works`` are what the guest
    is customised by, with ``folder`` for their secrets.
    """

    packages: Path | None = None
    addresses: Sequence[Address] = ()
    works: Sequence[Work] = ()
    remove_tools: bool = False
    folder: Path | None = None


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


def gate(guest: Guest, actions: Sequence[Action]) -> Guest:
    """Return *guest* with the room that *actions* need on each file system.

    Raises GuestError if one has too little.
    """
    needed: Counter[str] = Counter()
    points = [fs.mountpoint for fs in guest.filesystems if fs.mountpoint]
    for action in actions:
        needed[_place(action.change.path, points)] += action.space
    for fs in guest.filesystems:
        count = needed[fs.mountpoint or ""]
        if count and fs.free is not None and count + _SPARE > fs.free:
            raise GuestError(
                f"{fs.mountpoint} in the guest has {fs.free / 2**20:.1f} MiB free and "
                f"needs {(count + _SPARE) / 2**20:.1f} MiB",
                "remove old kernels or files there on the source",
            )
    return guest.having(
        filesystems=tuple(
            fs.having(needed=needed[fs.mountpoint or ""] or None)
            for fs in guest.filesystems
        )
    )


def _place(path: str, points: list[str]) -> str:
    """Return the mount point that *path* is on."""
    fitting = [p for p in points if path == p or path.startswith(p.rstrip("/") + "/")]
    return max(fitting, key=len, default="/")


def apply(appliance: Appliance, guest: Guest, actions: Sequence[Action]) -> None:
    """Do *actions* in their order.

    Raises GuestError if a file system that they change cannot be written.
    """
    points = [fs.mountpoint for fs in guest.filesystems if fs.mountpoint]
    for place in {_place(action.change.path, points) for action in actions}:
        _prove_writable(appliance, place)
    labels = selinux.noted(appliance, guest, actions)
    for action in actions:
        log.debug("%s %s", action.change.kind, action.change.path)
        action.apply(appliance)
    if labels:
        selinux.restore(appliance, guest, labels)


def _prove_writable(appliance: Appliance, place: str) -> None:
    probe = f"{place.rstrip('/')}/.v2v-probe"
    try:
        appliance.g.rm_f(probe)  # in /tmp anybody may have left a link there
        appliance.g.write(probe, b"")
        appliance.g.rm_f(probe)
    except RuntimeError as e:
        raise GuestError(
            f"{place} in the guest cannot be written: {e}",
            "repair the file system (fsck) on the source",
        ) from e


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
