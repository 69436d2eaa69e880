# SPDX-License-Identifier: GPL-2.0-or-later
"""Phony guests: the files of a distribution, as tests/phony/NAME.toml describes them.

They have no program that runs, and the kernels and modules are a few bytes; all that
v2v goes by is as that distribution has it.  A guest can be made as folders of this
host, or (phony_disk.py) as disks for an appliance.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import phony_initramfs
from guest_folder import Folder, Program, Volume, put, vmlinuz
from v2v.document import VM, Disk, Nic, Source
from v2v.guests.appliance import Appliance
from v2v.guests.linux.mounts import ESP

FOLDER = Path(__file__).parent / "phony"
# An ELF header of x86-64: e_machine is 62.
_PROGRAM = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0" + bytes(44)
_LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


@dataclass(frozen=True, kw_only=True)
class Phony:
    """One guest: ``spec`` is the whole of its TOML."""

    name: str
    spec: dict[str, Any]

    @property
    def vm(self) -> VM:
        """The VM as inspection has it; its disks are sda, sdb …"""
        said = self.spec["vm"]
        return VM(
            id=self.name,
            name=self.name,
            memory=2**30,
            firmware=said.get("firmware", "bios"),
            disks=tuple(
                Disk(id=f"sd{chr(97 + i)}", **disk)
                for i, disk in enumerate(said["disks"])
            ),
            nics=tuple(Nic(**nic) for nic in said["nics"]),
            source=Source(kind="vmx", location=f"/{self.name}.vmx"),
        )

    def wants(self, what: str) -> bool:
        """Whether the agent, or remove_tools, is asked for: scripts are shown then."""
        return bool(self.spec["vm"].get(what, False))

    @property
    def filesystems(self) -> list[dict[str, Any]]:
        """What is on each device, in the order of the devices."""
        return cast(list[dict[str, Any]], self.spec["filesystems"])


def names() -> list[str]:
    """Return the names of all phony guests."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Phony:
    """Return the guest that NAME.toml describes."""
    with (FOLDER / f"{name}.toml").open("rb") as file:
        return Phony(name=name, spec=tomllib.load(file))


def content(phony: Phony) -> dict[str, str | bytes]:
    """Return all files of *phony*, by path; "-> x" is a link to x."""
    files: dict[str, str | bytes] = {
        path: f"-> {target}" for path, target in phony.spec.get("links", {}).items()
    }
    files |= dict.fromkeys(phony.spec.get("empty", ()), "")
    programs = (*phony.spec.get("programs", ()), *phony.spec.get("makers", ()))
    files |= dict.fromkeys(programs, _PROGRAM)
    for kernel in phony.spec["kernels"]:
        files |= _kernel(kernel)
    for path, lines in phony.spec.get("grubenv", {}).items():
        # GRUB wants exactly 1024 bytes.
        files[path] = f"# GRUB Environment Block\n{lines}".ljust(1024, "#")
    files |= phony.spec["files"]
    return files


def _kernel(said: Mapping[str, Any]) -> dict[str, str | bytes]:
    version = said["version"]
    files: dict[str, str | bytes] = {said["path"]: vmlinuz(version)}
    if "rescue" not in said["path"]:
        # That of the rescue entry is a copy of another kernel.
        files |= phony_initramfs.modules(said)
    if "config" in said:
        files[f"/boot/config-{version}"] = said["config"]
    if "initramfs" in said:
        files[said["initramfs"]] = phony_initramfs.image(said, said.get("holds", ()))
    return files


