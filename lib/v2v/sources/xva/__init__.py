# SPDX-License-Identifier: GPL-2.0-or-later
"""XVA: the exports of XenServer and XCP-ng, a tar archive with ova.xml in front.

Source: xapi's export of its own database objects, as XML-RPC values.  All scalars are
text.  A VM's snapshots are VMs of their own there, and stay behind.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from v2v import paths
from v2v.document import VM, Cpu, Firmware, Source
from v2v.errors import SourceError
from v2v.formats import ends
from v2v.mapping import xva
from v2v.sources import Request, descriptions, new_id
from v2v.sources.disks import missing
from v2v.sources.xva import folder, state
from v2v.sources.xva.devices import (
    Objects,
    Snapshot,
    disks,
    nics,
    number,
    record,
    removable,
    text,
    true,
)

_DEFAULT_MEMORY = 256 * descriptions.MIB
_NESTED = ("nested-virt", "exp-nested-hvm")


def claims(location: str) -> bool:
    """See sources.Source."""
    path = Path(location)
    if not path.is_file():
        return False
    if folder.claims(path):
        return True
    head, _ = ends(path, 0, None)
    return re.match(rb"(\./)?ova\.xml\0", head) is not None


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    if folder.claims(path):
        yield from folder.read(path)
        return
    machines = parse(xva.description(path), path)
    present = xva.disks(path)
    for vm in machines:
        yield paths.granted(_checked(vm, path, present), path.parent)


def _checked(vm: VM, path: Path, present: frozenset[str]) -> VM:
    """Return *vm* with a finding for each disk that the archive lacks."""
    findings = list(vm.findings)
    for disk in vm.disks:
        name = (disk.source.member if disk.source else None) or ""
        if name not in present:
            error = SourceError(
                f"it has no data of {name}", "export the VM again with all its disks"
            )
            findings.append(missing(disk.id, str(path), error))
    return vm.having(findings=tuple(findings))


def parse(data: bytes, path: Path) -> list[VM]:
    """Return the VMs that *data*, the ova.xml of the archive *path*, describes.

    Raises SourceError if it is none, or a hostile one.
    """
    objects, version = _objects(data, path)
    machines = [
        snapshot
        for kind, snapshot in objects.values()
        if kind == "VM" and not true(snapshot.get("is_control_domain"))
    ]
    # A snapshot can be exported by itself.
    current = [m for m in machines if not state.is_snapshot(m)] or machines
    descriptions.limited(path, len(current), "machines")
    found = [_machine(machine, objects, version, path) for machine in current]
    if not found:
        raise SourceError(
            f"{path} describes no VM", "export the VM again: xe vm-export"
        )
    return found


def _objects(data: bytes, path: Path) -> tuple[Objects, Snapshot]:
    """Return the objects, and which product of which version exported them."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise SourceError(f"{path}: its ova.xml has a document type", "do not trust it")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = _value(etree.fromstring(data, parser))
    except etree.XMLSyntaxError as e:
        reason = " ".join(str(e.msg).split())[:200]
        raise SourceError(
            f"{path}: its ova.xml is no XML: {reason}", "export the VM again"
        ) from e
    items = root.get("objects") if isinstance(root, dict) else None
    if not isinstance(items, list):
        raise SourceError(f"{path}: its ova.xml lists no objects", "export it again")
    objects = {
        item["id"]: (str(item.get("class")), item["snapshot"])
        for item in items
        if isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and isinstance(item.get("snapshot"), dict)
    }
    return objects, record(root, "version")


def _value(element: etree._Element) -> Any:
    """Return an XML-RPC <value> as a dict, a list or text; lxml bounds its depth."""
    inner = next((child for child in element if isinstance(child.tag, str)), None)
    if inner is None:
        return element.text or ""
    if inner.tag == "struct":
        found = {}
        for member in inner.iterchildren("member"):
            value = member.find("value")
            found[member.findtext("name") or ""] = (
                "" if value is None else _value(value)
            )
        return found
    if inner.tag == "array":
        return [_value(value) for value in inner.iterfind("data/value")]
    return inner.text or ""


def _machine(machine: Snapshot, objects: Objects, version: Snapshot, path: Path) -> VM:
    vm_id = new_id()
    platform = record(machine, "platform")
    vcpus = descriptions.processors(number(machine.get("VCPUs_at_startup"))) or 1
    memory = descriptions.memory(number(machine.get("memory_static_max")), 1)
    hvm = bool(machine.get("HVM_boot_policy")) or machine.get("domain_type") == "hvm"
    cards = tuple(nics(machine, objects, vm_id))
    media = tuple(removable(machine, objects))
    return VM(
        id=vm_id,
        name=descriptions.name(text(machine, "name_label"), path.stem),
        uuid=descriptions.uuid_of(text(machine, "uuid")),
        genid=_genid(text(machine, "generation_id")),
        description=text(machine, "name_description") or None,
        memory=memory or _DEFAULT_MEMORY,
        vcpus=vcpus,
        cpu=_cpu(machine, vcpus),
        firmware=_firmware(machine),
        # A paravirtual Xen guest has none: its disks decide.
        firmware_known=hvm,
        secure_boot=platform.get("secureboot") == "true",
        tpm=state.has_tpm(machine),
        disks=tuple(disks(machine, objects, path)),
        removable=media,
        nics=cards,
        source=_source(machine, version, path),
        findings=(
            *state.findings(machine, objects, cards),
            *descriptions.medium_lost(media),
        ),
    )


def _firmware(machine: Snapshot) -> Firmware:
    return (
        "efi"
        if record(machine, "HVM_boot_params").get("firmware") == "uefi"
        else "bios"
    )


def _cpu(machine: Snapshot, vcpus: int) -> Cpu:
    platform = record(machine, "platform")
    cores = number(platform.get("cores-per-socket"))
    nested = any(true(platform.get(key)) for key in _NESTED)
    if not cores or vcpus % cores:
        return Cpu(nested=nested)
    return Cpu(sockets=vcpus // cores, cores=cores, nested=nested)


def _genid(word: str) -> str | None:
    """Return the generation id of two signed words, "low:high", as Xen's firmware gives
    it to the guest: both little-endian (hvmloader/acpi/build.c)."""
    words = word.split(":")
    if len(words) != 2 or not all(re.fullmatch(r"-?[0-9]{1,20}", w) for w in words):
        return None
    raw = b"".join((int(w) % 2**64).to_bytes(8, "little") for w in words)
    return str(uuid.UUID(bytes_le=raw)) if any(raw) else None


def _source(machine: Snapshot, version: Snapshot, path: Path) -> Source:
    product = f"{text(version, 'product_brand')} {text(version, 'product_version')}"
    config = record(machine, "other_config")
    hint = text(machine, "reference_label") or text(config, "base_template_name")
    number_of = text(version, "export_vsn")
    return Source(
        kind="xva",
        location=str(path),
        host=text(version, "hostname")[:255] or None,
        producer=product.strip()[:255] or None,
        hw_version=f"xva-{number_of:.20}" if number_of else None,
        os_hint=hint[:255] or None,
    )
