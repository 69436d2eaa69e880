# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Hyper-V machine has that stays behind, and the state that it is in.

Source of the keys: configurations of Hyper-V from 2012 R2 to 2025, and the names in
its own programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from v2v.document import Finding, Nic
from v2v.errors import SourceError
from v2v.sources import descriptions
from v2v.sources.descriptions import caution
from v2v.sources.hyperv.drives import branch, get, plugged, text
from v2v.sources.hyperv.vmcx import Node

FIRMWARE = "_ac6b8dc1-3257-4a70-b1b2-a9c9215659ad_"
_TPM = "736e6aa9-a3f8-49c0-9550-a963214d259a"
# Devices of the host, by the kinds that manifests have, or by their names there.
_HOSTS = {
    "2fcc454e-a36a-4c77-bb5e-a2d75a51f02c": "a PCI device of the host",
    "99dcd00c-fbd6-42d3-9dfd-1b5ad7058f61": "a part of the host's GPU",
}
_HOSTS_BY_NAME = ("fibrechannel", "fibre channel", "3d video", "persistent memory")
# Keys of Microsoft that firmware of every target has: for Windows, and for others.
_TEMPLATES = {
    "1734c6e8-3154-4dda-ba5f-a874cc483422",
    "272e7447-90a4-4563-a4b9-8e4ab00526ce",
}
_VLAN = "feature_952c5004-4465-451c-8cb8-fa9ab382b773"
# A file of saved state is there always from 2016 on; with a memory in it, it is large.
_EMPTY_STATE = 16 * descriptions.MIB
_MAX_CHECKPOINTS = 1000


def true(machine: Node, *names: str) -> bool:
    """Whether the value at the path *names* is true, or 1."""
    return get(machine, *names) in (True, 1)


def count(machine: Node, *names: str) -> int | None:
    """Return the whole number at the path *names*; None if there is none."""
    value = get(machine, *names)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def generation(machine: Node) -> int:
    """Before 2012 R2 there was only the first, and no key that says so."""
    return 2 if count(machine, "properties", "subtype") == 1 else 1


def check(machine: Node, path: Path) -> None:
    """Raise SourceError if the disks of *machine* are not as its chains say."""
    if _says(machine, "disk_merge_pending"):
        raise SourceError(
            f"{path}: a merge of checkpoints is pending",
            "start the machine once on Hyper-V and wait until its disks are merged",
        )


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


def has_tpm(machine: Node) -> bool:
    """Each machine of generation 2 lists the device; one that is off has a version
    only.  Newer configurations say it besides."""
    said = get(machine, "security", "settings", "tpm_enabled")
    if said is not None:
        return said in (True, 1)
    found = [node for kind, node in plugged(machine) if kind == _TPM]
    return any(key != "vdevversion" for node in found for key in node)


def findings(machine: Node, nics: tuple[Nic, ...]) -> Iterator[Finding]:
    """Yield what is to be said of *machine*, whose network cards are *nics*."""
    if has_tpm(machine):
        yield descriptions.tpm_lost()
    yield from _security(machine)
    yield from _memory(machine)
    yield from _numa(machine)
    yield from _lost(machine)
    for number, nic in enumerate(nics, 1):
        if nic.mac_source == "made":
            yield descriptions.mac_made(f"network card {number}")
    listed = count(machine, "global_settings", "snapshots", "list", "size") or 0
    yield from descriptions.snapshots(
        [f"checkpoint {n + 1}" for n in range(min(listed, _MAX_CHECKPOINTS))]
    )
    kind = text(machine, "savedstate", "type").lower()
    if kind not in ("", "none") or _says(branch(machine, "savedstate"), "in_progress"):
        yield descriptions.suspended()


def _security(machine: Node) -> Iterator[Finding]:
    if true(machine, "security", "settings", "shielding_requested"):
        yield caution(
            "vm-shielded",
            "the VM is shielded: its keys are sealed to hosts that a guardian trusts",
            "have the recovery keys of its disks at hand, or take off the shield on "
            "the source",
        )
    if generation(machine) != 2:
        return
    template = text(machine, FIRMWARE, "secure_boot_template_id").strip("{}").lower()
    known = not template or template in _TEMPLATES
    if true(machine, FIRMWARE, "secure_boot_enabled") and not known:
        yield caution(
            "secure-boot-keys",
            f"secure boot used keys of a template of its own ({template:.60}); "
            "the new firmware has those of Microsoft",
            "switch secure boot off on the new VM if it refuses the boot loader",
        )
    if get(machine, FIRMWARE, "nvram") is not None:
        yield descriptions.nvram_lost("they are in the configuration")


def _memory(machine: Node) -> Iterator[Finding]:
    bank = branch(machine, "settings", "memory", "bank")
    if not true(bank, "dynamic_memory_enabled"):
        return
    least, most = count(bank, "reservation"), count(bank, "limit")
    start = count(bank, "size")
    yield descriptions.memory_dynamic(
        f"between {least or '?'} and {most or '?'} MiB", f"the {start or '?'} MiB"
    )


def _numa(machine: Node) -> Iterator[Finding]:
    """Yield a finding if there must have been several NUMA nodes: by what one holds."""
    if get(machine, "settings", "vnuma", "enabled") in (False, 0):
        return
    size = count(machine, "settings", "memory", "bank", "size") or 0
    most = count(machine, "settings", "memory", "vnuma", "max_size_per_node")
    if most and size > most:
        yield descriptions.numa_lost()


def _lost(machine: Node) -> Iterator[Finding]:
    """Yield the devices of the host, and the settings of cards that are not read."""
    names = _names(machine)
    lost = [
        _HOSTS.get(kind) or name
        for kind, name in names
        if kind in _HOSTS or any(word in name.lower() for word in _HOSTS_BY_NAME)
    ]
    yield from descriptions.devices_lost(lost)
    for _, node in plugged(machine):
        if branch(node, "connection", _VLAN):
            name = text(node, "friendlyname") or "a network card"
            yield caution(
                "vlan-unread",
                f"{name:.60} has a VLAN, in a form that Microsoft has not published",
                "look it up on the source (Get-VMNetworkAdapterVlan), and attach the "
                "card to a network of that VLAN",
            )


def _names(machine: Node) -> list[tuple[str, str]]:
    """Return kind and name of each virtual device."""
    devices = branch(machine, "manifest").values()
    return [
        (text(device, "device").strip("{}").lower(), text(device, "name"))
        for device in devices
        if isinstance(device, dict)
    ]


def beside(path: Path, checkpoints: list[tuple[Path, str]]) -> Iterator[Finding]:
    """Yield what the files beside the configuration *path* say; of *checkpoints*, file
    and name each, and of the state of the machine and its firmware."""
    names = [name for _, name in checkpoints[:_MAX_CHECKPOINTS]]
    yield from descriptions.snapshots(names)
    own = [f for f in files(path.parent) if f.stem.lower() == path.stem.lower()]
    own += files(path.parent / path.stem)
    kinds = {file.suffix.lower(): file for file in own}
    if ".vmgs" in kinds:
        yield descriptions.nvram_lost(f"they are in {kinds['.vmgs'].name:.100}")
    if any(_is_saved(file) for file in own):
        yield descriptions.suspended()


def _is_saved(file: Path) -> bool:
    least = {".vmrs": _EMPTY_STATE, ".vsv": 0, ".bin": 0}.get(file.suffix.lower())
    try:
        return least is not None and file.stat().st_size > least
    except OSError:
        return False


def files(folder: Path) -> list[Path]:
    """Return the files in *folder*; none if it cannot be read."""
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:
        return []
