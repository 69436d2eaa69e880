# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that a VirtualSystem describes, but for its disks and cards."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from v2v.document import Cpu, Finding, Firmware
from v2v.ovf import items, units, virtualbox
from v2v.ovf.items import Item
from v2v.ovf.text import Element, attribute, children, content, descendants, kind
from v2v.ovf.virtualbox import Extension

_MIB = 2**20
_DEFAULT_MEMORY = 2**30
_MAX_MEMORY = 2**46
_MAX_VCPUS = 4096
_MAX_TEXT = 65_536
# Those that a package may insist on; what is in some of them does not matter here.
_SECTIONS = {
    *("DiskSection", "NetworkSection", "VirtualHardwareSection", "ProductSection"),
    *("OperatingSystemSection", "EulaSection", "AnnotationSection", "InstallSection"),
    *("DeploymentOptionSection", "ResourceAllocationSection", "StartupSection"),
    *("SharedDiskSection", "BootDeviceSection", "IpAssignmentSection"),
    *("SnapshotsSection", "EnvironmentFilesSection", "PlacementSection"),
}
# oVirt's number for the chipset and firmware; the OVF has it one lower than the API.
_OVIRT_BIOS: dict[str, tuple[Firmware, bool]] = {
    "0": ("bios", False),
    "1": ("bios", False),
    "2": ("efi", False),
    "3": ("efi", True),
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The parts of a VirtualSystem that its description is made from."""

    system: Element
    items: tuple[Item, ...]
    config: Mapping[str, str]
    types: str
    identifier: str
    extension: Extension | None
    # Ids of items, in the order in which VMware boots from them.
    boot: tuple[str, ...] = ()

    def of_type(self, *types: int) -> list[Item]:
        """Return the items of one of *types*."""
        return [item for item in self.items if item.type in types]


def hardware(system: Element, configuration: str) -> Hardware:
    """Return the hardware of *system* in *configuration*.

    A VM without a hardware section has none.  Raises SourceError if there is more
    than any machine has.
    """
    section = next(children(system, "VirtualHardwareSection"), None)
    config: dict[str, str] = {}
    found: list[Item] = []
    facts = None
    if section is not None:
        found = items.read(section, configuration)
        facts = next(children(section, "System"), None)
        for entry in children(section, "Config", "ExtraConfig"):
            key = attribute(entry, "key").lower()
            config.setdefault(key, attribute(entry, "value"))
    return Hardware(
        system=system,
        items=tuple(found),
        config=config,
        types="" if facts is None else content(facts, "VirtualSystemType"),
        identifier="" if facts is None else content(facts, "VirtualSystemIdentifier"),
        extension=virtualbox.read(system),
        boot=tuple(_boot(system, {item.id for item in found})),
    )


def _boot(system: Element, known: set[str]) -> Iterator[str]:
    for section in children(system, "BootOrderSection"):
        if attribute(section, "instanceId") in known:
            yield attribute(section, "instanceId")


def name(found: Hardware, default: str) -> str:
    """Return the VM's name; *default* if it has none."""
    given = (
        content(found.system, "Name"),
        attribute(found.system, "id"),
        found.identifier,
        default,
    )
    cleaned = (re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip() for text in given)
    return next((text[:255] for text in cleaned if text), "unnamed")


def description(found: Hardware) -> str | None:
    """Return the person's own notes on the VM; None if there are none."""
    for section in children(found.system, "AnnotationSection"):
        return content(section, "Annotation")[:_MAX_TEXT] or None
    return None


def smbios_uuid(found: Hardware) -> str | None:
    """Return the UUID that the guest saw.  VMware leaves it out; None then."""
    if found.extension:
        return found.extension.uuid
    if producer(found) == "oVirt":
        try:
            return str(uuid.UUID(attribute(found.system, "id")))
        except ValueError:
            return None
    return None


def memory(found: Hardware) -> tuple[int, tuple[Finding, ...]]:
    """Return the memory in bytes, and a finding where that is our own choice."""
    for item in found.of_type(items.MEMORY):
        unit = item.get("AllocationUnits") or item.get("Units")
        quantity = item.get("VirtualQuantity")
        # A unit that is none occurs too ("count"); MiB is what is meant.
        unit = unit if units.factor(unit) else ""
        size = units.size(quantity, unit, default=_MIB, largest=_MAX_MEMORY)
        if size:
            return size, ()
    text = "the OVF gives no usable memory size; 1 GiB taken"
    return _DEFAULT_MEMORY, (
        Finding(
            code="memory-unknown",
            severity="warn",
            message=text,
            remedy="set the memory of the new VM",
        ),
    )


def vcpus(found: Hardware) -> tuple[int, Cpu, tuple[Finding, ...]]:
    """Return the number of CPUs, their topology, and a finding if it is our choice."""
    nested = found.config.get("nestedhvenabled", "").lower() == "true"
    for item in found.of_type(items.CPU):
        count = units.number(item.get("VirtualQuantity")) or _product(item)
        if 0 < count <= _MAX_VCPUS:
            return count, _topology(item, count, nested=nested), ()
    finding = Finding(
        code="vcpus-unknown",
        severity="warn",
        message="the OVF gives no usable number of CPUs; 1 taken",
        remedy="set the CPUs of the new VM",
    )
    return 1, Cpu(nested=nested), (finding,)


def _product(item: Item) -> int:
    """Return the CPUs that oVirt's three numbers make together; 0 if there are none."""
    sockets = units.number(item.get("num_of_sockets")) or 0
    cores = units.number(item.get("cpu_per_socket")) or 1
    return sockets * cores * (units.number(item.get("threads_per_cpu")) or 1)


def _topology(item: Item, count: int, *, nested: bool) -> Cpu:
    given = item.get("CoresPerSocket") or item.get("cpu_per_socket")
    cores = units.number(given) or 0
    threads = units.number(item.get("threads_per_cpu")) or 1
    if not cores or count % (cores * threads):
        return Cpu(nested=nested)
    sockets = count // (cores * threads)
    return Cpu(sockets=sockets, cores=cores, threads=threads, nested=nested)


def firmware(found: Hardware) -> tuple[Firmware, bool, bool]:
    """Return the firmware, whether the OVF says so, and whether secure boot is on."""
    secure = "true" in (
        found.config.get("bootoptions.efisecurebootenabled", "").lower(),
        found.config.get("uefi.secureboot.enabled", "").lower(),
    )
    word = found.config.get("firmware", "").lower()
    if word in ("bios", "efi"):
        return ("efi" if word == "efi" else "bios"), True, secure
    if found.extension:
        return found.extension.firmware, True, found.extension.secure_boot
    ovirt = _OVIRT_BIOS.get(content(found.system, "BiosType"))
    if ovirt:
        return ovirt[0], True, ovirt[1]
    return ("efi" if secure else "bios"), secure, secure


def boot_order(found: Hardware, item: Item) -> int | None:
    """Return when *item* is booted from, counted from 1; None if nothing says so."""
    # oVirt numbers the items, VMware has a section for each device in turn.
    number = units.number(item.get("BootOrder"))
    return number or (found.boot.index(item.id) + 1 if item.id in found.boot else None)


def tpm(found: Hardware) -> bool:
    """Whether the VM has a TPM."""
    return bool(
        found.of_type(items.TPM) or (found.extension and found.extension.tpm)
    ) or any("vtpm" in item.get("ResourceSubType").lower() for item in found.items)


def sound(found: Hardware) -> str | None:
    """Return the model of the sound card; None if there is none."""
    for item in found.of_type(items.SOUND):
        return items.word(item.get("ResourceSubType"), ()) or "default"
    return None


def os_hint(found: Hardware) -> str | None:
    """Return what the source calls the guest's system: often wrong, so only a hint."""
    for section in children(found.system, "OperatingSystemSection"):
        words = (
            attribute(section, "osType"),
            content(section, "OSType"),
            content(section, "Description"),
            attribute(section, "id"),
        )
        return next((word[:200] for word in words if word), None)
    return None


def arch(found: Hardware) -> str:
    """Return the processor's architecture, of which only the OS hint tells."""
    hint = (os_hint(found) or "").lower()
    is_arm = hint.startswith("arm") or "arm64" in hint or "aarch64" in hint
    return "aarch64" if is_arm else "x86_64"


def producer(found: Hardware) -> str | None:
    """Return which product wrote the OVF, as far as it can be seen."""
    root = found.system.getroottree().getroot()
    spaces = " ".join(root.nsmap.values()).lower()
    types = found.types.lower()
    if found.extension or "virtualbox" in types:
        return "VirtualBox"
    if "citrix" in spaces or types.startswith("xen"):
        return "XenServer"
    if "ovirt" in spaces or attribute(root, "version").startswith(("3.", "4.")):
        return "oVirt"
    return "VMware" if "vmware" in spaces or "vmx-" in types else None


def passthrough(found: Hardware) -> Iterator[str]:
    """Yield what the machine has and no other host can give it."""
    for item in found.items:
        subtype = item.get("ResourceSubType").lower()
        if re.search(r"passthrough$|nvdimm\.device|sriov", subtype) and (
            item.type not in items.DRIVES
        ):
            label = item.get("ElementName") or item.get("Caption") or item.id
            yield f"{label} ({subtype})"[:200]


def findings(found: Hardware) -> Iterator[Finding]:
    """Yield what of the machine cannot be taken over as it is."""
    word = found.config.get("firmware", "bios").lower()
    if word not in ("bios", "efi"):
        yield _finding(
            "firmware-unknown", f"firmware {word[:40]!r} is not known; BIOS taken"
        )
    if tpm(found):
        yield _finding(
            "tpm-state-lost",
            "the TPM's secrets stay behind: keys that are bound to it are asked for",
            "have the recovery keys of BitLocker or LUKS at hand",
        )
    for device in passthrough(found):
        yield _finding("device-lost", f"{device} cannot be taken over")
    if any(True for _ in descendants(found.system, "EulaSection")):
        yield Finding(
            code="eula",
            severity="info",
            message="the package has a licence agreement, which is not shown here",
            remedy="read it in the OVF: EulaSection",
        )


def unknown_sections(root: Element) -> Iterator[Finding]:
    """Yield a finding if the package insists on sections that we do not know."""
    unknown = {
        kind(child)[:100]
        for child in root.iter()
        if attribute(child, "required").lower() in ("true", "1")
        and kind(child).endswith("Section")
        and kind(child) not in _SECTIONS
    }
    if unknown:
        shown = ", ".join(sorted(unknown)[:10])
        yield _finding(
            "section-unknown",
            f"the package requires what is not known here: {shown}",
            "see in the OVF whether the VM needs that",
        )


def _finding(code: str, message: str, remedy: str = "") -> Finding:
    return Finding(code=code, severity="warn", message=message, remedy=remedy)
