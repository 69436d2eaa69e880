# SPDX-License-Identifier: GPL-2.0-or-later
"""Xen's configuration, as libvirt's libxl driver writes one for xl: domains of HVM."""

from collections.abc import Iterator

from v2v.document import VM, Disk, Nic, Removable

MIB = 2**20
_DEVICES = {"ide": "hd", "scsi": "sd", "xen": "xvd"}
_FORMATS = {"vmdk": "vmdk", "vpc": "vhd", "qcow2": "qcow2", "raw": "raw"}

# What an xl.cfg has no words for; the slots are names of devices.
UNSAID = (
    *("genid", "description", "secure_boot", "cpu", "disks.slot"),
    *("removable.connected", "nics.connected"),
)


def write(vm: VM, *, positional: bool = False) -> bytes:
    """Return the configuration of *vm*, its disks by name or *positional*."""
    return "".join(f"{line}\n" for line in _lines(vm, positional)).encode()


def quoted(text: str) -> str:
    """Return *text* as a string of the configuration."""
    marked = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{marked}"'


def _lines(vm: VM, positional: bool) -> Iterator[str]:
    yield f"name = {quoted(vm.name)}"
    yield 'type = "hvm"'
    if vm.uuid:
        yield f"uuid = {quoted(vm.uuid)}"
    yield f"maxmem = {vm.memory // MIB}"
    yield f"memory = {max(1, vm.memory // MIB // 2)}"
    yield from (f"vcpus = {vm.vcpus}", f"nestedhvm = {int(vm.cpu.nested)}")
    yield f"bios = {quoted('ovmf' if vm.firmware == 'efi' else 'seabios')}"
    yield f"localtime = {int(vm.clock == 'localtime')}"
    yield 'boot = "c"'
    if vm.tpm:
        yield 'vtpm = [ "backend=vtpm" ]'
    disk = positioned if positional else named
    texts = [disk(_device(d, number), d) for number, d in enumerate(vm.disks)]
    drives = [_drive(drive, number) for number, drive in enumerate(vm.removable)]
    yield f"disk = [ {', '.join(map(quoted, texts))} ]"
    # Drives are added: both ways to say a list.
    yield f"disk += [ {', '.join(map(quoted, drives))} ]"
    yield f"vif = [ {', '.join(quoted(_card(nic)) for nic in vm.nics)} ]"


def _device(disk: Disk, number: int) -> str:
    return f"{_DEVICES[disk.bus]}{chr(ord('a') + number)}"


def named(device: str, disk: Disk) -> str:
    """Return a disk's specification by keys; the target is last and holds anything."""
    assert disk.source
    kind = _FORMATS[disk.source.format]
    path = disk.source.path
    return f"format={kind},vdev={device},access=rw,backendtype=qdisk,target={path}"


def positioned(device: str, disk: Disk) -> str:
    """Return a disk's specification by place."""
    assert disk.source
    return f"{disk.source.path},{_FORMATS[disk.source.format]},{device},rw"


def _drive(drive: Removable, number: int) -> str:
    device = f"hd{chr(ord('w') + number)}"
    return f"vdev={device},access=ro,devtype=cdrom,target={drive.path or ''}"


def _card(nic: Nic) -> str:
    vlan = f".{nic.vlan}" if nic.vlan is not None else ""
    script = "vif-openvswitch" if vlan else "vif-bridge"
    place = f"bridge={nic.network}{vlan},script={script}"
    return f"mac={nic.mac},{place},model={nic.model},type=ioemu"
