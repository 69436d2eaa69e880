# SPDX-License-Identifier: GPL-2.0-or-later
"""Make small OVF packages with real disks, and broken ones."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

MIB = 2**20
_SPACES = (
    'xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:vmw="http://www.vmware.com/schema/ovf" '
    'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
    'CIM_ResourceAllocationSettingData" '
    'xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
    'CIM_VirtualSystemSettingData"'
)
VMDK = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
VHD = "http://www.microsoft.com/technet/virtualserver/downloads/vhdspec.mspx"
QCOW2 = "http://www.gnome.org/~markmc/qcow-image-format.html"
RAW = "http://en.wikipedia.org/wiki/Byte"


def item(number: int, type: int, more: str = "", **fields: str | int) -> str:
    """Return an Item; *more* are its own attributes."""
    inside = "".join(
        f"<rasd:{name}>{value}</rasd:{name}>" for name, value in fields.items()
    )
    return (
        f"<Item {more}><rasd:InstanceID>{number}</rasd:InstanceID>{inside}"
        f"<rasd:ResourceType>{type}</rasd:ResourceType></Item>"
    )


def disk_item(number: int, disk: str, **fields: str | int) -> str:
    """Return the item of a disk on controller 3."""
    places: dict[str, str | int] = {"Parent": 3, "HostResource": f"ovf:/disk/{disk}"}
    return item(number, 17, "", **(places | fields))


CPU = item(1, 3, VirtualQuantity=2)
MEMORY = item(2, 4, AllocationUnits="byte * 2^20", VirtualQuantity=512)
SCSI = item(3, 6, Address=0, ResourceSubType="lsilogic")


def file_of(name: str, id: str = "file1", more: str = "") -> str:
    """Return the entry of a file in References."""
    return f'<File ovf:id="{id}" ovf:href="{name}" {more}/>'


def disk_of(
    format: str = VMDK, id: str = "disk1", file: str = "file1", more: str = ""
) -> str:
    """Return the entry of a disk in the DiskSection; without *file* a blank one."""
    ref = f'ovf:fileRef="{file}"' if file else ""
    stated = f'ovf:format="{format}"' if format else ""
    return f'<Disk ovf:diskId="{id}" {ref} {stated} {more}/>'


def system(
    items: str = "", before: str = "", after: str = "", id: str = "web01"
) -> str:
    """Return a VM with two CPUs, 512 MiB, a SCSI controller and *items*."""
    return (
        f'<VirtualSystem ovf:id="{id}">{before}<VirtualHardwareSection>'
        f"{CPU}{MEMORY}{SCSI}{items}{after}</VirtualHardwareSection></VirtualSystem>"
    )


def ovf(files: str = "", disks: str = "", systems: str = "", sections: str = "") -> str:
    """Return an OVF."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Envelope {_SPACES}>'
        f"<References>{files}</References><DiskSection>{disks}</DiskSection>{sections}"
        f"{systems or system()}</Envelope>"
    )


def one_disk(
    name: str, format: str = VMDK, of_file: str = "", of_disk: str = ""
) -> str:
    """Return the OVF of a VM with one disk, in file *name*."""
    return ovf(
        file_of(name, more=of_file),
        disk_of(format, more=of_disk),
        system(disk_item(4, "disk1", AddressOnParent=0)),
    )


def image(path: Path, *options: str, size: int = 4 * MIB) -> bytes:
    """Make a disk image with some data at *path*; return what the disk holds."""
    content = bytearray(size)
    for at in range(0, size, MIB):
        content[at : at + 4096] = hashlib.sha256(str(at).encode()).digest() * 128
    raw = path.with_name(f"{path.name}.content")
    raw.write_bytes(content)
    command = ["qemu-img", "convert", "-f", "raw", *options, str(raw), str(path)]
    subprocess.run(command, check=True)
    raw.unlink()
    return bytes(content)


STREAM = ("-O", "vmdk", "-o", "subformat=streamOptimized")


def archive(
    path: Path, members: Mapping[str, bytes], format: int = tarfile.USTAR_FORMAT
) -> Path:
    """Make the tar archive *path* of *members*, in their order."""
    return archive_of(path, [entry(n) for n in members], list(members.values()), format)


def package(folder: Path, members: Mapping[str, bytes], *, packed: bool) -> Path:
    """Make an OVA of *members* if *packed*, else files; return it or the web01.ovf."""
    if packed:
        return archive(folder / "a.ova", members)
    for name, data in members.items():
        (folder / name).write_bytes(data)
    return folder / "web01.ovf"


def zipped(path: Path, members: Mapping[str, bytes], method: int) -> Path:
    """Make the zip archive *path* of *members*, each packed by *method*."""
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return path


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    """Return the header of a member with *fields*."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive_of(
    path: Path,
    entries: Iterable[tarfile.TarInfo],
    contents: Iterable[bytes],
    format: int = tarfile.USTAR_FORMAT,
) -> Path:
    """Make the tar archive *path* with exactly these *entries*."""
    with tarfile.open(path, "w", format=format) as tar:
        for info, content in zip(entries, contents, strict=True):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
