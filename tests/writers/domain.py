# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's domain XML, as virsh dumpxml --inactive prints one of KVM."""

from lxml import etree

from v2v.document import VM, Disk, Nic, Removable

Element = etree._Element

# What the XML has other words for: a target's name in place of a slot.
UNSAID = ("disks.slot",)

_NETWORKS = {"bridge": "bridge", "network": "network"}


def write(vm: VM) -> bytes:
    """Return the XML of *vm*."""
    root = _element(None, "domain", type="kvm")
    _words(root, name=vm.name, uuid=vm.uuid, genid=vm.genid)
    if vm.description is not None:
        _element(root, "description").text = vm.description
    _element(root, "memory", unit="KiB").text = str(vm.memory // 1024)
    _element(root, "currentMemory", unit="KiB").text = str(vm.memory // 2048)
    _element(root, "vcpu", placement="static", current="1").text = str(vm.vcpus)
    _os(root, vm)
    _cpu(root, vm)
    _element(root, "clock", offset=vm.clock)
    devices = _element(root, "devices")
    for number, disk in enumerate(vm.disks):
        _disk(devices, disk, number)
    for number, drive in enumerate(vm.removable):
        _drive(devices, drive, number)
    for nic in vm.nics:
        _nic(devices, nic)
    if vm.tpm:
        tpm = _element(devices, "tpm", model="tpm-crb")
        _element(tpm, "backend", type="emulator", version="2.0")
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def _element(parent: Element | None, tag: str, **attributes: str) -> Element:
    if parent is None:
        return etree.Element(tag, attributes)
    return etree.SubElement(parent, tag, attributes)


def _words(parent: Element, **words: str | None) -> None:
    for tag, word in words.items():
        if word is not None:
            _element(parent, tag).text = word


def _os(root: Element, vm: VM) -> None:
    os = _element(root, "os", firmware=vm.firmware)
    _element(os, "type", arch=vm.arch, machine="pc-q35-9.0").text = "hvm"
    if vm.firmware == "efi":
        firmware = _element(os, "firmware")
        enabled = "yes" if vm.secure_boot else "no"
        for name in ("enrolled-keys", "secure-boot"):
            _element(firmware, "feature", enabled=enabled, name=name)


def _cpu(root: Element, vm: VM) -> None:
    cpu = _element(root, "cpu", mode="custom")
    shape = {key: str(getattr(vm.cpu, key)) for key in ("sockets", "cores", "threads")}
    _element(cpu, "topology", dies="1", **shape)
    if vm.cpu.nested:
        _element(cpu, "feature", policy="require", name="vmx")


def _disk(devices: Element, disk: Disk, number: int) -> None:
    element = _element(devices, "disk", type="file", device="disk")
    assert disk.source
    _element(element, "driver", name="qemu", type=disk.source.format)
    _element(element, "source", file=disk.source.path or "")
    _element(element, "target", dev=f"d{number}", bus=disk.bus)
    if disk.boot is not None:
        _element(element, "boot", order=str(disk.boot))


def _drive(devices: Element, drive: Removable, number: int) -> None:
    element = _element(devices, "disk", type="file", device=drive.type)
    if drive.path:
        _element(element, "source", file=drive.path)
    tray = {} if drive.connected else {"tray": "open"}
    _element(element, "target", dev=f"r{number}", bus="sata", **tray)


def _nic(devices: Element, nic: Nic) -> None:
    element = _element(devices, "interface", type=nic.type)
    kind = {"type": "generated"} if nic.mac_source == "generated" else {}
    _element(element, "mac", address=nic.mac, **kind)
    _element(element, "source", **{_NETWORKS[nic.type]: nic.network or ""})
    _element(element, "model", type=nic.model or "virtio")
    if nic.vlan is not None:
        _element(_element(element, "vlan"), "tag", id=str(nic.vlan))
    _element(element, "link", state="up" if nic.connected else "down")
