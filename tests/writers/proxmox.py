# SPDX-License-Identifier: GPL-2.0-or-later
"""Proxmox VE's ID.conf, as PVE/QemuServer.pm writes one: its keys sorted."""

from collections.abc import Iterator
from urllib.parse import quote

from v2v.document import VM, Nic

MIB = 2**20

# What a .conf has no words for; the slots are its own keys.
UNSAID = ("disks.slot", "disks.boot", "removable.connected")


def write(vm: VM) -> bytes:
    """Return the .conf of *vm*, whose volumes are in the storage "local"."""
    comments = [f"#{_encoded(line)}" for line in (vm.description or "").split("\n")]
    lines = [f"{key}: {value}" for key, value in sorted(_pairs(vm))]
    notes = comments if vm.description else []
    return "".join(f"{line}\n" for line in (*notes, *lines)).encode()


def _encoded(text: str) -> str:
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def _pairs(vm: VM) -> Iterator[tuple[str, object]]:
    yield from (("name", vm.name), ("memory", vm.memory // MIB), ("ostype", "l26"))
    yield from (("sockets", vm.cpu.sockets), ("cores", vm.cpu.cores))
    yield "cpu", "kvm64,flags=+vmx" if vm.cpu.nested else "kvm64"
    yield "bios", "ovmf" if vm.firmware == "efi" else "seabios"
    if vm.firmware == "efi":
        keys = int(vm.secure_boot)
        yield "efidisk0", f"local:100/e.raw,efitype=4m,pre-enrolled-keys={keys}"
    yield "localtime", int(vm.clock == "localtime")
    yield "scsihw", "virtio-scsi-single"
    if vm.uuid:
        yield "smbios1", f"uuid={vm.uuid}"
    if vm.genid:
        yield "vmgenid", vm.genid
    if vm.tpm:
        yield "tpmstate0", "local:100/t.raw,version=v2.0"
    keys_ = [f"{disk.bus}{number}" for number, disk in enumerate(vm.disks)]
    for key, disk in zip(keys_, vm.disks, strict=True):
        path = disk.source.path if disk.source else None
        yield key, f"local:100/{path},iothread=1,size=32G"
    first = [k for k, disk in zip(keys_, vm.disks, strict=True) if disk.boot == 1]
    yield "boot", f"order={';'.join(first)}"
    for number, drive in enumerate(vm.removable):
        medium = f"local:iso/{drive.path}" if drive.path else "none"
        yield f"ide{number + 30}", f"{medium},media=cdrom"
    yield from ((f"net{n}", _card(nic)) for n, nic in enumerate(vm.nics))


def _card(nic: Nic) -> str:
    tag = "" if nic.vlan is None else f",tag={nic.vlan}"
    link = "" if nic.connected else ",link_down=1"
    return f"{nic.model}={nic.mac.upper()},bridge={nic.network}{link}{tag}"