def placed(phony: Phony, folder: Path) -> dict[str, Path]:
    """Write *phony* into *folder*; return the folder of each device's file system."""
    folders = {
        fs["device"]: folder / fs["device"].strip("/").replace("/", "-")
        for fs in phony.filesystems
        if fs["type"] not in ("swap", "LVM2_member", "crypto_LUKS")
    }
    places = dict(_places(phony, folders))
    for path in [*folders.values(), *places.values()]:
        path.mkdir(parents=True, exist_ok=True)
    for point in places.keys() - {"/"}:
        # What is mounted needs a folder to be mounted on.
        on = [p for p in places if _is_under(point, p) and p != point]
        base = max(on, key=len)
        _inside(places, base, point).mkdir(parents=True, exist_ok=True)
    links = phony.spec.get("links", {})
    for path, data in content(phony).items():
        real = _through(path, links)
        point = max((p for p in places if _is_under(real, p)), key=len)
        put(_inside(places, point, real), "", data)
    return folders


def _places(phony: Phony, folders: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    for fs in phony.filesystems:
        if "mountpoint" in fs:
            yield fs["mountpoint"], folders[fs["device"]]
        for subvolume in fs.get("subvolumes", ()):
            folder = folders[fs["device"]] / subvolume["path"]
            if "mountpoint" in subvolume:
                yield subvolume["mountpoint"], folder


def _inside(places: Mapping[str, Path], point: str, path: str) -> Path:
    """Return where *path* is on the file system mounted on *point*."""
    return places[point] / path.removeprefix(point).lstrip("/")


def _is_under(path: str, point: str) -> bool:
    return f"{path}/".startswith(f"{point.rstrip('/')}/")


def _through(path: str, links: Mapping[str, str]) -> str:
    """Return *path* where a link to a folder leads it: /lib is usr/lib."""
    for link, target in links.items():
        if path.startswith(f"{link}/"):
            base = link.rpartition("/")[0]
            real = target if target.startswith("/") else f"{base}/{target}"
            return _through(real + path.removeprefix(link), links)
    return path


def opened(phony: Phony, folder: Path) -> Appliance:
    """Return *phony*, made in *folder*, as a guest whose disks are not mounted yet."""
    folders = placed(phony, folder)
    volumes = {
        fs["device"]: Volume(
            facts=facts(phony, fs),
            folder=folders.get(fs["device"]),
            subvolumes={s["path"]: s["id"] for s in fs.get("subvolumes", ())},
            default=fs.get("default", 5),
        )
        for fs in phony.filesystems
    }
    return Appliance(cast(Any, Folder(folder, programs(phony), volumes)))


def facts(phony: Phony, fs: Mapping[str, Any]) -> dict[str, str]:
    """Return what blkid says of the device that *fs* describes."""
    found = {"TYPE": fs["type"]}
    found |= {key.upper(): fs[key] for key in ("uuid", "label") if key in fs}
    if fs["device"].count("/") > 2:
        return found
    table = phony.spec["vm"].get("table", "dos")
    found["PART_ENTRY_SCHEME"] = table
    if table == "gpt":
        found["PART_ENTRY_TYPE"] = ESP if fs.get("esp") else _LINUX
    found["PART_ENTRY_UUID"] = partuuid(phony, fs)
    return found


def partuuid(phony: Phony, fs: Mapping[str, Any]) -> str:
    """Return the UUID of the partition that *fs* is on."""
    disk, number = fs["device"][7], int(fs["device"][8:])
    if phony.spec["vm"].get("table", "dos") == "gpt":
        return f"9a7b0000-0000-4000-8000-0000000000{disk}{number:x}"
    return f"9a7b000{disk}-{number:02x}"


def programs(phony: Phony) -> dict[str, Program]:
    """Return what the programs of *phony* do that make an initramfs."""

    def make(folder: Folder, arguments: list[str]) -> None:
        words = {part for word in arguments for part in word.replace("=", " ").split()}
        for kernel in phony.spec["kernels"]:
            if words & {kernel["version"], kernel["path"]}:
                made = phony_initramfs.image(kernel, [*kernel["holds"], *sorted(words)])
                to = next((w for w in arguments if w.endswith(".v2v")), None)
                folder.host(to or kernel["initramfs"]).write_bytes(made)

    return dict.fromkeys(phony.spec.get("makers", ()), make)
