# SPDX-License-Identifier: GPL-2.0-or-later
"""The config.pvs of Parallels Desktop: paths are those of the Mac, numbers for all."""

from lxml import etree

from v2v.document import VM, Disk, Nic, Removable

Element = etree._Element
MIB = 2**20
HOME = "/Users/somebody/Parallels/any.pvm"
BUSES = {"ide": 0, "scsi": 1, "sata": 2, "virtio": 3}
MODELS = {"rtl8029": 1, "e1000": 2, "virtio": 4, "e1000e": 5}
NETWORKS = {"internal": 0, "user": 1, "bridge": 2}

# What it has no words for.  The files of disks are found by their names in the bundle.
UNSAID = (
    *("cpu", "clock", "genid", "disks.slot", "disks.file"),
    *("nics.vlan", "nics.mac_source"),
)


def write(vm: VM) -> bytes:
    """Return the config.pvs of *vm*."""
    root = etree.Element("ParallelsVirtualMachine", schemaVersion="1.0")
    _words(root, AppVersion="19.1.0-54729")
    known = _words(_child(root, "Identification"), VmName=vm.name)
    if vm.uuid:
        _words(known, VmUuid=f"{{{vm.uuid}}}")
    settings = _child(root, "Settings")
    if vm.description is not None:
        _words(_child(settings, "General"), VmDescription=vm.description)
    startup = _child(settings, "Startup")
    _words(
        _child(startup, "Bios"),
        EfiEnabled=int(vm.firmware == "efi"),
        EfiSecureBoot=int(vm.secure_boot),
    )
    _boot(_child(startup, "BootingOrder"), vm)
    hardware = _child(root, "Hardware")
    nested = int(vm.cpu.nested)
    _words(_child(hardware, "Cpu"), Number=vm.vcpus, VirtualizedHV=nested)
    _words(_child(hardware, "Memory"), RAM=vm.memory // MIB)
    _words(_child(hardware, "TpmChip"), Type=2 if vm.tpm else 0)
    for number, disk in enumerate(vm.disks):
        _disk(hardware, number, disk)
    for number, drive in enumerate(vm.removable):
        _drive(hardware, number, drive)
    for number, nic in enumerate(vm.nics):
        _nic(hardware, number, nic)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _child(parent: Element, name: str) -> Element:
    return etree.SubElement(parent, name, dyn_lists="")


def _words(parent: Element, **words: object) -> Element:
    for name, value in words.items():
        etree.SubElement(parent, name).text = str(value)
    return parent


def _boot(order: Element, vm: VM) -> None:
    """Write the order in which the firmware tries the disks, in no order itself."""
    tried = [(disk.boot, n) for n, disk in enumerate(vm.disks) if disk.boot]
    for place, index in sorted(tried, reverse=True):
        entry = _child(order, "BootDevice")
        _words(entry, Index=index, Type=6, BootingNumber=place, InUse=1)
    _words(_child(order, "BootDevice"), Index=0, Type=5, BootingNumber=0, InUse=0)


def _disk(hardware: Element, number: int, disk: Disk) -> None:
    path = disk.source.path if disk.source else None
    _words(
        _child(hardware, "Hdd"),
        Index=number,
        Enabled=1,
        Connected=1,
        EmulatedType=1,
        SystemName=f"{HOME}/{path}",
        InterfaceType=BUSES[disk.bus],
        StackIndex=number,
        Passthrough=0,
    )


def _drive(hardware: Element, number: int, drive: Removable) -> None:
    _words(
        _child(hardware, "CdRom" if drive.type == "cdrom" else "Fdd"),
        Index=number,
        Enabled=1,
        Connected=int(drive.connected),
        EmulatedType=1 if drive.path else 0,
        SystemName=f"/Users/somebody/{drive.path}" if drive.path else "Default CD/DVD",
        InterfaceType=2,
        StackIndex=40 + number,
    )


def _nic(hardware: Element, number: int, nic: Nic) -> None:
    _words(
        _child(hardware, "NetworkAdapter"),
        Index=number,
        Enabled=1,
        Connected=int(nic.connected),
        EmulatedType=NETWORKS[nic.type],
        VirtualNetworkID=nic.network,
        MAC=nic.mac.replace(":", "").upper(),
        AdapterType=MODELS[nic.model or ""],
    )
