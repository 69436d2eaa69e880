# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of disks that hold on any hardware, in place of /dev/sda2.

A kernel name is replaced by the identity of what it meant.  The appliance has the
VM's disks in the VM's order, so /dev/sdb1 in the guest is its second disk here; that
what is found there fits (type, and alone with its UUID) is checked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from v2v.document import VM, Filesystem, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, edit

_NAME = re.compile(r"/dev/(?:sd|hd|vd|xvd)([a-z]+)(\d*)")
_SPEC = re.compile(r"^(\s*)(/dev/\S+)(\s+\S+\s+(\S+).*)", re.DOTALL)
_INSTALLED_TO = re.compile(
    r"^(Name: grub-pc/install_devices(?:_disks_changed)?\n(?:.+\n)*?Value: )(.*)",
    re.MULTILINE,
)


class Names:
    """The stable names of what the guest's kernel names mean."""

    def __init__(self, guest: Guest) -> None:
        """Take the file systems from *guest*, as it was inspected."""
        self.by_device = {fs.device: fs for fs in guest.filesystems}
        self.uses = Counter(fs.uuid for fs in guest.filesystems if fs.uuid)

    def filesystem(self, name: str) -> Filesystem | None:
        """Return what the guest's device *name* holds."""
        match = _NAME.fullmatch(name)
        return self.by_device.get(f"/dev/sd{match[1]}{match[2]}") if match else None

    def stable(self, name: str) -> str | None:
        """Return ``UUID=…`` for device *name*; None if it has none of its own.

        Two copies of one file system share a UUID: then no name is better.
        """
        fs = self.filesystem(name)
        if fs is None or not fs.uuid or self.uses[fs.uuid] > 1:
            return None
        return f"UUID={fs.uuid}"


def plan(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Action]:
    """Yield edits of all files, but the boot loader's, that name disks."""
    names = Names(guest)
    reason = "disks have other kernel names on KVM"
    for path in ("/etc/fstab", "/etc/crypttab"):
        text = appliance.read(path)
        if text is not None:
            lines = text.splitlines(keepends=True)
            table = _fstab_line if path == "/etc/fstab" else _crypttab_line
            after = "".join(table(line, names) for line in lines)
            yield from edit(path, text, after, reason)
    resume = "/etc/initramfs-tools/conf.d/resume"
    text = appliance.read(resume)
    if text is not None:
        yield from edit(resume, text, _renamed(text, names), reason)


def _fstab_line(line: str, names: Names) -> str:
    """Return *line* of fstab with a stable name; comments stay as they are."""
    match = _SPEC.match(line)
    if not match or line.lstrip().startswith("#"):
        return line
    blank, spec, rest, kind = match.groups()
    fs = names.filesystem(spec)
    if fs is None or (kind not in ("auto", fs.type) and not fs.type.startswith(kind)):
        return line
    return f"{blank}{names.stable(spec) or spec}{rest}"


def _crypttab_line(line: str, names: Names) -> str:
    words = line.split()
    if len(words) < 2 or line.lstrip().startswith("#"):
        return line
    better = names.stable(words[1])
    return line.replace(words[1], better, 1) if better else line


def _renamed(text: str, names: Names) -> str:
    return _NAME.sub(lambda m: names.stable(m[0]) or m[0], text)


def renames(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield edits of files that can only hold kernel names: GRUB's own records."""
    reason = "GRUB's records must name the disks as they are called on virtio"
    for path in ("/boot/grub/device.map", "/boot/grub2/device.map"):
        text = appliance.read(path)
        if text is not None:
            yield from edit(path, text, _virtio(text), reason)
    path = "/var/cache/debconf/config.dat"
    text = appliance.read(path)
    if text is not None:
        after = _INSTALLED_TO.sub(lambda m: m[1] + _virtio(m[2]), text)
        yield from edit(path, text, after, reason)


def _virtio(text: str) -> str:
    return re.sub(r"/dev/(?:sd|hd|xvd)([a-z]+)\b", r"/dev/vd\1", text)


def left(appliance: Appliance) -> list[str]:
    """Return the lines of fstab that still name a disk as its kernel did."""
    lines = (appliance.read("/etc/fstab") or "").splitlines()
    return [
        line.strip()
        for line in lines
        if not line.lstrip().startswith("#") and _NAME.match(line.lstrip())
    ]
