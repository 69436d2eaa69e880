# SPDX-License-Identifier: GPL-2.0-or-later
"""The subvolumes of a btrfs, of which snapshots are kept apart.

A subvolume is named as libguestfs spells it, btrfsvol:/dev/sda2/@; the one that is
mounted when none is asked for goes by the name of its device.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux.fstab import Entry

TOP = 5  # the id of what holds all others
_MAX = 500
# What snapper, Timeshift, and apt-btrfs-snapshot make.
_SNAPSHOT = re.compile(
    r"(?:.*/)?\.snapshots/\d+/snapshot|(?:.*/)?timeshift-btrfs/.*|@apt-snapshot-.*"
)
# A path with one of these would be more than a mount option, or than a path to glob.
_ODD = re.compile(r"[,\\\x00-\x1f\x7f*?\[\]{}]")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Subvolume:
    """One subvolume of a device: ``path`` is "" for the top of all."""

    device: str
    number: int
    path: str
    default: bool = False

    @property
    def name(self) -> str:
        """What libguestfs can mount it by."""
        return self.device if self.default else f"btrfsvol:{self.device}/{self.path}"

    @property
    def is_snapshot(self) -> bool:
        """Whether it is an old state of another one, and not what is booted."""
        return not self.default and _SNAPSHOT.fullmatch(self.path) is not None


def found(appliance: Appliance, device: str) -> list[Subvolume]:
    """Return the subvolumes of the btrfs on *device*, the default one first."""
    g = appliance.g
    default = g.btrfs_subvolume_get_default(device)
    listed = [(TOP, "")]
    for facts in g.btrfs_subvolume_list(device)[:_MAX]:
        path = str(facts["btrfssubvolume_path"]).removeprefix("<FS_TREE>/")
        if not _ODD.search(path):
            listed.append((int(facts["btrfssubvolume_id"]), path))
    all_ = [
        Subvolume(device=device, number=number, path=path, default=number == default)
        for number, path in listed
        # Without a name of its own the top can only be had where it is the default.
        if path or number == default
    ]
    return sorted(all_, key=lambda subvolume: not subvolume.default)


def seen(appliance: Appliance, device: str) -> list[Subvolume]:
    """Return the same, but none with a warning where they cannot be listed.

    A data disk that is broken must not hold up the system.
    """
    try:
        return found(appliance, device)
    except (RuntimeError, UnicodeDecodeError) as e:
        log.warning("warning: the btrfs on %s: %s", device, printable(str(e)))
        return []


def device_of(name: str, devices: Sequence[str]) -> str:
    """Return the device that *name*, of a device or subvolume, is on."""
    place = name.removeprefix("btrfsvol:")
    if place == name:
        return name
    on = [d for d in devices if place.startswith(f"{d}/")]
    return max(on, key=len, default=place)


def meant(there: Sequence[Subvolume], entry: Entry) -> Subvolume | None:
    """Return which of *there* the options of *entry* name; None if it is not there."""
    path, number = entry.option("subvol"), entry.option("subvolid")
    if path is not None:
        wanted = path.strip("/")
        return next((s for s in there if s.path == wanted), None)
    if number is not None:
        if not (number.isascii() and number.isdigit()):
            return None
        # 0 is another word for the top.
        wanted_number = int(number[:20]) or TOP
        return next((s for s in there if s.number == wanted_number), None)
    return next((s for s in there if s.default), None)
