# SPDX-License-Identifier: GPL-2.0-or-later
"""Parallels Desktop and Server: config.pvs in a bundle NAME.pvm, or a disk NAME.hdd.

Parallels documents none of it; what the keys and numbers mean was found in real files.
Paths are those of the Mac that it was made on; all files lie in the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

from v2v import maps
from v2v.document import (
    VM,
    Bus,
    Cpu,
    Disk,
    Finding,
    Layer,
    Nic,
    Removable,
    Source,
    disk_id,
)
from v2v.errors import SourceError
from v2v.ovf import text
from v2v.ovf.text import Element, children, content, descendants
from v2v.sources import Request, bare, descriptions, disks, macs, new_id, placing
from v2v.sources.parallels import hdd

_KIND = text.Kind(
    root="ParallelsVirtualMachine",
    what="machine of Parallels",
    remedy="name the .pvm folder, or the config.pvs in it",
)
_BUSES: Mapping[str, Bus] = {"0": "ide", "1": "scsi", "2": "sata", "3": "virtio"}
_MODELS = {"1": "rtl8029", "2": "e1000", "4": "virtio", "5": "e1000e"}
# How a card is attached: host-only, shared (NAT), bridged.
_NETWORKS = {"0": "internal", "1": "user", "2": "bridge"}
_BOOT_DISK, _BOOT_NETWORK = "6", "8"
# Of EfiEnabled: that of Macs with Apple silicon, whose guests are for ARM too.
_EFI_ARM = "5"
# Of EmulatedType: the device of the Mac itself.
_REAL = "0"
_OF_THE_HOST = (
    *("GenericPciDevice", "PciVideoAdapter", "GenericScsiDevice"),
    *("GenericNvmeDevice", "GenericDevice"),
)
_DEFAULT_MEMORY = 256 * descriptions.MIB
_MAX_NICS = 64


def claims(location: str) -> bool:
    """See sources.Source."""
    name = Path(location).name.lower()
    return name.endswith(".pvs") or name == hdd.DESCRIPTOR.lower()


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    # An absolute path of the Mac means a file in the bundle, by its base name.
    places = placing.Places(folder=path.parent, root=path.parent, allow=request.allow)
    if path.name.lower() == hdd.DESCRIPTOR.lower():
        disk = Disk(id=disk_id(0), boot=1, source=hdd.layer(path.parent, places))
        source = Source(kind="parallels", location=str(path))
        yield placing.placed(bare.machine(path.parent.stem, disk, source), places)
        return
    data = descriptions.content(path, text.MAX_SIZE, _KIND.what)
    vm, names = _parsed(data, path)
    found, findings = [], [*vm.findings, *_beside(path.parent, vm)]
    told = {finding.disk for finding in findings}
    for disk, name in zip(vm.disks, names, strict=True):
        if disk.id not in told:
            disk, said = _placed(disk, name, places)
            findings += said
        found.append(disk)
    vm = vm.having(disks=tuple(found), findings=tuple(findings))
    yield placing.placed(vm, places)


def _parsed(data: bytes, path: Path) -> tuple[VM, list[str]]:
    """Return what parse() does.  Its error tells of the copy that Parallels keeps."""
    try:
        return parse(data, path)
    except SourceError as e:
        copy = disks.beside(path.parent, f"{path.name}.backup")
        if copy.is_file():
            e.remedy += f"; or try {copy.name}, under the name {path.name}"
        raise


def _placed(
    disk: Disk, name: str, places: placing.Places
) -> tuple[Disk, list[Finding]]:
    """Return *disk* with its layer, or a finding why there is none."""
    try:
        bundle = placing.find(name, places)
    except SourceError as e:
        if disks.exists(name, places.folder):
            raise
        return disk, [disks.missing(disk.id, name, e)]
    try:
        layer: Layer = hdd.layer(bundle, places)
    except hdd.UnreadError as e:
        return disk, [descriptions.unreadable(disk, name, e.message, e.remedy)]
    return disk.having(source=layer), []


def _beside(folder: Path, vm: VM) -> Iterator[Finding]:
    """Yield what the other files of the bundle of *vm* say; not what macOS adds."""
    try:
        files = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
    except OSError:
        return
    if vm.firmware == "efi" and any(f.name.lower() == "nvram.dat" for f in files):
        yield descriptions.nvram_lost("they are in NVRAM.dat")
    if any(f.suffix.lower() in (".sav", ".mem") and f.is_file() for f in files):
        yield descriptions.suspended()
    named = [f for f in files if f.name.lower() == "snapshots.xml" and f.is_file()]
    # What a link leads to, nobody has named.
    for file in [f for f in named if not f.is_symlink()][:1]:
        data = descriptions.content(file, text.MAX_SIZE, "a list of snapshots")
        kind = text.Kind(
            root="ParallelsSavedStates",
            what="list of snapshots of Parallels",
            remedy="move it away if the machine has no snapshots",
        )
        root, _ = text.tree(data, str(file), kind)
        names = [content(item, "Name") for item in descendants(root, "SavedStateItem")]
        yield from descriptions.snapshots([name for name in names if name])


def parse(data: bytes, path: Path) -> tuple[VM, list[str]]:
    """Return the VM that the config.pvs *data* of *path* describes, and the base names
    of its disks; nothing else is opened.

    Raises SourceError if this is no such file, or the machine is encrypted.
    """
    if data.lstrip()[:1] == b"[":
        raise SourceError(
            f"{path} is of Parallels Workstation 2 to 4, which is not read",
            "name the machine's disk image itself",
        )
    root, _ = text.tree(data, str(path), _KIND)
    if _at(root, "Settings", "VmEncryptionInfo", "Enabled") == "1":
        raise SourceError(f"{path} is encrypted", "decrypt the VM in Parallels first")
    vm_id = new_id()
    told = list(_disks(root, path))
    nics = tuple(_nics(root, vm_id))
    media = tuple(_removable(root))
    firmware = _at(root, "Settings", "Startup", "Bios", "EfiEnabled")
    efi = firmware not in ("", "0")
    vm = VM(
        id=vm_id,
        name=descriptions.name(_at(root, "Identification", "VmName"), path.parent.stem),
        uuid=descriptions.uuid_of(_at(root, "Identification", "VmUuid")),
        description=_at(root, "Settings", "General", "VmDescription") or None,
        memory=_memory(root) or _DEFAULT_MEMORY,
        vcpus=_vcpus(root) or 1,
        cpu=Cpu(nested=_at(root, "Hardware", "Cpu", "VirtualizedHV") == "1"),
        arch="aarch64" if firmware == _EFI_ARM else "x86_64",
        firmware="efi" if efi else "bios",
        secure_boot=efi
        and _at(root, "Settings", "Startup", "Bios", "EfiSecureBoot") == "1",
        tpm=_has_tpm(root),
        sound=None if next(_enabled(root, "Sound"), None) is None else "ich6",
        disks=tuple(disk for disk, _, _ in told),
        removable=media,
        nics=nics,
        source=_source(root, path),
        findings=(
            *(f for _, _, said in told for f in said),
            *_findings(root),
            *_of_cards(nics),
            *descriptions.medium_lost(media),
        ),
    )
    return vm, [name for _, name, _ in told]


def _at(element: Element, *names: str) -> str:
    """Return the text at the path *names* below *element*; or nothing."""
    *above, last = names
    for name in above:
        found = next(children(element, name), None)
        if found is None:
            return ""
        element = found
    return content(element, last)


def _memory(root: Element) -> int | None:
    count = descriptions.number(_at(root, "Hardware", "Memory", "RAM"))
    return descriptions.memory(count)


def _vcpus(root: Element) -> int | None:
    count = descriptions.number(_at(root, "Hardware", "Cpu", "Number"))
    return descriptions.processors(count)


def _has_tpm(root: Element) -> bool:
    return _at(root, "Hardware", "TpmChip", "Type") not in ("", "0")


def _enabled(root: Element, name: str) -> Iterator[Element]:
    """Yield the devices *name* that exist; Connected is their medium or cable."""
    for hardware in children(root, "Hardware"):
        for device in children(hardware, name):
            if content(device, "Enabled") == "1":
                yield device


def _place(device: Element) -> tuple[Bus, str]:
    """Return the bus and the slot of *device*."""
    bus = _BUSES.get(content(device, "InterfaceType"), "unknown")
    return bus, f"{bus}:{content(device, 'StackIndex') or '0'}"


def _disks(root: Element, path: Path) -> Iterator[tuple[Disk, str, list[Finding]]]:
    """Yield each hard disk, the name of its bundle, and what cannot be had.

    That is the base name, unless the user says where its folder is.
    """
    found = list(_enabled(root, "Hdd"))
    descriptions.limited(path, len(found))
    for index, device in enumerate(found):
        bus, slot = _place(device)
        boot = _boot(root, _BOOT_DISK, content(device, "Index") or "0")
        disk = Disk(id=disk_id(index), bus=bus, slot=slot, boot=boot)
        given = content(device, "SystemName")
        name = given if maps.find(given) else disks.base(given)
        said = []
        if content(device, "Encrypted") == "1":
            said = [descriptions.encrypted(disk, name, "decrypt it in Parallels first")]
        elif (
            content(device, "Passthrough") == "1"
            or content(device, "EmulatedType") == _REAL
            or not name
        ):
            reason, remedy = "it is a disk of the host", "copy it into a file there"
            said = [descriptions.unreadable(disk, name, reason, remedy)]
        yield disk, name, said


def _boot(root: Element, kind: str, index: str) -> int | None:
    """Return when the firmware tries device *index* of *kind*; None if it does not."""
    ranked = sorted(
        (descriptions.number(content(device, "BootingNumber")) or 0, n, device)
        for n, device in enumerate(descendants(root, "BootDevice"))
        if content(device, "InUse") == "1"
    )
    for place, (_, _, device) in enumerate(ranked, 1):
        if (content(device, "Type"), content(device, "Index") or "0") == (kind, index):
            return place
    return None


def _removable(root: Element) -> Iterator[Removable]:
    for name, kind in (("CdRom", "cdrom"), ("Fdd", "floppy")):
        for device in _enabled(root, name):
            bus, slot = _place(device)
            real = content(device, "EmulatedType") == _REAL
            yield Removable(
                type=cast(Literal["cdrom"], kind),
                bus=bus,
                slot=slot,
                path=None
                if real
                else disks.base(content(device, "SystemName")) or None,
                connected=content(device, "Connected") == "1",
            )


def _nics(root: Element, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    for index, card in enumerate(_enabled(root, "NetworkAdapter")):
        if index >= _MAX_NICS:
            return
        mac = macs.parse(content(card, "MAC"))
        network = content(card, "VirtualNetworkID") or content(card, "AdapterName")
        kind = _NETWORKS.get(content(card, "EmulatedType"), "none")
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=_MODELS.get(content(card, "AdapterType")),
            type=cast(Literal["bridge"], kind),
            network=network or None,
            connected=content(card, "Connected") == "1",
            boot=_boot(root, _BOOT_NETWORK, content(card, "Index") or "0"),
        )


def _source(root: Element, path: Path) -> Source:
    version = content(root, "AppVersion")
    return Source(
        kind="parallels",
        location=str(path),
        hw_version=f"parallels-{version}" if version else None,
        os_hint=_at(root, "Settings", "General", "OsNumber") or None,
    )


def _findings(root: Element) -> Iterator[Finding]:
    if _memory(root) is None:
        yield descriptions.memory_unknown("256 MiB")
    if _vcpus(root) is None:
        yield descriptions.vcpus_unknown()
    if _has_tpm(root):
        yield descriptions.tpm_lost()
    lost = [name for name in _OF_THE_HOST for _ in _enabled(root, name)]
    lost += [
        f"{name}, a port of the Mac"
        for name in ("Serial", "Parallel")
        for port in _enabled(root, name)
        if content(port, "EmulatedType") == _REAL
    ]
    yield from descriptions.devices_lost(lost)


def _of_cards(nics: tuple[Nic, ...]) -> Iterator[Finding]:
    """Yield what is to be said of the network cards *nics*."""
    for number, nic in enumerate(nics, 1):
        if nic.mac_source == "made":
            yield descriptions.mac_made(f"network card {number}")
        if nic.type == "none":
            why = "is attached in a way that is not known"
            yield descriptions.unattached(f"network card {number}", why)
