# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's domain XML: from virsh dumpxml, /etc/libvirt, or written by virt-v2v.

Sources: formatdomain.html and src/conf/domain_conf.c of libvirt.  The file may be
hostile: no DTD, no entities, no network.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lxml import etree

from v2v import paths
from v2v.document import VM, Cpu, Finding, Firmware, Source
from v2v.errors import SourceError
from v2v.sources import Request, descriptions, new_id
from v2v.sources.descriptions import caution, number
from v2v.sources.libvirtxml import devices as libvirtdevices
from v2v.sources.libvirtxml import drives as libvirtdrives
from v2v.sources.libvirtxml.drives import Element, attribute, text

_MAX_FILE = 16 * 2**20
_DEFAULT_MEMORY = 2**30
# Elements that hold a <domain>.
_WRAPPERS = ("node", "domains", "domstatus", "domainsnapshot", "domaincheckpoint")
_ROOT = re.compile(rb"<(domain|" + "|".join(_WRAPPERS).encode() + rb")[\s/>]")
_UEFI = re.compile(r"ovmf|aavmf|edk2|uefi", re.IGNORECASE)
_LIBOSINFO = "{http://libosinfo.org/xmlns/libvirt/domain/1.0}"


def claims(location: str) -> bool:
    """See sources.Source."""
    return location.lower().endswith(".xml")


def is_domain(path: Path) -> bool:
    """Whether *path* is named as XML and starts as one of libvirt's does."""
    if not claims(path.name):
        return False
    return _ROOT.search(descriptions.head(path)) is not None


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, _MAX_FILE, "a domain XML")
    for domain in domains(data, str(path)):
        vm = machine(domain, Source(kind="libvirtxml", location=str(path)))
        vm = _located(vm, domain, path.parent, request)
        yield paths.granted(vm, path.parent)


def domains(data: bytes, name: str) -> list[Element]:
    """Return the <domain> elements of the XML *data*; *name* is for messages.

    Raises SourceError for what is no such XML, or has a document type.
    """
    # UTF-16 puts zeroes between.
    if b"<!DOCTYPE" in data.replace(b"\0", b""):
        raise _typed(name)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as e:
        reason = str(getattr(e, "msg", e)).partition("\n")[0]
        raise SourceError(
            f"{name} is not well-formed XML: {reason}", "copy it again from the source"
        ) from e
    if root.getroottree().docinfo.internalDTD is not None:
        raise _typed(name)
    found = [root] if root.tag == "domain" else []
    if root.tag in _WRAPPERS:
        found = root.findall("domain")
    if not found:
        raise SourceError(
            f"{name} is no domain XML of libvirt: its root is {root.tag}",
            "write one with virsh dumpxml --inactive NAME",
        )
    return found


def _typed(name: str) -> SourceError:
    return SourceError(
        f"{name} has a document type declaration, which can pull in other files",
        "remove the <!DOCTYPE …>: libvirt never writes one",
    )


def machine(domain: Element, source: Source) -> VM:
    """Return the VM that *domain* describes; its disks are named as there."""
    _refuse(domain, source.location)
    vm_id = new_id()
    found, findings = libvirtdrives.described(domain)
    vcpus = _vcpus(domain) or 1
    return VM(
        id=vm_id,
        name=descriptions.name(text(domain, "name"), "unnamed"),
        uuid=_uuid(text(domain, "uuid")),
        genid=_uuid(text(domain, "genid")),
        description=text(domain, "description") or text(domain, "title") or None,
        arch=attribute(domain, "os/type", "arch") or "x86_64",
        memory=_memory(domain) or _DEFAULT_MEMORY,
        vcpus=vcpus,
        cpu=_cpu(domain, vcpus),
        firmware=_firmware(domain),
        # A paravirtual Xen guest has none: its disks decide.
        firmware_known=text(domain, "os/type") not in ("linux", "xen", "xenpvh"),
        secure_boot=_secure_boot(domain),
        tpm=domain.find("devices/tpm") is not None,
        clock=_clock(domain),
        display=libvirtdevices.display(domain),
        video=attribute(domain, "devices/video/model", "type"),
        sound=attribute(domain, "devices/sound", "model"),
        disks=tuple(found),
        removable=tuple(libvirtdrives.removable(domain)),
        nics=tuple(libvirtdevices.nics(domain, vm_id)),
        passthrough=tuple(libvirtdevices.passthrough(domain)),
        source=source.having(
            producer=domain.get("type"),
            hw_version=attribute(domain, "os/type", "machine"),
            os_hint=attribute(
                domain, f"metadata/{_LIBOSINFO}libosinfo/{_LIBOSINFO}os", "id"
            ),
        ),
        findings=(*findings, *_findings(domain)),
    )


def _refuse(domain: Element, location: str) -> None:
    """Raise SourceError for a container, and for more devices than a machine has."""
    if domain.get("type") in ("lxc", "openvz") or text(domain, "os/type") == "exe":
        raise SourceError(
            f"{location} describes a container, which has no kernel and no disks",
            "only virtual machines can be converted",
        )
    for kind, what in (("disk", "disks"), ("interface", "network cards")):
        count = len(domain.findall(f"devices/{kind}"))
        descriptions.limited(Path(location), count, what)


def _vcpus(domain: Element) -> int | None:
    """Return the most processors that the machine can have."""
    return descriptions.processors(number(text(domain, "vcpu")))


