# SPDX-License-Identifier: GPL-2.0-or-later
"""The drives of a Hyper-V machine, and the chains of its checkpoints.

A configuration names only the newest image of a disk; each image names its parent in
its own header, often by a path of the host that it was exported from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2v import formats
from v2v.document import Bus, Disk, File, Finding, Format, Layer, Removable, disk_id
from v2v.errors import SourceError
from v2v.sources import descriptions, placing
from v2v.sources.hyperv.vmcx import Node, Value

IDE = "83f8638b-8dca-4152-9eda-2ca8b33039b4"
_FLOPPY = "8f0d2762-0b00-4e04-af4f-19010527cb93"
SCSI = "d422512d-2bf2-4752-809d-7b82b5fcb1b4"
_FORMATS: Mapping[str, Format] = {
    ".vhd": "vpc",
    ".avhd": "vpc",
    ".vhdx": "vhdx",
    ".avhdx": "vhdx",
}
_MAX_CHAIN = 256


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What is plugged into a controller; ``type`` is VHD, ISO, PHD, VFD or NONE."""

    type: str
    path: str
    bus: Bus
    slot: str
    readonly: bool = False
    shared: bool = False


def get(node: Node, *names: str) -> Value | None:
    """Return what lies at the path *names* below *node*.  Keys have no case."""
    value: Value | None = node
    for name in names:
        value = value.get(name.lower()) if isinstance(value, dict) else None
    return value


def text(node: Node, *names: str) -> str:
    """Return the string at the path *names* below *node*; or nothing."""
    value = get(node, *names)
    return value.strip() if isinstance(value, str) else ""


def branch(node: Node, *names: str) -> Node:
    """Return the node at the path *names* below *node*; or an empty one."""
    value = get(node, *names)
    return value if isinstance(value, dict) else {}


def plugged(configuration: Node) -> Iterator[tuple[str, Node]]:
    """Yield the kind of each virtual device in the manifest, and its settings.

    The case of an instance differs from that of the node named after it; a device
    without settings has no node.
    """
    for name, device in branch(configuration, "manifest").items():
        if name.startswith("vdev") and isinstance(device, dict):
            instance = text(device, "instance").strip("{}")
            kind = text(device, "device").strip("{}").lower()
            yield kind, branch(configuration, f"_{instance}_")


def drives(configuration: Node) -> Iterator[Drive]:
    """Yield all drives: IDE first, as a machine of generation 1 starts from there."""
    yield from _of(branch(configuration, f"_{IDE}_"), "ide", "ide")
    controllers = (node for kind, node in plugged(configuration) if kind == SCSI)
    for number, node in enumerate(controllers):
        yield from _of(node, "scsi", f"scsi{number}.")
    floppy = branch(configuration, f"_{_FLOPPY}_")
    for drive in _of({"controller0": floppy} | floppy, "unknown", "floppy"):
        if drive.type == "VFD":
            yield drive


def _of(node: Node, bus: Bus, name: str) -> Iterator[Drive]:
    """Yield the drives of a controller's node, by their numbers."""
    for controller, inside in _numbered(node, "controller"):
        for unit, drive in _numbered(inside, "drive"):
            yield Drive(
                type=text(drive, "type").upper() or "NONE",
                path=text(drive, "pathname") or text(drive, "relpathname"),
                readonly=get(drive, "read_only") in (True, 1),
                # What a cluster's nodes need to share a disk.
                shared=get(drive, "persistent_reservations_supported") in (True, 1),
                bus=bus,
                slot=f"{name}{controller}:{unit}",
            )


def _numbered(node: Node, prefix: str) -> list[tuple[int, Node]]:
    found = []
    for name, value in node.items():
        digits = name.removeprefix(prefix)
        if (
            isinstance(value, dict)
            and digits.isascii()
            and digits.isdecimal()
            and len(digits) < 4
        ):
            found.append((int(digits), value))
    return sorted(found, key=lambda pair: pair[0])


def described(found: list[Drive], path: Path) -> Iterator[tuple[Disk, list[Finding]]]:
    """Yield the hard disks, each with what cannot be had of it."""
    hard = [drive for drive in found if drive.type not in ("ISO", "NONE", "VFD")]
    descriptions.limited(path, len(hard))
    for index, drive in enumerate(hard):
        disk = Disk(
            id=disk_id(index),
            bus=drive.bus,
            slot=drive.slot,
            readonly=drive.readonly,
            shared=drive.shared,
        )
        format = format_of(drive.path)
        if drive.type != "VHD" or format is None:
            reason = f"it is a disk of the host ({drive.type:.20})"
            if drive.type == "VHD":
                reason = "it is no VHD or VHDX (a set of them, .vhds, is none)"
            remedy = "copy it into a VHDX on the source: New-VHD -SourceDisk"
            yield disk, [descriptions.unreadable(disk, drive.path, reason, remedy)]
            continue
        layer = Layer(server="qemu", path=drive.path, format=format)
        yield disk.having(source=layer), []


def format_of(name: str) -> Format | None:
    """Return the format that the name of an image says."""
    return _FORMATS.get(Path(name.replace("\\", "/")).suffix.lower())


def removable(found: list[Drive]) -> Iterator[Removable]:
    """Yield the DVD and floppy drives, with the names of the media in them."""
    for drive in found:
        if drive.type in ("ISO", "NONE", "VFD"):
            kind: Literal["floppy", "cdrom"]
            kind = "floppy" if drive.type == "VFD" else "cdrom"
            media = drive.path or None
            yield Removable(type=kind, bus=drive.bus, slot=drive.slot, path=media)


def chained(disk: Disk, places: placing.Places) -> Disk:
    """Return *disk* with the parents that its image and theirs name, nearest first.

    The last one is a name only, if its file is not there.  Raises SourceError for an
    image that is broken, and for a circle.
    """
    layer = disk.source
    name = layer.path if layer else None
    backing: list[File] = []
    while layer and name:
        try:
            file = placing.find(name, places)
        except SourceError:
            break
        if backing:
            backing[-1] = backing[-1].having(path=str(file))
        if (
            len({*(b.path for b in backing)}) < len(backing)
            or len(backing) > _MAX_CHAIN
        ):
            raise SourceError(
                f"{file}: the chain of checkpoints runs in a circle, or has no end",
                "export the machine again (Export-VM); if two images have one name, "
                "say where their folders are: --map FROM=TO",
            )
        format = backing[-1].format if backing else layer.format
        image = formats.load(format).examine(file, places.checked)
        if not image.differencing or not image.parent:
            break
        # Beside the child first: exports keep paths of the old host.
        places = placing.Places(
            folder=file.parent,
            root=places.root,
            others=(*places.others, file.parent),
            allow=places.allow,
        )
        name = image.parent
        backing.append(File(path=name, format=format_of(name) or format))
    return disk.having(source=layer.having(backing=tuple(backing)) if layer else None)
