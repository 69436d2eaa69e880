# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of disks that hold on any hardware, in place of /dev/sda2.

A name that depends on the hardware is replaced by the identity of what it meant.  The
appliance has the VM's disks in the VM's order, so /dev/sdb1 in the guest is its second
disk here; that what is found there fits (type, and alone with its UUID) is checked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from v2v.document import Disk, Filesystem, Guest, disk_id
from v2v.guests.appliance import Appliance
from v2v.guests.linux import debconf
from v2v.guests.linux.plan import Action, edit

_KERNEL_NAME = re.compile(r"/dev/(?:sd|hd|vd|xvd)([a-z]{1,3})(\d{0,3})")
_NVME = re.compile(r"/dev/nvme(\d{1,3})n(\d{1,3})(?:p(\d{1,3}))?")
# Of a controller, a slot, a serial number: VMware's, which the new machine lacks.
_BY_NAME = r"disk/by-(?:id|path)/(?!dm-|md-|lvm-|raid-)[^\s,\"']+"
_BY = re.compile(rf"/dev/{_BY_NAME}?(?:-part(\d{{1,3}}))?")
_ANY = re.compile(
    r"(?<![\w/-])/dev/(?:(?:sd|hd|vd|xvd)[a-z]{1,3}\d{0,3}|nvme\d+n\d+(?:p\d+)?"
    rf"|{_BY_NAME})(?![\w/-])"
)
_SPEC = re.compile(r"^(\s*)(/dev/\S+)(\s+\S+\s+(\S+).*)", re.DOTALL)
_FIELDS = re.compile(r"^(\s*(\S+)\s+(\S+)\s+(\S+)\s+)(\S+)(.*)", re.DOTALL)
# Folders of the host that only the old hypervisor can show.
_SHARED = {"vmhgfs", "fuse.vmhgfs-fuse", "vboxsf", "prl_fs"}
_ALIKE = ({"ext2", "ext3", "ext4"}, {"vfat", "msdos"})
_RESUME = "/etc/initramfs-tools/conf.d/resume"
_REASON = "disks have other kernel names on KVM"


class Names:
    """The stable names of what the guest's names for its disks mean."""

    def __init__(self, guest: Guest, disks: Sequence[Disk] = ()) -> None:
        """Take the file systems from *guest* as inspected; *disks* are the VM's."""
        self.by_device = {fs.device: fs for fs in guest.filesystems}
        self.uses = Counter(fs.uuid for fs in guest.filesystems if fs.uuid)
        self.disks = disks

    def filesystem(self, name: str) -> Filesystem | None:
        """Return what the guest's device *name* holds."""
        device = self.device(name)
        return self.by_device.get(device) if device else None

    def device(self, name: str) -> str | None:
        """Return the appliance's name of the guest's device *name*."""
        if match := _KERNEL_NAME.fullmatch(name):
            disk = self._lettered(match[1])
            return f"/dev/{disk}{match[2]}" if disk else None
        if match := _NVME.fullmatch(name):
            disk = self._nvme(int(match[1]), int(match[2]))
            return f"/dev/{disk}{match[3] or ''}" if disk else None
        if (match := _BY.fullmatch(name)) and len(self.disks) == 1:
            return f"/dev/sda{match[1] or ''}"
        return None

    def _lettered(self, letters: str) -> str | None:
        """Return what the appliance calls the disk sda, sdb … of the guest."""
        # NVMe disks have no letters, and in the appliance all have.
        there = [disk_id(i) for i, d in enumerate(self.disks) if d.bus != "nvme"]
        if not self.disks:
            return f"sd{letters}"
        own = {disk_id(i): name for i, name in enumerate(there)}
        return own.get(f"sd{letters}")

    def _nvme(self, controller: int, namespace: int) -> str | None:
        """Return what the appliance calls a disk that is nvme0n1 in the guest."""
        nvme = {disk_id(i): d for i, d in enumerate(self.disks) if d.bus == "nvme"}
        # VMware makes a disk a namespace of its controller: nvme0:1 is nvme0n2.
        slot = f"nvme{controller}:{namespace - 1}"
        for name, disk in nvme.items():
            if disk.slot == slot:
                return name
        return next(iter(nvme)) if len(nvme) == 1 else None

    def stable(self, name: str) -> str | None:
        """Return ``UUID=…`` for device *name*; None if it has none of its own.

        Two copies of one file system share a UUID: then no name is better.
        """
        fs = self.filesystem(name)
        if fs is None or not fs.uuid or self.uses[fs.uuid] > 1:
            return None
        return f"UUID={fs.uuid}"

    def replaced(self, text: str) -> str:
        """Return *text* with stable names for disks; comments stay as they are."""
        return "".join(
            line
            if line.lstrip().startswith("#")
            else _ANY.sub(lambda m: self.stable(m[0]) or m[0], line)
            for line in text.splitlines(keepends=True)
        )

    def virtio(self, name: str) -> str:
        """Return what the disk or partition *name* is called on virtio.

        *name* itself, if it cannot be told which one it is.
        """
        match = _KERNEL_NAME.fullmatch(self.device(name) or "")
        return f"/dev/vd{match[1]}{match[2]}" if match else name


