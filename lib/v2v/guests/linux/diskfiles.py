# SPDX-License-Identifier: GPL-2.0-or-later
"""The files, besides fstab and the boot loader's, in which disks are named; and how.

One table says what is done to each.  Lines that are comments stay as they are.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from v2v.guests.appliance import Appliance
from v2v.guests.linux import order
from v2v.guests.plan import Action, edit, remove

_REASON = "disks have other kernel names on KVM"
_MAX_FILES = 200
_MAX_LINES = 10_000
_MAX_TEXT = 2**20  # characters
_DEVICE_LINE = re.compile(r"^(\s*DEVICES?\s+)(\S[^\r\n]*)", re.IGNORECASE)
_OLD_NAME = re.compile(
    r"/dev/(?:(?:sd|hd|vd|xvd)[a-z?*\[]|nvme\d|disk/by-(?:id|path)/)"
)
_MEMBERS = re.compile(r"[ \t]devices=\S+", re.IGNORECASE)
_SOURCE = re.compile(r"(\s*\S+\s+\S+)(.*)", re.DOTALL)
_CRYPT = re.compile(r"(\s*\S+\s+(\S+))(\s+\S+)?(\s+\S+)?(\s*.*)", re.DOTALL)
_WHAT = re.compile(r"^\s*What\s*=")
# LVM's lists, of which the first pattern that fits decides.
_FILTER = re.compile(r"^(\s*(?:global_)?filter\s*=\s*)(\[?)([^\r\n]*)")
# Accepts the disks of virtio, and refuses none that another pattern accepts.
_ACCEPTED = '"a|^/dev/vd[a-z]+[0-9]*$|"'
_ACCEPTS = re.compile(r"[\"']a.\^?\(?/?(?:dev/)?\(?(?:sd|hd|xvd|nvme|disk/by-)")
_REFUSES_ALL = re.compile(r"[\"']r(.)\^?(?:/dev/)?\.\*/?\1")
_MAX_LIST = 50  # lines
_MAX_FILTERS = 20
_HARDWARE_IDS = re.compile(r"\bIDTYPE=(?:devname|sys_wwid|sys_serial|scsi_\w+)\b")
# VMware's identifier is in the name of each of its disks (NAA 6000c29...).
_VMWARE_WWID = re.compile(r"(?<![0-9a-f])36000c29[0-9a-f]{8,32}(?![0-9a-f])")
_ASM = re.compile(r"scsi_id\b|KERNEL==\"(?:sd|hd|xvd)|ENV\{ID_SERIAL")


class Naming(Protocol):
    """What stable.Names gives: identities in place of names."""

    def replaced(self, text: str, *, as_path: bool = False) -> str:
        """Return *text* with stable names."""
        ...


def tags(text: str, names: Naming) -> str:
    """Replace names by ``UUID=…``."""
    return names.replaced(text)


def paths(text: str, names: Naming) -> str:
    """Replace names by ``/dev/disk/by-uuid/…``, where a path must be."""
    return names.replaced(text, as_path=True)


def unit(text: str, names: Naming) -> str:
    """Replace the name that a unit mounts: systemd.mount(5) takes paths."""
    return _by_line(
        text, lambda line: paths(line, names) if _WHAT.match(line) else line
    )


def mdadm(text: str, names: Naming) -> str:
    """Let mdadm look for members on all partitions: mdadm.conf(5).

    An array that is named by its UUID needs no list of members.
    """

    def changed(line: str) -> str:
        match = _DEVICE_LINE.match(line)
        if match and _OLD_NAME.search(match[2]):
            return f"{match[1]}partitions{line[match.end() :]}"
        if line.lstrip().upper().startswith("ARRAY") and "UUID=" in line.upper():
            return _MEMBERS.sub("", line)
        return line

    return _by_line(text, changed)


def multipath(text: str, names: Naming) -> str:
    """Forget the disks of VMware; those of a storage network stay."""
    return _by_line(text, lambda line: "" if _VMWARE_WWID.search(line) else line)


def crypttab(text: str, names: Naming) -> str:
    """Replace the source by ``UUID=…``, and names in options by paths: crypttab(5).

    Debian's scripts know no PARTUUID= until version 10, but any path.
    """

    def changed(line: str) -> str:
        match = _SOURCE.match(line)
        if match is None:
            return line
        source = tags(match[1], names)
        if "PARTUUID=" in source:
            source = paths(match[1], names)
        return _optional(source + paths(match[2], names))

    return _by_line(text, changed)


def _optional(line: str) -> str:
    """Return *line* of crypttab with nofail, if its source is what no machine gives.

    systemd waits 90 s for it otherwise; what needs what is in it waits all the same.
    """
    match = _CRYPT.fullmatch(line)
    if not match or not order.is_of_hardware(match[2]):
        return line
    before, _, key, options, rest = match.groups()
    if options and {"nofail", "noauto"} & set(options.strip().split(",")):
        return line
    more = f"{options},nofail" if options else " nofail"
    return f"{before}{key or ' none'}{more}{rest}"


def lvm(text: str) -> str:
    """Let LVM see the disks of virtio where it was told which to see: lvm.conf(5).

    A list that only refuses is left alone: what it does not name is accepted.
    """
    lines = text.splitlines(keepends=True)
    at = [index for index, line in enumerate(lines) if _FILTER.match(line)]
    for index in at[:_MAX_FILTERS]:
        line = lines[index]
        match = _FILTER.match(line)
        if not match or not _is_exclusive(_list(lines[index : index + _MAX_LIST])):
            continue
        value = match[3].rstrip()
        end = line[match.start(3) + len(value) :]
        # One pattern may stand without brackets.
        rest = value.lstrip() if match[2] else f"{value} ]"
        lines[index] = f"{match[1]}[ {_ACCEPTED}, {rest}{end}"
    return "".join(lines)


def _list(lines: list[str]) -> str:
    """Return the list that starts in the first of *lines*, and may go on below."""
    own = (line for line in lines if not line.lstrip().startswith("#"))
    return "".join(own).partition("]")[0] if "[" in lines[0] else lines[0]


def _is_exclusive(patterns: str) -> bool:
    """Whether *patterns* accept only some disks, by names of the old machine."""
    if _ACCEPTED in patterns:
        return False
    return bool(_REFUSES_ALL.search(patterns) and _ACCEPTS.search(patterns))


def _by_line(text: str, change: Callable[[str], str]) -> str:
    return "".join(
        line if line.lstrip().startswith(("#", ";")) else change(line)
        for line in text.splitlines(keepends=True)
    )


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Files that are changed in one way; without ``how`` they are only looked at."""

    patterns: tuple[str, ...]
    how: Callable[[str, Naming], str] | None = None
    # What else than a name of a disk is a sign that a person has to look.
    sign: re.Pattern[str] | None = None


