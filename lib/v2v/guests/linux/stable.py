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

from v2v.document import Disk, Filesystem, Finding, Guest
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux import debconf, diskfiles, fstab, order
from v2v.guests.plan import Action, edit

# All that findings() may yield.
FINDINGS = ("fstab-device-name", "disk-name-left")
_SPEC = re.compile(r"^(\s*)(/dev/\S+)(\s+(\S+)\s+(\S+).*)", re.DOTALL)
_FIELDS = re.compile(r"^(\s*(\S+)\s+(\S+)\s+(\S+)\s+)(\S+)(.*)", re.DOTALL)
_PASS = re.compile(r"^(\s+\S+\s+)[1-9](?!\S)")
# Folders of the host that only the old hypervisor can show.
_SHARED = {"vmhgfs", "fuse.vmhgfs-fuse", "vboxsf", "prl_fs"}
# What lets a boot go on without a device, by what mounts then (see _boot).  A mount(8)
# of before 2.20 gives options with x- to the kernel, which refuses them.
_OPTIONAL = {"systemd": "nofail", "mountall": "nobootwait,nofail", "script": "nofail"}
_SOON = {"systemd": ",x-systemd.device-timeout=10"}
_ALIKE = (
    *({"ext2", "ext3", "ext4"}, {"vfat", "msdos"}),
    *({"ntfs", "ntfs-3g"}, {"ntfs", "ntfs3"}, {"ntfs", "fuseblk"}),
)
# udev makes no link by UUID to what is a part of something larger.
_MEMBER = re.compile(r"LVM2_member|\w+_raid_member|linux_raid_member|zfs_member")
_REASON = "disks have other kernel names on KVM"
_RECORDS = (
    *("/boot/grub/device.map", "/boot/grub2/device.map"),
    *("/etc/default/grub_installdevice", "/etc/sysconfig/grub"),
)
_SHOWN = 20  # findings


class Names:
    """The stable names of what the guest's names for its disks mean."""

    def __init__(self, guest: Guest, disks: Sequence[Disk] = ()) -> None:
        """Take the file systems from *guest* as inspected; *disks* are the VM's."""
        self.by_device = {fs.device: fs for fs in guest.filesystems}
        all_ = self.by_device.values()
        # The devices of one btrfs are one file system.
        one = {fs.uuid: fs.device for fs in all_ if fs.type == "btrfs"}
        self.uses = Counter(
            fs.uuid
            for fs in all_
            if fs.uuid and one.get(fs.uuid, fs.device) == fs.device
        )
        self.part_uses = Counter(fs.partuuid for fs in all_ if fs.partuuid)
        self.disks = disks
        self.init = guest.init
        self.root = next((f for f in guest.filesystems if f.mountpoint == "/"), None)
        self._learned: dict[str, str] = {}
        # Where fstab mounts something.
        self.points: set[str] = set()

    def learn(self, text: str) -> None:
        """Learn from fstab's *text* what is mounted, and which disk the root's is."""
        entries = list(fstab.parsed(text))
        self.points = {entry.point for entry in entries}
        first = next((entry for entry in entries if entry.point == "/"), None)
        if first and self.root:
            self._learned = order.learned(first.spec, self.root.device, self.disks)

    def filesystem(self, name: str) -> Filesystem | None:
        """Return what the guest's device *name* holds."""
        device = self.device(name)
        return self.by_device.get(device) if device else None

    def device(self, name: str) -> str | None:
        """Return the appliance's name of the guest's device *name*."""
        return order.device(name, self.disks, self._learned)

    def stable(self, name: str) -> str | None:
        """Return ``UUID=…`` for device *name*, else ``PARTUUID=…``; None without both.

        Two copies of one file system share a UUID, and of one disk the other as well:
        then no name is better.
        """
        fs = self.filesystem(name)
        if fs is None:
            return None
        if fs.uuid and self.uses[fs.uuid] == 1 and not _MEMBER.fullmatch(fs.type):
            return f"UUID={fs.uuid}"
        if fs.partuuid and self.part_uses[fs.partuuid] == 1:
            return f"PARTUUID={fs.partuuid}"
        return None

    def replaced(self, text: str, *, as_path: bool = False) -> str:
        """Return *text* with stable names for disks; comments stay as they are.

        ``as_path``: as paths in /dev/disk.
        """

        def name(match: re.Match[str]) -> str:
            stable = self.stable(match[0])
            if stable is None:
                return match[0]
            kind, _, value = stable.partition("=")
            return f"/dev/disk/by-{kind.lower()}/{value}" if as_path else stable

        return "".join(
            line if line.lstrip().startswith("#") else order.NAME.sub(name, line)
            for line in text.splitlines(keepends=True)
        )

    def virtio(self, name: str) -> str:
        """Return what the disk or partition *name* is called on virtio.

        *name* itself, if it cannot be told which one it is, or it is such a name.
        """
        if name.startswith("/dev/vd"):
            return name
        match = order.KERNEL_NAME.fullmatch(self.device(name) or "")
        return f"/dev/vd{match[2]}{match[3]}" if match else name


