# SPDX-License-Identifier: GPL-2.0-or-later
"""What is amiss with a VM whatever its source is: judged from its document alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from v2v import names
from v2v.document import VM, Disk, Finding, Guest, Severity

# These are made anew with each look at the guest.
OF_GUEST = ("firmware-differs",)


@dataclass(kw_only=True)
class Seen:
    """What the VMs of this run have so far; each maps to the name of its VM."""

    macs: dict[str, str] = field(default_factory=dict)
    files: dict[tuple[str, int], str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def compared(vm: VM, seen: Seen) -> VM:
    """Return *vm* with a finding for each thing that it has in common with one *seen*.

    It is seen from then on.
    """
    findings = [*_same_macs(vm, seen), *_same_files(vm, seen), *_names(vm, seen)]
    return vm.having(findings=(*vm.findings, *findings))


def judged(vm: VM) -> VM:
    """Return *vm*, whose disks were measured, with what is amiss with each of them."""
    found = [finding for disk in vm.disks for finding in _of_disk(disk)]
    # A VM that is taken up again may have been judged in an earlier run.
    fresh = [finding for finding in found if finding not in vm.findings]
    return vm.having(findings=(*vm.findings, *fresh))


def of_guest(vm: VM, guest: Guest) -> Iterator[Finding]:
    """Yield a finding if the firmware of *vm* is not what *guest* starts from."""
    if not vm.firmware_known:
        return
    fat = any(found.type in ("vfat", "msdos") for found in guest.filesystems)
    if vm.firmware == "bios" and guest.firmware == "efi":
        text = "the VM has a BIOS, and its disks can only be started by UEFI"
    elif vm.firmware == "efi" and guest.firmware != "efi" and not fat:
        text = "the VM has UEFI, and its disks have no EFI system partition"
    else:
        return
    remedy = "correct the firmware in the description, if the new VM does not start"
    yield _finding("firmware-differs", "warn", text, remedy)


def _same_macs(vm: VM, seen: Seen) -> Iterator[Finding]:
    for index, nic in enumerate(vm.nics, 1):
        other = seen.macs.setdefault(nic.mac, vm.name)
        if nic.mac in [card.mac for card in vm.nics[: index - 1]] or other != vm.name:
            text = f"network card {index} has the MAC address of one of {other}"
            remedy = f"give one of them another ({nic.mac} now): --mac MAC"
            yield _finding("mac-duplicate", "warn", text, remedy)


def _same_files(vm: VM, seen: Seen) -> Iterator[Finding]:
    """Yield a finding for a disk that two VMs, or one twice, have in one file."""
    for disk in vm.disks:
        layer = disk.source
        if disk.shared or layer is None or not layer.path or layer.member:
            continue  # a shared disk is told by itself
        if not Path(layer.path).is_absolute():
            continue  # the name of a file that was not found, in its own folder
        place = (layer.path, layer.offset or 0)
        if place in seen.files:
            yield _shared(disk, f"is a disk of {seen.files[place]} as well")
        else:
            seen.files[place] = vm.name


def _names(vm: VM, seen: Seen) -> Iterator[Finding]:
    safe = names.safe(vm.name)
    if safe != vm.name:
        text = f"targets refuse this name; files and the domain are called {safe}"
        yield _finding("name-changed", "info", text, "choose another with --name")
    other = seen.names.setdefault(safe, vm.source.location)
    if other != vm.source.location:
        text = f"another VM of this run is called {safe} ({other})"
        remedy = "convert one of them with --name, or into another folder"
        yield _finding("name-duplicate", "warn", text, remedy)


def _of_disk(disk: Disk) -> Iterator[Finding]:
    if disk.size == 0:
        text = f"{disk.id} has a size of zero bytes"
        remedy = "see whether its file is whole; or detach the disk on the source"
        yield _finding("disk-empty", "block", text, remedy, disk)
    if disk.shared:
        yield _shared(disk, "is shared with other VMs on the source")


def _shared(disk: Disk, what: str) -> Finding:
    text = f"{disk.id} {what}: each new VM gets a copy of its own"
    remedy = "stop all that write to it while it is copied; attach one copy to all"
    return _finding("disk-shared", "warn", text, remedy, disk)


def _finding(
    code: str, severity: Severity, text: str, remedy: str, disk: Disk | None = None
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        message=text,
        remedy=remedy,
        disk=disk.id if disk else None,
    )
