# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the Windows systems on the disks, and tell which of them is the one that runs.

A system is a folder with system32, its hives and cmd.exe, in any case.  Media for
installing and repair are none.  Of several the one is taken that the boot store starts;
where that does not decide a person has to.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import GuestError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.devices import Device
from v2v.guests.windows import bcd, volumes
from v2v.guests.windows.bcd import Default
from v2v.guests.windows.files import below, child
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.partition import Place

_FILESYSTEMS = {"ntfs", "vfat", "exfat"}
_FOLDERS = ("windows", "winnt", "win32", "win", "reactos")
_HIVES = ("system", "software")
# Where people, or what they run, have left something.
_USED = ("users", "documents and settings", "pagefile.sys")
_BCDS = (r"EFI\Microsoft\Boot\BCD", r"Boot\BCD")
_MAX_BCD, _MAX_INI = 16 * 2**20, 64 * 2**10  # bytes
_MAX_ROOTS, _MAX_LINES = 50, 50
_LINE = re.compile(
    r"(?:multi|scsi|signature)\([0-9a-f]{1,8}\)disk\(\d{1,3}\)rdisk\((\d{1,3})\)"
    r"partition\((\d{1,3})\)\\([^=\r\n]{1,200})=",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+$")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Root:
    """A Windows system: ``folder`` is its own ("/Windows"), as it is spelled there.

    ``name`` is its device; of a second system on that, with the folder behind a colon.
    """

    name: str
    device: str
    folder: str


def found(appliance: Appliance, devices: Sequence[Device]) -> list[Root]:
    """Return the Windows systems on *devices*; nothing stays mounted."""
    roots: list[Root] = []
    places: list[tuple[int, int, str]] = []
    for device in devices:
        if device.type not in _FILESYSTEMS:
            continue
        with shown(appliance, device.name) as is_mounted:
            if not is_mounted:
                continue
            try:
                roots += _named(device.name, _folders(appliance))
                places += _boot_ini(appliance)
            except RuntimeError as e:
                # A data disk that is damaged must not hold up the system.
                said = printable(str(e))
                log.warning("warning: %s cannot be read: %s", device.name, said)
    if not roots:
        roots = list(dict.fromkeys(_elsewhere(appliance, devices, places)))
    return roots[:_MAX_ROOTS]


@contextmanager
def shown(appliance: Appliance, device: str) -> Iterator[bool]:
    """Mount *device* to be read, alone; yield whether that went."""
    try:
        appliance.g.mount_ro(device, "/")
    except RuntimeError:
        yield False  # what cannot be mounted is no root for us
        return
    try:
        yield True
    finally:
        appliance.g.umount_all()


def _named(device: str, folders: Sequence[str]) -> Iterator[Root]:
    for number, folder in enumerate(folders):
        name = f"{device}:{folder}" if number else device
        yield Root(name=name, device=device, folder=folder)


def _folders(appliance: Appliance) -> list[str]:
    """Return the folders of systems on what is mounted."""
    names = appliance.names("/")
    own = [name for one in _FOLDERS for name in names if name.lower() == one]
    roots = [f"/{name}" for name in own if _is_root(appliance, f"/{name}")]
    return [] if roots and _is_medium(appliance, names) else roots


def _is_root(appliance: Appliance, folder: str) -> bool:
    g = appliance.g
    system32 = below(appliance, folder, "system32")
    if system32 is None or not g.is_dir(system32):
        return False
    program = child(appliance, system32, "cmd.exe")
    config = child(appliance, system32, "config")
    if program is None or config is None or not g.is_dir(config):
        return False
    there = {name.lower() for name in appliance.names(config)}
    # Windows may have compressed its programs (CompactOS): links that lead nowhere.
    is_program = g.is_file(program) or g.is_symlink(program)
    return is_program and there.issuperset(_HIVES)


def _is_medium(appliance: Appliance, names: Sequence[str]) -> bool:
    """Whether this is a medium for installing or repair, by its image to boot.

    A copy of one on a disk that is in use does not make it one.
    """
    if any(name.lower() in _USED for name in names):
        return False
    return below(appliance, "", r"sources\boot.wim") is not None


def _boot_ini(appliance: Appliance) -> list[tuple[int, int, str]]:
    """Return (disk, partition, folder) of the systems in the boot.ini of XP, if any."""
    path = child(appliance, "", "boot.ini")
    if path is None or not appliance.g.is_file(path):
        return []
    text = bytes(appliance.g.pread(path, _MAX_INI, 0)).decode("latin-1")
    return parsed_ini(text)


def parsed_ini(text: str) -> list[tuple[int, int, str]]:
    """Return (disk from 0, partition from 1, folder) of each line of a boot.ini."""
    lines = [_LINE.match(line.strip()) for line in text.splitlines()[:_MAX_LINES]]
    found = [(int(m[1]), int(m[2]), m[3].strip()) for m in lines if m]
    return list(dict.fromkeys(found))


def _elsewhere(
    appliance: Appliance,
    devices: Sequence[Device],
    places: Sequence[tuple[int, int, str]],
) -> Iterator[Root]:
    """Yield the systems in the folders that a boot.ini names."""
    disks = appliance.g.list_devices()
    known = {device.name for device in devices if device.type in _FILESYSTEMS}
    for disk, partition, path in places:
        name = f"{disks[disk]}{partition}" if disk < len(disks) else ""
        if name not in known:
            continue
        with shown(appliance, name) as is_mounted:
            folder = below(appliance, "", path) if is_mounted else None
            if folder and appliance.g.is_dir(folder) and _is_root(appliance, folder):
                yield Root(name=name, device=name, folder=folder)


def weighed(
    appliance: Appliance, roots: Sequence[Root], devices: Sequence[Device]
) -> Root | None:
    """Return the one of *roots* that is started by default; None if it is not clear."""
    if len(roots) < 2:
        return roots[0] if roots else None
    where = places(appliance, devices)
    started = [
        root
        for default in defaults(appliance, devices)
        for root in roots
        if is_meant(default, root, where)
    ]
    return started[0] if len(set(started)) == 1 else None


def is_meant(default: Default, root: Root, where: dict[str, Place]) -> bool:
    """Whether *default* is *root*; ``where`` is each device's place."""
    folder = "/" + default.folder.strip("\\").replace("\\", "/")
    same = folder.lower() == root.folder.lower()
    return same and where.get(root.device) == default.place


def defaults(appliance: Appliance, devices: Sequence[Device]) -> list[Default]:
    """Return what the boot stores on *devices* start."""
    said = []
    for device in devices:
        if device.type not in _FILESYSTEMS:
            continue
        with shown(appliance, device.name) as is_mounted:
            for path in _BCDS if is_mounted else ():
                said.append(_default(appliance, path))
    return [default for default in said if default]


def _default(appliance: Appliance, path: str) -> Default | None:
    file = below(appliance, "", path)
    if file is None or not appliance.g.is_file(file):
        return None
    if appliance.g.filesize(file) > _MAX_BCD:
        return None
    with tempfile.TemporaryDirectory(prefix="v2v-") as folder:
        copy = appliance.fetched(file, Path(folder))
        try:
            return bcd.system(Hive("BCD", copy))
        except GuestError:
            return None  # a store that is broken decides nothing


def places(appliance: Appliance, devices: Sequence[Device]) -> dict[str, Place]:
    """Return where the *devices* are, as boot stores and MountedDevices say it."""
    found = {}
    for device in devices:
        disk = _NUMBER.sub("", device.name)
        if device.partition_type and device.partition_uuid:
            found[device.name] = Place(partition=device.partition_uuid.lower())
        elif disk != device.name and device.name.count("/") == 2:
            sector = bytes(appliance.g.pread_device(disk, 512, 0))
            number = int(device.name.removeprefix(disk))
            parts = volumes.partitions(sector, appliance.g.blockdev_getss(disk))
            if number <= len(parts):
                offset = parts[number - 1][1]
                signature = volumes.signature(sector)
                found[device.name] = Place(signature=signature, offset=offset)
    return found
