# SPDX-License-Identifier: GPL-2.0-or-later
"""The system that is in a VM: looked at, or changed in an appliance.

Whether what is written stays is fixup.py's concern.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from v2v import layers, paths, targets
from v2v.document import VM, Devices, Finding, Guest
from v2v.errors import GuestError, UsageError
from v2v.operations import Operation
from v2v.servers import Access
from v2v.stage import warned
from v2v.steps import preflight, sectors

if TYPE_CHECKING:
    # Loaded only when a guest is opened: start-up counts.
    from v2v.guests.appliance import Appliance
    from v2v.guests.inspection import Asked, Inspected
    from v2v.guests.linux import family as linux
    from v2v.guests.wanted import Wanted
    from v2v.guests.windows import family as windows

# That a guest is none of those that can be fixed.
_UNFIT = ("guest-unknown", "guest-no-kernel")


@dataclass(frozen=True, kw_only=True)
class Fixup:
    """What the user asked of v2v-fixup."""

    made_for: str = "libvirt"
    agent: bool = True
    agent_packages: Path | None = None
    root: str | None = None
    # As the user wrote them, SELECTOR:file:FILE: see guests.encryption.
    keys: tuple[str, ...] = ()
    # MAC:ip:ADDRESS...: see guests.linux.addresses.
    macs: tuple[str, ...] = ()
    remove_tools: bool = False
    # The ISO or folder of virtio-win; by default where distributions have it.
    virtio_win: Path | None = None
    trust_publisher: bool = False
    firstboot: Literal["service", "setup", "none"] = "service"
    discard_hibernation: bool = False
    force_dirty_hive: bool = False
    dry_run: bool = False
    work: Path | None = None
    operations: tuple[Operation, ...] = ()


def check(options: Fixup) -> None:
    """Raise UsageError if what was asked makes no sense, HostError for a bad key."""
    _keys(options.keys)
    _addresses(options.macs)
    if options.made_for not in targets.names():
        raise UsageError(
            f"--for {options.made_for}: no such target",
            f"one of {', '.join(targets.names())}",
        )
    if options.agent_packages and not options.agent_packages.is_dir():
        raise UsageError(
            f"--agent-packages {options.agent_packages}: no such folder",
            "name a folder with qemu-guest-agent_*.deb or .rpm and what it needs",
        )
    if options.virtio_win and not options.virtio_win.exists():
        raise UsageError(
            f"--virtio-win {options.virtio_win}: no such file or folder",
            "name the ISO of virtio-win, or a folder with what is in it",
        )
    if options.operations:
        from v2v.guests import customize

        customize.parsed(options.operations)


def _keys(words: tuple[str, ...]) -> tuple[Any, ...]:
    if not words:
        return ()
    from v2v.guests import encryption

    return encryption.keys(words)


def _addresses(words: tuple[str, ...]) -> tuple[Any, ...]:
    if not words:
        return ()
    from v2v.guests.linux import addresses

    return addresses.asked(words)


def _is_readdressed(vm: VM, options: Fixup) -> bool:
    macs = {nic.mac for nic in vm.nics}
    return any(address.mac in macs for address in _addresses(options.macs))


def look(vm: VM, access: Access, keys: tuple[str, ...] = ()) -> VM:
    """Return *vm* with its guest described; nothing is written.

    ``keys``, SELECTOR:file:FILE each, open what is encrypted.

    Raises GuestError, SourceError or HostError.
    """
    from v2v.guests import appliance, inspection
    from v2v.guests.linux import fixes

    with ExitStack() as stack:
        uris = [stack.enter_context(layers.served(d, access)) for d in vm.disks]
        folder = stack.enter_context(_copies())
        vm = sectors.seen(vm, uris)
        running = stack.enter_context(
            appliance.opened(
                uris,
                write=False,
                unlocks=bool(keys),
                block_sizes=sectors.block_sizes(vm),
            )
        )
        asked = inspection.Asked(
            disks=vm.disks, nics=vm.nics, keys=_keys(keys), folder=folder
        )
        guest, found = inspection.look(running, asked)
        if guest.type == "linux" and _can_be_fixed(guest):
            found += fixes.findings(running, vm, guest)
    if not _can_be_fixed(guest) and not guest.roots:
        found.append(_unfit(guest))
    return _described(vm, guest, found)


@contextmanager
def _copies() -> Iterator[Path]:
    """Yield a folder for copies of files of a guest, such as hives."""
    with tempfile.TemporaryDirectory(prefix="v2v-", dir="/var/tmp") as folder:
        yield Path(folder)


def _described(vm: VM, guest: Guest, found: Sequence[Finding]) -> VM:
    """Return *vm* with *guest*, and with the firmware that its disks are made for.

    What an earlier look at the guest found is replaced by what was *found* now.
    """
    from v2v.guests import inspection
    from v2v.guests.linux import fixes
    from v2v.guests.windows import family

    codes = {
        *_UNFIT,
        *preflight.OF_GUEST,
        *sectors.FINDINGS,
        *inspection.FINDINGS,
        *fixes.FINDINGS,
        *family.FINDINGS,
    }
    kept = (finding for finding in vm.findings if finding.code not in codes)
    found = (*found, *preflight.of_guest(vm, guest))
    vm = vm.having(guest=guest, findings=(*kept, *found))
    if not vm.firmware_known and guest.firmware:
        vm = vm.having(firmware=guest.firmware, firmware_known=True)
    return vm.having(findings=(*vm.findings, *sectors.findings(vm)))


def _can_be_fixed(guest: Guest) -> bool:
    if guest.type == "windows":
        return guest.windows is not None
    return guest.type == "linux" and bool(guest.kernels)


def _unfit(guest: Guest) -> Finding:
    """Return the finding that *guest* is none that can be fixed."""
    from v2v.guests import inspection

    hardware = "; the VM gets emulated hardware (SATA, e1000e)"
    if found := inspection.locked(guest):
        return found
    if guest.type == "linux":
        return Finding(
            code="guest-no-kernel",
            severity="warn",
            message=f"no kernel was found in the system on {guest.root}" + hardware,
            remedy="see that its /boot is among the VM's disks and in its fstab",
        )
    what = "no system that is known was found on the disks"
    if guest.type != "unknown":
        what = f"a {guest.type} guest is not changed by v2v"
    return Finding(
        code="guest-unknown",
        severity="warn",
        message=what + hardware,
        remedy="install virtio drivers in the guest, then change its devices",
    )


def worked(vm: VM, uris: Sequence[str], options: Fixup, *, write: bool) -> VM:
    """Return *vm* with its guest, devices and changes; with *write* they are done."""
    from v2v.guests import appliance, inspection

    vm = sectors.seen(vm, uris)
    sizes, unlocks = sectors.block_sizes(vm), bool(options.keys)
    with (
        _copies() as folder,
        appliance.opened(
            uris, write=write, unlocks=unlocks, block_sizes=sizes
        ) as running,
    ):
        inspected = inspection.begun(running, _asked(vm, options, folder))
        wanted = _wanted(vm, options, write=write)
        if not _can_be_fixed(inspected.guest):
            return _left(vm, inspected.guest, options, wanted)
        job = _job(running, vm, inspected, wanted)
        guest = job.write() if write else job.guest
        found = [
            *inspected.found,
            *inspection.findings(running, guest),
            *job.findings(guest),
        ]
    for finding in found:
        if write and finding.severity == "warn":
            warned(vm, "%s", finding.message)
    for work in wanted.works:
        if work.warning:
            warned(vm, "%s", work.warning)
    vm = vm.having(devices=job.devices, changes=job.changes)
    return _described(vm, guest, found)


def _asked(vm: VM, options: Fixup, folder: Path) -> Asked:
    from v2v.guests import inspection
    from v2v.guests.windows.opening import How

    return inspection.Asked(
        root=options.root,
        disks=vm.disks,
        nics=vm.nics,
        keys=_keys(options.keys),
        folder=folder,
        how=How(discard=options.discard_hibernation, force=options.force_dirty_hive),
    )


def _wanted(vm: VM, options: Fixup, *, write: bool) -> Wanted:
    from v2v.guests import customize
    from v2v.guests.wanted import Wanted

    return Wanted(
        made_for=options.made_for,
        agent=options.agent,
        packages=options.agent_packages,
        addresses=_addresses(options.macs),
        works=customize.parsed(options.operations),
        operations=options.operations,
        remove_tools=options.remove_tools,
        folder=paths.work_folder(vm, options.work) if write else None,
        virtio_win=options.virtio_win,
        trust_publisher=options.trust_publisher,
        firstboot=options.firstboot,
    )


def _left(vm: VM, guest: Guest, options: Fixup, wanted: Wanted) -> VM:
    """Return *vm*, whose guest is left as it is, with safe hardware."""
    finding = _unfit(guest)
    if wanted.works or _is_readdressed(vm, options):
        raise GuestError(
            f"the guest cannot be customised: {finding.message}",
            "leave out --mac and the options that customise it",
        )
    warned(vm, "%s", finding.message)
    devices = Devices(made_for=options.made_for, clock=vm.clock)
    return _described(vm.having(devices=devices, changes=()), guest, [finding])


def _job(
    running: Appliance, vm: VM, inspected: Inspected, wanted: Wanted
) -> linux.Job | windows.Job:
    """Return what is to be done to the guest, by the family of its system."""
    if inspected.windows:
        from v2v.guests.windows import family as windows

        return windows.job(running, vm, inspected.windows, inspected.guest, wanted)
    from v2v.guests.linux import family as linux

    return linux.job(running, vm, inspected.guest, wanted)
