# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtualBox .vbox files: the settings of one machine, as VirtualBox 3.1 to 7 write it.

Source: VirtualBox-settings.xsd and src/VBox/Main/xml/Settings.cpp, whose defaults hold
for what a file leaves out.  The machine is read as it is now, not as of a snapshot: the
attached image is the leaf of a tree of differencing images in the media registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

from v2v.document import VM, Cpu, Finding, Firmware, Nic, Source
from v2v.errors import SourceError
from v2v.ovf import text
from v2v.ovf.text import Element, attribute, descendants, local
from v2v.sources import Request, descriptions, macs, new_id, placing, vboxdisks

SUFFIXES = (".vbox", ".vbox-prev")
_KIND = text.Kind(
    root="VirtualBox",
    what="VirtualBox machine",
    remedy="name the .vbox in the machine's folder",
)
# VirtualBox's way to attach a card: ours.
_NETWORKS = {
    "NAT": "user",
    "NATNetwork": "network",
    "BridgedInterface": "bridge",
    "HostOnlyInterface": "internal",
    "HostOnlyNetwork": "internal",
    "InternalNetwork": "internal",
    "GenericInterface": "none",
    "CloudNetwork": "none",
}
_VIDEO = {"vboxvga": "vbox", "vboxsvga": "vmvga", "vmsvga": "vmvga"}
_DEFAULT_NIC = "Am79C973"
_DEFAULT_MEMORY = 128 * descriptions.MIB
_MAX_NICS = 36


def claims(location: str) -> bool:
    """See sources.Source."""
    return location.lower().endswith(SUFFIXES)


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, text.MAX_SIZE, _KIND.what)
    vm, snapshots = parse(data, path)
    places = placing.Places(
        folder=path.parent,
        root=path.parent,
        others=(path.parent / snapshots, path.parent / "Snapshots"),
        allow=request.allow,
    )
    yield placing.placed(vm, places)


def parse(data: bytes, path: Path) -> tuple[VM, str]:
    """Return the VM that the .vbox *data* of *path* describes, and the name of the
    folder that its snapshots are in.

    Its disks have the file's names as their paths; nothing else is opened.  Raises
    SourceError if this is no machine, or an encrypted one.
    """
    machine = _machine(data, path)
    vm_id = new_id()
    disks, findings = vboxdisks.described(machine, path)
    hardware = vboxdisks.child(machine, "Hardware")
    vm = VM(
        id=vm_id,
        name=descriptions.name(attribute(machine, "name"), path.stem),
        uuid=vboxdisks.uuid(attribute(machine, "uuid")) or None,
        description=text.content(machine, "Description") or None,
        arch=_arch(hardware),
        memory=_memory(hardware) or _DEFAULT_MEMORY,
        vcpus=_vcpus(hardware),
        cpu=Cpu(nested=_flag(hardware, "NestedHWVirt", "enabled")),
        firmware=_firmware(hardware),
        secure_boot=_flag(hardware, "SecureBoot", "enabled"),
        tpm=_has_tpm(hardware),
        clock="utc" if _of(hardware, "RTC", "localOrUTC") == "UTC" else "localtime",
        video=_VIDEO.get(_of(hardware, "Display", "controller").lower()),
        sound=_sound(hardware),
        disks=tuple(disks),
        removable=tuple(vboxdisks.removable(machine)),
        nics=tuple(_nics(hardware, vm_id)),
        passthrough=tuple(_passthrough(hardware)),
        source=_source(machine, path),
        findings=(*findings, *_findings(machine, hardware)),
    )
    return vm, attribute(machine, "snapshotFolder") or "Snapshots"


def _machine(data: bytes, path: Path) -> Element:
    try:
        root, _ = text.tree(data, str(path), _KIND)
    except SourceError as e:
        previous = path.with_name(f"{path.stem}.vbox-prev")
        if path == previous or not previous.is_file():
            raise
        raise SourceError(
            e.message, f"VirtualBox's previous copy may be whole: name {previous}"
        ) from e
    found = {local(child): child for child in reversed(root)}
    if "Machine" in found:
        return found["Machine"]
    if "MachineEncrypted" in found:
        raise SourceError(
            f"{path} is encrypted", "remove the VM's encryption in VirtualBox first"
        )
    raise SourceError(f"{path} describes no machine", _KIND.remedy)