def plan(appliance: Appliance, names: Names) -> Iterator[Action]:
    """Yield edits of all files, but the boot loader's, that name disks."""
    text = appliance.read("/etc/fstab")
    if text is not None:
        names.learn(text)
        boot = _boot(appliance, names.init)
        after = "".join(
            _guarded(_other_devices(_fstab_line(line, names), names), boot)
            for line in text.splitlines(keepends=True)
        )
        yield from edit("/etc/fstab", text, after, _REASON)
    yield from diskfiles.plan(appliance, names)


def _fstab_line(line: str, names: Names) -> str:
    """Return *line* of fstab with a stable name; comments stay as they are."""
    match = _SPEC.match(line)
    if not match or line.lstrip().startswith("#"):
        return line
    blank, spec, rest, point, kind = match.groups()
    fs = names.filesystem(spec)
    if fs is None or not _fits(kind, fs.type):
        return line
    # What is the root's or another line's cannot be what is meant here.
    elsewhere = fs.mountpoint != fstab.unescaped(point)
    if elsewhere and fs.mountpoint in names.points and fs.type != "btrfs":
        return line
    return f"{blank}{names.stable(spec) or spec}{rest}"


def _other_devices(line: str, names: Names) -> str:
    """Return *line* of fstab with stable names for what its options name besides.

    A journal's device gets its identity.  The devices of a btrfs all have one UUID:
    each of them is left out, since udev lets the kernel see them before any is mounted.
    """
    match = _FIELDS.match(line)
    if not match or line.lstrip().startswith("#") or "=/dev/" not in match[5]:
        return line
    before, _, _, kind, options, rest = match.groups()
    words = options.split(",")
    if kind == "btrfs":
        words = [
            word
            for word in words
            if not (
                word.startswith("device=")
                and order.is_of_hardware(word.removeprefix("device="))
            )
        ]
    changed = ",".join(names.replaced(word, as_path=True) for word in words)
    return f"{before}{changed or 'defaults'}{rest}"


def _fits(kind: str, found: str) -> bool:
    """Whether a file system that fstab calls *kind* may be what was *found*."""
    if kind in ("auto", found) or found in kind.split(","):
        return True
    return any({kind, found} <= alike for alike in _ALIKE)


def _boot(appliance: Appliance, init: str | None) -> str:
    """Return what mounts the file systems at boot: systemd, mountall, or a script."""
    if init in (None, "systemd"):
        return "systemd"
    # upstart's, of Ubuntu until 14.10.
    return "mountall" if appliance.g.exists("/sbin/mountall") else "script"


def _guarded(line: str, boot: str = "systemd") -> str:
    """Return *line* of fstab so that a boot does not fail for want of its device.

    That is for names which no new machine gives, of all but the system itself.  *boot*
    is as _boot() returns it.
    """
    match = _FIELDS.match(line)
    if not match or line.lstrip().startswith("#"):
        return line
    before, spec, point, kind, options, rest = match.groups()
    known = set(options.split(","))
    if point in ("/", "/usr") or known & {"nofail", "noauto"}:
        return line
    if kind in _SHARED:
        return f"{before}{options},{_OPTIONAL[boot]}{rest}"
    if order.is_of_hardware(spec):
        if boot == "script":
            # Red Hat's fsck of before 6 knows no nofail, and stops the boot.
            rest = _PASS.sub(r"\g<1>0", rest)
        return f"{before}{options},{_OPTIONAL[boot]}{_SOON.get(boot, '')}{rest}"
    return line


def renames(appliance: Appliance, names: Names) -> Iterator[Action]:
    """Yield edits of files that can only hold kernel names: GRUB's records, LVM's."""
    reason = "GRUB's records must name the disks as they are called on virtio"

    def renamed(text: str) -> str:
        return "".join(
            line
            if line.lstrip().startswith("#")
            else order.NAME.sub(lambda m: names.virtio(m[0]), line)
            for line in text.splitlines(keepends=True)
        )

    for path in _RECORDS:
        # Of newer systems one is a link to what is the boot loader's part.
        text = None if appliance.g.is_symlink(path) else appliance.read(path)
        if text is not None:
            yield from edit(path, text, renamed(text), reason)
    yield from debconf.plan(appliance, "grub-pc/install_devices", renamed, reason)
    yield from diskfiles.plan_virtio(appliance)


def findings(appliance: Appliance) -> Iterator[Finding]:
    """Yield where disks are still named as the old machine did; see FINDINGS."""
    for path, number, line in list(diskfiles.left(appliance))[:_SHOWN]:
        if path == "/etc/fstab":
            yield Finding(
                code="fstab-device-name",
                severity="warn",
                message=f"{path}:{number} names a disk as the old machine did: "
                + printable(line),
                remedy="v2v-fixup changes it if it can tell what it means",
            )
            continue
        yield Finding(
            code="disk-name-left",
            severity="info",
            message=f"{path}:{number} depends on the old machine's disks: "
            + printable(line),
            remedy="change it in the guest after the first boot",
        )
