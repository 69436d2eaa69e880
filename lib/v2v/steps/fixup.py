# SPDX-License-Identifier: GPL-2.0-or-later
"""Look into a guest, and make it run on KVM: all or nothing.

The appliance works on scratch overlays.  Only when the result is proved do they become
part of the VM: as its overlay, where what is under it is never written (a source), or
by being committed into what is writable (an endpoint's overlay, a target), with a
journal that lets the same command complete a commit that was broken off.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v import layers, overlays, paths, process, server, targets
from v2v.copying import engine, ownership
from v2v.document import (
    VM,
    Change,
    Devices,
    Disk,
    Finding,
    Guest,
    Layer,
    LayerName,
    layer_of,
    next_generation,
    top,
)
from v2v.errors import HostError, SourceError, TargetError, UsageError
from v2v.servers import Access
from v2v.stage import Done, warned

_JOURNAL = "commit.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fixup:
    """What the user asked of v2v-fixup."""

    made_for: str = "libvirt"
    agent: bool = True
    agent_packages: Path | None = None
    root: str | None = None
    dry_run: bool = False
    work: Path | None = None


def check(options: Fixup) -> None:
    """Raise UsageError if what was asked makes no sense."""
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


def look(vm: VM, access: Access) -> VM:
    """Return *vm* with its guest described; nothing is written.

    Raises GuestError, SourceError or HostError.
    """
    from v2v.guests import appliance, inspection
    from v2v.guests.linux import fixes

    with ExitStack() as stack:
        uris = [stack.enter_context(layers.served(d, access)) for d in vm.disks]
        running = stack.enter_context(appliance.opened(uris, write=False))
        guest = inspection.inspect(running)
        found = list(fixes.findings(running, vm, guest)) if guest.kernels else []
    if guest.type != "linux" or not guest.kernels:
        found.append(_unknown(guest))
    return _described(vm, guest, found)


def _described(vm: VM, guest: Guest, found: Sequence[Finding]) -> VM:
    """Return *vm* with *guest*, and with the firmware that its disks are made for."""
    known = {(f.code, f.message) for f in vm.findings}
    new = tuple(f for f in found if (f.code, f.message) not in known)
    vm = vm.having(guest=guest, findings=(*vm.findings, *new))
    if not vm.firmware_known and guest.firmware:
        return vm.having(firmware=guest.firmware, firmware_known=True)
    return vm


def _unknown(guest: Guest) -> Finding:
    """Return the finding for a guest that v2v does not know how to fix."""
    what = {
        "unknown": "no system that is known was found on the disks",
        "linux": "no kernel was found in /boot of the guest",
    }.get(guest.type, f"a {guest.type} guest is not changed by this release")
    return Finding(
        code="guest-unknown",
        severity="warn",
        message=f"{what}; the VM gets emulated hardware (SATA, e1000e)",
        remedy="install virtio drivers in the guest, then change its devices",
    )


def fixup(vm: VM, options: Fixup, access: Access) -> Done:
    """Return *vm* with its guest fixed, and the devices that suit it.

    Raises GuestError if it cannot be done: then the disks are as before.
    """
    if not vm.disks:
        raise SourceError("the VM has no disk to fix", "attach it on the source")
    if options.dry_run:
        return _rehearsed(vm, options, access)
    folder = paths.work_folder(vm, options.work)
    vm = paths.granted(vm, folder)
    journal = _Journal(folder / _JOURNAL)
    if journal.fits(vm):
        log.info("%s: completing the commit of an earlier run", vm.name)
        return _committed(vm, journal, access)
    return _fixed(vm, options, access, journal)


def _rehearsed(vm: VM, options: Fixup, access: Access) -> Done:
    """Say what would be done; change nothing."""
    with ExitStack() as stack:
        uris = [stack.enter_context(layers.served(d, access)) for d in vm.disks]
        work = _worked(vm, uris, options, write=False)
    for change in work.changes:
        detail = f" ({change.after})" if change.kind in ("link", "run") else ""
        log.info(
            "%s: would %s %s%s: %s",
            vm.name,
            change.kind,
            change.path,
            detail,
            change.reason,
        )
    return Done(vm=work, logged=False)


def _fixed(vm: VM, options: Fixup, access: Access, journal: _Journal) -> Done:
    scratch = [(disk, _scratch(disk, journal.folder, access)) for disk in vm.disks]
    try:
        with ExitStack() as stack:
            uris = [
                stack.enter_context(_written(d, file, access)) for d, file in scratch
            ]
            work = _worked(vm, uris, options, write=True)
        for _, file in scratch:
            engine.flush(file)
    except BaseException:
        for _, file in scratch:
            file.unlink(missing_ok=True)
        raise
    made = next_generation(vm)
    if _is_writable(vm):
        journal.write(vm, work, made)
        return _committed(vm, journal, access)
    return _kept(vm, work, scratch, made)


def _scratch(disk: Disk, folder: Path, access: Access) -> Path:
    """Make an empty overlay of the size of *disk*; return its file."""
    file = folder / f"{disk.id}.scratch.qcow2"
    overlays.create(file, layers.measured(disk, access))
    return file


@contextmanager
def _written(disk: Disk, file: Path, access: Access) -> Iterator[str]:
    """Serve the scratch overlay *file* over *disk*, writable; yield the URI."""
    made = layers.stacked(file, layers.graph(disk, access))
    with server.serve(layers.command(made, write=True)) as uri:
        layers.size(uri, disk)
        yield uri


def _worked(vm: VM, uris: Sequence[str], options: Fixup, *, write: bool) -> VM:
    """Return *vm* with its guest, devices and changes; with *write* they are done."""
    from v2v.guests import appliance, inspection
    from v2v.guests.linux import drivers, fixes

    with appliance.opened(uris, write=write) as running:
        guest = inspection.inspect(running, root=options.root)
        devices = drivers.devices(guest, options.made_for, agent=options.agent)
        if guest.type != "linux" or not guest.kernels:
            unknown = _unknown(guest)
            warned(vm, "%s", unknown.message)
            return _described(vm, guest, [unknown]).having(devices=devices)
        actions = fixes.plan(running, vm, guest, devices, options.agent_packages)
        fixes.gate(guest, actions)
        if write:
            fixes.apply(running, actions)
            fixes.verify(running, guest, devices)
        found = list(fixes.findings(running, vm, guest)) if write else []
    for finding in found:
        if finding.severity == "warn":
            warned(vm, "%s", finding.message)
    changes = tuple(action.change for action in actions)
    useful = [f for f in found if f.severity == "warn"]
    return _described(vm, guest, useful).having(devices=devices, changes=changes)


def _top_layer(disk: Disk) -> tuple[LayerName, Layer]:
    name = top(disk)
    layer = layer_of(disk, name) if name else None
    if name is None or layer is None:
        raise SourceError(
            f"disk {disk.id} has no content", "see what v2v-inspect says of its file"
        )
    return name, layer


def _is_writable(vm: VM) -> bool:
    """Whether the topmost layers may be written.  Raises TargetError if only some."""
    found = {not _top_layer(disk)[1].readonly for disk in vm.disks}
    if len(found) > 1:
        raise TargetError(
            "some disks of the VM can be written and others not",
            "run v2v-export --overlay, or v2v-convert, on all of them",
        )
    return found.pop()


def _kept(vm: VM, work: VM, scratch: Sequence[tuple[Disk, Path]], made: int) -> Done:
    """Return *work* with the scratch overlays as its overlays, over what was on top."""
    disks = []
    for disk, file in scratch:
        final = file.with_name(f"{disk.id}.qcow2")
        file.rename(final)
        overlay = Layer(
            server="qemu",
            path=str(final),
            format="qcow2",
            over=top(disk),
            readonly=False,
            generation=made,
        )
        disks.append(disk.having(overlay=overlay))
    engine.flush(scratch[0][1].parent)
    return Done(vm=work.having(disks=tuple(disks)), made=made)


def _committed(vm: VM, journal: _Journal, access: Access) -> Done:
    """Write what the scratch overlays hold into the disks; return *vm* with it.

    May be broken off and done again: each cluster is written as it shall be.
    """
    record = journal.read()
    made = int(record["made"])
    disks = []
    for disk in vm.disks:
        file = journal.folder / f"{disk.id}.scratch.qcow2"
        name, layer = _top_layer(disk)
        if file.exists():
            _commit(disk, file, access)
        changed = {name: layer.having(generation=made)}
        if name == "endpoint" and disk.overlay and layer.over == "overlay":
            changed["overlay"] = disk.overlay.having(generation=made)
        if name == "target" and layer.path:
            engine.flush(Path(layer.path))
            ownership.noted(Path(layer.path), vm.id)
        disks.append(disk.having(**changed))
    journal.remove(vm)
    return Done(vm=_recorded(vm, record).having(disks=tuple(disks)), made=made)


def _commit(disk: Disk, file: Path, access: Access) -> None:
    below = layers.graph(disk, access, write=True)
    made = layers.stacked(file, below, write_below=True)
    command = ["qemu-img", "commit", "-q", "-d", "-t", "writeback"]
    try:
        process.run([*command, *layers.objects(made), layers.argument(made)])
    except process.ToolError as e:
        raise TargetError(
            f"disk {disk.id}: the changes could not be written: {e.message}",
            "make room, then run the same command again: it completes them",
        ) from e


def _recorded(vm: VM, record: dict[str, Any]) -> VM:
    """Return *vm* with what the journal's run found out and did."""
    work = record["work"]
    return vm.having(
        guest=Guest.model_validate_json(json.dumps(work["guest"])),
        devices=Devices.model_validate_json(json.dumps(work["devices"])),
        changes=tuple(
            Change.model_validate_json(json.dumps(c)) for c in work["changes"]
        ),
        findings=tuple(
            Finding.model_validate_json(json.dumps(f)) for f in work["findings"]
        ),
        firmware=work["firmware"],
        firmware_known=work["firmware_known"],
    )


