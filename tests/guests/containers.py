# SPDX-License-Identifier: GPL-2.0-or-later
"""One raw disk in the containers that a converter has to read.

Each maker fills a new folder; the disk's content is that of the source, but where a
snapshot chain changes /data/marker on purpose (``CHANGED``).
"""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

NAME = "web01"
MAC = "00:50:56:01:02:03"
MARKER = b"on /dev/sda2\n"
CHANGED = b"AFTER SNAP 1\n"
MIB = 2**20

VMX = """.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
displayName = "{name}"
annotation = "test fixture|0Asecond line of the note"
guestOS = "debian12-64"
firmware = "{firmware}"
memSize = "1024"
numvcpus = "2"
cpuid.coresPerSocket = "2"
uuid.bios = "56 4d 01 02 03 04 05 06-07 08 09 0a 0b 0c 0d 0e"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "{disk}"
sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.deviceType = "cdrom-raw"
sata0:0.startConnected = "FALSE"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.networkName = "VM Network"
ethernet0.addressType = "static"
ethernet0.address = "{mac}"
ethernet0.pciSlotNumber = "192"
"""


def write_vmx(path: Path, disk: str, firmware: str = "bios") -> None:
    """Write a .vmx for one disk at *path*."""
    text = VMX.format(name=path.stem, disk=disk, firmware=firmware, mac=MAC)
    path.write_text(text)


def _image(source: Path, target: Path, kind: str, *options: str) -> None:
    command = ["qemu-img", "convert", "-f", "raw", "-O", kind, *options]
    subprocess.run([*command, str(source), str(target)], check=True)


def _single(kind: str, suffix: str, *options: str) -> Callable[[Path, Path], None]:
    def make(source: Path, folder: Path) -> None:
        folder.mkdir()
        _image(source, folder / f"{NAME}.{suffix}", kind, *options)

    return make


def _vmdk(subformat: str) -> Callable[[Path, Path], None]:
    def make(source: Path, folder: Path) -> None:
        folder.mkdir()
        _image(source, folder / f"{NAME}.vmdk", "vmdk", "-o", f"subformat={subformat}")
        write_vmx(folder / f"{NAME}.vmx", f"{NAME}.vmdk")

    return make


def _raw(source: Path, folder: Path) -> None:
    folder.mkdir()
    sparse = ["cp", "--sparse=always", "--reflink=auto", str(source)]
    subprocess.run([*sparse, str(folder / f"{NAME}.img")], check=True)


def _hosted(source: Path, folder: Path) -> None:
    """As Workstation leaves it: a sparse base, and a chain of two snapshots on it."""
    folder.mkdir()
    options = "subformat=monolithicSparse,adapter_type=lsilogic"
    _image(source, folder / f"{NAME}.vmdk", "vmdk", "-o", options)
    before = f"{NAME}.vmdk"
    for number in (1, 2):
        child = f"{NAME}-{number:06d}.vmdk"
        create = ["qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", before]
        subprocess.run([*create, child], cwd=folder, check=True)
        if number == 1:
            _change(source, folder, child)
        before = child
    write_vmx(folder / f"{NAME}.vmx", before)


def _change(source: Path, folder: Path, image: str) -> None:
    """Write CHANGED over the marker, in *image*."""
    at = marker_offset(source)
    (folder / "change").write_bytes(CHANGED)
    write = f"write -q -s change {at} {len(CHANGED)}"
    command = ["qemu-io", "-f", "vmdk", "-c", write, image]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (folder / "change").unlink()


