# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtualBox's .vbox, as its settings 1.16 (6.1) and 1.20 (7.1) are written."""

from uuid import NAMESPACE_OID, uuid5

from lxml import etree

from v2v.document import VM, Disk, Nic, Removable

Element = etree._Element
MIB = 2**20

_TYPES = {
    "scsi": "LsiLogic",
    "nvme": "NVMe",
    "sata": "AHCI",
    "ide": "PIIX4",
    "usb": "USB",
}
_MODES = {
    "bridge": "BridgedInterface",
    "network": "NATNetwork",
    "internal": "InternalNetwork",
    "user": "NAT",
}
_FORMATS = {"vmdk": "VMDK", "vdi": "VDI", "vpc": "VHD", "raw": "RAW"}

# What a .vbox has no words for; the slots are VirtualBox's own.
UNSAID = ("genid", "cpu", "nics.vlan", "disks.slot")


def write(vm: VM, *, new: bool = False) -> bytes:
    """Return the .vbox of *vm*, as VirtualBox 6.1 or (*new*) 7.1 would write it."""
    root = etree.Element("VirtualBox", version="1.20-linux" if new else "1.16-linux")
    root.set("xmlns", "http://www.virtualbox.org/")
    machine = _element(root, "Machine", name=vm.name, snapshotFolder="Snapshots")
    if vm.uuid:
        machine.set("uuid", f"{{{vm.uuid}}}")
    if vm.description is not None:
        _element(machine, "Description").text = vm.description
    registry = _element(machine, "MediaRegistry")
    places = {n: _element(registry, n) for n in ("HardDisks", "DVDImages", "Floppies")}
    hardware = _hardware(machine, vm, new=new)
    holder = hardware if new else machine
    controllers = _element(holder, "StorageControllers")
    for number, disk in enumerate(vm.disks):
        _disk(controllers, places["HardDisks"], disk, number)
    for number, drive in enumerate(vm.removable):
        _drive(controllers, registry, drive, number)
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def _element(parent: Element, tag: str, **attributes: str) -> Element:
    return etree.SubElement(parent, tag, attributes)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _hardware(machine: Element, vm: VM, *, new: bool) -> Element:
    hardware = _element(machine, "Hardware")
    cpu = _element(hardware, "CPU", count=str(vm.vcpus))
    _element(cpu, "NestedHWVirt", enabled=_word(vm.cpu.nested))
    _element(hardware, "Memory", RAMSize=str(vm.memory // MIB))
    firmware = _element(hardware, "Firmware", type=vm.firmware.upper())
    keeper = firmware if new else _element(hardware, "BIOS")
    _element(keeper, "SecureBoot", enabled=_word(vm.secure_boot))
    kind = "v2_0" if vm.tpm else "None"
    _element(hardware, "TrustedPlatformModule", type=kind, location="")
    boot = _element(hardware, "Boot")
    for position, device in enumerate(("HardDisk", "DVD", "None", "None"), 1):
        _element(boot, "Order", position=str(position), device=device)
    above = _element(hardware, "Platform", architecture="x86") if new else hardware
    local = "UTC" if vm.clock == "utc" else "local"
    _element(above, "RTC", localOrUTC=local)
    network = _element(hardware, "Network")
    for number, nic in enumerate(vm.nics):
        _card(network, nic, number)
    _element(network, "Adapter", slot=str(len(vm.nics)), enabled="false")
    return hardware


def _card(network: Element, nic: Nic, number: int) -> None:
    card = _element(network, "Adapter", slot=str(number), enabled="true")
    card.set("MACAddress", nic.mac.replace(":", "").upper())
    card.set("cable", _word(nic.connected))
    card.set("type", nic.model or "Am79C973")
    _element(_element(card, "DisabledModes"), "InternalNetwork", name="other")
    name = {"name": nic.network} if nic.network else {}
    _element(card, _MODES[nic.type], **name)


def _disk(controllers: Element, registry: Element, disk: Disk, number: int) -> None:
    assert disk.source
    name = f"{{{uuid5(NAMESPACE_OID, str(number))}}}"
    _element(
        registry,
        "HardDisk",
        uuid=name,
        location=disk.source.path or "",
        format=_FORMATS[disk.source.format],
        type="Normal",
    )
    # A controller for each: they are in the order of the file.
    controller = _element(
        controllers,
        "StorageController",
        name=str(number),
        type=_TYPES[disk.bus],
        # The BIOS starts from the first disk that is on a bootable one.
        Bootable=_word(disk.boot == 1),
    )
    device = _element(controller, "AttachedDevice", type="HardDisk", port="0")
    device.set("device", "0")
    _element(device, "Image", uuid=name)


def _drive(
    controllers: Element, registry: Element, drive: Removable, number: int
) -> None:
    kind = "DVD" if drive.type == "cdrom" else "Floppy"
    controller = _element(controllers, "StorageController", name=f"drive{number}")
    controller.set("type", "PIIX4" if kind == "DVD" else "I82078")
    device = _element(controller, "AttachedDevice", type=kind, port="0", device="0")
    if drive.path:
        name = f"{{{uuid5(NAMESPACE_OID, f'drive{number}')}}}"
        group = "DVDImages" if kind == "DVD" else "FloppyImages"
        images = _element(registry, group)
        _element(images, "Image", uuid=name, location=drive.path)
        _element(device, "Image", uuid=name)
