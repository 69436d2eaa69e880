# SPDX-License-Identifier: GPL-2.0-or-later
"""XVA: the exports of XenServer and XCP-ng, a tar archive with ova.xml in front.

Source: xapi's export of its own database objects, as XML-RPC values.  All scalars are
text.  A VM's snapshots are VMs of their own there, and stay behind.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from v2v import paths
from v2v.document import (
    VM,
    Cpu,
    Disk,
    Finding,
    Firmware,
    Layer,
    Nic,
    Removable,
    Source,
    disk_id,
)
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE, ends
from v2v.mapping import xva
from v2v.sources import Request, descriptions, disks, macs, new_id, xvafolder

_NULL = "OpaqueRef:NULL"
_MAX_MEMORY = 2**50
_MAX_DEVICES = 1000

Snapshot = Mapping[str, Any]
# The objects of the database by their references, and the class of each.
Objects = Mapping[str, tuple[str, Snapshot]]


def claims(location: str) -> bool:
    """See sources.Source."""
    path = Path(location)
    if not path.is_file():
        return False
    if xvafolder.claims(path):
        return True
    head, _ = ends(path, 0, None)
    return re.match(rb"(\./)?ova\.xml\0", head) is not None


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    if xvafolder.claims(path):
        yield from xvafolder.read(path)
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
            findings.append(disks.missing(disk.id, str(path), error))
    return vm.having(findings=tuple(findings))


def parse(data: bytes, path: Path) -> list[VM]:
    """Return the VMs that *data*, the ova.xml of the archive *path*, describes.

    Raises SourceError if it is none, or a hostile one.
    """
    objects = _objects(data, path)
    found = [
        _machine(snapshot, objects, path)
        for kind, snapshot in objects.values()
        if kind == "VM" and not _true(snapshot.get("is_a_snapshot"))
    ]
    if not found:
        raise SourceError(
            f"{path} describes no VM", "export the VM again: xe vm-export"
        )
    return found


def _objects(data: bytes, path: Path) -> Objects:
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
    return {
        item["id"]: (str(item.get("class")), item["snapshot"])
        for item in items
        if isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and isinstance(item.get("snapshot"), dict)
    }


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


def _machine(machine: Snapshot, objects: Objects, path: Path) -> VM:
    vm_id = new_id()
    platform = _dict(machine, "platform")
    vcpus = min(_number(machine.get("VCPUs_at_startup")) or 1, 4096)
    cores = _number(platform.get("cores-per-socket"))
    fits = bool(cores) and vcpus % cores == 0
    hvm = bool(machine.get("HVM_boot_policy")) or machine.get("domain_type") == "hvm"
    return VM(
        id=vm_id,
        name=descriptions.name(_text(machine, "name_label"), path.stem),
        uuid=_uuid(_text(machine, "uuid")),
        description=_text(machine, "name_description") or None,
        memory=min(_number(machine.get("memory_static_max")), _MAX_MEMORY),
        vcpus=vcpus,
        cpu=Cpu(sockets=vcpus // cores, cores=cores) if fits else Cpu(),
        firmware=_firmware(machine),
        # A paravirtual Xen guest has none: its disks decide.
        firmware_known=hvm,
        secure_boot=platform.get("secureboot") == "true",
        tpm=bool(machine.get("VTPMs")),
        disks=tuple(_disks(machine, objects, path)),
        removable=tuple(_removable(machine, objects)),
        nics=tuple(_nics(machine, objects, vm_id)),
        source=Source(kind="xva", location=str(path)),
        findings=tuple(_findings(machine, objects)),
    )


def _firmware(machine: Snapshot) -> Firmware:
    return (
        "efi" if _dict(machine, "HVM_boot_params").get("firmware") == "uefi" else "bios"
    )


def _devices(
    machine: Snapshot, objects: Objects, key: str, order: str
) -> list[Snapshot]:
    """Return the objects that *key* of *machine* names, by the number in *order*."""
    references = machine.get(key)
    names = references if isinstance(references, list) else []
    known = [name for name in names if isinstance(name, str) and name in objects]
    found = [objects[name][1] for name in known]
    return sorted(found[:_MAX_DEVICES], key=lambda item: _number(item.get(order)))


def _disks(machine: Snapshot, objects: Objects, path: Path) -> Iterator[Disk]:
    index = 0
    for vbd in _devices(machine, objects, "VBDs", "userdevice"):
        reference = _text(vbd, "VDI")
        if vbd.get("type") != "Disk" or reference == _NULL:
            continue
        name = disk_id(_number(vbd.get("userdevice")) % _MAX_DEVICES)
        vdi = objects.get(reference, ("", {}))[1]
        size = min(_number(vdi.get("virtual_size")), MAX_SIZE)
        yield Disk(
            id=disk_id(index),
            bus="xen",
            slot=f"xv{name[1:]}",
            boot=1 if _true(vbd.get("bootable")) else None,
            size=size,
            readonly=vbd.get("mode") == "RO",
            source=Layer(server="xva", path=str(path), member=reference, length=size),
        )
        index += 1


def _removable(machine: Snapshot, objects: Objects) -> Iterator[Removable]:
    for vbd in _devices(machine, objects, "VBDs", "userdevice"):
        if vbd.get("type") == "CD":
            name = disk_id(_number(vbd.get("userdevice")) % _MAX_DEVICES)
            yield Removable(type="cdrom", bus="xen", slot=f"xv{name[1:]}")


def _nics(machine: Snapshot, objects: Objects, vm_id: str) -> Iterator[Nic]:
    for index, vif in enumerate(_devices(machine, objects, "VIFs", "device")):
        network = objects.get(_text(vif, "network"), ("", {}))[1]
        given = macs.parse(_text(vif, "MAC"))
        yield Nic(
            mac=given or macs.made(vm_id, index),
            mac_source="static" if given else "made",
            network=_text(network, "name_label") or None,
            slot=f"vif{_text(vif, 'device')[:8]}",
        )


def _findings(machine: Snapshot, objects: Objects) -> Iterator[Finding]:
    if not _number(machine.get("memory_static_max")):
        yield Finding(
            code="memory-unknown",
            severity="warn",
            message="the export gives no memory size",
            remedy="set it on the new host",
        )
    if machine.get("VTPMs"):
        yield descriptions.tpm_lost()
    if machine.get("power_state") in ("Suspended", "Running"):
        yield Finding(
            code="suspended",
            severity="block",
            message="the VM was exported with its memory, which cannot be taken over",
            remedy="shut it down and export it again, or accept the loss: --allow "
            "suspended",
        )
    snapshots = machine.get("snapshots")
    if isinstance(snapshots, list) and snapshots:
        yield Finding(
            code="snapshots-dropped",
            severity="warn",
            message=f"its {len(snapshots)} snapshots stay behind",
            remedy="keep the source if you may want to go back to one of them",
        )


def _dict(snapshot: Snapshot, key: str) -> Snapshot:
    found = snapshot.get(key)
    return found if isinstance(found, dict) else {}


def _text(snapshot: Snapshot, key: str) -> str:
    found = snapshot.get(key)
    return found if isinstance(found, str) else ""


def _number(value: object) -> int:
    """Return *value* as a number; 0 if it is none, or has more digits than sense."""
    return int(str(value)) if re.fullmatch(r"[0-9]{1,18}", str(value)) else 0


def _true(value: object) -> bool:
    return value in ("1", "true")


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
