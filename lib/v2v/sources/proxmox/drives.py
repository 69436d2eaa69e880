# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks and drives of a VM of Proxmox VE: STORAGE:NAME, with options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import cast

from v2v.document import Bus, Disk, File, Finding, Format, Layer, Removable, disk_id
from v2v.sources import descriptions
from v2v.sources.proxmox.storage import Storages
from v2v.sources.proxmox.text import Settings, decoded, flag, numbered, options

BUSES = ("virtio", "scsi", "sata", "ide")
_FORMATS: Mapping[str, Format] = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk"}
# Drives that have no volume: an empty one, and the host's.
_NO_VOLUME = ("", "none", "cdrom")


def order(settings: Settings) -> list[str]:
    """Return the keys of the devices that the firmware tries, in their order."""
    boot = options(settings.get("boot", ""))
    if "order" in boot:
        return [key for key in re.split(r"[;\s]+", boot["order"]) if key]
    # Before 6.3: c is bootdisk, d the first CD and n the first card.
    letters = boot.get("legacy") or boot[""] or "cdn"
    keys = list(numbered(settings, *BUSES))
    drive = next((k for k in keys if _is_drive(settings[k])), "")
    disk = next((k for k in keys if not _is_drive(settings[k])), "")
    card = next(numbered(settings, "net"), "")
    names = {"c": settings.get("bootdisk") or disk, "d": drive, "n": card}
    return [names[letter] for letter in letters if names.get(letter)]


def _is_drive(value: str) -> bool:
    own = options(value)
    return own.get("media") == "cdrom" or _volume(own) in _NO_VOLUME[1:]


def _volume(own: Settings) -> str:
    return own[""] or own.get("file", "")


def disks(
    settings: Settings, known: Storages, path: Path
) -> Iterator[tuple[Disk, list[Finding]]]:
    """Yield the hard disks, each with what cannot be had of it: first those that the
    firmware tries.  efidisk0, tpmstate0 and unusedN are none of the guest's."""
    boot = order(settings)
    keys = [k for k in numbered(settings, *BUSES) if not _is_drive(settings[k])]
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
            serial=decoded(own.get("serial", "")) or None,
            # "shared" means that each host has the volume, not that VMs share it.
            readonly=flag(own.get("ro")),
        )
        volume = _volume(own)
        layer = _layer(volume, own.get("format", ""), known)
        said = list(_discarding(key, own))
        if layer is None:
            said.append(descriptions.unreadable(disk, volume, *_unread(volume)))
            yield disk, said
            continue
        yield disk.having(source=layer), said


def _discarding(key: str, own: Settings) -> Iterator[Finding]:
    if flag(own.get("snapshot")):
        yield descriptions.caution(
            "disk-mode",
            f"{key} discards at each end of the VM what was written; what its volume "
            "holds is taken",
        )


def _unread(volume: str) -> tuple[str, str]:
    """Return why *volume* is none that can be read, and what to do."""
    if re.fullmatch(r"[^:/]+:[0-9.]+", volume):
        return (
            "it only says how large a disk is to be made",
            "name the .conf that Proxmox VE has written in /etc/pve/qemu-server",
        )
    return (
        "its name does not say which format it has, or is none",
        "convert it on the source: qm disk move ID DISK STORAGE",
    )


def unused(settings: Settings) -> list[Finding]:
    """Return a finding if volumes belong to the VM that are attached to nothing."""
    found = [f"{key} ({settings[key]:.100})" for key in numbered(settings, "unused")]
    if not found:
        return []
    return [
        Finding(
            code="volume-unused",
            severity="info",
            message="volumes that are attached to nothing stay behind: "
            + ", ".join(found[:10])
            + (" …" if len(found) > 10 else ""),
            remedy="attach them on the source, if they are to be taken along",
        )
    ]


def _layer(volume: str, format: str, known: Storages) -> Layer | None:
    """Return where *volume* is: a linked clone is BASE/VOLUME, with its base below."""
    storage, colon, name = volume.partition(":")
    if not volume or volume.startswith("-") or name.replace(".", "").isdigit():
        return None
    names = re.findall(r"(?:(?:[0-9]+|import)/)?[^/]+", name) if colon else [volume]
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
    for key in numbered(settings, *BUSES):
        if _is_drive(settings[key]):
            volume = _volume(options(settings[key]))
            yield Removable(
                type="cdrom",
                bus=cast(Bus, key.rstrip("0123456789")),
                slot=key,
                path=None if volume in _NO_VOLUME else known.place(volume),
            )


def volumes(settings: Settings) -> dict[str, str]:
    """Return the name of each disk's volume, by its key."""
    return {k: _volume(options(settings[k])) for k in numbered(settings, *BUSES)}
