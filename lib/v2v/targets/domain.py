# SPDX-License-Identifier: GPL-2.0-or-later
"""The libvirt <domain> of a machine: a value made from a value, no I/O.

Element by element after libvirt's formatdomain and what virt-install writes.  No
password, port or listen address of the source ever gets in here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from lxml import etree

from v2v import names
from v2v.errors import HostError, TargetError
from v2v.targets.machine import Drive, Machine, text
from v2v.targets.networks import Card

Element = etree._Element

NAMESPACE = "urn:v2v:document:1"

# Of a host whose guests can have sockets to it: vhost_vsock.
VSOCK = Path("/dev/vhost-vsock")
_SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
_DESCRIPTION = 4000  # characters
_SCSI_DRIVES = 7  # that libvirt puts on one controller
_SPARE_PORTS = 4  # so that disks and cards can be added while the guest runs
# What takes a port besides disks and cards: USB, virtio-serial, balloon, RNG, vsock.
_OTHER_PORTS = 5
_SHOWN = 300  # characters of a refused part
_KEYMAP = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Host:
    """What the one that will run the domain can do.

    ``cpu`` is the mode for KVM; ``tpm``: whether it can emulate one; ``vsock``: whether
    guests can have sockets to it.
    """

    kvm: bool = False
    cpu: Literal["host-model", "host-passthrough"] = "host-model"
    tpm: bool = False
    vsock: bool = False


def domain(machine: Machine, host: Host) -> Element:
    """Return the <domain> of *machine* as *host* can run it."""
    vm = machine.vm
    name = names.safe(vm.name)
    about = text(vm.description or "")[:_DESCRIPTION]
    return _e(
        "domain",
        _e("name", name),
        *([_e("uuid", machine.uuid)] if machine.uuid else []),
        *([_e("genid", vm.genid.lower())] if _is_uuid(vm.genid) and vm.genid else []),
        *([_e("title", text(vm.name))] if text(vm.name) not in (name, "") else []),
        *([_e("description", about)] if about else []),
        _e("metadata", _mark(vm.id)),
        _e("memory", str(vm.memory), unit="bytes"),
        _e("vcpu", str(vm.vcpus)),
        _os(machine),
        _features(machine, host),
        _cpu(machine, host),
        _clock(machine, host),
        _e("on_poweroff", "destroy"),
        _e("on_reboot", "restart"),
        # A guest that reports its panic must come back as it would have by itself.
        _e("on_crash", "restart"),
        _e(
            "pm",
            _e("suspend-to-mem", enabled="no"),
            _e("suspend-to-disk", enabled="no"),
        ),
        _e("devices", *_devices(machine, host)),
        type="kvm" if host.kvm else "qemu",
    )


def warnings(machine: Machine, host: Host) -> Iterator[str]:
    """Yield what a person should know of *machine* on *host*."""
    yield from machine.warnings
    if not host.kvm:
        yield "KVM does not work here, so the VM will be emulated, and slow"
    if machine.tpm and not host.tpm:
        yield "the TPM is left out: no emulator of one (swtpm) is installed"


def owner(xml: bytes) -> str | None:
    """Return the id of the document that domain *xml* was made from, if it was."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError:
        return None
    mark = root.find(f"metadata/{{{NAMESPACE}}}document")
    return None if mark is None else mark.get("id")


def written(element: Element) -> bytes:
    """Return *element* as the content of a file, in UTF-8."""
    return etree.tostring(element, pretty_print=True, encoding="utf-8")


def validate(element: Element) -> None:
    """Check *element* against libvirt's own schema.

    libvirt accepts what it does not know without a word, unless asked.  Raises
    TargetError, which names the part at fault; HostError if there is no schema.
    """
    if _schema().validate(element):
        return
    part = _culprit(element)
    shown = " ".join(etree.tostring(part, encoding="unicode").split())[:_SHOWN]
    raise TargetError(
        f"libvirt's schema refuses the <{part.tag}> of the domain: {shown}",
        "correct that in the document; if it is right there, this is a bug of v2v",
    )


def check_schema() -> None:
    """Raise HostError if libvirt's schema is not installed."""
    _schema()


@cache
def _schema() -> etree.RelaxNG:
    try:
        return etree.RelaxNG(etree.parse(_SCHEMA))
    except (OSError, etree.XMLSyntaxError, etree.RelaxNGParseError) as e:
        raise HostError(
            f"{_SCHEMA}: libvirt's schema cannot be read",
            "install libvirt0 (Debian 12) or libvirt-common (Debian 13)",
        ) from e


