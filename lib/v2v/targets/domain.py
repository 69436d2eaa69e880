# SPDX-License-Identifier: GPL-2.0-or-later
"""The libvirt domain XML of a VM: a value made from a value, no I/O.

Element by element after libvirt's formatdomain.html and what virt-install writes.
``devices``, which fixup chose by the guest's evidence, decides the models.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lxml import etree
from lxml.builder import E, ElementMaker

from v2v import names
from v2v.document import VM, Devices, Disk, Nic, Removable
from v2v.errors import HostError, TargetError
from v2v.targets.networks import Place, place

Element = etree._Element

NAMESPACE = "urn:v2v:document:1"
_V2V = ElementMaker(namespace=NAMESPACE, nsmap={"v2v": NAMESPACE})
_SCHEMAS = Path("/usr/share/libvirt/schemas")
_NIC_MODELS = {"virtio": "virtio", "e1000e": "e1000e", "e1000": "e1000"}
_PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}
_SERIAL_LENGTH = 20  # what virtio-blk shows of a serial
_SPARE_PORTS = 4


def domain(vm: VM, networks: dict[str, Place], *, kvm: bool) -> Element:
    """Return the <domain> of *vm*, its disks where convert has put them.

    ``kvm``: whether this host can run it by KVM; else it is emulated.
    """
    devices = vm.devices or Devices()
    root = E.domain(
        E.name(names.safe(vm.name)),
        E.uuid(valid_uuid(vm)),
        *([E.genid(vm.genid)] if vm.genid else []),
        E.title(_printable(vm.name)),
        E.description(_description(vm)),
        E.metadata(_V2V.document(id=vm.id)),
        E.memory(str(-(-vm.memory // 1024) or 1), unit="KiB"),
        E.vcpu(str(vm.vcpus)),
        _os(vm, devices),
        E.features(E.acpi(), E.apic()),
        _cpu(vm, kvm=kvm),
        _clock(devices),
        E.on_poweroff("destroy"),
        E.on_reboot("restart"),
        E.on_crash("destroy"),
        E.pm(E("suspend-to-mem", enabled="no"), E("suspend-to-disk", enabled="no")),
        E.devices(*_devices(vm, devices, networks)),
        type="kvm" if kvm else "qemu",
    )
    return root


def valid_uuid(vm: VM) -> str:
    """Return the machine's UUID: licences and cloud-init hang on it."""
    try:
        return str(uuid.UUID(vm.uuid)) if vm.uuid else vm.id
    except ValueError:
        return vm.id


def owner(xml: str) -> str | None:
    """Return the id of the document that domain *xml* was made from; None if none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(xml.encode(), parser)
    except etree.XMLSyntaxError:
        return None
    found = root.find(f"metadata/{{{NAMESPACE}}}document")
    return None if found is None else found.get("id")


def text(root: Element) -> str:
    """Return *root* as a file's content."""
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def validate(root: Element) -> None:
    """Check *root* against libvirt's schema.

    Raises TargetError if it breaks it, HostError if the schema is not installed.
    """
    schema = _schema()
    if not schema.validate(root):
        errors = [e.message for e in schema.error_log]
        raise TargetError(
            f"the domain breaks libvirt's schema: {errors[0] if errors else '?'}",
            "please report this, with the document",
        )


@cache
def _schema() -> etree.RelaxNG:
    path = _SCHEMAS / "domain.rng"
    try:
        return etree.RelaxNG(etree.parse(path))
    except OSError as e:
        raise HostError(
            f"{path}: libvirt's schemas are not installed",
            "install libvirt0 (Debian 12) or libvirt-common (Debian 13)",
        ) from e


def _printable(value: str) -> str:
    return "".join(c for c in value if c.isprintable())


def _description(vm: VM) -> str:
    return _printable(f"converted by v2v from {vm.source.kind} {vm.source.location}")


def _os(vm: VM, devices: Devices) -> Element:
    kind = E.type("hvm", arch=vm.arch, machine=devices.machine)
    if vm.firmware != "efi":
        return E.os(kind)
    secure = "yes" if vm.secure_boot else "no"
    features = [E.feature(enabled=secure, name="secure-boot")]
    if vm.secure_boot:
        features.insert(0, E.feature(enabled="yes", name="enrolled-keys"))
    return E.os(kind, E.firmware(*features), firmware="efi")


