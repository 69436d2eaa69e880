# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices of a VM: the items of its hardware section, and where they plug in.

The numbers are those of CIM_ResourceAllocationSettingData.ResourceType.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from v2v.document import Bus
from v2v.errors import SourceError
from v2v.ovf import units
from v2v.ovf.text import Element, attribute, children, local

OTHER, CPU, MEMORY, IDE, SCSI = 1, 3, 4, 5, 6
ETHERNET, FLOPPY, CD, DVD, DISK = 10, 14, 15, 16, 17
# XenCenter takes 19 for disks; OVF 2 has 31 and 32 besides, and 33 for ports.
XEN_DISK, STORAGE, LOGICAL_DISK, VOLUME, PORT = 19, 20, 31, 32, 33
TPM, SOUND = 34, 35
DISKS = (DISK, XEN_DISK, LOGICAL_DISK, VOLUME)
DRIVES = (FLOPPY, CD, DVD)
NICS = (ETHERNET, PORT)

# QEMU's largest machine takes fewer; libvirt's buses have fewer places.
_MAX_ITEMS = 2000
_STORAGE_BUSES: dict[str, Bus] = {
    "ahci": "sata",
    "vmware.sata.ahci": "sata",
    "vmware.nvme.controller": "nvme",
    "nvme": "nvme",
    "virtioscsi": "scsi",
    "virtio-scsi": "scsi",
}
# The same models by the names of a VMX; others keep their own.
_MODELS = {
    "lsilogic": "lsilogic",
    "lsilogicsas": "lsisas1068",
    "virtualscsi": "pvscsi",
    "pvscsi": "pvscsi",
    "buslogic": "buslogic",
    "virtioscsi": "virtio-scsi",
    "virtio-scsi": "virtio-scsi",
    "virtio": "virtio",
    "ahci": "ahci",
    "vmware.sata.ahci": "ahci",
    "vmware.nvme.controller": "nvme",
    "nvme": "nvme",
    "piix3": "piix3",
    "piix4": "piix4",
    "ich6": "ich6",
}
# The controller itself sits on unit 7 of a parallel SCSI bus.
_SCSI_SELF = 7


