# SPDX-License-Identifier: GPL-2.0-or-later
"""Describe the VMs of the sources that a user named.

Every source gives at least one document: one that cannot be read gives a document
that says so, and the other sources are still described.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from v2v import layers, maps, metadata, sources, views
from v2v.document import VM, Disk, Failure, Source
from v2v.errors import SourceError, UsageError
from v2v.metadata import Store
from v2v.servers import Access
from v2v.sources import Request, macs, new_id
from v2v.sources.disks import missing as missing_disk
from v2v.stage import Done
from v2v.steps import preflight

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asked of v2v-inspect, besides the sources."""

    kind: str = ""
    guest: bool = True
    # What opens encrypted disks, SELECTOR:file:FILE each.
    keys: tuple[str, ...] = ()
    only: str = ""
    rename: str = ""
    # Whose signature an OVF must bear, see ovf.certificate.
    trust: str = ""
    # The most bytes that a packed source may hold.
    max_size: int | None = None
    macs: tuple[str, ...] = ()


def check(wanted: Wanted) -> None:
    """Raise UsageError or HostError if what the user gave can be of no use.

    The file of a key is read now.
    """
    for word in wanted.macs:
        if not macs.parse(word):
            raise UsageError(
                f"--mac {word!r}: no address of a network card",
                "write it as 52:54:00:12:34:56",
            )
    if wanted.trust:
        from v2v.ovf import certificate

        certificate.check_trust(wanted.trust)
    if wanted.keys:
        from v2v.guests import encryption

        encryption.keys(wanted.keys)


def describe(
    requests: Iterable[Request], wanted: Wanted, store: Store | None
) -> Iterator[VM]:
    """Yield a VM for each one that the sources of *requests* hold.

    One that *store* knows from an earlier run, and whose source has not changed, is
    yielded as it is known: that is how the same command resumes.
    """
    views.limits.most = wanted.max_size
    seen = preflight.Seen()
    for request in requests:
        for vm in _of_source(request, wanted):
            if wanted.only in ("", vm.name):
                vm = _adjusted(vm, wanted)
                yield _resumed(preflight.compared(vm, seen), store)


def _of_source(request: Request, wanted: Wanted) -> Iterator[VM]:
    try:
        for vm in sources.read(_viewed(request, wanted), wanted.kind):
            yield _identified(maps.granted(views.marked(vm)))
    except SourceError as e:
        e.message = views.named(e.message)
        log.error("error: %s%s", e.message, f"; {e.remedy}" if e.remedy else "")
        yield _unread(request, e)


def _viewed(request: Request, wanted: Wanted) -> Request:
    """Return *request* with the local file to read for what is packed."""
    location = sources.resolve(request.location)
    return replace(request, location=views.source(location))


def _unread(request: Request, e: SourceError) -> VM:
    """Return a document for a source that could not be read."""
    location = views.shown(request.location)
    name = Path(location).stem or location
    return VM(
        id=new_id(),
        name=name[:255],
        memory=0,
        source=Source(kind="unknown", location=location),
        error=Failure(
            stage="inspect", code=e.status, message=e.message, remedy=e.remedy
        ),
    )


def _adjusted(vm: VM, wanted: Wanted) -> VM:
    """Return *vm* with the name and the MAC addresses that the user wants."""
    if wanted.rename:
        vm = vm.having(name=wanted.rename)
    nics = list(vm.nics)
    for index, word in enumerate(wanted.macs[: len(nics)]):
        address = macs.parse(word) or nics[index].mac  # see check
        nics[index] = nics[index].having(mac=address, mac_source="static")
    return vm.having(nics=tuple(nics))


