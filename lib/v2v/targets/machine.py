# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that a VM gets on its new home, whoever runs it: pure, no I/O.

What is the same for a libvirt domain and for a qemu command line is decided here:
which bus and name each drive has, what is booted first, the processor's shape, and
what a person should know because the machine differs from the old one.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from v2v import document
from v2v.document import VM, BlockSize, Devices, Disk, Layer, disk_id
from v2v.errors import TargetError
from v2v.targets.networks import Card, Plan

Bus = Literal["virtio", "scsi", "sata", "ide", "nvme"]

IDE_DRIVES = 4  # two channels of two; no machine has more
_PREFIXES: dict[Bus, str] = {
    "virtio": "vd",
    "scsi": "sd",
    "sata": "sd",
    "ide": "hd",
    "nvme": "nvme",
}
# What a guest is shown of a serial number: virtio-blk and ATA have 20 bytes, and
# qemu's scsi-disk refuses more than 36.
_SERIAL_LENGTH: dict[Bus, int] = {"virtio": 20, "scsi": 36, "sata": 20, "ide": 20}
# What XML 1.0 cannot hold, and what would steer a terminal or break a log line.
_UNSAYABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Asia/Ho_Chi_Minh, Etc/GMT+12, America/Port-au-Prince.
_ZONE = re.compile(r"[A-Za-z]{1,20}(?:/[A-Za-z0-9_+-]{1,30}){0,2}", re.A)
_NOT_SERIAL = re.compile(r"[^A-Za-z0-9_.+ -]")


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The processor's shape; the product of the numbers is that of the vCPUs."""

    sockets: int = 1
    dies: int = 1
    cores: int = 1
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A drive of the new machine; one without an ``image`` is an empty CD drive.

    ``name`` is libvirt's target name; no two drives share one, whatever their buses.
    """

    name: str
    bus: Bus
    image: Layer | None = None
    boot: int | None = None
    serial: str | None = None
    readonly: bool = False
    shared: bool = False
    # Whether blocks that the guest frees shall be freed here too.
    sparse: bool = True
    logical_block_size: BlockSize = 512

    @property
    def path(self) -> str:
        """The file of the image; "" for an empty drive."""
        return (self.image.path if self.image else None) or ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The whole of it; ``boots`` has the order of each card that is booted from."""

    vm: VM
    devices: Devices
    kind: Literal["q35", "pc"]
    efi: bool
    secure_boot: bool
    windows: bool
    # Whether the guest is told that it runs on a hypervisor, in Hyper-V's words.
    hyperv: bool
    tpm: bool
    uuid: str | None
    clock: Literal["utc", "localtime"]
    # The zone of a clock in local time, where the guest says it: else the host's.
    zone: str | None
    topology: Topology
    drives: tuple[Drive, ...]
    cards: tuple[Card, ...]
    boots: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def drives_on(self, bus: Bus) -> tuple[Drive, ...]:
        """Return the drives on *bus*, in the guest's order."""
        return tuple(drive for drive in self.drives if drive.bus == bus)


def of(vm: VM, networks: Plan) -> Machine:
    """Return the machine for *vm*, whose disks are in place.

    Raises TargetError if no machine that we can make would run it.
    """
    refuse(vm)
    _refuse_unplaced(vm)
    devices = vm.devices or Devices()
    _refuse_sectors(vm, devices)
    boots = _boot_order(vm, networks.cards)
    windows = bool(vm.guest and vm.guest.type == "windows")
    clock = devices.clock if vm.devices else vm.clock
    return Machine(
        vm=vm,
        devices=devices,
        kind=kind(vm),
        efi=is_efi(vm),
        secure_boot=vm.secure_boot and is_efi(vm),
        windows=windows,
        hyperv=windows and devices.hyperv,
        tpm=vm.tpm or devices.tpm,
        uuid=chosen_uuid(vm),
        clock=clock,
        zone=_zone(vm) if clock == "localtime" else None,
        topology=_topology(vm, devices.sockets),
        drives=tuple(_drives(vm, devices, boots)),
        cards=networks.cards,
        boots=boots,
        warnings=(*_warnings(vm), *networks.warnings),
    )