def _esxi(source: Path, folder: Path) -> None:
    """As a datastore holds it: a flat base, and a COWD delta ("vmfsSparse") on it."""
    folder.mkdir()
    flat = folder / f"{NAME}-flat.vmdk"
    subprocess.run(["cp", "--sparse=always", str(source), str(flat)], check=True)
    sectors = source.stat().st_size // 512
    (folder / f"{NAME}.vmdk").write_text(
        _descriptor("vmfs", f'RW {sectors} VMFS "{flat.name}"', "a1b2c3d4")
    )
    at = marker_offset(source)
    sector = at - at % 512
    with source.open("rb") as file:
        file.seek(sector)
        data = bytearray(file.read(512))
    data[at % 512 : at % 512 + len(CHANGED)] = CHANGED
    delta = folder / f"{NAME}-000001-delta.vmdk"
    _write_cowd(delta, sectors, {sector // 512: bytes(data)})
    extent = f'RW {sectors} VMFSSPARSE "{delta.name}"'
    text = _descriptor("vmfsSparse", extent, "b2c3d4e5", "a1b2c3d4", f"{NAME}.vmdk")
    (folder / f"{NAME}-000001.vmdk").write_text(text)
    write_vmx(folder / f"{NAME}.vmx", f"{NAME}-000001.vmdk")


def _descriptor(
    kind: str, extent: str, cid: str, parent: str = "ffffffff", hint: str = ""
) -> str:
    named = f'parentFileNameHint="{hint}"\n' if hint else ""
    return (
        f'# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\nCID={cid}\n'
        f'parentCID={parent}\ncreateType="{kind}"\n{named}\n# Extent description\n'
        f'{extent}\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = "lsilogic"\n'
        'ddb.geometry.cylinders = "130"\nddb.geometry.heads = "255"\n'
        'ddb.geometry.sectors = "63"\nddb.virtualHWVersion = "19"\n'
    )


def _write_cowd(path: Path, sectors: int, changes: dict[int, bytes]) -> None:
    """Write a COWD extent of *sectors* with *changes*: sector -> 512 bytes.

    Header, grain directory, grain tables of 4096 entries, grains of one sector.
    """
    directory = [0] * -(-sectors // 4096)
    directory_sectors = -(-len(directory) * 4 // 512)
    free = 4 + directory_sectors
    tables: dict[int, list[int]] = {}
    for sector in changes:
        tables.setdefault(sector // 4096, [0] * 4096)
    for index in tables:
        directory[index] = free
        free += 32
    for sector in sorted(changes):
        tables[sector // 4096][sector % 4096] = free
        free += 1
    head = struct.pack(
        "<4s9I", b"COWD", 1, 3, sectors, 1, 4, len(directory), free, 0, 0
    )
    with path.open("wb") as file:
        file.write(head.ljust(4 * 512, b"\0"))
        packed = struct.pack(f"<{len(directory)}I", *directory)
        file.write(packed.ljust(directory_sectors * 512, b"\0"))
        for table in tables.values():
            file.write(struct.pack("<4096I", *table))
        for sector in sorted(changes):
            file.write(changes[sector])
        file.truncate(-(-file.tell() // MIB) * MIB)


def marker_offset(source: Path) -> int:
    """Return where the content of /data/marker lies in the raw disk *source*."""
    for offset, piece in _data(source):
        at = piece.find(MARKER)
        while at >= 0:
            # A file of its own starts on a block boundary.
            if at % 1024 == 0:
                return offset + at
            at = piece.find(MARKER, at + 1)
    raise SystemExit(f"{source} has no /data/marker")


def _data(source: Path) -> Iterator[tuple[int, bytes]]:
    import os

    with source.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            at -= at % MIB
            file.seek(at)
            yield at, file.read(MIB)
            at += MIB


def _ova(source: Path, folder: Path) -> None:
    folder.mkdir()
    disk = folder / f"{NAME}-disk1.vmdk"
    _image(source, disk, "vmdk", "-o", "subformat=streamOptimized")
    with disk.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    ovf = OVF.format(
        name=NAME,
        disk=disk.name,
        size=disk.stat().st_size,
        capacity=source.stat().st_size,
    ).encode()
    manifest = (
        f"SHA256({NAME}.ovf)= {hashlib.sha256(ovf).hexdigest()}\n"
        f"SHA256({disk.name})= {digest}\n"
    ).encode()
    with tarfile.open(folder / f"{NAME}.ova", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in ((f"{NAME}.ovf", ovf), (f"{NAME}.mf", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        tar.add(disk, disk.name)
    disk.unlink()


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "raw": _raw,
    "qcow2": _single("qcow2", "qcow2"),
    "vhd": _single("vpc", "vhd"),
    "vhdx": _single("vhdx", "vhdx", "-o", "subformat=dynamic"),
    "vdi": _single("vdi", "vdi"),
    "vmdk-stream": _vmdk("streamOptimized"),
    "vmdk-sparse": _vmdk("monolithicSparse"),
    "vmdk-split": _vmdk("twoGbMaxExtentSparse"),
    "vmx-hosted": _hosted,
    "vmx-esxi": _esxi,
    "ova": _ova,
}

OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/\
CIM_ResourceAllocationSettingData"
    xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href="{disk}" ovf:id="file1" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte"
        ovf:diskId="vmdisk1" ovf:fileRef="file1"
        ovf:format="http://www.vmware.com/interfaces/specifications/\
vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network"><Description>VM Network</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest">
      <Info>The guest</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <Item>
        <rasd:ElementName>2 virtual CPU(s)</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>1024MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>1024</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI Controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard Disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>VM Network</rasd:Connection>
        <rasd:ElementName>Network adapter 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""