def _culprit(element: Element) -> Element:
    """Return the part that the schema refuses; the whole if no part is it.

    Of a whole domain libxml2 says no more than "extra element in interleave"; so each
    part is tried alone, in the smallest domain that there is.
    """
    devices = element.find("devices")
    inner = () if devices is None else tuple(devices)
    for part in (*(p for p in element if p is not devices), *inner):
        if not _schema().validate(_smallest(part, in_devices=part in inner)):
            return part
    return element


def _smallest(part: Element, *, in_devices: bool) -> Element:
    copy = etree.fromstring(etree.tostring(part))
    needed = [_e("name", "x"), _e("memory", "1"), _e("os", _e("type", "hvm"))]
    return _e(
        "domain",
        *(other for other in needed if other.tag != part.tag),
        _e("devices", copy) if in_devices else copy,
        type="kvm",
    )


def _e(tag: str, *content: Element | str, **attributes: str) -> Element:
    """Return element *tag*, with its text or the elements in it."""
    made = etree.Element(tag, attributes)
    for part in content:
        if isinstance(part, str):
            made.text = part
        else:
            made.append(part)
    return made


def _mark(vm_id: str) -> Element:
    """Return what says whose domain this is, in a namespace of our own."""
    return etree.Element(
        f"{{{NAMESPACE}}}document", {"id": vm_id}, nsmap={"v2v": NAMESPACE}
    )


def _is_uuid(value: str | None) -> bool:
    try:
        return bool(value) and bool(uuid.UUID(value))
    except ValueError:
        return False


def _os(machine: Machine) -> Element:
    kind = _e("type", "hvm", arch=machine.vm.arch, machine=machine.kind)
    if not machine.efi:
        return _e("os", kind)
    yes_no = "yes" if machine.secure_boot else "no"
    features = [_e("feature", enabled=yes_no, name="secure-boot")]
    if machine.secure_boot:
        features.append(_e("feature", enabled="yes", name="enrolled-keys"))
    return _e("os", kind, _e("firmware", *features), firmware="efi")


def _features(machine: Machine, host: Host) -> Element:
    parts = [_e("acpi"), _e("apic")]
    if machine.hyperv:
        parts.append(_hyperv(host))
    # VMware's back door is nobody's business once VMware is gone.
    return _e("features", *parts, _e("vmport", state="off"))


def _hyperv(host: Host) -> Element:
    on = {"state": "on"}
    parts = [
        *(_e("relaxed", **on), _e("vapic", **on)),
        _e("spinlocks", **on, retries="8191"),
    ]
    if host.kvm:  # TCG defines such a domain, and fails to start it
        plain = ("vpindex", "runtime", "synic", "reset", "frequencies")
        parts += [_e(name, **on) for name in (*plain, "tlbflush", "ipi")]
        parts.append(_e("stimer", _e("direct", **on), **on))
    return _e("hyperv", *parts, mode="custom")


def _cpu(machine: Machine, host: Host) -> Element:
    shape = machine.topology
    topology = _e(
        "topology",
        sockets=str(shape.sockets),
        dies=str(shape.dies),
        cores=str(shape.cores),
        threads=str(shape.threads),
    )
    # Emulated, a host's model would name features that TCG lacks.
    return _e("cpu", topology, mode=host.cpu if host.kvm else "maximum")


def _clock(machine: Machine, host: Host) -> Element:
    timers = [
        _e("timer", name="rtc", tickpolicy="catchup"),
        _e("timer", name="pit", tickpolicy="delay"),
        _e("timer", name="hpet", present="no"),
    ]
    if machine.hyperv and host.kvm:
        timers.append(_e("timer", name="hypervclock", present="yes"))
    if machine.zone:
        return _e("clock", *timers, offset="timezone", timezone=machine.zone)
    return _e("clock", *timers, offset=machine.clock)


def _devices(machine: Machine, host: Host) -> Iterator[Element]:
    for drive in machine.drives:
        yield _drive(machine, drive)
    yield from _controllers(machine)
    for card in machine.cards:
        yield _card(machine, card)
    yield _e("serial", _e("target", type="isa-serial", port="0"), type="pty")
    yield _e("console", _e("target", type="serial", port="0"), type="pty")
    agent = _e("target", type="virtio", name="org.qemu.guest_agent.0")
    yield _e("channel", agent, type="unix")
    yield _e("input", type="tablet", bus="usb")
    yield _graphics(machine)
    yield _e("video", _e("model", type=machine.devices.video, heads="1", primary="yes"))
    if machine.vm.sound:
        yield _e("sound", model="ich9" if machine.kind == "q35" else "ich6")
    if machine.tpm and host.tpm:
        yield _tpm(machine)
    yield _e(
        "memballoon", model=_virtio(machine) if machine.devices.balloon else "none"
    )
    if machine.devices.pvpanic:
        yield _e("panic", model="isa")
    if machine.devices.vsock and host.vsock:
        yield _e("vsock", _e("cid", auto="yes"), model="virtio")
    if machine.devices.rng:
        source = _e("backend", "/dev/urandom", model="random")
        yield _e("rng", source, model=_virtio(machine))


