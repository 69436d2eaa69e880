# SPDX-License-Identifier: GPL-2.0-or-later
"""A phony guest on the disks of an appliance that runs: with real file systems."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import phony
from phony import Phony
from v2v.guests.linux.mounts import ESP

# Each disk of the appliance, in bytes; sparse.
SIZE = 2 * 2**30
# MiB; mkfs.btrfs makes none that is much smaller.
_ROOM = {"btrfs": 256, "vfat": 40}
_SMALL = 64
_MIB = 2048  # sectors
_SCHEMES = {"dos": "83", "gpt": "0FC63DAF-8483-4772-8E79-3D69D8477DE4"}
_MAKERS = {
    "ext3": "mke2fs -q -F -t ext3 -U {uuid}",
    "ext4": "mke2fs -q -F -t ext4 -U {uuid}",
    "btrfs": "mkfs.btrfs -q -f -U {uuid}",
    "vfat": "mkfs.vfat -i {volume}",
    "swap": "mkswap -U {uuid}",
}


def write(guest: Phony, folder: Path, g: Any) -> None:
    """Put *guest* on the appliance's disks, in place of what is there.

    ``folder`` is empty, and gets the files first.
    """
    g.umount_all()
    g.lvm_remove_all()
    for disk in g.list_devices():
        own = kernel_name(disk)
        g.debug("sh", [f"wipefs -q -a {own} && blockdev --rereadpt {own}"])
    for disk in sorted({fs["device"][:8] for fs in _partitions(guest)}):
        _part(guest, disk, g)
    for fs in _partitions(guest):
        g.zero(fs["device"])
        if fs["type"] == "LVM2_member":
            g.pvcreate(fs["device"])
    _volumes(guest, g)
    folders = phony.placed(guest, folder)
    for fs in guest.filesystems:
        _format(guest, fs, g)
        if fs["device"] in folders:
            _fill(fs, folders[fs["device"]], g)


def kernel_name(device: str) -> str:
    """Return what a shell in the appliance calls *device*.

    Its kernel may find the disks in any order, of which libguestfs' names say nothing.
    """
    if device.count("/") > 2:
        return device  # a logical volume
    place = f"/sys/bus/scsi/devices/*:0:{ord(device[7]) - ord('a')}:0/block"
    return f"/dev/$(ls {place}){device[8:]}"


def _partitions(guest: Phony) -> list[dict[str, Any]]:
    return [fs for fs in guest.filesystems if fs["device"].count("/") == 2]


def _logical(guest: Phony) -> list[dict[str, Any]]:
    return [fs for fs in guest.filesystems if fs["device"].count("/") == 3]


def _room(guest: Phony, fs: Mapping[str, Any]) -> int:
    """Return the size of what *fs* is on, in MiB."""
    if fs["type"] == "LVM2_member":
        return sum(_room(guest, lv) for lv in _logical(guest)) + 16
    return _ROOM.get(fs["type"], _SMALL)


def _part(guest: Phony, disk: str, g: Any) -> None:
    """Make the partitions of *disk*, with the numbers that they have in the guest."""
    lines = list(_table(guest, disk))
    own = kernel_name(disk)
    script = "\\n".join(lines)
    g.debug("sh", [f"printf '{script}\\n' | sfdisk -q --wipe always {own}"])
    g.debug("sh", ["udevadm settle"])


def _table(guest: Phony, disk: str) -> Iterator[str]:
    """Yield the lines of a script for sfdisk(8)."""
    scheme = guest.spec["vm"].get("table", "dos")
    yield f"label: {scheme}"
    if scheme == "dos":
        yield f"label-id: 0x9a7b000{disk[7]}"
    start, extended = _MIB, False
    for fs in _partitions(guest):
        number = int(fs["device"][8:])
        if fs["device"][:8] != disk:
            continue
        if scheme == "dos" and number > 4 and not extended:
            yield f"4 : start={start}, size={600 * _MIB}, type=5"
            start, extended = start + _MIB, True
        size = _room(guest, fs) * _MIB
        kind = ESP.upper() if fs.get("esp") else _SCHEMES[scheme]
        own = f", uuid={phony.partuuid(guest, fs)}" if scheme == "gpt" else ""
        yield f"{number} : start={start}, size={size}, type={kind}{own}"
        start += size + _MIB


def _volumes(guest: Phony, g: Any) -> None:
    members = [fs["device"] for fs in _partitions(guest) if fs["type"] == "LVM2_member"]
    for group in sorted({fs["device"].split("/")[2] for fs in _logical(guest)}):
        g.vgcreate(group, members)
    for fs in _logical(guest):
        _, _, group, name = fs["device"].split("/")
        g.lvcreate(name, group, _room(guest, fs))


def _format(guest: Phony, fs: Mapping[str, Any], g: Any) -> None:
    if fs["type"] == "crypto_LUKS":
        g.pwrite_device(fs["device"], _luks(fs["uuid"]), 0)
    if fs["type"] in _MAKERS:
        uuid = str(fs["uuid"])
        command = _MAKERS[fs["type"]].format(uuid=uuid, volume=uuid.replace("-", ""))
        label = f" -L {fs['label']}" if "label" in fs else ""
        g.debug("sh", [f"{command}{label} {kernel_name(fs['device'])}"])


def _luks(uuid: str) -> bytes:
    """Return the head of a LUKS 1 device: all that is looked at without a key."""
    head = bytearray(592)
    head[0:8] = b"LUKS\xba\xbe\0\1"
    for at, word in ((8, b"aes"), (40, b"xts-plain64"), (72, b"sha256")):
        head[at : at + len(word)] = word
    head[104:112] = (4096).to_bytes(4, "big") + (32).to_bytes(4, "big")
    head[168 : 168 + len(uuid)] = uuid.encode()
    return bytes(head)


def _fill(fs: Mapping[str, Any], folder: Path, g: Any) -> None:
    """Copy *folder* onto the file system, subvolumes included."""
    subvolumes = fs.get("subvolumes", ())
    g.mount_options("subvolid=5" if subvolumes else "", fs["device"], "/")
    for subvolume in subvolumes:
        parent = subvolume["path"].rpartition("/")[0]
        if parent:
            g.mkdir_p(f"/{parent}")
        g.btrfs_subvolume_create(f"/{subvolume['path']}")
    archive = folder.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".", filter=owned)
    g.tar_in(str(archive), "/")
    if "default" in fs:
        g.btrfs_subvolume_set_default(fs["default"], "/")
    g.umount_all()


def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    # What vfat shows of every file: it lets no other mode be set.
    entry.mode = 0o755
    return entry
