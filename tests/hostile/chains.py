# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of disks that run in a circle, or have no end."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from hostile.case import MIB, Case, Cases, Forbidden, Make
from hostile.images import descriptor, vdi, vhd, vhd_header

_LONG = 2000


def _vmdk(count: int, *, circle: bool) -> Make:
    def make(folder: Path, forbidden: Forbidden) -> Path:
        (folder / "d").write_bytes(bytes(4096))
        for n in range(count):
            above = 0 if circle and n == count - 1 else n + 1
            text = descriptor('RW 8 FLAT "d" 0', parent=f"{above}.vmdk")
            (folder / f"{n}.vmdk").write_text(text)
        return folder / "0.vmdk"

    return make


def _vdi(count: int, *, circle: bool) -> Make:
    def make(folder: Path, forbidden: Forbidden) -> Path:
        for n in range(count):
            data = bytearray(vdi(kind=4))
            above = 0 if circle and n == count - 1 else n + 1
            data[392:408] = struct.pack("<QQ", 1, n)
            data[424:440] = struct.pack("<QQ", 1, above)
            (folder / f"{n}.vdi").write_bytes(data + bytes(8192))
        return folder / "0.vdi"

    return make


def _vhd(count: int, *, circle: bool) -> Make:
    def make(folder: Path, forbidden: Forbidden) -> Path:
        for n in range(count):
            above = 0 if circle and n == count - 1 else n + 1
            head = vhd_header(2048, 4, 2 * MIB, parent=f"{above}.vhd", of=above)
            footer = vhd(4, MIB, id=n)
            data = (footer + head).ljust(2048, b"\0") + b"\xff" * 512 + footer
            (folder / f"{n}.vhd").write_bytes(data)
        return folder / "0.vhd"

    return make


def _ovf(*, circle: bool) -> Make:
    """Disks that are each the parent of the next."""
    count = 3 if circle else 5000

    def make(folder: Path, forbidden: Forbidden) -> Path:
        (folder / "d.vmdk").write_text(descriptor('RW 8 FLAT "f" 0', parent="e"))
        (folder / "f").write_bytes(bytes(4096))
        disks = "".join(
            f"<Disk diskId='{n}' capacity='4096' fileRef='f' format='vmdk' "
            f"parentRef='{(n + 1) % count}'/>"
            for n in range(count)
        )
        path = folder / "a.ovf"
        path.write_text(
            "<Envelope><References><File id='f' href='d.vmdk'/></References>"
            f"<DiskSection><Info/>{disks}</DiskSection><VirtualSystem id='a'><Info/>"
            "<VirtualHardwareSection><Info/><Item><InstanceID>1</InstanceID>"
            "<ResourceType>6</ResourceType></Item><Item><InstanceID>2</InstanceID>"
            "<Parent>1</Parent><ResourceType>17</ResourceType><HostResource>"
            "ovf:/disk/0</HostResource></Item></VirtualHardwareSection>"
            "</VirtualSystem></Envelope>"
        )
        return path

    return make


def _pvs(*, circle: bool) -> Make:
    """Snapshots that are each the parent of the next."""
    count = 3 if circle else 5000

    def guid(n: int) -> str:
        return f"{{{n:08x}-0000-0000-0000-000000000001}}"

    def make(folder: Path, forbidden: Forbidden) -> Path:
        bundle = folder / "d.hdd"
        bundle.mkdir()
        (bundle / "d").write_bytes(bytes(4096))
        shots = "".join(
            f"<Shot><GUID>{guid(n)}</GUID><ParentGUID>{guid((n + 1) % count)}"
            "</ParentGUID></Shot>"
            for n in range(count)
        )
        images = "".join(
            f"<Image><GUID>{guid(n)}</GUID><Type>Plain</Type><File>d</File></Image>"
            for n in range(count)
        )
        (bundle / "DiskDescriptor.xml").write_text(
            f"<Parallels_disk_image><StorageData><Storage>{images}</Storage>"
            f"</StorageData><Snapshots><TopGUID>{guid(0)}</TopGUID>{shots}</Snapshots>"
            "</Parallels_disk_image>"
        )
        path = folder / "config.pvs"
        path.write_text(
            "<ParallelsVirtualMachine><Identification><VmName>a</VmName>"
            "</Identification><Hardware><Hdd><Index>0</Index><Enabled>1</Enabled>"
            "<SystemName>d.hdd</SystemName></Hdd></Hardware></ParallelsVirtualMachine>"
        )
        return path

    return make


def _vbox(*, circle: bool) -> Make:
    """Media that lie in each other, deep; or that have one UUID."""
    uuid = "{{{:08x}-0000-0000-0000-000000000001}}"
    depth = 200

    def make(folder: Path, forbidden: Forbidden) -> Path:
        opening = "".join(
            f'<HardDisk uuid="{uuid.format(0 if circle else n)}" location="{n}.vdi" '
            'format="VDI">'
            for n in range(depth)
        )
        path = folder / "a.vbox"
        for n in range(depth):
            (folder / f"{n}.vdi").write_bytes(vdi(kind=4) + bytes(8192))
        path.write_text(
            '<VirtualBox xmlns="http://www.virtualbox.org/"><Machine name="a" uuid='
            f'"{uuid.format(7)}"><MediaRegistry><HardDisks>{opening}'
            + "</HardDisk>"
            * depth
            + "</HardDisks></MediaRegistry><StorageControllers><StorageController "
            'name="S" type="AHCI"><AttachedDevice type="HardDisk" port="0" device="0">'
            f'<Image uuid="{uuid.format(0 if circle else depth - 1)}"/>'
            "</AttachedDevice></StorageController></StorageControllers></Machine>"
            "</VirtualBox>"
        )
        return path

    return make


def _libvirt(depth: int) -> Make:
    """A <backingStore> of a file that is its own, again and again."""

    def make(folder: Path, forbidden: Forbidden) -> Path:
        (folder / "d").write_bytes(bytes(4096))
        below = "<backingStore type='file'><format type='raw'/><source file='d'/>"
        path = folder / "a.xml"
        path.write_text(
            "<domain type='kvm'><name>a</name><memory>1048576</memory><devices><disk "
            "type='file' device='disk'><driver type='raw'/><source file='d'/>"
            f"<target dev='vda'/>{below * depth}<backingStore/>"
            + "</backingStore>" * depth
            + "</disk></devices></domain>"
        )
        return path

    return make


def _all() -> Iterator[tuple[str, Case]]:
    for what, circle in (("circle", True), ("long", False)):
        count = 3 if circle else _LONG
        said = "circle|not beside it|parent"
        yield f"vmdk-{what}", Case(make=_vmdk(count, circle=circle), found=said)
        yield f"vdi-{what}", Case(make=_vdi(count, circle=circle), found=said)
        yield f"vhd-{what}", Case(make=_vhd(count, circle=circle), found=said)
        yield f"ovf-{what}", Case(make=_ovf(circle=circle), found=said)
        yield f"pvs-{what}", Case(make=_pvs(circle=circle), found=said)
        yield f"vbox-{what}", Case(make=_vbox(circle=circle), found=said)
    yield "libvirt-deep", Case(make=_libvirt(200))
    yield "libvirt-deeper", Case(make=_libvirt(5000), refused="well-formed")


def cases() -> Cases:
    """Return the chains."""
    return dict(_all())
