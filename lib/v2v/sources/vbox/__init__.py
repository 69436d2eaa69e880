# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtualBox .vbox files: the settings of one machine, as VirtualBox 3.1 to 7 write it.

Source: VirtualBox-settings.xsd and src/VBox/Main/xml/Settings.cpp, whose defaults hold
for what a file leaves out.  The machine is read as it is now, not as of a snapshot: the
attached image is the leaf of a tree of differencing images in the media registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from v2v.document import VM, Cpu, Finding, Firmware, Source
from v2v.errors import SourceError
from v2v.ovf import text
from v2v.ovf.text import Element, attribute, children, descendants, local
from v2v.sources import Request, descriptions, new_id, placing
from v2v.sources.vbox import devices as vboxdevices
from v2v.sources.vbox import drives as vboxdrives
from v2v.sources.vbox import registry as vboxregistry
from v2v.sources.vbox.devices import of, true

SUFFIXES = (".vbox", ".vbox-prev")
_KIND = text.Kind(
    root="VirtualBox",
    what="VirtualBox machine",
    remedy="name the .vbox in the machine's folder",
)
_VIDEO = {"vboxvga": "vbox", "vboxsvga": "vmvga", "vmsvga": "vmvga"}
_FIRMWARE = ("BIOS", "EFI", "EFI32", "EFI64", "EFIDUAL")
_DEFAULT_MEMORY = 128 * descriptions.MIB
_MAX_NICS = 36
_MAX_LOST = 64


def claims(location: str) -> bool:
    """See sources.Source."""
    if location.lower().endswith(".xml"):
        # VirtualBox 3 called them so; and VirtualBox.xml lists the machines.
        return text.root_name(descriptions.head(location)) == _KIND.root
    return location.lower().endswith(SUFFIXES)


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, text.MAX_SIZE, _KIND.what)
    vm, snapshots = parse(data, path, partial(vboxregistry.of_user, path, _KIND))
    places = placing.Places(
        folder=path.parent,
        root=path.parent,
        # Its own too: people copy all files of a machine into one folder.
        others=(path.parent / snapshots, path.parent / "Snapshots", path.parent),
        allow=request.allow,
    )
    yield placing.placed(vm, places)