class _Journal:
    """The note that scratch overlays are finished and have to be committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent

    def read(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.path.read_text())
        return record

    def fits(self, vm: VM) -> bool:
        """Whether there is a commit to complete for *vm* as it is."""
        if not self.path.exists():
            return False
        record = self.read()
        return bool(record["took"] == vm.generation) and _is_writable(vm)

    def write(self, vm: VM, work: VM, made: int) -> None:
        assert work.guest and work.devices
        record = {
            "took": vm.generation,
            "made": made,
            "work": {
                "guest": work.guest.model_dump(mode="json"),
                "devices": work.devices.model_dump(mode="json"),
                "changes": [c.model_dump(mode="json") for c in work.changes],
                "findings": [f.model_dump(mode="json") for f in work.findings],
                "firmware": work.firmware,
                "firmware_known": work.firmware_known,
            },
        }
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            part.write_text(json.dumps(record))
            engine.flush(part)
            part.rename(self.path)
            engine.flush(self.folder)
        except OSError as e:
            raise HostError(
                f"{self.path}: {e.strerror}", "name another folder with --work"
            ) from e

    def remove(self, vm: VM) -> None:
        # The journal first: without it the overlays mean nothing.
        self.path.unlink(missing_ok=True)
        engine.flush(self.folder)
        for disk in vm.disks:
            (self.folder / f"{disk.id}.scratch.qcow2").unlink(missing_ok=True)