def _zone(vm: VM) -> str | None:
    zone = vm.guest.windows.timezone if vm.guest and vm.guest.windows else None
    # A document may be anybody's, and this goes into a script.
    return zone if zone and _ZONE.fullmatch(zone) else None


def is_efi(vm: VM) -> bool:
    """Whether *vm* boots by UEFI; the disks decide where the source did not say."""
    if not vm.firmware_known and vm.guest and vm.guest.firmware:
        return vm.guest.firmware == "efi"
    return vm.firmware == "efi"


def kind(vm: VM) -> Literal["q35", "pc"]:
    """Return the type of machine; only q35 can protect what secure boot relies on."""
    if vm.secure_boot and is_efi(vm):
        return "q35"
    return (vm.devices or Devices()).machine


def chosen_uuid(vm: VM) -> str | None:
    """Return the machine's UUID: the source's, on which licences and cloud-init hang.

    Where it has none, the document's own id, so that defining again gives the same.
    """
    for known in filter(None, (vm.uuid, vm.id)):
        try:
            return str(uuid.UUID(known))
        except ValueError:
            continue
    return None


def text(value: str) -> str:
    """Return *value* without what XML, a log or a terminal cannot hold."""
    return _UNSAYABLE.sub(" ", value).strip()


def refuse(vm: VM) -> None:
    """Raise TargetError if no machine of ours could run *vm*, whatever its disks."""
    if vm.arch not in ("x86_64", "i686"):
        raise TargetError(
            f"{vm.name} is a machine of type {vm.arch}",
            "only x86 machines can be created; take the disks with -t null",
        )
    if vm.devices and vm.devices.block == "nvme":
        raise TargetError(
            f"{vm.name} is to have its disks on NVMe, which libvirt does not emulate",
            "set another bus (.devices.block of the document)",
        )
    if vm.devices:
        _refuse_sectors(vm, vm.devices)
    if not vm.memory:
        raise TargetError(
            f"the memory of {vm.name} is not known",
            "set it (.memory of the document, in bytes)",
        )


def _refuse_sectors(vm: VM, devices: Devices) -> None:
    """Raise TargetError for a disk that the bus of the guest's disks cannot have."""
    large = [disk.id for disk in vm.disks if disk.logical_block_size != 512]
    if large and devices.block in ("sata", "ide"):
        raise TargetError(
            f"{vm.name} is to have {large[0]}, whose sectors are of 4096 bytes, on "
            f"{devices.block.upper()}, where QEMU emulates only such of 512",
            "give its guest virtio drivers (v2v-fixup), or set .devices.block of the "
            "document to virtio or scsi if it has them",
        )


def _refuse_unplaced(vm: VM) -> None:
    for disk in vm.disks:
        layer = disk.target
        if layer is None:
            raise TargetError(
                f"disk {disk.id} has not been copied to its new place",
                "run v2v-convert before v2v-define",
            )
        if layer.server not in ("file", "qemu") or not _is_file(layer):
            raise TargetError(
                f"disk {disk.id} is not a raw or qcow2 file with an absolute path",
                "copy it into a folder of this host with v2v-convert -o DIR",
            )


def _is_file(layer: Layer) -> bool:
    path = layer.path or ""
    return (
        PurePosixPath(path).is_absolute()
        and not _UNSAYABLE.search(path)
        and layer.format in ("raw", "qcow2")
    )


def _topology(vm: VM, most: int | None) -> Topology:
    """Return the source's shape if it holds all vCPUs, else one socket of cores.

    So it is too where that has more than *most* sockets: client editions of Windows
    use one or two only, and leave the vCPUs in the others idle.
    """
    cpu = vm.cpu
    given = (cpu.sockets or 0, cpu.dies or 1, cpu.cores or 1, cpu.threads or 1)
    sockets, dies, cores, threads = given
    inner = dies * cores * threads
    if not sockets and cpu.cores and vm.vcpus % inner == 0:
        sockets = vm.vcpus // inner
    unused = most is not None and sockets > most
    if min(given) < 0 or sockets * inner != vm.vcpus or unused:
        return Topology(cores=vm.vcpus)
    return Topology(sockets=sockets, dies=dies, cores=cores, threads=threads)


