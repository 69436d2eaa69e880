# SPDX-License-Identifier: GPL-2.0-or-later
"""Create a VM, whose disks are in place, on its new home."""

from __future__ import annotations

from pathlib import Path

from v2v import paths, targets
from v2v.document import VM, Devices, Disk
from v2v.errors import BlockedError, SourceError, TargetError, UsageError
from v2v.targets import Wish, machine

# That Windows would not find its disk: to be accepted with --allow.
UNBOOTABLE = "boot-verdict"


def check(kind: str, wish: Wish) -> None:
    """Raise UsageError or NoTargetError if nothing at all could be defined."""
    if kind not in targets.names():
        raise UsageError(
            f"-t {kind}: no such target", f"one of {', '.join(targets.names())}"
        )
    targets.load(kind).check(wish)


def define(vm: VM, kind: str, wish: Wish) -> VM:
    """Return *vm* as created at target *kind*.

    Raises TargetError, having undone all, and BlockedError if fixup has prepared the
    guest for devices that *kind* may not have, or if a Windows guest would not find its
    disk.
    """
    _refuse_other_devices(vm, kind)
    if kind != "null" and UNBOOTABLE not in wish.allow:
        _refuse_unbootable(vm)
    placed = vm if kind == "null" else _placed(vm, wish)
    target = targets.load(kind)
    target.preflight(placed, wish)
    return vm.having(target=target.define(placed, wish))


def _refuse_other_devices(vm: VM, kind: str) -> None:
    """Raise BlockedError if the devices were chosen for a home that we do not know.

    All that we know have the same ones.
    """
    if vm.devices and vm.devices.made_for not in targets.names():
        raise BlockedError(
            f"the guest was prepared for {vm.devices.made_for}, whose devices {kind} "
            "may not have",
            f"prepare it again: v2v-fixup --for {kind}",
        )


def _refuse_unbootable(vm: VM) -> None:
    """Raise BlockedError if a Windows guest would not find its disk on its new bus.

    It would stop with 0x7B, INACCESSIBLE_BOOT_DEVICE, at every start.
    """
    verdicts = {v.bus: v for v in vm.guest.verdicts} if vm.guest else {}
    bus = (vm.devices or Devices()).block
    if bus == "ide" and machine.kind(vm) == "q35":
        bus = "sata"  # q35 has no IDE
    if bus not in verdicts or verdicts[bus].boots:
        return
    good = ", ".join(bus for bus, verdict in verdicts.items() if verdict.boots)
    instead = f"take one that it boots from ({good}: .devices.block)" if good else ""
    raise BlockedError(
        f"Windows would not find its disk on {bus}: {verdicts[bus].reason}",
        f"{instead or 'run v2v-fixup --virtio-win on it'} "
        f"(or accept it: --allow {UNBOOTABLE})",
    )


def _placed(vm: VM, wish: Wish) -> VM:
    """Return *vm* with the true paths of its disks.

    Raises TargetError for one that is not there, or not where this VM's files may be:
    who runs it, libvirt's root above all, would open what the document says.
    """
    allowed = paths.roots(vm, [wish.output] if wish.output else [])
    return vm.having(disks=tuple(_placed_disk(disk, allowed) for disk in vm.disks))


def _placed_disk(disk: Disk, allowed: tuple[Path, ...]) -> Disk:
    if disk.target is None or disk.target.path is None:
        raise TargetError(
            f"disk {disk.id} has not been copied to its new place",
            "run v2v-convert before v2v-define",
        )
    try:
        path = paths.checked(disk.target.path, allowed)
    except SourceError as e:
        raise TargetError(
            f"disk {disk.id}: {e.message}",
            "name the folder that the disks are in with -o, or copy them again with "
            "v2v-convert",
        ) from e
    return disk.having(target=disk.target.having(path=str(path)))
