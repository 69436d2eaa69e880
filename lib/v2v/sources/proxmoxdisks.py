# SPDX-License-Identifier: GPL-2.0-or-later
"""The volumes of Proxmox VE, as STORAGE:NAME, and where they are.

Source: the plug-ins of pve-storage.  A configuration names the storage only; what that
is stands in storage.cfg.  Where there is none, the volumes' files are looked for beside
the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import cast

from v2v.document import Bus, Disk, File, Finding, Format, Layer, Removable, disk_id
from v2v.sources import descriptions

Settings = Mapping[str, str]

BUSES = ("virtio", "scsi", "sata", "ide")
KEY = re.compile(r"(virtio|scsi|sata|ide)([0-9]{1,2})")
_FORMATS: Mapping[str, Format] = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk"}
_SECTION = re.compile(r"([a-z]+):[ \t]*(\S+)[ \t]*")
_MAX_STORAGES = descriptions.MIB


@dataclass(frozen=True, kw_only=True)
class Storages:
    """What storage.cfg says: of each storage its type, and its settings."""

    types: Settings = field(default_factory=dict)
    settings: Mapping[str, Settings] = field(default_factory=dict)

    def place(self, volume: str) -> str:
        """Return the path of the file or device of *volume*; else its own name."""
        storage, colon, name = volume.partition(":")
        if not colon or volume.startswith("/"):
            return volume
        own = self.settings.get(storage, {})
        kind = self.types.get(storage, "")
        if "path" in own:
            folder = "template/iso" if name.startswith("iso/") else "images"
            return f"{own['path']}/{folder}/{name.removeprefix('iso/')}"
        if kind in ("lvm", "lvmthin") and "vgname" in own:
            return f"/dev/{own['vgname']}/{name}"
        if kind == "zfspool" and "pool" in own:
            return f"/dev/zvol/{own['pool']}/{name}"
        return name


def storages(folder: Path) -> Storages:
    """Return what the storage.cfg of a host says, where *folder* is in /etc/pve."""
    for place in (folder, *folder.parents[:3]):
        file = place / "storage.cfg"
        # What a link leads to, nobody has named.
        if not file.is_symlink() and (data := descriptions.head(file, _MAX_STORAGES)):
            return _parsed(data.decode("utf-8", "replace"))
    return Storages()


def _parsed(text: str) -> Storages:
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


def options(value: str) -> Settings:
    """Return the KEY=VALUE parts of *value*; the first may be a value alone: ""."""
    first, _, rest = value.partition(",")
    pairs = [part.partition("=") for part in rest.split(",") if "=" in part]
    if "=" in first and ":" not in first.partition("=")[0]:
        pairs.insert(0, first.partition("="))
        first = ""
    return {"": first, **{key.strip(): value.strip() for key, _, value in pairs}}


def order(settings: Settings) -> list[str]:
    """Return the keys of the devices that the firmware tries, in their order."""
    boot = options(settings.get("boot", ""))
    if "order" in boot:
        return [key for key in re.split(r"[;\s]+", boot["order"]) if key]
    # Before 6.3: c is bootdisk, d the first CD and n the first card.
    letters = boot.get("legacy") or boot[""] or "cdn"
    drive = next((k for k in _keys(settings) if _is_drive(settings[k])), "")
    disk = next((k for k in _keys(settings) if not _is_drive(settings[k])), "")
    card = min((k for k in settings if re.fullmatch(r"net[0-9]+", k)), default="")
    names = {"c": settings.get("bootdisk") or disk, "d": drive, "n": card}
    return [names[letter] for letter in letters if names.get(letter)]


def _keys(settings: Settings) -> list[str]:
    """Return the keys of disks and drives by bus, and there by number."""

    def place(key: str) -> tuple[int, int]:
        match = KEY.fullmatch(key)
        return (BUSES.index(match[1]), int(match[2])) if match else (len(BUSES), 0)

    return sorted(filter(KEY.fullmatch, settings), key=place)


def _is_drive(value: str) -> bool:
    return options(value).get("media") == "cdrom"


def disks(
    settings: Settings, known: Storages, path: Path
) -> Iterator[tuple[Disk, list[Finding]]]:
    """Yield the hard disks, each with what cannot be had of it: first those that the
    firmware tries.  efidisk0, tpmstate0 and unusedN are none of the guest's."""
    boot = order(settings)
    keys = [key for key in _keys(settings) if not _is_drive(settings[key])]
    descriptions.limited(path, len(keys))
    keys.sort(key=lambda key: boot.index(key) if key in boot else len(boot))
    for index, key in enumerate(keys):
        own = options(settings[key])
        bus = cast(Bus, key.rstrip("0123456789"))
        disk = Disk(
            id=disk_id(index),
            bus=bus,
            model=settings.get("scsihw", "lsi") if bus == "scsi" else None,
            slot=key,
            boot=boot.index(key) + 1 if key in boot else None,
            serial=own.get("serial") or None,
            readonly=own.get("ro") == "1",
            shared=own.get("shared") == "1",
        )
        volume = own[""] or own.get("file", "")
        layer = _layer(volume, own.get("format", ""), known)
        if layer is None:
            reason = "its name does not say which format it has, or is none"
            remedy = "convert it on the source: qm disk move ID DISK STORAGE"
            said = descriptions.unreadable(disk, volume, reason, remedy)
            yield disk, [said]
            continue
        yield disk.having(source=layer), []


def _layer(volume: str, format: str, known: Storages) -> Layer | None:
    """Return where *volume* is: a linked clone is BASE/VOLUME, with its base below."""
    storage, colon, name = volume.partition(":")
    if not volume or volume.startswith("-"):
        return None
    names = re.findall(r"(?:[0-9]+/)?[^/]+", name) if colon else [volume]
    if volume.startswith("/"):
        names, storage = [volume], ""
    files = []
    for part in reversed(names):
        found = _format(part, format)
        if found is None:
            return None
        place = known.place(f"{storage}:{part}") if storage and colon else part
        files.append(File(path=place, format=found))
    if not files or len(files) > 2:
        return None
    top, *backing = files
    return Layer(
        server="file" if top.format == "raw" else "qemu",
        path=top.path,
        format=top.format,
        # A clone on LVM, ZFS or RBD shows all of its base by itself.
        backing=tuple(backing) if top.format != "raw" else (),
    )


def _format(name: str, given: str) -> Format | None:
    """Return the format that pve-storage takes: by suffix; a volume without is raw."""
    suffix = PurePosixPath(name).suffix[1:].lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    return _FORMATS.get(given) if given else "raw"


def removable(settings: Settings, known: Storages) -> Iterator[Removable]:
    """Yield the CD drives; "none" is an empty one, "cdrom" the drive of the host."""
    for key in _keys(settings):
        if _is_drive(settings[key]):
            volume = options(settings[key])[""]
            yield Removable(
                type="cdrom",
                bus=cast(Bus, key.rstrip("0123456789")),
                slot=key,
                path=None if volume in ("", "none", "cdrom") else known.place(volume),
            )
