# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the Linux systems on the disks, and tell which of them is the one that runs.

One that can boot is taken; several are weighed by evidence: whom the boot loaders start
by default, which was in use of late, which one btrfs mounts by itself, which is on the
first disk.  Where that does not decide, a person has to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from v2v.document import Disk
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.linux import boot, fstab, mounts, subvolumes
from v2v.guests.linux.fstab import Entry
from v2v.guests.linux.resolver import Resolver
from v2v.guests.linux.subvolumes import Subvolume

_FILESYSTEMS = {"ext2", "ext3", "ext4", "xfs", "jfs", "reiserfs", "f2fs"}
# What a system writes whenever it runs.
_USED = (
    "/{var/log/{wtmp,wtmp.db,btmp,syslog,messages,dmesg,journal/*/system.journal},"
    "var/lib/{systemd/random-seed,random-seed,urandom/random-seed,systemd/timesync/clock,"
    "misc/random-seed,seedrng/seed.credit},etc/adjtime,etc/mtab}"
)
_DAY = 86400  # seconds
_ROOT = re.compile(r"(?<![\w.-])root=(\S{1,300})")
_FLAGS = re.compile(r"(?<![\w.-])rootflags=(\S{1,300})")
_MAX_CANDIDATES = 50
_MAX_USED = 200  # files
# The points of evidence, and by how many one has to be ahead.
_STARTED, _IN_USE, _MOUNTED, _FIRST, _AHEAD = 4, 2, 2, 1, 2


