# SPDX-License-Identifier: GPL-2.0-or-later
"""OVF packages: an .ova archive, or an .ovf with its files beside it.

VMware, VirtualBox, oVirt and XenServer write them, each in its own way; see v2v.ovf.
An OVF that holds a collection gives a VM for each of its members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from v2v import digests, paths
from v2v.document import (
    VM,
    Bus,
    Digest,
    Disk,
    File,
    Finding,
    Layer,
    Source,
    disk_id,
)
from v2v.errors import SourceError
from v2v.mapping.zipped import is_zip
from v2v.ovf import (
    archive,
    certificate,
    devices,
    envelope,
    items,
    layers,
    machine,
    manifest,
    package,
    text,
)
from v2v.ovf.envelope import DiskRef, Envelope
from v2v.ovf.items import Item, Place
from v2v.ovf.machine import Hardware
from v2v.ovf.package import Package
from v2v.sources import Request, descriptions, new_id
from v2v.sources.disk import RAW_SUFFIXES, SUFFIXES

# Comments of any length may stand before the root element.
_HEAD = 65_536
_PACKED = {
    b"\x1f\x8b": "gzip -dc",
    b"\xfd7zXZ\0": "xz -dc",
    b"(\xb5/\xfd": "zstd -dc",
    b"BZh": "bzip2 -dc",
}
_PACKED_SUFFIXES = (".ova.gz", ".ova.xz", ".ova.zst", ".ova.bz2")
_DISKS = (*SUFFIXES, *RAW_SUFFIXES)
_INTERFACES: dict[str, Bus] = {
    "ide": "ide",
    "virtio": "virtio",
    "virtio_scsi": "scsi",
    "sata": "sata",
}


def claims(location: str) -> bool:
    """See sources.Source.

    A guest writes what it likes into its raw disk, tar and XML too, so content counts
    only in a file that is called an archive or is too small for a disk.
    """
    path = Path(location)
    if "://" in location or not path.is_file():
        return False
    name = path.name.lower()
    if name.endswith((".ova", ".ovf")):
        return True
    head = _head(path)
    if name.endswith(".tar"):
        return archive.is_tar(head) and _holds_ovf(path, head)
    if name.endswith(".zip"):
        return is_zip(head)
    if _unpacker(head):
        return name.endswith(_PACKED_SUFFIXES)
    if path.suffix.lower() in _DISKS or path.stat().st_size > text.MAX_SIZE:
        return False
    return text.root_name(head) == "Envelope"


def _holds_ovf(path: Path, head: bytes) -> bool:
    """Whether the tar archive *path* has an OVF, which may be its last member."""
    first = archive.first_name(head)
    # That of an XVA has a million members.
    if first.endswith((".ovf", "ova.xml")):
        return first.endswith(".ovf")
    return any(name.lower().endswith(".ovf") for name in archive.index(path))


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    _refuse(path)
    found = package.of(path, request.allow)
    root, repaired = text.tree(found.ovf(), found.name)
    known = envelope.read(root, found.name, request.option)
    listed, common = _proofs(request, known, found)
    if repaired:
        common.append(
            _finding("xml-repaired", "warn", f"{found.name} uses undeclared prefixes")
        )
    common += machine.unknown_sections(root)
    try:
        vms = _vms(known, found)
    except SourceError:
        # That a file is not the one which was packed says more than what is odd in it.
        _compare(listed)
        raise
    used = {place for vm in vms for disk in vm.disks for place in _places(disk)}
    now = [d for d in listed if request.digests_now or (d.path, d.offset) not in used]
    _compare(now)
    later = [digest for digest in listed if digest not in now]
    for vm in vms:
        disks = tuple(_with_digests(disk, later) for disk in vm.disks)
        vm = vm.having(disks=disks, findings=(*common, *vm.findings))
        yield paths.granted(vm, found.path.parent)


def _proofs(
    request: Request, known: Envelope, found: Package
) -> tuple[list[Digest], list[Finding]]:
    """Return the digests of the package, and what is odd of them and its signature."""
    listed: list[Digest] = []
    common: list[Finding] = []
    hrefs = [file.href for file in known.files.values()]
    if request.verify_manifest:
        listed, common = manifest.listed(found, hrefs)
    if request.trust:
        common += certificate.verify(found, request.trust, listed, hrefs)
    else:
        common += certificate.unchecked(found)
    return listed, common


def _vms(known: Envelope, found: Package) -> list[VM]:
    machines = [machine.hardware(s, known.configuration) for s in known.systems]
    uses = Counter(
        item.get("HostResource") for m in machines for item in m.of_type(*items.DISKS)
    )
    vms: list[VM] = []
    names: set[str] = set()
    for number, one in enumerate(machines):
        vm = _vm(one, known, found, uses)
        # The name tells the VMs of one source apart: their ids are made from it.
        name = f"{vm.name[:240]} ({number + 1})" if vm.name in names else vm.name
        names.add(name)
        vms.append(vm.having(name=name))
    return vms


def _compare(wanted: Iterable[Digest]) -> None:
    """Raise SourceError if a file is not the one that a digest was made of."""
    for digest in wanted:
        # The package has found these files itself.
        digests.compare(digest, Path)


def _places(disk: Disk) -> Iterator[tuple[str, int]]:
    """Yield where the files of *disk* begin: path and offset."""
    if layer := disk.source:
        images: tuple[Layer | File, ...] = (layer, *layer.backing)
        for image in images:
            yield image.path or "", image.offset or 0
            for part in image.parts:
                yield part.path, part.offset


def _with_digests(disk: Disk, listed: Iterable[Digest]) -> Disk:
    """Return *disk* with those of the digests *listed* that are of its files."""
    places = set(_places(disk))
    own = tuple(d for d in listed if (d.path, d.offset) in places)
    if not disk.source or not own:
        return disk
    return disk.having(source=disk.source.having(digests=own))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the path") from e


def _unpacker(head: bytes) -> str:
    """Return the command that unpacks what starts with *head*; empty if none does."""
    return next((c for magic, c in _PACKED.items() if head.startswith(magic)), "")


def _refuse(path: Path) -> None:
    """Raise SourceError if *path* is compressed as a whole, or no file."""
    if not path.is_file():
        raise SourceError(f"{path} is no regular file", "check the path")
    if command := _unpacker(_head(path)):
        raise SourceError(
            f"{path} is compressed, so its disks cannot be read in place",
            f"unpack it first: {command} {path.name} >unpacked.ova",
        )


def _vm(found: Hardware, known: Envelope, place: Package, uses: Counter[str]) -> VM:
    """Return the VM *found*; *uses* counts how often each disk is plugged in."""
    vm_id = new_id()
    memory, no_memory = machine.memory(found)
    vcpus, cpu, no_vcpus = machine.vcpus(found)
    firmware, is_known, secure_boot = machine.firmware(found)
    placed = list(items.places(list(found.items)))
    disks, of_disks = _disks(found, placed, known, place, uses)
    drives, of_drives = devices.removable(placed, known, place)
    nics = tuple(devices.nics(found, vm_id))
    return VM(
        id=vm_id,
        name=machine.name(found, place.path.stem),
        uuid=machine.smbios_uuid(found),
        description=machine.description(found),
        arch=machine.arch(found),
        memory=memory,
        vcpus=vcpus,
        cpu=cpu,
        firmware=firmware,
        firmware_known=is_known,
        secure_boot=secure_boot,
        tpm=machine.tpm(found),
        clock="localtime" if found.extension and found.extension.local_time else "utc",
        sound=machine.sound(found),
        disks=disks,
        removable=drives,
        nics=nics,
        passthrough=tuple(machine.passthrough(found)),
        source=_source(found, place),
        findings=(
            *_option(known),
            *no_memory,
            *no_vcpus,
            *machine.findings(found),
            *of_disks,
            *of_drives,
            *devices.made(nics),
        ),
    )


def _source(found: Hardware, place: Package) -> Source:
    return Source(
        kind="ova" if isinstance(place, package.Archive) else "ovf",
        location=str(place.path),
        producer=machine.producer(found),
        hw_version=found.types[:200] or None,
        os_hint=machine.os_hint(found),
    )


def _option(known: Envelope) -> Iterator[Finding]:
    if len(known.configurations) > 1:
        others = ", ".join(known.configurations[:20])
        message = f"deployment option {known.configuration} taken, of {others}"
        yield _finding("deployment-option", "info", message)


def _disks(
    found: Hardware,
    placed: list[tuple[Item, Place]],
    known: Envelope,
    place: Package,
    uses: Counter[str],
) -> tuple[tuple[Disk, ...], list[Finding]]:
    """Return the hard disks in the order of the OVF, and what is odd of them."""
    count = sum(item.type in items.DISKS for item, _ in placed)
    descriptions.limited(place.path, count)
    properties = envelope.properties(found.system, known.configuration)
    made: list[Disk] = []
    findings: list[Finding] = []
    for item, at in placed:
        if item.type not in items.DISKS:
            continue
        name = disk_id(len(made))
        ref = envelope.disk_of(known, item.get("HostResource"), item.id)
        if ref is None:
            ref = _unlisted(item)
        capacity = envelope.capacity(ref, properties)
        bytes_ = layers.find(name, ref, capacity, known, place)
        at = _by_interface(ref, at)
        if at.bus == "unknown":
            text_ = f"{name} is plugged into no controller of the OVF"
            findings.append(_finding("bus-unknown", "warn", text_, name))
        findings += bytes_.findings
        made.append(
            Disk(
                id=name,
                bus=at.bus,
                model=at.model,
                slot=at.slot,
                boot=machine.boot_order(found, item) or (1 if ref.boot else None),
                size=bytes_.size,
                logical_block_size=bytes_.logical_block_size,
                shared=uses[item.get("HostResource")] > 1,
                source=bytes_.layer,
            )
        )
    return _booted(made), findings


def _unlisted(item: Item) -> DiskRef:
    """Return a blank disk as large as *item* itself says: it names none of the list."""
    unit = item.get("AllocationUnits")
    return DiskRef(id="", capacity=item.get("VirtualQuantity"), units=unit)


def _by_interface(ref: DiskRef, at: Place) -> Place:
    """Return *at*; but in oVirt's OVF the disk itself says what it is plugged into."""
    bus = _INTERFACES.get(ref.interface.lower())
    return Place(bus=bus) if bus else at


def _booted(made: list[Disk]) -> tuple[Disk, ...]:
    """Return the disks, of which the first is started from if none is marked."""
    if made and not any(disk.boot for disk in made):
        made[0] = made[0].having(boot=1)
    return tuple(made)


def _finding(
    code: str, severity: str, message: str, disk: str | None = None
) -> Finding:
    return Finding(
        code=code,
        severity="warn" if severity == "warn" else "info",
        message=message,
        disk=disk,
    )