@dataclass(frozen=True, kw_only=True)
class Item:
    """A device; ``values`` are its fields by name, ``config`` VMware's own."""

    type: int
    id: str
    values: Mapping[str, str]
    config: Mapping[str, str] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()

    def get(self, name: str) -> str:
        """Return field *name*; empty if not there."""
        return self.values.get(name, "")

    @property
    def number(self) -> int | None:
        """The place on the parent, or of a controller among its kind."""
        name = "AddressOnParent" if self.type in (*DISKS, *DRIVES) else "Address"
        return units.number(self.get(name) or self.get("BusNumber"))

    @property
    def off(self) -> bool:
        """Whether the device is there and not connected when the VM starts."""
        return "false" in (
            self.get("AutomaticAllocation").lower(),
            self.get("Linked").lower(),
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a device is plugged in; without a slot that is not known."""

    bus: Bus = "unknown"
    model: str | None = None
    slot: str | None = None


@dataclass(kw_only=True)
class _Controller:
    bus: Bus
    index: int
    model: str | None = None
    taken: set[int] = field(default_factory=set)


def read(section: Element, configuration: str) -> list[Item]:
    """Return the items of the hardware *section* that hold in *configuration*.

    An item for this configuration replaces an unlabelled one of the same id.  Raises
    SourceError if there are more than any machine has.
    """
    elements = list(children(section, "Item", "StorageItem", "EthernetPortItem"))
    if len(elements) > _MAX_ITEMS:
        raise SourceError(
            f"the OVF gives a VM {len(elements)} devices, more than any machine has",
            "do not trust this file; if it is yours, remove the devices",
        )
    # Bounds tell what may be chosen; what was is in the others.
    usual = [e for e in elements if attribute(e, "bound") not in ("min", "max")]
    items = [_item(element) for element in usual]
    if not configuration:
        labelled = (label for item in items for label in sorted(item.labels))
        configuration = next(labelled, "")
    items = [i for i in items if not i.labels or configuration in i.labels]
    chosen = {item.id for item in items if item.labels and item.id}
    return [item for item in items if item.labels or item.id not in chosen]


def _item(element: Element) -> Item:
    values: dict[str, str] = {}
    config: dict[str, str] = {}
    for child in element:
        name = local(child)
        if name == "Config":
            config.setdefault(attribute(child, "key"), attribute(child, "value"))
        elif child.text and child.text.strip():
            # OVF 0.9 and oVirt write InstanceId.
            name = "InstanceID" if name == "InstanceId" else name
            values.setdefault(name, child.text.strip())
    return Item(
        type=units.number(values.get("ResourceType", "")) or 0,
        id=values.get("InstanceID", ""),
        values=values,
        config=config,
        labels=frozenset(attribute(element, "configuration").split()),
    )


def word(text: str, known: Mapping[str, str] | Iterable[str]) -> str | None:
    """Return the first word of the list *text* that is *known*, else the first.

    In lower case; a mapping gives the word's own name.  None if *text* is empty.
    """
    words = [word for word in re.split(r"[\s,]+", text.lower()) if word]
    chosen = next((w for w in words if w in known), words[0] if words else None)
    return (
        known.get(chosen, chosen) if chosen and isinstance(known, Mapping) else chosen
    )


def places(items: list[Item]) -> Iterator[tuple[Item, Place]]:
    """Yield the disks and drives of *items* in their order, and where each is."""
    controllers = _controllers(items)
    for item in items:
        controller = controllers.get(item.get("Parent"))
        if controller and item.type in (*DISKS, *DRIVES) and item.number is not None:
            controller.taken.add(item.number)
    for item in items:
        if item.type in (*DISKS, *DRIVES):
            yield item, _place(item, controllers)


def _controllers(items: list[Item]) -> dict[str, _Controller]:
    """Return the controllers of disks by their ids."""
    found = [(item, bus) for item in items if (bus := _bus(item))]
    given = {(bus, item.number) for item, bus in found}
    controllers: dict[str, _Controller] = {}
    for item, bus in found:
        index = item.number
        if index is None:
            # New VMware exports give no address: by order, where none has been given.
            index = _free({n for b, n in given if b == bus and n is not None})
            given.add((bus, index))
        model = word(item.get("ResourceSubType"), _MODELS)
        controllers.setdefault(item.id, _Controller(bus=bus, index=index, model=model))
    return controllers


def _bus(item: Item) -> Bus | None:
    if item.type == IDE:
        return "ide"
    if item.type == SCSI:
        return "scsi"
    subtype = word(item.get("ResourceSubType"), list(_STORAGE_BUSES)) or ""
    return _STORAGE_BUSES.get(subtype) if item.type == STORAGE else None


def _place(item: Item, controllers: dict[str, _Controller]) -> Place:
    parent = item.get("Parent")
    controller = controllers.get(parent)
    if not parent and item.type in (DISK, CD, DVD):
        # Written by hand or by packer: such disks were on IDE.
        return _free_ide(controllers)
    if not controller:
        return Place()
    unit = item.number
    if unit is None:
        reserved = {_SCSI_SELF} if controller.bus == "scsi" else set()
        unit = _free(controller.taken | reserved)
        controller.taken.add(unit)
    slot = f"{controller.bus}{controller.index}:{unit}"
    return Place(bus=controller.bus, model=controller.model, slot=slot)


def _free_ide(controllers: dict[str, _Controller]) -> Place:
    """Return the next free place on IDE, of which a controller has two."""
    buses = {c.index: c for c in controllers.values() if c.bus == "ide"}
    index = 0
    while {0, 1} <= buses.setdefault(index, _Controller(bus="ide", index=index)).taken:
        index += 1
    controller = buses[index]
    # Kept under a name that no item has, for the next one that looks for a place.
    if controller not in controllers.values():
        controllers[f"\0ide{index}"] = controller
    unit = _free(controller.taken)
    controller.taken.add(unit)
    return Place(bus="ide", model=controller.model, slot=f"ide{index}:{unit}")


def _free(taken: set[int]) -> int:
    return next(n for n in range(len(taken) + 1) if n not in taken)