def _tpm(machine: Machine) -> Element:
    """Return an emulated TPM.

    BitLocker asks for its recovery key at each boot if what a TPM knew is forgotten
    (kubevirt issue 15701), so that of a Windows stays, whatever becomes of its domain.
    """
    kept = {"persistent_state": "yes"} if machine.windows else {}
    backend = _e("backend", type="emulator", version="2.0", **kept)
    return _e("tpm", backend, model="tpm-crb")


def _virtio(machine: Machine) -> str:
    """Return the model of virtio devices.

    On pc's old bus plain virtio is understood by old drivers anyway.
    """
    old = machine.devices.transitional and machine.kind == "q35"
    return "virtio-transitional" if old else "virtio"


def _controllers(machine: Machine) -> Iterator[Element]:
    scsi = len(machine.drives_on("scsi")) if machine.devices.block == "scsi" else 0
    controllers = -(-scsi // _SCSI_DRIVES)
    old = _virtio(machine) == "virtio-transitional"
    for index in range(controllers):
        # Left to itself libvirt takes lsilogic, which no guest was prepared for.
        model = "virtio-transitional" if old else "virtio-scsi"
        yield _e("controller", type="scsi", index=str(index), model=model)
    serial = {"model": "virtio-transitional"} if old else {}
    yield _e("controller", type="virtio-serial", index="0", **serial)
    if machine.kind != "q35":
        return  # with the USB of its time, for which every guest has a driver
    yield from _usb(machine)
    yield _e("controller", type="pci", index="0", model="pcie-root")
    used = len(machine.drives_on("virtio")) + len(machine.cards) + controllers
    for index in range(1, used + _OTHER_PORTS + _SPARE_PORTS + 1):
        yield _e("controller", type="pci", index=str(index), model="pcie-root-port")


def _usb(machine: Machine) -> Iterator[Element]:
    """Yield the USB controllers of q35."""
    if machine.devices.usb == "xhci":
        yield _e("controller", type="usb", index="0", model="qemu-xhci", ports="15")
        return
    yield _e("controller", type="usb", index="0", model="ich9-ehci1")
    for number in range(3):  # of USB 1: two ports of the whole each
        master = _e("master", startport=str(2 * number))
        model = f"ich9-uhci{number + 1}"
        yield _e("controller", master, type="usb", index="0", model=model)


def _drive(machine: Machine, drive: Drive) -> Element:
    target = _e("target", dev=drive.name, bus=drive.bus)
    if not drive.image:
        driver = _e("driver", name="qemu", type="raw")
        return _e("disk", driver, target, _e("readonly"), type="file", device="cdrom")
    discard = {"discard": "unmap"} if drive.sparse else {}
    parts = [
        _e("driver", name="qemu", type=drive.image.format, **discard),
        _e("source", file=drive.path),
        target,
        _e("boot", order=str(drive.boot)),
    ]
    if drive.logical_block_size != 512:
        size = str(drive.logical_block_size)
        sizes = {"logical_block_size": size, "physical_block_size": size}
        parts.append(_e("blockio", **sizes))
    if drive.serial:
        parts.append(_e("serial", drive.serial))
    if drive.readonly:
        parts.append(_e("readonly"))
    if drive.shared:
        parts.append(_e("shareable"))
    old = drive.bus == "virtio" and _virtio(machine) != "virtio"
    model = {"model": _virtio(machine)} if old else {}
    return _e("disk", *parts, type="file", device="disk", **model)


def _card(machine: Machine, card: Card) -> Element:
    model = machine.devices.net
    parts = [_e("mac", address=card.nic.mac)]
    if card.place.kind != "user":
        parts.append(_e("source", **{str(card.place.kind): card.place.name or ""}))
    parts.append(_e("model", type=_virtio(machine) if model == "virtio" else model))
    if not card.nic.connected:
        parts.append(_e("link", state="down"))
    if order := machine.boots.get(card.nic.mac):
        parts.append(_e("boot", order=str(order)))
    return _e("interface", *parts, type=card.place.kind)


def _graphics(machine: Machine) -> Element:
    keymap = machine.vm.display.keymap or ""
    known = {"keymap": keymap} if _KEYMAP.fullmatch(keymap) else {}
    listen = _e("listen", type="address", address="127.0.0.1")
    return _e("graphics", listen, type="vnc", port="-1", autoport="yes", **known)