def parse(
    data: bytes, path: Path, others: Callable[[], vboxregistry.Images] = dict
) -> tuple[VM, str]:
    """Return the VM that the .vbox *data* of *path* describes, and the name of the
    folder that its snapshots are in.

    Its disks have the file's names as their paths; *others* is asked for images that
    the file itself does not know; nothing else is opened.  Raises SourceError if this
    is no machine, an encrypted one, or one of before VirtualBox 3.1.
    """
    machine = _machine(data, path)
    vm_id = new_id()
    plugged = vboxdrives.plugged(machine, path, others)
    disks, findings = vboxdrives.described(machine, plugged)
    drives, unknown = vboxdrives.removable(plugged)
    hardware = vboxdrives.child(machine, "Hardware")
    cards = vboxdevices.cards(hardware)
    descriptions.limited(path, len(cards), "network cards", _MAX_NICS)
    nics = list(vboxdevices.nics(cards, vm_id, vboxdrives.boot(machine, "Network")))
    firmware = _firmware(hardware)
    vm = VM(
        id=vm_id,
        name=descriptions.name(attribute(machine, "name"), path.stem),
        uuid=_uuid(machine, hardware),
        description=text.content(machine, "Description") or None,
        arch=_arch(hardware),
        memory=_memory(hardware) or _DEFAULT_MEMORY,
        vcpus=_vcpus(hardware) or 1,
        cpu=Cpu(nested=_flag(hardware, "NestedHWVirt", "enabled")),
        firmware=firmware,
        secure_boot=firmware == "efi" and _flag(hardware, "SecureBoot", "enabled"),
        tpm=_has_tpm(hardware),
        clock="utc" if of(hardware, "RTC", "localOrUTC") == "UTC" else "localtime",
        video=_VIDEO.get(of(hardware, "Display", "controller").lower()),
        sound=_sound(hardware),
        disks=tuple(disks),
        removable=drives,
        nics=tuple(nics),
        passthrough=tuple(islice(vboxdevices.passthrough(hardware), _MAX_LOST)),
        source=_source(machine, path),
        findings=(
            *findings,
            *unknown,
            *_findings(machine, hardware),
            *vboxdevices.findings(machine, hardware, nics),
        ),
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
        return _known(found["Machine"], path)
    if "MachineEncrypted" in found:
        raise SourceError(
            f"{path} is encrypted", "remove the VM's encryption in VirtualBox first"
        )
    raise vboxregistry.listed(root, path)


def _known(machine: Element, path: Path) -> Element:
    """Return *machine*.  Raises SourceError if it is older than what is read here."""
    for holder in (machine, *children(machine, "Hardware")):
        if next(children(holder, "HardDiskAttachments", "DVDDrive"), None) is not None:
            raise SourceError(
                f"{path} is of a VirtualBox older than 3.1",
                "open the machine once in a newer VirtualBox, which converts the file",
            )
    return machine


def _flag(hardware: Element, element: str, name: str) -> bool:
    return true(of(hardware, element, name))


def _arch(hardware: Element) -> str:
    """VirtualBox 7.1 runs ARM machines too, and says so in Platform."""
    named = of(hardware, "Platform", "architecture").lower()
    return "aarch64" if "arm" in named else "x86_64"


def _memory(hardware: Element) -> int | None:
    return descriptions.memory(descriptions.number(of(hardware, "Memory", "RAMSize")))


def _vcpus(hardware: Element) -> int | None:
    """Return how many processors there are: one if it is not said."""
    word = of(hardware, "CPU", "count")
    return descriptions.processors(descriptions.number(word)) if word else 1


def _uuid(machine: Element, hardware: Element) -> str | None:
    """Return the UUID that the guest sees: a clone may have kept its elder's."""
    found = map(vboxdrives.uuid, (attribute(h, "uuid") for h in (hardware, machine)))
    return next(filter(None, found), None)


def _of_firmware(hardware: Element) -> str:
    return of(hardware, "Firmware", "type").upper() or "BIOS"


def _firmware(hardware: Element) -> Firmware:
    """EFI, EFI32, EFI64 and EFIDUAL are all EFI."""
    return "efi" if _of_firmware(hardware).startswith("EFI") else "bios"


def _has_tpm(hardware: Element) -> bool:
    return of(hardware, "TrustedPlatformModule", "type").lower() not in ("", "none")


def _sound(hardware: Element) -> str | None:
    if not _flag(hardware, "AudioAdapter", "enabled"):
        return None
    controller = of(hardware, "AudioAdapter", "controller").lower() or "ac97"
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


def _findings(machine: Element, hardware: Element) -> Iterator[Finding]:
    if _memory(hardware) is None:
        yield descriptions.memory_unknown("VirtualBox's 128 MiB")
    if _vcpus(hardware) is None:
        yield descriptions.vcpus_unknown()
    if attribute(machine, "stateFile"):
        yield descriptions.suspended()
    elif true(attribute(machine, "aborted")):
        yield descriptions.caution(
            "source-crashed",
            "the VM ended without being shut down, when it ran last",
            "start it once on the source and shut it down, if you can",
        )
    yield from descriptions.snapshots(list(_snapshots(machine)))
    if _has_tpm(hardware):
        yield descriptions.tpm_lost()
    yield from _of_its_firmware(hardware)


def _of_its_firmware(hardware: Element) -> Iterator[Finding]:
    if _of_firmware(hardware) == "EFI32":
        yield descriptions.caution(
            "firmware-unknown",
            "its UEFI is one of 32 bits, which KVM's machines have not",
            "make sure that the guest has a loader for 64 bits too (BOOTX64.EFI)",
        )
    elif _of_firmware(hardware) not in _FIRMWARE:
        yield descriptions.caution(
            "firmware-unknown",
            f"the firmware is called {_of_firmware(hardware):.60}, which is not known",
        )
    if _firmware(hardware) == "efi" and (nvram := of(hardware, "NVRAM", "path")):
        kept = f"{nvram:.200} is a file of VirtualBox's own kind"
        yield descriptions.nvram_lost(kept)


def _snapshots(machine: Element) -> Iterator[str]:
    """Yield the names of the snapshots; the last one is what the disks lie over."""
    current = vboxdrives.uuid(attribute(machine, "currentSnapshot"))
    for snapshot in descendants(machine, "Snapshot"):
        name = f"{attribute(snapshot, 'name'):.40}"
        here = current and vboxdrives.uuid(attribute(snapshot, "uuid")) == current
        yield f"{name} (current)" if here else name