def _boot_order(vm: VM, cards: tuple[Card, ...]) -> dict[str, int]:
    """Return the place, from 1, of each disk's id and card's MAC in the boot order.

    Cards count only if the source booted from them, and disks that it did not name
    come last, in the guest's order.
    """
    named = [(d.boot, d.id) for d in vm.disks if d.boot is not None]
    named += [(c.nic.boot, c.nic.mac) for c in cards if c.nic.boot is not None]
    order = [key for _, key in sorted(named, key=lambda pair: pair[0])]
    order += [d.id for d in vm.disks if d.boot is None]
    return {key: place for place, key in enumerate(order, 1)}


def _drives(vm: VM, devices: Devices, boots: dict[str, int]) -> Iterator[Drive]:
    """Yield the disks, then an empty drive for each CD drive of the source."""
    modern = kind(vm) == "q35"
    assert devices.block != "nvme"  # that is refused
    bus: Bus = devices.block
    if bus == "ide" and modern:
        bus = "sata"  # q35 has no IDE
    used: Counter[str] = Counter()
    for disk in vm.disks:
        mine = _with_room(bus, used)
        yield _disk(disk, mine, _name(mine, used), boots)
    for _ in (drive for drive in vm.removable if drive.type == "cdrom"):
        mine = _with_room("sata" if modern else "ide", used)
        yield Drive(name=_name(mine, used), bus=mine, readonly=True)


def _with_room(bus: Bus, used: Counter[str]) -> Bus:
    return "sata" if bus == "ide" and used[_PREFIXES["ide"]] >= IDE_DRIVES else bus


def _name(bus: Bus, used: Counter[str]) -> str:
    """Return the next name on *bus*: SATA and SCSI share theirs, sda, sdb …"""
    prefix = _PREFIXES[bus]
    used[prefix] += 1
    return prefix + disk_id(used[prefix] - 1).removeprefix("sd")


def _disk(disk: Disk, bus: Bus, name: str, boots: dict[str, int]) -> Drive:
    assert disk.target
    serial = _NOT_SERIAL.sub("", disk.serial or "")[: _SERIAL_LENGTH[bus]].strip()
    full = bool(disk.size) and (disk.target.allocated or 0) >= (disk.size or 0)
    return Drive(
        name=name,
        bus=bus,
        image=disk.target,
        boot=boots[disk.id],
        serial=serial or None,
        # An ATA disk cannot be read-only: qemu refuses to start.
        readonly=disk.readonly and bus in ("virtio", "scsi"),
        # Two machines cannot both write qcow2's tables.
        shared=disk.shared and disk.target.format == "raw",
        sparse=not full,
        logical_block_size=disk.logical_block_size,
    )


def _warnings(vm: VM) -> Iterator[str]:
    """Yield what works, but is not as it was on the source."""
    if vm.devices is None:
        yield (
            "what the guest can drive is not known, so it gets SATA disks and e1000e "
            "cards (v2v-fixup finds out)"
        )
    first = document.boot_disk(vm)
    if first and first.logical_block_size != 512 and not is_efi(vm):
        yield f"a BIOS starts nothing from {first.id}, whose sectors are of 4096 bytes"
    for disk in vm.disks:
        if disk.shared and disk.target and disk.target.format != "raw":
            yield f"disk {disk.id} was shared by machines; only a raw disk can be"
    for nic in vm.nics:
        if nic.vlan:
            yield f"card {nic.mac} was in VLAN {nic.vlan}; see that its network is"
    if any(drive.type == "floppy" for drive in vm.removable):
        yield "the floppy drive is left out"
