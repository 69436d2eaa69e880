# SPDX-License-Identifier: GPL-2.0-or-later
"""The storage of a VirtualBox machine: controllers, and what is plugged into them.

The attached image is the leaf of a tree of differencing images: in the media registry
a child is nested in its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from v2v.document import Bus, Disk, File, Finding, Format, Layer, Removable, disk_id
from v2v.ovf.text import Element, attribute, children, descendants, local
from v2v.sources import descriptions
from v2v.sources.vbox import registry as vboxregistry
from v2v.sources.vbox.registry import Images

_BUSES: Mapping[str, Bus] = {
    **dict.fromkeys(("piix3", "piix4", "ich6"), "ide"),
    **dict.fromkeys(("ahci", "intelahci"), "sata"),
    **dict.fromkeys(("lsilogic", "lsilogicsas", "buslogic", "virtioscsi"), "scsi"),
    "nvme": "nvme",
    "usb": "usb",
}
_FORMATS: Mapping[str, Format] = {
    "vdi": "vdi",
    "vmdk": "vmdk",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "qcow": "qcow2",
    "raw": "raw",
}


@dataclass(frozen=True, kw_only=True)
class _Attached:
    """A device at a port of a controller; ``image`` None is an empty drive."""

    type: str
    slot: str
    bus: Bus
    model: str
    bootable: bool
    uuid: str
    image: Element | None


def plugged(
    machine: Element, path: Path, others: Callable[[], Images] = dict
) -> list[_Attached]:
    """Return what is plugged in, by controller as in the file, and there by port.

    *others* is asked for the images that the machine *path* does not know itself.
    Raises SourceError if there is more than a machine can have.
    """
    found: list[_Attached] = []
    images = vboxregistry.images(machine)
    asked = False
    # Within <Hardware> from settings 1.19 on.
    for holder in (machine, *children(machine, "Hardware")):
        for group in children(holder, "StorageControllers"):
            for controller in children(group, "StorageController"):
                devices = list(children(controller, "AttachedDevice"))
                descriptions.limited(path, len(found) + len(devices))
                for device in sorted(devices, key=_port):
                    if not asked and not _knows(images, device):
                        images, asked = {**others(), **images}, True
                    found.append(_device(controller, device, images))
    return found


def _image(device: Element) -> str:
    image = next(children(device, "Image"), None)
    return "" if image is None else uuid(attribute(image, "uuid"))


def _knows(images: Images, device: Element) -> bool:
    return not _image(device) or _image(device) in images


def _port(device: Element) -> tuple[int, int]:
    port, number = (
        descriptions.number(attribute(device, name)) or 0 for name in ("port", "device")
    )
    return port, number


def _device(controller: Element, device: Element, images: Images) -> _Attached:
    model = attribute(controller, "type")
    port, number = _port(device)
    name = _image(device)
    kind = attribute(device, "type") or "HardDisk"
    found = images.get(name) if name else None
    if found is not None and (local(found) == "HardDisk") != (kind == "HardDisk"):
        found = None  # no image of a CD is a disk
    return _Attached(
        type=kind,
        slot=f"{model}:{port}:{number}",
        bus=_BUSES.get(model.lower(), "unknown"),
        model=model.lower(),
        bootable=attribute(controller, "Bootable").lower() not in ("false", "0"),
        uuid=name,
        image=found,
    )


def described(
    machine: Element, plugged: list[_Attached]
) -> tuple[list[Disk], list[Finding]]:
    """Return the hard disks, and what cannot be had of them."""
    found, findings = [], []
    attached = [a for a in plugged if a.type == "HardDisk"]
    rank = boot(machine, "HardDisk")
    # Its BIOS looks at no disk of a controller that is not bootable.
    first = next((i for i, device in enumerate(attached) if device.bootable), 0)
    for index, device in enumerate(attached):
        disk, said = _disk(device, disk_id(index))
        found.append(disk.having(boot=rank if index == first else None))
        findings += said
        if device.bus == "unknown":
            what = f"a controller of type {device.model!r:.40}"
            findings.append(descriptions.bus_unknown(disk, what))
    return found, findings


def _disk(device: _Attached, name: str) -> tuple[Disk, list[Finding]]:
    disk = Disk(id=name, bus=device.bus, model=device.model or None, slot=device.slot)
    if device.image is None:
        return disk, [
            descriptions.unreadable(
                disk,
                device.slot,
                f"its image {device.uuid or '(none)'} is not in the file's registry",
                f"put the {vboxregistry.FILE} of the same user (~/.config/VirtualBox, "
                "~/.VirtualBox or ~/Library/VirtualBox) beside the .vbox",
            )
        ]
    chain = list(_chain(device.image))
    kind = attribute(device.image, "type").lower()
    disk = disk.having(shared=kind == "shareable", readonly=kind == "readonly")
    findings = list(_disk_findings(disk, chain))
    formats = [_FORMATS.get(attribute(image, "format").lower()) for image in chain]
    if None in formats:
        image = chain[formats.index(None)]
        where = attribute(chain[0], "location")
        told = descriptions.unreadable(disk, where, *_unread(image))
        return disk, [*findings, told]
    files = [
        File(path=attribute(image, "location"), format=cast(Format, format))
        for image, format in zip(chain, formats, strict=True)
    ]
    top, *backing = files
    layer = Layer(
        server="file" if top.format == "raw" else "qemu",
        path=top.path,
        format=top.format,
        backing=tuple(backing),
    )
    return disk.having(source=layer), findings


def _unread(image: Element) -> tuple[str, str]:
    """Return why *image* is not read, and what to do.  Secrets of iSCSI stay there."""
    word = attribute(image, "format")
    remedy = "clone it: VBoxManage clonemedium disk OLD NEW --format VDI"
    if word.lower() != "iscsi":
        return f"it is in the format {word!r:.40}, which is not read here", remedy
    told = {
        attribute(p, "name"): f"{attribute(p, 'value'):.100}"
        for p in children(image, "Property")
    }
    target = " at ".join(told.get(key, "?") for key in ("TargetName", "TargetAddress"))
    return f"it is {word!r}, the target {target}", remedy


def _chain(image: Element) -> Iterator[Element]:
    """Yield *image* and its parents: the registry nests children in their parents."""
    above: Element | None = image
    while above is not None and local(above) == "HardDisk":
        yield above
        above = above.getparent()


def _disk_findings(disk: Disk, chain: list[Element]) -> Iterator[Finding]:
    where = attribute(chain[0], "location")
    names = {
        attribute(p, "name") for image in chain for p in children(image, "Property")
    }
    if "CRYPT/KeyStore" in names:
        yield descriptions.encrypted(
            disk, where, "decrypt it: VBoxManage encryptmedium, with no new password"
        )
    # Said of the base; the attached image lies over it.
    if attribute(chain[-1], "type").lower() == "immutable":
        yield descriptions.caution(
            "disk-mode",
            f"{disk.id} is immutable: VirtualBox discards at each start what was "
            "written since; what its file holds is taken",
        )


def boot(machine: Element, device: str) -> int | None:
    """Return when the firmware tries *device*, 1 first; None if it never does.

    Without an order VirtualBox tries floppy, DVD and then the disk.
    """
    orders = list(descendants(child(machine, "Hardware"), "Order"))
    ranked = sorted(
        (
            descriptions.number(attribute(order, "position")) or 0,
            attribute(order, "device"),
        )
        for order in orders
    )
    devices = [name for _, name in ranked if name != "None"]
    if not orders:
        devices = ["Floppy", "DVD", "HardDisk"]
    return devices.index(device) + 1 if device in devices else None


def removable(
    plugged: list[_Attached],
) -> tuple[tuple[Removable, ...], list[Finding]]:
    """Return the DVD and floppy drives, with the names of the images in them."""
    found, findings = [], []
    for device in plugged:
        if device.type not in ("DVD", "Floppy"):
            continue
        image = device.image
        place = attribute(image, "location") if image is not None else ""
        drive = Removable(
            type="cdrom" if device.type == "DVD" else "floppy",
            bus=device.bus,
            slot=device.slot,
            path=place or None,
        )
        found.append(drive)
        unknown = drive.having(path=device.uuid) if device.uuid and not place else drive
        findings += descriptions.medium_lost([unknown])
    return tuple(found), findings


def child(element: Element, name: str) -> Element:
    """Return the first child *name* of *element*; an empty one if there is none."""
    found = next(children(element, name), None)
    return element.makeelement(name) if found is None else found


def uuid(word: str) -> str:
    """Return a UUID, with braces or without, as one to compare; empty if it is none."""
    return descriptions.uuid_of(word) or ""
