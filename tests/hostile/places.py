# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipes, sockets, folders and links where files are expected; files without an end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.case import GIB, MIB, Case, Cases, Forbidden, Make
from hostile.images import descriptor

_DOMAIN = (
    "<domain type='kvm'><name>a</name><memory>1048576</memory><devices><disk "
    "type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>"
    "<target dev='vda' bus='virtio'/></disk></devices></domain>"
)
_VBOX = (
    '<VirtualBox xmlns="http://www.virtualbox.org/"><Machine name="a" uuid="'
    '{{f0000000-0000-0000-0000-000000000001}}"><MediaRegistry><HardDisks><HardDisk '
    'uuid="{{f0000000-0000-0000-0000-000000000002}}" location="{}" format="VDI"/>'
    "</HardDisks></MediaRegistry><StorageControllers><StorageController name='S' "
    "type='AHCI'><AttachedDevice type='HardDisk' port='0' device='0'><Image uuid='"
    "{{f0000000-0000-0000-0000-000000000002}}'/></AttachedDevice></StorageController>"
    "</StorageControllers></Machine></VirtualBox>"
)
_PVS = (
    "<ParallelsVirtualMachine><Identification><VmName>a</VmName></Identification>"
    "<Hardware><Hdd><Index>0</Index><Enabled>1</Enabled><SystemName>{}</SystemName>"
    "</Hdd></Hardware></ParallelsVirtualMachine>"
)
_OVF = (
    "<Envelope><References><File id='f' href='{}'/></References><DiskSection><Info/>"
    "<Disk diskId='d' capacity='1048576' fileRef='f' format='http://www.vmware.com/"
    "interfaces/specifications/vmdk.html#streamOptimized'/></DiskSection>"
    "<VirtualSystem id='a'><Info/><VirtualHardwareSection><Info/><Item><InstanceID>1"
    "</InstanceID><ResourceType>6</ResourceType></Item><Item><InstanceID>2"
    "</InstanceID><Parent>1</Parent><ResourceType>17</ResourceType><HostResource>"
    "ovf:/disk/d</HostResource></Item></VirtualHardwareSection></VirtualSystem>"
    "</Envelope>"
)
_VMX = (
    'config.version = "8"\ndisplayName = "a"\nmemSize = "512"\n'
    'scsi0.present = "TRUE"\nscsi0:0.present = "TRUE"\nscsi0:0.fileName = "{}"\n'
)
# Descriptions that name one disk: the file, and the text.
_NAMING = {
    "vmx": ("a.vmx", _VMX),
    "ovf": ("a.ovf", _OVF),
    "libvirt": ("a.xml", _DOMAIN),
    "vbox": ("a.vbox", _VBOX),
    "pvs": ("config.pvs", _PVS),
    "xl": ("a.cfg", "name='a'\nmemory=512\ndisk=['{},raw,xvda,w']\n"),
    "proxmox": ("100.conf", "name: a\nmemory: 512\nscsi0: {}\n"),
}


def pipe(path: Path, forbidden: Forbidden) -> None:
    """Put a FIFO at *path*, which nobody writes to."""
    os.mkfifo(path)


def bound(path: Path, forbidden: Forbidden) -> None:
    """Put a socket at *path*."""
    here = Path.cwd()
    os.chdir(path.parent)  # a name of 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def endless(path: Path, forbidden: Forbidden) -> None:
    """Put a link to a device that has no end at *path*."""
    path.symlink_to("/dev/zero")


def terminal(path: Path, forbidden: Forbidden) -> None:
    """Put a link to a device that waits for a person at *path*."""
    path.symlink_to("/dev/tty")


def outside(path: Path, forbidden: Forbidden) -> None:
    """Put a link to what must not be read at *path*."""
    path.symlink_to(forbidden.path)


def circle(path: Path, forbidden: Forbidden) -> None:
    """Put a link to itself at *path*."""
    path.symlink_to(path.name)


def directory(path: Path, forbidden: Forbidden) -> None:
    """Put a folder at *path*."""
    path.mkdir()


def hole(path: Path, forbidden: Forbidden) -> None:
    """Put a file of 4 GiB at *path*: one line of zeroes."""
    path.touch()
    os.truncate(path, 4 * GIB)


def line(path: Path, forbidden: Forbidden) -> None:
    """Put a file of 4 GiB at *path*, which begins like text."""
    path.write_bytes(b'displayName = "' + b"a" * MIB)
    os.truncate(path, 4 * GIB)


