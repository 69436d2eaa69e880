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
from v2v.sources import Request, descriptions, disks, macs, new_id, placing
from v2v.sources.hyperv import drives as hypervdrives
from v2v.sources.hyperv import state, vmcx
from v2v.sources.hyperv.drives import branch, get, plugged, text
from v2v.sources.hyperv.vmcx import Node, Value

_KIND = xml.Kind(
    root="configuration",
    what="Hyper-V configuration",
    remedy="name the .vmcx or .xml in the folder Virtual Machines of the export",
)
MACHINES = "virtual machines"
_SNAPSHOTS = "snapshots"
_HARD_DISKS = "Virtual Hard Disks"
_NIC = "2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778"
_DEFAULT_MEMORY = 512 * descriptions.MIB
_MAX_NICS = 64
# So many checkpoints are looked into for their names, and so far.
_MAX_NAMED = 8
_MAX_NAMED_SIZE = 4 * 2**20


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
    chained = [hypervdrives.chained(disk, places) for disk in vm.disks]
    # Files say more than the keys that count them.
    more = list(state.beside(path, _checkpoints(places.root, path)))
    told = {finding.code for finding in more}
    findings = (*(f for f in vm.findings if f.code not in told), *more)
    vm = vm.having(disks=tuple(chained), findings=findings)
    yield placing.placed(vm, places)


def _checkpoints(root: Path, path: Path) -> list[tuple[Path, str]]:
    """Return the configurations of checkpoints in an export, but *path* itself, and the
    name of each."""
    folder = disks.beside(root, _SNAPSHOTS)
    files = [f for f in state.files(folder) if claims(str(f)) and f != path]
    return [(file, _name(file)) for file in files[:_MAX_NAMED]]


def _name(file: Path) -> str:
    """Return what the configuration *file* calls itself; else the file's name."""
    try:
        machine = _machine(
            descriptions.content(file, _MAX_NAMED_SIZE, _KIND.what), file
        )
    except SourceError:
        return file.stem  # it is counted in any case
    return descriptions.name(text(machine, "properties", "name"), file.stem)


def _places(path: Path, request: Request) -> placing.Places:
    """Return where the disks may be: the folders of an export, and its own."""
    folder = path.parent
    root = folder.parent if folder.name.lower() in (MACHINES, _SNAPSHOTS) else folder
    found = (disks.beside(place, _HARD_DISKS) for place in (root, folder))
    others = (*found, root, disks.beside(root, _SNAPSHOTS))
    return placing.Places(folder=folder, root=root, others=others, allow=request.allow)


def parse(data: bytes, path: Path) -> VM:
    """Return the VM that the configuration *data* of *path* describes.

    Its disks have the file's names as their paths; nothing else is opened.  Raises
    SourceError if this is no configuration, or one that cannot be moved.
    """
    machine = _machine(data, path)
    state.check(machine, path)
    drives = list(hypervdrives.drives(machine))
    told = list(hypervdrives.described(drives, path))
    vm_id = new_id()
    nics = tuple(_nics(machine, vm_id))
    media = tuple(hypervdrives.removable(drives))
    place = _boot(machine, "harddrive")
    found_disks = [disk for disk, _ in told]
    if found_disks and place:
        found_disks[0] = found_disks[0].having(boot=place)
    return VM(
        id=vm_id,
        name=descriptions.name(text(machine, "properties", "name"), path.stem),
        uuid=descriptions.uuid_of(text(machine, state.FIRMWARE, "bios_guid")),
        genid=_genid(text(machine, "global_settings", "devices", "generation_id")),
        description=text(machine, "properties", "notes").replace("\0", "") or None,
        memory=_memory(machine) or _DEFAULT_MEMORY,
        vcpus=_vcpus(machine) or 1,
        arch="aarch64" if state.count(machine, *_ARCHITECTURE) == _ARM64 else "x86_64",
        cpu=_cpu(machine),
        firmware="efi" if state.generation(machine) == 2 else "bios",
        secure_boot=state.generation(machine) == 2
        and state.true(machine, state.FIRMWARE, "secure_boot_enabled"),
        tpm=state.has_tpm(machine),
        disks=tuple(found_disks),
        removable=media,
        nics=nics,
        source=_source(machine, path),
        findings=(
            *(f for _, said in told for f in said),
            *_findings(machine),
            *state.findings(machine, nics),
            *descriptions.medium_lost(media),
        ),
    )


def _machine(data: bytes, path: Path) -> Node:
    """Return the keys of the configuration *data*.  Raises SourceError."""
    found = vmcx.parse(data, str(path)) if vmcx.matches(data) else _tree(data, path)
    return branch(found, "configuration") or found


_ARCHITECTURE = ("global_settings", "devices", "cpu_architecture")
_ARM64 = 12  # PROCESSOR_ARCHITECTURE_ARM64
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


def _memory(machine: Node) -> int | None:
    """Return what the machine starts with; dynamic memory comes and goes."""
    return descriptions.memory(
        state.count(machine, "settings", "memory", "bank", "size")
    )


def _vcpus(machine: Node) -> int | None:
    count = state.count(machine, "settings", "processors", "count")
    return descriptions.processors(count)


def _cpu(machine: Node) -> Cpu:
    """Return the threads of each core, if said: Hyper-V leaves all else to NUMA."""
    nested = state.true(machine, "settings", "processors", *_NESTED)
    vcpus = _vcpus(machine) or 1
    threads = state.count(machine, "settings", "processors", "hwthreads") or 0
    if threads < 2 or vcpus % threads:
        return Cpu(nested=nested)
    cores = vcpus // threads
    return Cpu(sockets=1, cores=cores, threads=threads, nested=nested)


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
    order = branch(machine, state.FIRMWARE, "boot")
    if state.generation(machine) == 2 or not order:
        return 1 if device == "harddrive" else None
    named = sorted((key, text(order, key).lower()) for key in order)
    devices = [name for key, name in named if key.startswith("device")]
    return devices.index(device) + 1 if device in devices else None


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
        fixed = state.true(node, "MacAddressIsStatic")
        name = text(node, "SwitchName") or text(node, "Connection", "AltSwitchName")
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source=("static" if fixed else "generated") if mac else "made",
            model="netvsc" if kind == _NIC else "tulip",
            type="bridge",
            network=name or None,
            connected=get(node, "IsConnected") not in (False, 0),
            boot=boot if index == 0 else None,
        )


def _source(machine: Node, path: Path) -> Source:
    version = state.count(machine, "properties", "version")
    shown = f"hyperv-{version >> 8}.{version & 0xFF}" if version else None
    return Source(kind="hyperv", location=str(path), hw_version=shown)


def _findings(machine: Node) -> Iterator[Finding]:
    if _memory(machine) is None:
        yield descriptions.memory_unknown("512 MiB")
    if _vcpus(machine) is None:
        yield descriptions.vcpus_unknown()