def _uuid(word: str) -> str | None:
    try:
        found = uuid.UUID(word)
    except ValueError:
        return None
    return str(found) if found.int else None


def _memory(domain: Element) -> int | None:
    """Return <memory> in bytes; None where it is missing or cannot be."""
    found = domain.find("memory")
    count = number(text(domain, "memory"))
    if found is None or not count:
        return None
    scale = _scale(found.get("unit", "KiB"))
    return descriptions.memory(count, scale) if scale else None


def _scale(unit: str) -> int | None:
    """Return the bytes of *unit*: KB is 1000, KiB and k are 1024 (virScaleInteger)."""
    word = unit.strip().lower()
    if word in ("b", "byte", "bytes"):
        return 1
    match = re.fullmatch(r"([kmgtpe])(b|ib)?", word)
    if not match:
        return None
    base = 1000 if match[2] == "b" else 1024
    return int(base ** ("kmgtpe".index(match[1]) + 1))


def _cpu(domain: Element, vcpus: int) -> Cpu:
    """Return the topology if it multiplies to *vcpus*; else only the model."""
    names = ("sockets", "dies", "clusters", "cores", "threads")
    found = {name: number(attribute(domain, "cpu/topology", name)) for name in names}
    product = math.prod(count or 1 for count in found.values())
    # Of x86 no processor has clusters.
    if (found.pop("clusters") or 1) > 1:
        product = 0
    nested = any(
        feature.get("name") in ("vmx", "svm") and feature.get("policy") != "disable"
        for feature in domain.findall("cpu/feature")
    )
    return Cpu(
        **(found if product == vcpus else {}),
        model=text(domain, "cpu/model") or None,
        nested=nested,
    )


def _firmware(domain: Element) -> Firmware:
    loader = domain.find("os/loader")
    if attribute(domain, "os", "firmware") == "efi":
        return "efi"
    if loader is not None:
        is_flash = loader.get("type") == "pflash"
        return "efi" if is_flash or _UEFI.search(loader.text or "") else "bios"
    return "efi" if domain.find("os/nvram") is not None else "bios"


def _secure_boot(domain: Element) -> bool:
    """Secure Boot needs both: code that enforces it, and enrolled keys."""
    features = {
        feature.get("name"): feature.get("enabled") == "yes"
        for feature in domain.findall("os/firmware/feature")
    }
    enforced = attribute(domain, "os/loader", "secure") == "yes"
    asked = features.get("secure-boot", enforced)
    return asked and features.get("enrolled-keys", True)


def _clock(domain: Element) -> Literal["utc", "localtime"]:
    """A guest whose clock follows a time zone expects local time in its clock."""
    clock = domain.find("clock")
    if clock is None:
        return "utc"
    local = clock.get("offset") in ("localtime", "timezone")
    return "localtime" if local or clock.get("basis") == "localtime" else "utc"


def _findings(domain: Element) -> Iterator[Finding]:
    if _memory(domain) is None:
        yield descriptions.memory_unknown("1 GiB")
    if text(domain, "vcpu") and _vcpus(domain) is None:
        yield descriptions.vcpus_unknown()
    if domain.find("devices/tpm") is not None:
        yield descriptions.tpm_lost()
    if domain.get("type") == "vmware" and domain.find("genid") is not None:
        yield caution(
            "genid-order",
            "libvirt's VMware driver writes the generation id in an order that is not "
            "the guest's; it is kept as written",
            "take it from the .vmx (vm.genid, vm.genidX) if software depends on it",
        )
    if domain.find("os/kernel") is not None:
        yield caution(
            "direct-kernel",
            "the VM starts a kernel from the source's host, not from its disk",
            "install a boot loader in the guest if it has none",
        )
    if domain.find("cpu/numa") is not None:
        yield descriptions.numa_lost()
    yield from _topology_findings(domain)
    yield from libvirtdevices.findings(domain)
    yield from _state_findings(domain)


def _topology_findings(domain: Element) -> Iterator[Finding]:
    vcpus = _vcpus(domain) or 1
    if domain.find("cpu/topology") is not None and not _cpu(domain, vcpus).sockets:
        yield caution(
            "topology-dropped", f"the CPU topology does not give {vcpus} processors"
        )


def _state_findings(domain: Element) -> Iterator[Finding]:
    """What wraps the domain says in which state it was written down."""
    wrapper = domain.getparent()
    if wrapper is None:
        return
    if wrapper.tag == "domstatus" and wrapper.get("state") in ("running", "paused"):
        yield Finding(
            code="running",
            severity="block",
            message="the VM was running when this was written; its disks may change",
            remedy="shut it down, or accept a torn copy: --allow running",
        )
    if wrapper.tag in ("domainsnapshot", "domaincheckpoint"):
        yield caution(
            "snapshot-description",
            "this describes the VM as of a snapshot; its disks are read as of now",
        )


def _located(vm: VM, domain: Element, folder: Path, request: Request) -> VM:
    """Return *vm* with its disks' files found, or a finding for each that is not."""
    placed = []
    findings = list(vm.findings)
    known = {finding.disk for finding in findings if finding.code == "disk-missing"}
    for disk, element in zip(vm.disks, libvirtdrives.elements(domain), strict=True):
        if disk.id in known:
            placed.append(disk)
            continue
        found, said = libvirtdrives.located(disk, element, folder, request)
        placed.append(found)
        findings += said
    return vm.having(disks=tuple(placed), findings=tuple(findings))