KINDS = (
    Kind(patterns=("etc/fstab",)),  # changed by stable.py
    Kind(patterns=("etc/crypttab",), how=crypttab),
    Kind(patterns=("etc/initramfs-tools/conf.d/resume",), how=tags),
    Kind(patterns=("etc/systemd/system/*.mount",), how=unit),
    Kind(patterns=("etc/mdadm/mdadm.conf", "etc/mdadm.conf"), how=mdadm),
    Kind(patterns=("etc/multipath/wwids", "etc/multipath/bindings"), how=multipath),
    Kind(patterns=("etc/uswsusp.conf", "etc/suspend.conf"), how=paths),
    Kind(patterns=("etc/kdump.conf", "etc/sysconfig/kdump"), how=paths),
    Kind(patterns=("etc/default/kdump-tools", "etc/default/kdump"), how=paths),
    Kind(patterns=("etc/rawdevices", "etc/sysconfig/rawdevices"), how=paths),
    Kind(patterns=("etc/auto.*",), how=paths),
    Kind(patterns=("etc/systemd/system/*.swap", "etc/systemd/system/*.automount")),
    Kind(patterns=("etc/smartd.conf", "etc/hdparm.conf", "etc/raidtab")),
    Kind(patterns=("etc/udev/rules.d/*.rules",), sign=_ASM),
    Kind(
        patterns=("etc/sysconfig/oracleasm",),
        sign=re.compile(r"^\s*ORACLEASM_SCANORDER=[\"']?[a-z]"),
    ),
)
# What only lists the old disks, and is made anew by itself.
CACHES = (
    *("etc/blkid/blkid.tab", "etc/blkid.tab", "etc/blkid.tab.old"),
    *("etc/lvm/cache/.cache", "etc/lvm/.cache"),
)
DEVICES_FILE = "etc/lvm/devices/system.devices"
LVM = "etc/lvm/lvm.conf"


def _found(appliance: Appliance, *patterns: str) -> list[str]:
    """Return the files that match, in one question."""
    return appliance.glob(f"/{{{','.join(patterns)}}}")


def _kind(path: str) -> Kind | None:
    """Return the kind of the file at *path*, which may lack the leading slash."""
    name = path.lstrip("/")
    for kind in KINDS:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in kind.patterns):
            return kind
    return None


def _all_patterns() -> list[str]:
    return [pattern for kind in KINDS for pattern in kind.patterns]


def corrected(path: str, text: str, names: Naming) -> str:
    """Return *text*, of the file at *path*, with names that hold on any machine.

    Also for what an initramfs has of these files.
    """
    if path.lstrip("/") == LVM:
        return lvm(text)
    kind = _kind(path)
    how = kind.how if kind and kind.how else tags
    return how(text, names)


def plan(appliance: Appliance, names: Naming) -> Iterator[Action]:
    """Yield the edits of all files of the table, and the removal of caches."""
    there = _found(appliance, *_all_patterns(), *CACHES, DEVICES_FILE)
    for path in there[:_MAX_FILES]:
        if path.lstrip("/") in CACHES:
            yield remove(path, "it lists the old machine's disks, and is a cache")
            continue
        text = appliance.read(path)
        if text is None or len(text) > _MAX_TEXT:
            continue
        if path.lstrip("/") == DEVICES_FILE:
            # lvmdevices(8): without the file LVM looks at all disks, as it must.
            if _HARDWARE_IDS.search(text):
                yield remove(path, "LVM would only use disks of the old machine")
            continue
        kind = _kind(path)
        if kind and kind.how:
            yield from edit(path, text, kind.how(text, names), _REASON)


def plan_virtio(appliance: Appliance) -> Iterator[Action]:
    """Yield the edit that lets LVM see disks on virtio."""
    path = f"/{LVM}"
    text = appliance.read(path)
    if text is not None:
        reason = "LVM's filter would refuse the disks of virtio"
        yield from edit(path, text, lvm(text), reason)


def left(appliance: Appliance) -> Iterator[tuple[str, int, str]]:
    """Yield the file, line number and line of each name that the old machine gave.

    Names of virtio's disks are none: they are the new machine's as well.
    """
    for path in _found(appliance, *_all_patterns())[:_MAX_FILES]:
        kind = _kind(path)
        lines = (appliance.read(path) or "").splitlines()[:_MAX_LINES]
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith(("#", ";")):
                continue
            names = (m[0] for m in order.NAME.finditer(line))
            if any(not name.startswith("/dev/vd") for name in names) or (
                kind and kind.sign and kind.sign.search(line)
            ):
                yield path, number, line.strip()