@dataclass(frozen=True, kw_only=True)
class Root:
    """The root of a system: ``name`` is as libguestfs spells a device or subvolume.

    ``boots``: it has a kernel, or a /boot of its own that may have one.
    """

    name: str
    device: str
    boots: bool = True
    subvolume: Subvolume | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks for a root.

    ``starts`` are the names of the roots that its boot loader starts by default;
    ``used`` is when it was in use last, in s since 1970.
    """

    root: Root
    starts: tuple[str, ...] = ()
    used: int = 0


def found(appliance: Appliance, devices: Sequence[Device]) -> list[Root]:
    """Return the roots of Linux systems on *devices*, but for snapshots."""
    roots: list[Root] = []
    seen: set[str] = set()
    for device in devices:
        if device.type in _FILESYSTEMS:
            roots += _on_device(appliance, device.name)
        elif device.type == "btrfs" and device.uuid not in seen:
            # Each device of a btrfs shows the whole of it.
            seen.add(device.uuid or device.name)
            roots += _on_btrfs(appliance, device.name)
    return roots[:_MAX_CANDIDATES]


def _on_device(appliance: Appliance, name: str) -> Iterator[Root]:
    try:
        appliance.g.mount_ro(name, "/")
    except RuntimeError:
        return  # a file system that this kernel cannot mount is no root for us
    if _is_root(appliance, ""):
        yield Root(name=name, device=name, boots=_may_boot(appliance, ""))
    appliance.g.umount_all()


def _on_btrfs(appliance: Appliance, name: str) -> Iterator[Root]:
    """Yield the subvolumes that are roots, as seen from the top of all."""
    there = subvolumes.seen(appliance, name)
    try:
        appliance.g.mount_options(f"ro,subvolid={subvolumes.TOP}", name, "/")
    except RuntimeError:
        return  # as on any other device
    for subvolume in there:
        folder = f"/{subvolume.path}".rstrip("/")
        if not subvolume.is_snapshot and _is_root(appliance, folder):
            yield Root(
                name=subvolume.name,
                device=name,
                boots=_may_boot(appliance, folder),
                subvolume=subvolume,
            )
    appliance.g.umount_all()


def _is_root(appliance: Appliance, folder: str) -> bool:
    """Whether *folder*, of what is mounted, is the root of a Linux system.

    /bin may be a link into a /usr that is on another device.
    """
    g = appliance.g
    if not g.is_dir(f"{folder}/etc", followsymlinks=False):
        return False
    if not g.is_dir(f"{folder}/bin", followsymlinks=False):
        link = f"{folder}/bin"
        if not g.is_symlink(link) or g.readlink(link).strip("/") != "usr/bin":
            return False
    files = ("/etc/fstab", "/etc/os-release", "/usr/lib/os-release")
    return any(g.exists(folder + file) for file in files)


def _may_boot(appliance: Appliance, folder: str) -> bool:
    entries = fstab.parsed(appliance.read(f"{folder}/etc/fstab") or "")
    own = any(entry.point in mounts.BOOT for entry in entries)
    # Where the boot loader needs no copy of it the kernel is with its modules.
    patterns = ("boot/vmlinu[xz]*", "lib/modules/*/vmlinuz")
    return own or any(appliance.glob(f"{folder}/{pattern}") for pattern in patterns)


def weighed(
    appliance: Appliance,
    roots: Sequence[Root],
    devices: list[Device],
    disks: Sequence[Disk] = (),
) -> Root | None:
    """Return the one of *roots* that runs; None if it cannot be told."""
    able = [root for root in roots if root.boots] or list(roots)
    if len(able) < 2:
        return able[0] if able else None
    evidence = [_evidence(appliance, root, able, devices, disks) for root in able]
    return decided(evidence)


def decided(evidence: Sequence[Evidence]) -> Root | None:
    """Return the root that *evidence* speaks for clearly, if it does for one."""
    started = {name for one in evidence for name in one.starts}
    last = max(one.used for one in evidence)
    first = min(_disk(one.root) for one in evidence)
    points = []
    for one in evidence:
        sum_ = _STARTED * (one.root.name in started)
        sum_ += _IN_USE * (one.used > last - _DAY)
        sum_ += _MOUNTED * bool(one.root.subvolume and one.root.subvolume.default)
        sum_ += _FIRST * (_disk(one.root) == first)
        points.append((sum_, one.root.name, one.root))
    best, second = sorted(points, key=lambda p: p[:2], reverse=True)[:2]
    return best[2] if best[0] - second[0] >= _AHEAD else None


def _disk(root: Root) -> tuple[int, str]:
    """Return what sorts the disks of *root* in their order: sda, sdb … sdaa."""
    disk = root.device.rstrip("0123456789")
    return len(disk), disk


def _evidence(
    appliance: Appliance,
    root: Root,
    all_: Sequence[Root],
    devices: list[Device],
    disks: Sequence[Disk],
) -> Evidence:
    """Look at the system on *root*; nothing stays mounted."""
    g = appliance.g
    g.mount_ro(root.name, "/")
    resolver = Resolver(appliance, devices, disks)
    places = mounts.points(appliance, root.name, devices, resolver)
    for point in ("/boot", "/boot/efi", "/efi", "/var"):
        if point in places:
            _shown(appliance, places[point], point)
    starts = _started(boot.command_lines(appliance), all_, resolver)
    used = [
        g.lstatns(path)["st_mtime_sec"] for path in appliance.glob(_USED)[:_MAX_USED]
    ]
    appliance.known.clear()
    g.umount_all()
    return Evidence(root=root, starts=tuple(starts), used=max(used, default=0))


def _shown(appliance: Appliance, place: str, point: str) -> None:
    try:
        appliance.g.mount_ro(place, appliance.g.realpath(point))
    except RuntimeError:
        return  # what cannot be mounted says nothing


def _started(lines: str, roots: Sequence[Root], resolver: Resolver) -> Iterator[str]:
    """Yield the roots that the first of the kernel command *lines* with one names."""
    for line in lines.splitlines():
        match = _ROOT.search(line)
        if match is None:
            continue
        device = resolver.device(match[1].strip("\"'"))
        flags = _FLAGS.search(line)
        entry = Entry(
            spec="",
            point="/",
            options=tuple(flags[1].strip("\"'").split(",")) if flags else (),
        )
        for root in roots:
            if device and root.device == device.name and _is_meant(root, entry):
                yield root.name
        return


def _is_meant(root: Root, entry: Entry) -> bool:
    own = root.subvolume
    return own is None or subvolumes.meant([own], entry) is not None