def _of(hardware: Element, element: str, name: str) -> str:
    """Return an attribute of the first *element* within *hardware*; or nothing."""
    found = next(descendants(hardware, element), None)
    return "" if found is None else attribute(found, name)


def _flag(hardware: Element, element: str, name: str) -> bool:
    return _of(hardware, element, name).lower() in ("true", "1")


def _arch(hardware: Element) -> str:
    """VirtualBox 7.1 runs ARM machines too, and says so in Platform."""
    named = _of(hardware, "Platform", "architecture").lower()
    return "aarch64" if "arm" in named else "x86_64"


def _memory(hardware: Element) -> int | None:
    return descriptions.memory(descriptions.number(_of(hardware, "Memory", "RAMSize")))


def _vcpus(hardware: Element) -> int:
    count = descriptions.number(_of(hardware, "CPU", "count"))
    return descriptions.processors(count) or 1


def _firmware(hardware: Element) -> Firmware:
    """EFI, EFI32, EFI64 and EFIDUAL are all EFI."""
    return (
        "efi" if _of(hardware, "Firmware", "type").upper().startswith("EFI") else "bios"
    )


def _has_tpm(hardware: Element) -> bool:
    return _of(hardware, "TrustedPlatformModule", "type").lower() not in ("", "none")


def _sound(hardware: Element) -> str | None:
    if not _flag(hardware, "AudioAdapter", "enabled"):
        return None
    controller = _of(hardware, "AudioAdapter", "controller").lower() or "ac97"
    return "ich6" if controller == "hda" else controller


def _source(machine: Element, path: Path) -> Source:
    root = machine.getparent()
    version = attribute(root, "version") if root is not None else ""
    return Source(
        kind="vbox",
        location=str(path),
        hw_version=f"virtualbox-{version}" if version else None,
        os_hint=attribute(machine, "OSType") or None,
    )


def _nics(hardware: Element, vm_id: str) -> Iterator[Nic]:
    """Yield the cards that are enabled; files list all slots that there are."""
    cards = [
        card
        for card in descendants(hardware, "Adapter")
        if attribute(card, "enabled") == "true"
    ]
    boot = (
        vboxdisks.boot(cast(Element, hardware.getparent()), "Network")
        if cards
        else None
    )
    for index, card in enumerate(cards[:_MAX_NICS]):
        kind, network = _network(card)
        mac = macs.parse(attribute(card, "MACAddress"))
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=attribute(card, "type") or _DEFAULT_NIC,
            type=cast(Literal["bridge"], kind),
            network=network,
            slot=attribute(card, "slot") or None,
            connected=attribute(card, "cable") != "false",
            boot=boot if index == 0 else None,
        )


def _network(card: Element) -> tuple[str, str | None]:
    """Return how *card* is attached: what lies in DisabledModes is not in use."""
    for mode in card:
        if local(mode) in _NETWORKS:
            return _NETWORKS[local(mode)], attribute(mode, "name") or None
    return "none", None


def _passthrough(hardware: Element) -> Iterator[str]:
    """Yield what belongs to the source's host: no other can give it."""
    for folder in descendants(hardware, "SharedFolder"):
        yield f"shared folder {attribute(folder, 'name'):.60}"
    for devices in descendants(hardware, "HostPci"):
        for device in descendants(devices, "Device"):
            yield f"host PCI device {attribute(device, 'host'):.60}"


def _findings(machine: Element, hardware: Element) -> Iterator[Finding]:
    if _memory(hardware) is None:
        yield descriptions.memory_unknown("VirtualBox's 128 MiB")
    if attribute(machine, "stateFile"):
        yield descriptions.suspended()
    names = [attribute(s, "name") for s in descendants(machine, "Snapshot")]
    yield from descriptions.snapshots(names)
    if _has_tpm(hardware):
        yield descriptions.tpm_lost()
    if _of(hardware, "Firmware", "type").upper() == "EFI32":
        yield descriptions.caution(
            "firmware-unknown",
            "its UEFI is one of 32 bits, which KVM's machines have not",
            "make sure that the guest has a loader for 64 bits too (BOOTX64.EFI)",
        )
    for name in _passthrough(hardware):
        yield descriptions.caution("device-lost", f"{name} cannot be taken over")
    for index, card in enumerate(_nics(hardware, "")):
        if card.type == "none":
            yield descriptions.caution(
                "nic-unattached",
                f"network card {index} is attached to nothing that is there elsewhere",
                "say where it goes with -n",
            )
