# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a VM as VMware's exports have it."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

import ovf_package as build
from v2v.document import VM, Disk, Nic, Removable

# An export has no identities, and nothing of VLANs, clocks and how a MAC came to be.
UNSAID = (
    *("uuid", "genid", "clock", "nics.vlan", "nics.mac_source", "nics.type"),
    *("removable.connected",),
)
_CONTROLLERS = {"ide": (5, ""), "scsi": (6, "lsilogic")}
_OTHERS = {"sata": "vmware.sata.ahci", "nvme": "vmware.nvme.controller"}


def write(vm: VM) -> bytes:
    """Return *vm* as an OVF; its disks' files are beside it, in References."""
    media = [drive for drive in vm.removable if drive.path]
    files = [build.file_of(_file(disk), f"f-{disk.id}") for disk in vm.disks]
    files += [build.file_of(d.path or "", f"m-{n}") for n, d in enumerate(media)]
    disks = [build.disk_of(id=d.id, file=f"f-{d.id}") for d in vm.disks]
    hardware = "".join([*_base(vm), *_disks(vm.disks), *_drives(vm.removable, media)])
    hardware += "".join(_card(300 + n, nic) for n, nic in enumerate(vm.nics))
    name = f"<Name>{escape(vm.name)}</Name>"
    notes = escape(vm.description or "")
    annotation = f"<AnnotationSection><Annotation>{notes}</Annotation>"
    boots = "".join(
        f'<vmw:BootOrderSection vmw:instanceId="{100 + n}"/>'
        for n, disk in enumerate(vm.disks)
        if disk.boot
    )
    system = (
        f"<VirtualSystem ovf:id={quoteattr(vm.name)}>{name}"
        f"{annotation if vm.description else ''}"
        f"{'</AnnotationSection>' if vm.description else ''}{boots}"
        f"<VirtualHardwareSection>{hardware}{''.join(_config(vm))}"
        "</VirtualHardwareSection></VirtualSystem>"
    )
    return build.ovf("".join(files), "".join(disks), system).encode()


def _file(disk: Disk) -> str:
    assert disk.source and disk.source.path
    return disk.source.path


def _config(vm: VM) -> Iterator[str]:
    values = {
        "firmware": vm.firmware,
        "bootOptions.efiSecureBootEnabled": str(vm.secure_boot).lower(),
        "nestedHVEnabled": str(vm.cpu.nested).lower(),
    }
    for key, value in values.items():
        yield f'<vmw:Config ovf:required="false" vmw:key="{key}" vmw:value="{value}"/>'


def _base(vm: VM) -> Iterator[str]:
    cores = f"<vmw:CoresPerSocket>{vm.cpu.cores}</vmw:CoresPerSocket></Item>"
    yield build.item(1, 3, VirtualQuantity=vm.vcpus).replace("</Item>", cores)
    size = vm.memory // 2**20
    yield build.item(2, 4, "", AllocationUnits="byte * 2^20", VirtualQuantity=size)
    if vm.tpm:
        yield build.item(3, 34, ResourceSubType="vmware.vtpm")


def _disks(disks: tuple[Disk, ...]) -> Iterator[str]:
    """Yield the items of the controllers, and then those of *disks*."""
    numbers: dict[str, int] = {}
    for disk in disks:
        controller = (disk.slot or "").partition(":")[0]
        if controller not in numbers:
            numbers[controller] = 10 + len(numbers)
            at = int(controller.removeprefix(disk.bus))
            kind, model = _CONTROLLERS.get(disk.bus, (20, _OTHERS.get(disk.bus, "")))
            words = {"ResourceSubType": model} if model else {}
            yield build.item(numbers[controller], kind, "", Address=at, **words)
    for n, disk in enumerate(disks):
        controller, _, unit = (disk.slot or "").partition(":")
        parent = numbers[controller]
        yield build.disk_item(100 + n, disk.id, Parent=parent, AddressOnParent=unit)


def _drives(drives: tuple[Removable, ...], media: list[Removable]) -> Iterator[str]:
    for n, drive in enumerate(drives):
        place = {}
        if drive.path:
            number = next(at for at, other in enumerate(media) if other is drive)
            place = {"HostResource": f"ovf:/file/m-{number}"}
        yield build.item(200 + n, 15 if drive.type == "cdrom" else 14, "", **place)


def _card(number: int, nic: Nic) -> str:
    return build.item(
        number,
        10,
        Address=nic.mac,
        Connection=escape(nic.network or ""),
        ResourceSubType=nic.model or "",
        AutomaticAllocation=str(nic.connected).lower(),
    )
