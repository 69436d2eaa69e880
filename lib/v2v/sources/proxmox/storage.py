# SPDX-License-Identifier: GPL-2.0-or-later
"""The storages of Proxmox VE, and where the volumes STORAGE:NAME in them are.

Source: the plug-ins of pve-storage.  A configuration names the storage only; what that
is stands in storage.cfg.  Where there is none, the volumes' files are looked for beside
the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from v2v import maps
from v2v.document import VM, Disk, Finding
from v2v.sources import descriptions
from v2v.sources.proxmox.text import Settings

_SECTION = re.compile(r"([a-z]+):[ \t]*(\S+)[ \t]*")
_MAX_STORAGES = descriptions.MIB
# Where a storage of files has what is no disk of a VM.
_FOLDERS = {
    "iso": "template/iso",
    "vztmpl": "template/cache",
    "import": "import",
    "snippets": "snippets",
}


@dataclass(frozen=True, kw_only=True)
class Storages:
    """What storage.cfg says: of each storage its type, and its settings."""

    types: Settings = field(default_factory=dict)
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def place(self, volume: str) -> str:
        """Return the path of the file or device of *volume*; else its own name."""
        storage, colon, name = volume.partition(":")
        if not colon or volume.startswith("/") or maps.find(volume):
            return volume
        own = self.settings.get(storage, {})
        kind = self.types.get(storage, "")
        if "path" in own:
            return f"{own['path']}/{_within(own, kind, name)}"
        if kind in ("lvm", "lvmthin") and "vgname" in own:
            return f"/dev/{own['vgname']}/{name}"
        if kind == "zfspool" and "pool" in own:
            return f"/dev/zvol/{own['pool']}/{name}"
        return name


def _within(own: Settings, kind: str, name: str) -> str:
    """Return the path of *name* in a storage of files."""
    first, slash, rest = name.partition("/")
    content = first if slash and first in _FOLDERS else "images"
    pairs = (part.partition("=") for part in own.get("content-dirs", "").split(","))
    given = {key.strip(): value.strip() for key, _, value in pairs}
    folder = given.get(content) or _FOLDERS.get(content, "images")
    if content != "images":
        return f"{folder}/{rest}"
    if kind == "btrfs" and name.endswith(".raw"):
        # A subvolume for each disk.
        return f"{folder}/{name.removesuffix('.raw')}/disk.raw"
    return f"{folder}/{name}"


def storages(folder: Path) -> Storages:
    """Return what the storage.cfg of a host says, where *folder* is in /etc/pve."""
    for place in (folder, *folder.parents[:3]):
        file = place / "storage.cfg"
        # What a link leads to, nobody has named.
        if not file.is_symlink() and (data := descriptions.head(file, _MAX_STORAGES)):
            return parsed(data.decode("utf-8", "replace"))
    return Storages()


def parsed(text: str) -> Storages:
    """Return what *text*, a storage.cfg, says."""
    types: dict[str, str] = {}
    settings: dict[str, dict[str, str]] = {}
    own: dict[str, str] = {}
    for line in text.splitlines():
        if match := _SECTION.fullmatch(line):
            own = settings.setdefault(match[2], {})
            types[match[2]] = match[1]
        elif line[:1].isspace() and line.strip():
            key, _, value = line.strip().partition(" ")
            own[key] = value.strip()
    return Storages(types=types, settings=settings)


def explained(vm: VM, volumes: Mapping[str, str], known: Storages) -> VM:
    """Return *vm* with findings that say how to get at disks that were not found.

    *volumes* has the source's name of each disk, by its slot.
    """
    lost = {f.disk for f in vm.findings if f.code == "disk-missing"}
    found = {disk.id: disk for disk in vm.disks if disk.id in lost and disk.source}

    def better() -> Iterator[Finding]:
        for finding in vm.findings:
            disk = found.get(finding.disk or "")
            volume = volumes.get(disk.slot or "") if disk else None
            if finding.code == "disk-missing" and disk and volume:
                yield _missing(disk, volume, finding, known)
            else:
                yield finding

    return vm.having(findings=tuple(better()))


def _missing(disk: Disk, volume: str, told: Finding, known: Storages) -> Finding:
    storage, colon, name = volume.partition(":")
    own, kind = known.settings.get(storage, {}), known.types.get(storage, "")
    mapped = volume.startswith("/") or maps.find(volume) is not None
    if not colon or mapped or "path" in own:
        return told
    # The file of that name is looked for, and it has the format that the name says.
    file = PurePosixPath(name).name
    if not kind:
        reason = f"no storage.cfg says where storage {storage:.60} is"
        copied = f"pvesm path {volume:.100} says where it is"
    else:
        reason = f"it is in storage {storage:.60} of type {kind:.20}"
        copied = _copied(volume, known.place(volume), kind, own)
    remedy = (
        f"copy it on the source's host ({copied}) as {file:.100} beside the .conf; or "
        f"say where the storage's files are: --map '{storage:.60}:=FOLDER'"
    )
    return descriptions.unreadable(disk, volume, reason, remedy)


def _copied(volume: str, place: str, kind: str, own: Settings) -> str:
    """Return how *volume* is made a file on a host that has its storage."""
    if kind == "rbd":
        pool = "/".join(filter(None, (own.get("pool", "rbd"), own.get("namespace"))))
        return f"rbd export {pool:.60}/{PurePosixPath(place).name:.100} FILE"
    if place.startswith("/dev/"):
        return f"dd if={place:.200} of=FILE bs=4M conv=sparse"
    return f"pvesm path {volume:.100} says where it is"