def _cpu(vm: VM, *, kvm: bool) -> Element:
    # Emulated, a host's model would name features that TCG lacks.
    mode = {"mode": "host-model"} if kvm else {"mode": "maximum", "check": "none"}
    cpu = vm.cpu
    shape = (cpu.sockets or 1) * (cpu.dies or 1) * (cpu.cores or 1) * (cpu.threads or 1)
    if not cpu.cores or shape != vm.vcpus:
        return E.cpu(**mode)
    topology = E.topology(
        sockets=str(cpu.sockets or 1),
        dies=str(cpu.dies or 1),
        cores=str(cpu.cores),
        threads=str(cpu.threads or 1),
    )
    return E.cpu(topology, **mode)


def _clock(devices: Devices) -> Element:
    return E.clock(
        E.timer(name="rtc", tickpolicy="catchup"),
        E.timer(name="pit", tickpolicy="delay"),
        E.timer(name="hpet", present="no"),
        offset=devices.clock,
    )


def _devices(vm: VM, devices: Devices, networks: dict[str, Place]) -> Iterator[Element]:
    taken: set[str] = set()
    for disk in vm.disks:
        yield _disk(disk, devices, taken)
    for drive in vm.removable:
        if drive.type == "cdrom":
            yield _cdrom(drive, devices, taken)
    yield from _controllers(vm, devices)
    for nic in vm.nics:
        where = place(nic, networks)
        if where.kind != "none":
            yield _interface(nic, devices, where)
    yield E.serial(type="pty")
    yield E.console(type="pty")
    if devices.agent:
        target = E.target(type="virtio", name="org.qemu.guest_agent.0")
        yield E.channel(target, type="unix")
    yield E.input(type="tablet", bus="usb")
    yield E.graphics(type="vnc", autoport="yes", listen="127.0.0.1")
    yield E.video(E.model(type=devices.video))
    yield E.memballoon(model="virtio" if devices.balloon else "none")
    if devices.rng:
        backend = E.backend("/dev/urandom", model="random")
        yield E.rng(backend, model="virtio")


def _controllers(vm: VM, devices: Devices) -> Iterator[Element]:
    yield E.controller(type="usb", model="qemu-xhci", index="0")
    if devices.block == "scsi":
        yield E.controller(type="scsi", model="virtio-scsi", index="0")
    if devices.machine == "q35":
        yield E.controller(type="pci", model="pcie-root", index="0")
        used = len(vm.disks) + len(vm.nics) + 5
        for index in range(1, used + _SPARE_PORTS):
            yield E.controller(type="pci", model="pcie-root-port", index=str(index))


def _disk(disk: Disk, devices: Devices, taken: set[str]) -> Element:
    bus = (
        "sata" if devices.block == "ide" and devices.machine == "q35" else devices.block
    )
    target = disk.target
    path = target.path if target and target.path else ""
    block = path.startswith("/dev/")
    kind, attribute = ("block", "dev") if block else ("file", "file")
    parts = [
        E.driver(
            name="qemu",
            type=target.format if target else "raw",
            discard="unmap",
            **({"cache": "none", "io": "native"} if block else {}),
        ),
        E.source(**{attribute: path}),
        E.target(dev=_name(_PREFIXES[bus], taken), bus=bus),
    ]
    if disk.serial:
        parts.append(E.serial(_printable(disk.serial)[:_SERIAL_LENGTH]))
    if disk.boot:
        parts.append(E.boot(order=str(disk.boot)))
    if disk.shared:
        parts.append(E.shareable())
    model = {"model": "virtio-transitional"} if devices.transitional else {}
    return E.disk(
        *parts, type=kind, device="disk", **(model if bus == "virtio" else {})
    )


def _cdrom(drive: Removable, devices: Devices, taken: set[str]) -> Element:
    bus = "sata" if devices.machine == "q35" else "ide"
    return E.disk(
        E.driver(name="qemu", type="raw"),
        E.target(dev=_name(_PREFIXES[bus], taken), bus=bus),
        E.readonly(),
        type="file",
        device="cdrom",
    )


def _name(prefix: str, taken: set[str]) -> str:
    """Return the next free device name: libvirt wants them distinct across buses."""
    from v2v.document import disk_id

    index = 0
    while (name := prefix + disk_id(index)[2:]) in taken:
        index += 1
    taken.add(name)
    return name


def _interface(nic: Nic, devices: Devices, where: Place) -> Element:
    model = _NIC_MODELS.get(devices.net, devices.net)
    if model == "virtio" and devices.transitional:
        model = "virtio-transitional"
    source = []
    if where.kind == "bridge":
        source = [E.source(bridge=where.name or "")]
    elif where.kind == "network":
        source = [E.source(network=where.name or "default")]
    parts = [E.mac(address=nic.mac), *source, E.model(type=model)]
    if not nic.connected:
        parts.append(E.link(state="down"))
    if nic.boot:
        parts.append(E.boot(order=str(nic.boot)))
    return E.interface(*parts, type=where.kind)
