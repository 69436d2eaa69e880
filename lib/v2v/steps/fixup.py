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
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from v2v import layers, paths, process, sandbox
from v2v.copying import engine, ownership
from v2v.document import (
    VM,
    Change,
    Devices,
    Disk,
    Finding,
    Guest,
    Layer,
    next_generation,
    top,
)
from v2v.errors import GuestError, HostError, SourceError, TargetError
from v2v.journal import Journal
from v2v.servers import Access
from v2v.stage import Done
from v2v.steps import inside
from v2v.steps.inside import Fixup

# What a qcow2 overlay grows by at least: bytes.
_CLUSTER = 2**16

log = logging.getLogger(__name__)


def fixup(vm: VM, options: Fixup, access: Access) -> Done:
    """Return *vm* with its guest fixed, and the devices that suit it.

    Raises GuestError if it cannot be done: then the disks are as before.
    """
    if not vm.disks:
        raise SourceError("the VM has no disk to fix", "attach it on the source")
    if options.dry_run:
        return _rehearsed(vm, options, access)
    writable = _is_writable(vm)
    folder = paths.work_folder(vm, options.work)
    vm = paths.granted(vm, folder)
    journal = Journal(vm, folder)
    if writable and journal.is_there():
        log.info("%s: completing the commit of an earlier run", vm.name)
        return _committed(vm, journal, access)
    return _fixed(vm, options, access, journal)


def _rehearsed(vm: VM, options: Fixup, access: Access) -> Done:
    """Say what would be done; change nothing."""
    with ExitStack() as stack:
        uris = [stack.enter_context(layers.served(d, access)) for d in vm.disks]
        work = inside.worked(vm, uris, options, write=False)
    for line in _plan(work):
        log.info("%s: %s", vm.name, line)
    return Done(vm=work, logged=False)


def _plan(work: VM) -> Iterator[str]:
    """Yield what would be done, and what that needs, in lines for people."""
    for change in work.changes:
        detail = f" ({change.after})" if change.kind in ("link", "run") else ""
        yield f"would {change.kind} {change.path}{detail}: {change.reason}"
        if change.kind == "edit":
            yield from (f"  - {line}" for line in (change.before or "").splitlines())
            yield from (f"  + {line}" for line in (change.after or "").splitlines())
    for fs in work.guest.filesystems if work.guest else ():
        if fs.needed:
            free = "" if fs.free is None else f", where {_size(fs.free)} are free"
            yield f"would need {_size(fs.needed)} on {fs.mountpoint}{free}"


def _size(count: int) -> str:
    return f"{-(-count // 2**10)} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"


def _fixed(vm: VM, options: Fixup, access: Access, journal: Journal) -> Done:
    try:
        with ExitStack() as stack:
            uris = [
                stack.enter_context(_written(d, journal.made(d, access), access))
                for d in vm.disks
            ]
            work = inside.worked(vm, uris, options, write=True)
        _prove_room(journal)
        for disk in vm.disks:
            engine.flush(journal.scratch(disk))
    except GuestError:
        _prove_room(journal)
        journal.remove()
        raise
    except BaseException:
        journal.remove()
        raise
    if not work.changes:
        journal.remove()
        return Done(vm=work)
    made = next_generation(vm)
    if _is_writable(vm):
        journal.write(work, made)
        return _committed(vm, journal, access)
    return _kept(work, journal, made)


def _prove_room(journal: Journal) -> None:
    """Raise HostError, and remove what was made, if the host's file system is full.

    A guest sees no more of it than an I/O error, which is no damage of its own
    (virt-v2v issue 90); and what it still had in its cache is lost without a word.
    """
    if shutil.disk_usage(journal.folder).free >= _CLUSTER:
        return
    journal.remove()
    raise HostError(
        f"{journal.folder.parent}: no room is left for what changes in the guest",
        "make room, or name another folder with --work",
    )


@contextmanager
def _written(disk: Disk, file: Path, access: Access) -> Iterator[str]:
    """Serve the scratch overlay *file* over *disk*, writable; yield the URI."""
    made = layers.stacked(file, layers.graph(disk, access))
    with layers.serving(made, write=True) as uri:
        layers.size(uri, disk)
        yield uri


def _is_writable(vm: VM) -> bool:
    """Whether the topmost layers may be written.  Raises TargetError if only some."""
    found = {not layers.topmost(disk)[1].readonly for disk in vm.disks}
    if len(found) > 1:
        raise TargetError(
            "some disks of the VM can be written and others not",
            "run v2v-export --overlay, or v2v-convert, on all of them",
        )
    return found.pop()


def _kept(work: VM, journal: Journal, made: int) -> Done:
    """Return *work* with the scratch overlays as its overlays, over what was on top."""
    disks = []
    for disk in work.disks:
        final = journal.folder.parent / f"{disk.id}.qcow2"
        journal.scratch(disk).rename(final)
        overlay = Layer(
            server="qemu",
            path=str(final),
            format="qcow2",
            over=top(disk),
            readonly=False,
            generation=made,
        )
        disks.append(disk.having(overlay=overlay))
    journal.remove()
    return Done(vm=work.having(disks=tuple(disks)), made=made)


def _committed(vm: VM, journal: Journal, access: Access) -> Done:
    """Write what the scratch overlays hold into the disks; return *vm* with it.

    May be broken off and done again: each cluster is written as it shall be.
    """
    record = journal.read()
    made = int(record["made"])
    sizes = record["work"].get("block_sizes", {})  # of an older version: none
    disks = []
    for disk in vm.disks:
        name, layer = layers.topmost(disk)
        _commit(disk, journal.scratch(disk), access)
        changed: dict[str, Any] = {name: layer.having(generation=made)}
        size = sizes.get(disk.id, disk.logical_block_size)
        changed["logical_block_size"] = size
        if name == "endpoint" and disk.overlay and layer.over == "overlay":
            changed["overlay"] = disk.overlay.having(generation=made)
        if name == "target" and layer.path:
            engine.flush(Path(layer.path))
            ownership.noted(Path(layer.path), vm.id)
        disks.append(disk.having(**changed))
    journal.remove()
    return Done(vm=_recorded(vm, record).having(disks=tuple(disks)), made=made)


def _commit(disk: Disk, file: Path, access: Access) -> None:
    below = layers.graph(disk, access, write=True)
    made = layers.stacked(file, below, write_below=True)
    command = ["qemu-img", "commit", "-q", "-d", "-t", "writeback"]
    try:
        within = sandbox.walls("qemu-img", made, write=True)
        asked = [*command, *layers.objects(made), layers.argument(made)]
        process.run(asked, within=within)
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