def is_of_hardware(spec: str) -> bool:
    """Whether device *spec* is a name that another machine does not give."""
    return _ANY.fullmatch(spec) is not None


def plan(appliance: Appliance, names: Names) -> Iterator[Action]:
    """Yield edits of all files, but the boot loader's, that name disks."""
    text = appliance.read("/etc/fstab")
    if text is not None:
        after = "".join(
            _guarded(_fstab_line(line, names))
            for line in text.splitlines(keepends=True)
        )
        yield from edit("/etc/fstab", text, after, _REASON)
    for path in ("/etc/crypttab", _RESUME):
        text = appliance.read(path)
        if text is not None:
            yield from edit(path, text, names.replaced(text), _REASON)


def _fstab_line(line: str, names: Names) -> str:
    """Return *line* of fstab with a stable name; comments stay as they are."""
    match = _SPEC.match(line)
    if not match or line.lstrip().startswith("#"):
        return line
    blank, spec, rest, kind = match.groups()
    fs = names.filesystem(spec)
    if fs is None or not _fits(kind, fs.type):
        return line
    return f"{blank}{names.stable(spec) or spec}{rest}"


def _fits(kind: str, found: str) -> bool:
    """Whether a file system that fstab calls *kind* may be what was *found*."""
    if kind in ("auto", found) or found in kind.split(","):
        return True
    return any({kind, found} <= alike for alike in _ALIKE)


def _guarded(line: str) -> str:
    """Return *line* of fstab so that a boot does not fail for want of its device.

    That is for names which no new machine gives, of all but the system itself.
    """
    match = _FIELDS.match(line)
    if not match or line.lstrip().startswith("#"):
        return line
    before, spec, point, kind, options, rest = match.groups()
    known = set(options.split(","))
    if point in ("/", "/usr") or known & {"nofail", "noauto"}:
        return line
    if kind in _SHARED:
        return f"{before}{options},nofail{rest}"
    if is_of_hardware(spec):
        return f"{before}{options},nofail,x-systemd.device-timeout=10{rest}"
    return line


def renames(appliance: Appliance, names: Names) -> Iterator[Action]:
    """Yield edits of files that can only hold kernel names: GRUB's own records."""
    reason = "GRUB's records must name the disks as they are called on virtio"

    def renamed(text: str) -> str:
        return _ANY.sub(lambda m: names.virtio(m[0]), text)

    for path in ("/boot/grub/device.map", "/boot/grub2/device.map"):
        text = appliance.read(path)
        if text is not None:
            yield from edit(path, text, renamed(text), reason)
    yield from debconf.plan(appliance, "grub-pc/install_devices", renamed, reason)


def left(appliance: Appliance) -> list[str]:
    """Return the lines of fstab that still name a disk as the old machine did."""
    lines = (appliance.read("/etc/fstab") or "").splitlines()
    return [
        line.strip()
        for line in lines
        if line.split() and is_of_hardware(line.split()[0])
    ]