def _identified(vm: VM) -> VM:
    """Return *vm* with an id that is always the same for the same unchanged source.

    So a run that broke off is taken up by the same command, with or without a record
    of it, and outputs that bear the id are known again.  Addresses that we make depend
    on the id, and stay as well.
    """
    vm = _fingerprinted(vm)
    facts = (_host_id(), vm.source.location, vm.name, vm.source.fingerprint or "")
    vm_id = str(uuid.uuid5(uuid.NAMESPACE_URL, "v2v:" + "\0".join(facts)))
    nics = tuple(
        nic.having(mac=macs.made(vm_id, i)) if nic.mac_source == "made" else nic
        for i, nic in enumerate(vm.nics)
    )
    return vm.having(id=vm_id, nics=nics)


def _host_id() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _fingerprinted(vm: VM) -> VM:
    """Return *vm* with a mark that changes whenever a file of its source does."""
    found = hashlib.sha256()
    files = [vm.source.location]
    for layer in (disk.source for disk in vm.disks):
        if layer and layer.path:
            files.append(layer.origin or layer.path)
            files += [file.origin or file.path for file in layer.backing]
            files += [part.origin or part.path for part in layer.parts]
            lower = [part for file in layer.backing for part in file.parts]
            files += [part.origin or part.path for part in lower]
    for file in files:
        found.update(file.encode("utf-8", "surrogateescape"))
        found.update(views.mark(file).encode())
        # The names of files that are missing may be relative, and mean nothing here.
        if Path(file).is_absolute():
            found.update(_facts(Path(file)))
    return vm.having(source=vm.source.having(fingerprint=found.hexdigest()[:32]))


def _facts(file: Path) -> bytes:
    """Return what changes when *file* does, without reading it."""
    try:
        facts = file.stat()
    except (OSError, ValueError):
        return b"\0missing\n"
    return f"\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode()


def _resumed(vm: VM, store: Store | None) -> VM:
    """Return *vm* as *store* knows it, if what was made of it is still there."""
    known = metadata.find(store, vm.id) if store else None
    if known is None or not all(map(_stands, known.disks)):
        return vm
    # What failed then is tried again, by whichever stage it was.
    return known.having(error=None)


def _stands(disk: Disk) -> bool:
    """Whether the files that hold what was done to *disk* exist."""
    layers_ = (disk.target, None if disk.target else disk.overlay)
    return all(layer is None or Path(layer.path or "").exists() for layer in layers_)


def examine(vm: VM, access: Access, *, guest: bool, keys: tuple[str, ...] = ()) -> Done:
    """Return *vm* with the sizes of its disks and, if wanted, the guest inside.

    Raises SourceError if a disk cannot be read, or there is none to look into.
    """
    # A disk that cannot be had is said in its finding; all else is described.
    missing = {f.disk for f in vm.findings if f.disk and f.severity == "block"}
    for disk in vm.disks:
        if disk.id not in missing:
            vm = _measured(vm, disk, access)
    vm = preflight.judged(vm)
    blocked = any(f.disk and f.severity == "block" for f in vm.findings)
    if guest and not blocked:
        from v2v.steps import inside

        vm = inside.look(_with_disks(vm), access, keys)
    return Done(vm=vm)


def _with_disks(vm: VM) -> VM:
    if vm.disks:
        return vm
    raise SourceError(
        f"{vm.source.location} describes a VM without a disk",
        "attach its disk on the source, or describe it only: --no-guest",
    )


def _measured(vm: VM, disk: Disk, access: Access) -> VM:
    """Return *vm* with the size of *disk*, or a finding that it cannot be reached."""
    source = disk.source
    if source is None or (source.server == "blank" and disk.size):
        return vm
    try:
        size = layers.measured(disk, access, name="source")
    except SourceError as e:
        if source.server != "nbd" or vm.source.kind == "nbd":
            raise
        # A server that a description names: like a file that is not there.
        finding = missing_disk(disk.id, source.uri or "", e)
        return vm.having(findings=(*vm.findings, finding))
    disks = tuple(d.having(size=size) if d.id == disk.id else d for d in vm.disks)
    return vm.having(disks=disks)
