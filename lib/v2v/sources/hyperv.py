# SPDX-License-Identifier: GPL-2.0-or-later
"""Hyper-V machines, as Export-VM leaves them: .vmcx, or .xml before 2016.

Both hold the same tree of keys.  The export has the configuration in the folder
"Virtual Machines" and the disks in "Virtual Hard Disks" beside it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from v2v.document import VM, Cpu, Finding, Nic, Source
from v2v.errors import SourceError
from v2v.ovf import text as xml
from v2v.sources import (
    Request,
    descriptions,
    disks,
    hypervdisks,
    macs,
    new_id,
    placing,
    vmcx,
)
from v2v.sources.hypervdisks import branch, get, plugged, text
from v2v.sources.vmcx import Node, Value

_KIND = xml.Kind(
    root="configuration",
    what="Hyper-V configuration",
    remedy="name the .vmcx or .xml in the folder Virtual Machines of the export",
)
MACHINES = "virtual machines"
_HARD_DISKS = "Virtual Hard Disks"
_FIRMWARE = "_ac6b8dc1-3257-4a70-b1b2-a9c9215659ad_"
_NIC = "2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778"
_TPM = "736e6aa9-a3f8-49c0-9550-a963214d259a"
_DEFAULT_MEMORY = 512 * descriptions.MIB
# A file of saved state is there always from 2016 on; with a memory in it, it is large.
_EMPTY_STATE = 16 * descriptions.MIB
_MAX_NICS = 64


def claims(location: str) -> bool:
    """See sources.Source."""
    head = descriptions.head(location)
    if location.lower().endswith(".xml"):
        return xml.root_name(head) == _KIND.root
    return vmcx.matches(head) or location.lower().endswith(".vmcx")


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, vmcx.MAX_SIZE, _KIND.what)
    places = _places(path, request)
    vm = parse(data, path)
    chained = [hypervdisks.chained(disk, places) for disk in vm.disks]
    findings = (*vm.findings, *_beside(path, places.root))
    vm = vm.having(disks=tuple(chained), findings=findings)
    yield placing.placed(vm, places)


def _places(path: Path, request: Request) -> placing.Places:
    """Return where the disks may be: the folders of an export, and its own."""
    folder = path.parent
    root = folder.parent if folder.name.lower() == MACHINES else folder
    found = (disks.beside(place, _HARD_DISKS) for place in (root, folder))
    others = (*found, root, disks.beside(root, "Snapshots"))
    return placing.Places(folder=folder, root=root, others=others, allow=request.allow)


def _beside(path: Path, root: Path) -> Iterator[Finding]:
    """Yield what the files beside the configuration say."""
    checkpoints = disks.beside(root, "Snapshots")
    names = [f.stem for f in _files(checkpoints) if claims(str(f))]
    yield from descriptions.snapshots(names)
    own = [f for f in _files(path.parent) if f.stem.lower() == path.stem.lower()]
    own += _files(path.parent / path.stem)
    for file in own:
        least = {".vmrs": _EMPTY_STATE, ".vsv": 0, ".bin": 0}.get(file.suffix.lower())
        if least is not None and file.stat().st_size > least:
            yield descriptions.suspended()
            return


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:
        return []


def parse(data: bytes, path: Path) -> VM:
    """Return the VM that the configuration *data* of *path* describes.

    Its disks have the file's names as their paths; nothing else is opened.  Raises
    SourceError if this is no configuration, or one that cannot be moved.
    """
    found = vmcx.parse(data, str(path)) if vmcx.matches(data) else _tree(data, path)
    machine = branch(found, "configuration") or found
    if _says(machine, "disk_merge_pending"):
        raise SourceError(
            f"{path}: a merge of checkpoints is pending",
            "start the machine once on Hyper-V and wait until its disks are merged",
        )
    drives = list(hypervdisks.drives(machine))
    told = list(hypervdisks.described(drives, path))
    vm_id = new_id()
    place = _boot(machine, "harddrive")
    found_disks = [disk for disk, _ in told]
    if found_disks and place:
        found_disks[0] = found_disks[0].having(boot=place)
    return VM(
        id=vm_id,
        name=descriptions.name(text(machine, "properties", "name"), path.stem),
        uuid=_uuid(text(machine, _FIRMWARE, "bios_guid")),
        genid=_genid(text(machine, "global_settings", "devices", "generation_id")),
        description=text(machine, "properties", "notes").replace("\0", "") or None,
        memory=_memory(machine) or _DEFAULT_MEMORY,
        vcpus=_vcpus(machine) or 1,
        cpu=Cpu(nested=_true(machine, "settings", "processors", *_NESTED)),
        firmware="efi" if _generation(machine) == 2 else "bios",
        secure_boot=_generation(machine) == 2
        and _true(machine, _FIRMWARE, "secure_boot_enabled"),
        tpm=_has_tpm(machine),
        disks=tuple(found_disks),
        removable=tuple(hypervdisks.removable(drives)),
        nics=tuple(_nics(machine, vm_id)),
        source=_source(machine, path),
        findings=(*(f for _, said in told for f in said), *_findings(machine)),
    )


_NESTED = ("nested_virtualization", "enabled")


def _tree(data: bytes, path: Path) -> Node:
    root, _ = xml.tree(data, str(path), _KIND)
    return _node(root)


def _node(element: xml.Element) -> Node:
    """Return the children of *element* as keys.  Parsed XML is at most 256 deep."""
    found: Node = {}
    for child in element:
        found.setdefault(xml.local(child).lower(), _value(child))
    return found


def _value(element: xml.Element) -> Value:
    """Return the value of *element*; one without a type holds others."""
    kind = xml.attribute(element, "type").lower()
    word = (element.text or "").strip()
    if kind == "integer":
        return descriptions.number(word) or 0
    if kind == "bool":
        return word.lower() == "true"
    if kind in ("string", "bytes"):
        return word
    return _node(element)


def _says(machine: Node, name: str) -> bool:
    """Whether a key *name* is true anywhere."""
    rest: list[Node] = [machine]
    while rest:
        for key, value in rest.pop().items():
            if isinstance(value, dict):
                rest.append(value)
            elif key == name and value is True:
                return True
    return False


def _true(machine: Node, *names: str) -> bool:
    return get(machine, *names) in (True, 1)


def _count(machine: Node, *names: str) -> int | None:
    value = get(machine, *names)
    return value if isinstance(value, int) else None


def _generation(machine: Node) -> int:
    """Before 2012 R2 there was only the first, and no key that says so."""
    return 2 if _count(machine, "properties", "subtype") == 1 else 1


def _memory(machine: Node) -> int | None:
    """Return what the machine starts with; dynamic memory comes and goes."""
    return descriptions.memory(_count(machine, "settings", "memory", "bank", "size"))


def _vcpus(machine: Node) -> int | None:
    count = _count(machine, "settings", "processors", "count")
    return descriptions.processors(count)


def _uuid(word: str) -> str | None:
    try:
        return str(uuid.UUID(word))
    except ValueError:
        return None


def _genid(word: str) -> str | None:
    """Hyper-V writes the high word and then the low; the guest sees the low first,
    both little-endian."""
    digits = re.sub(r"[{}\-\s]", "", word)
    if not re.fullmatch(r"[0-9a-fA-F]{32}", digits):
        return None
    words = (int(digits[16:], 16), int(digits[:16], 16))
    return str(uuid.UUID(bytes_le=b"".join(w.to_bytes(8, "little") for w in words)))


def _boot(machine: Node, device: str) -> int | None:
    """Return when the firmware tries *device*, 1 first; None if it never does.

    UEFI keeps its order in variables, which are not read: the first disk is taken.
    """
    order = branch(machine, _FIRMWARE, "boot")
    if _generation(machine) == 2 or not order:
        return 1 if device == "harddrive" else None
    named = sorted((key, text(order, key).lower()) for key in order)
    devices = [name for key, name in named if key.startswith("device")]
    return devices.index(device) + 1 if device in devices else None


def _has_tpm(machine: Node) -> bool:
    """Each machine of generation 2 lists the device; one that is off has a version
    only."""
    found = [node for kind, node in plugged(machine) if kind == _TPM]
    return any(key != "vdevversion" for node in found for key in node)


def _nics(machine: Node, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards: all devices with an address, the legacy one too."""
    cards = [
        (kind, node)
        for kind, node in plugged(machine)
        if kind == _NIC or get(node, "MacAddress") is not None
    ]
    boot = _boot(machine, "network")
    for index, (kind, node) in enumerate(cards[:_MAX_NICS]):
        mac = macs.parse(text(node, "MacAddress"))
        fixed = _true(node, "MacAddressIsStatic")
        name = text(node, "SwitchName") or text(node, "Connection", "AltSwitchName")
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source=("static" if fixed else "generated") if mac else "made",
            model="netvsc" if kind == _NIC else "tulip",
            type="bridge",
            network=name or None,
            connected=get(node, "IsConnected") is not False,
            boot=boot if index == 0 else None,
        )


def _source(machine: Node, path: Path) -> Source:
    version = _count(machine, "properties", "version")
    shown = f"hyperv-{version >> 8}.{version & 0xFF}" if version else None
    return Source(kind="hyperv", location=str(path), hw_version=shown)


def _findings(machine: Node) -> Iterator[Finding]:
    if _memory(machine) is None:
        yield descriptions.memory_unknown("512 MiB")
    if _vcpus(machine) is None:
        yield descriptions.vcpus_unknown()
    if _has_tpm(machine):
        yield descriptions.tpm_lost()