Put = Callable[[Path, Forbidden], None]
_SAID: dict[Put, str] = {
    pipe: "no file|disk-missing",
    bound: "no file|disk-missing",
    endless: "outside|disk-missing",
    terminal: "outside|disk-missing",
    outside: "outside|path-refused",
    circle: "disk-missing|no regular file|a link to itself",
    directory: "directory|disk-missing|DiskDescriptor|no regular file",
    hole: "",
    line: "",
}
# Nobody can have made these by chance, and the user names them himself.
_AS_SOURCE: dict[Put, str] = {
    pipe: "no file",
    bound: "no file",
    endless: "no file",
    circle: "symbolic links",
    directory: "holds no VM",
    hole: "",
    line: "",
}


def _named(file: str, content: str, disk: str, put: Put) -> Make:
    def make(folder: Path, forbidden: Forbidden) -> Path:
        put(folder / disk, forbidden)
        path = folder / file
        path.write_text(content.format(disk))
        return path

    return make


def _as_disks() -> Iterator[tuple[str, Case]]:
    for kind, (file, content) in _NAMING.items():
        for put, said in _SAID.items():
            name = "d.vmdk" if kind in ("vmx", "ovf") else "d.vdi"
            name = "d.hdd" if kind == "pvs" else name
            make = _named(file, content, name, put)
            yield f"{kind}-{put.__name__}", Case(make=make, found=said)


def _as_sources() -> Iterator[tuple[str, Case]]:
    """Yield the same in the place of the description, and of what lies beside it."""
    files = {
        "vmx": "a.vmx",
        "ova": "a.ova",
        "ovf": "a.ovf",
        "xml": "a.xml",
        "vbox": "a.vbox",
        "pvs": "config.pvs",
        "vmcx": "a.vmcx",
        "xva": "a.xva",
        "vma": "a.vma",
        "packed": "a.raw.gz",
        "qcow2": "a.qcow2",
    }
    for kind, file in files.items():
        for put, said in _AS_SOURCE.items():

            def make(
                folder: Path, forbidden: Forbidden, file: str = file, put: Put = put
            ) -> Path:
                put(folder / file, forbidden)
                return folder / file

            yield f"source-{kind}-{put.__name__}", Case(make=make, found=said)
    for put, said in _SAID.items():
        yield f"inside-{put.__name__}", Case(make=_inside(put), found=said)


_REGISTRIES = ("VirtualBox.xml",)
_ALONGSIDE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "pvs": ("config.pvs", _PVS, ("Snapshots.xml",)),
    "ovf": ("a.ovf", _OVF, ("a.mf", "a.cert")),
    "vmx": ("a.vmx", _VMX, ("a.vmsd", "a.nvram", "a.vmx.lck")),
    "vbox": ("a.vbox", _VBOX.replace("HardDisk uuid", "Other uuid"), _REGISTRIES),
    "proxmox": ("100.conf", "name: a\nscsi0: s:{}\n", ("storage.cfg",)),
}


def _alongside() -> Iterator[tuple[str, Case]]:
    """Yield descriptions with such files beside them that are read unasked."""
    for kind, (file, content, names) in _ALONGSIDE.items():
        for put in _SAID:

            def make(
                folder: Path,
                forbidden: Forbidden,
                put: Put = put,
                file: str = file,
                content: str = content,
                names: tuple[str, ...] = names,
            ) -> Path:
                for name in names:
                    put(folder / name, forbidden)
                (folder / file).write_text(content.format("d.hdd"))
                return folder / file

            yield f"beside-{kind}-{put.__name__}", Case(make=make)


def _inside(put: Put) -> Make:
    """Return what puts that in the place of the descriptor of a bundle."""

    def make(folder: Path, forbidden: Forbidden) -> Path:
        (folder / "d.hdd").mkdir()
        put(folder / "d.hdd" / "DiskDescriptor.xml", forbidden)
        (folder / "config.pvs").write_text(_PVS.format("d.hdd"))
        return folder / "config.pvs"

    return make


def _extents() -> Iterator[tuple[str, Case]]:
    for put, said in _SAID.items():

        def make(folder: Path, forbidden: Forbidden, put: Put = put) -> Path:
            put(folder / "d", forbidden)
            path = folder / "a.vmdk"
            path.write_text(descriptor('RW 8 FLAT "d" 0'))
            return path

        yield f"extent-{put.__name__}", Case(make=make, found=said)


def cases() -> Cases:
    """Return the files that are none."""
    parts = (_as_disks, _as_sources, _alongside, _extents)
    return {name: case for part in parts for name, case in part()}
