# SPDX-License-Identifier: GPL-2.0-or-later
"""A phony Windows guest as folders of this host, behind a stand-in for libguestfs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import windows_guest
from guest_folder import Folder, Volume
from v2v.guests.appliance import Appliance
from windows_guest import Phony

# What ntfs-3g gives to all that it makes: everyone may do everything.
OPEN = (
    "0x010004801400000024000000000000003400000001020000000000052000000020020000"
    "0102000000000005200000002002000002001c000100000000031400ff011f00"
    "010100000000000100000000"
)
_LOCKED = "BitLocker"


def opened(phony: Phony, folder: Path) -> Appliance:
    """Return *phony*, made in *folder*, as a guest whose disks are not mounted yet."""
    folders = windows_guest.placed(phony, folder)
    facts = {device: windows_guest.facts(phony, device) for device in folders}
    volumes = {
        device: Volume(facts=own, folder=None if own["TYPE"] == _LOCKED else place)
        for device, place in folders.items()
        if (own := facts[device])
    }
    table = {"PTTYPE": "gpt", "PTUUID": windows_guest.DISK_GUID}
    if not phony.efi:
        table = {"PTTYPE": "dos", "PTUUID": f"{windows_guest.SIGNATURE:08x}"}
    whole = {"/dev/sda": Volume(facts=table)}
    disk = _Disk(folder, volumes, whole)
    disk.sectors = {n: windows_guest.boot_sector(phony, n) for n in volumes}
    return Appliance(cast(Any, disk))


class _Disk(Folder):
    """The stand-in, with a disk that has partitions."""

    def __init__(
        self, root: Path, volumes: Mapping[str, Volume], whole: Mapping[str, Volume]
    ) -> None:
        super().__init__(root, {}, {**volumes, **whole})
        self.whole = set(whole)
        self.sectors: dict[str, bytes] = {}
        self.attributes: dict[str, str] = {}

    def list_partitions(self) -> list[str]:
        return [name for name in self.volumes if name not in self.whole]

    def list_devices(self) -> list[str]:
        return sorted(self.whole)

    def inspect_os(self) -> list[str]:
        return []

    def part_to_dev(self, partition: str) -> str:
        return partition.rstrip("0123456789")

    def blockdev_getsize64(self, device: str) -> int:
        assert device in self.whole
        return 192 * 2**20

    def blockdev_getss(self, device: str) -> int:
        assert device in self.whole
        return 512

    def pread_device(self, device: str, count: int, offset: int) -> bytes:
        sector = self.sectors.get(device, b"")[offset : offset + count]
        return sector.ljust(count, b"\0")

    def pwrite_device(self, device: str, content: bytes, offset: int) -> int:
        old = self.sectors[device]
        end = offset + len(content)
        self.sectors[device] = old[:offset] + content + old[end:]
        return len(content)

    def mountpoints(self) -> dict[str, str]:
        folders = {v.folder: name for name, v in self.volumes.items() if v.folder}
        return {folders[place]: point for point, place in self.mounted.items()}

    def debug(self, command: str, arguments: list[str]) -> str:
        """Set the descriptor of files, or show those of some."""
        assert command == "sh"
        words = shlex.split(arguments[0].partition("; do ")[0])
        if words[0] == "setfattr":
            assert words[1:4] == ["-h", "-n", "system.ntfs_acl"]
            self.attributes |= dict.fromkeys(words[6:], words[5])
            return ""
        assert words[:3] == ["for", "f", "in"]
        return "".join(f"{self._attribute(path)}\n" for path in words[3:])

    def _attribute(self, path: str) -> str:
        if not self.exists(path.removeprefix("/sysroot")):
            return "none"
        return f"system.ntfs_acl={self.attributes.get(path, OPEN)}"

    def mv(self, source: str, to: str) -> None:
        super().mv(source, to)
        self.attributes[f"/sysroot{to}"] = self.attributes.pop(
            f"/sysroot{source}", OPEN
        )

    def rmdir(self, path: str) -> None:
        self.host(path).rmdir()
