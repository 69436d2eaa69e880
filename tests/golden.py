# SPDX-License-Identifier: GPL-2.0-or-later
"""All that fixup changes in a guest, as text that a person can review.

Each change bears the section of the facts on Linux guests (../shared/facts) that
demands it, by the table here; a reason that is not in it has none, and is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from phony import Phony
from v2v.document import Change, Devices, Finding, Guest
from v2v.errors import GuestError
from v2v.guests import gates, inspection
from v2v.guests.appliance import Appliance
from v2v.guests.linux import firstboot, fixes, initramfs, virtual
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.plan import Action
from v2v.guests.wanted import Wanted

# The reason as fixup gives it, the path, and the sections that say why.
Table = tuple[tuple[str, str, str], ...]
SECTIONS: Table = (
    ("disks have other kernel names", r"/etc/fstab", "§5.2 rule 1, mounts"),
    ("disks have other kernel names", r"/etc/initramfs-tools/.*", "§4.2 RESUME, §5.2"),
    ("disks have other kernel names", r"/etc/crypttab", "§5.2 crypto"),
    ("disks have other kernel names", r"/etc/mdadm.*", "§5.2 RAID"),
    ("disks have other kernel names", r"/etc/multipath/.*", "§5.2 multipath"),
    ("disks have other kernel names", r"/etc/.*", "§5.2 list of files"),
    ("LVM would only use disks of the old", r"/etc/lvm/.*", "§5.2 LVM"),
    ("LVM's filter would refuse", r"/etc/lvm/lvm.conf", "§5.2 LVM"),
    ("it lists the old machine's disks", r"/etc/.*", "§5.2 caches"),
    ("GRUB's records must name", r"/boot/grub2?/device.map", "§3.2, §5.2 boot"),
    ("GRUB's records must name", r"/etc/.*", "§5.2 boot"),
    ("GRUB's records must name", r"/var/cache/debconf/.*", "§5.2 debconf"),
    ("kernel parameters", r".*/(menu\.lst|grub\.conf)", "§3.2, §3.6"),
    ("kernel parameters", r".*/grub\.cfg", "§3.3, §3.6"),
    ("kernel parameters", r".*/grubenv", "§3.3 grubenv, §3.6"),
    ("kernel parameters", r".*/loader/entries/.*", "§3.3 BLS, §3.6"),
    ("kernel parameters", r"/boot/(linux-.*|systemd)\.cfg", "§3.4 Photon, §3.6"),
    ("kernel parameters", r".*/extlinux\.conf", "§3.4 extlinux, §3.6"),
    ("kernel parameters", r"/etc/update-extlinux\.conf", "§3.4 extlinux, §3.6"),
    ("kernel parameters", r"/etc/.*", "§3.3 source of the next menu, §3.6"),
    ("the default, .* is not for KVM", r".*", "§2.4"),
    ("the firmware of a new machine starts", r".*/EFI/BOOT/.*", "§3.5"),
    ("shim's fallback reads from it", r".*\.CSV", "§3.5"),
    ("updates of GRUB must reach the copy", r".*", "§3.5 Debian"),
    ("it lacks drivers", r"/boot/.*", "§4.3 level 1"),
    ("it lacks the virtio drivers", r"/boot/.*", "§4.2 old images, §4.3 level 2"),
    ("it names disks as the old machine did", r"/boot/.*", "§4.3 condition 5"),
    ("the next initramfs needs virtio", r"/etc/.*", "§4.1 persistent"),
    ("mkinitrd puts the drivers", r"/etc/modprobe.conf", "§8.7 aliases"),
    (".* has nothing to serve on KVM", r"/etc/.*", "§6"),
    ("VMware's tools are of no use", r"/etc/.*", "§6 repositories"),
    ("its hardware is not on KVM", r"/etc/modules.*", "§8.7 modules"),
    ("the X server starts only with", r"/etc/X11/.*", "§8.6"),
    ("Xen's console is the first serial port", r"/etc/.*", "§8.5"),
    ("an address is bound to this name", r"/etc/.*", "§7.2"),
    ("the card has another driver", r"/etc/udev/.*", "§7.2 persistent-net.rules"),
    ("the card has another driver", r"/etc/.*", "§7.2 per stack"),
    ("cloud-init may not write", r"/etc/cloud/.*", "§7.2 cloud-init"),
    ("cloud-init would wait", r"/etc/cloud/.*", "§6 rules"),
    ("the guest installs qemu-guest-agent", r".*", "§8.1, §8.2"),
    ("the guest does what is left", r".*", "§8.2"),
    ("the labels of new files cannot be told", r"/\.autorelabel", "§8.3"),
    ("the packages of the old machine's tools", r"/var/lib/v2v/.*", "§6 rules"),
    ("the host talks to the guest by", r"/etc/.*", "§8.1 right (1)"),
    ("two machines must not draw", r"/var/lib/.*", "§8.4"),
)


_DRIVER = Path(firstboot.__file__).with_suffix(".sh").read_bytes()


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What fixup made of a guest: ``text`` shows all that is different now."""

    guest: Guest
    devices: Devices
    actions: Sequence[Action]
    findings: Sequence[Finding]
    text: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What fixup would do to a guest, which is mounted."""

    guest: Guest
    devices: Devices
    actions: Sequence[Action]


def planned(appliance: Appliance, phony: Phony) -> Planned:
    """Look into the guest and plan, as v2v-fixup does."""
    vm = phony.vm
    guest = inspection.inspect(appliance, inspection.Asked(disks=vm.disks))
    devices = virtual.devices(
        guest, "libvirt", agent=phony.wants("agent"), disks=len(vm.disks)
    )
    wanted = Wanted(remove_tools=phony.wants("remove_tools"))
    actions = fixes.plan(appliance, vm, guest, devices, wanted)
    return Planned(guest=guest, devices=devices, actions=actions)


def fixed(appliance: Appliance, phony: Phony) -> Fixed:
    """Do all that v2v-fixup does, and show it."""
    vm = phony.vm
    plan = planned(appliance, phony)
    paths = list(dict.fromkeys(a.change.path for a in plan.actions))
    before = {path: _state(appliance, path) for path in paths}
    gates.gate(plan.guest, plan.actions)
    fixes.apply(appliance, plan.guest, plan.actions)
    guest = fixes.verify(appliance, plan.guest, plan.devices)
    findings = list(fixes.findings(appliance, vm, guest))
    shown = [*_head(guest, plan.devices, findings)]
    for path in paths:
        changes = [a.change for a in plan.actions if a.change.path == path]
        shown += _shown(path, changes, before[path], _state(appliance, path))
        shown += _label(appliance, path)
    return Fixed(
        guest=guest,
        devices=plan.devices,
        actions=plan.actions,
        findings=findings,
        text="".join(f"{line}\n" for line in shown),
    )


def _head(guest: Guest, devices: Devices, findings: Sequence[Finding]) -> Iterator[str]:
    kernels = ", ".join(k.version + "*" * k.default for k in guest.kernels)
    yield f"# loader {guest.bootloader}, init {guest.init}; kernels {kernels}"
    extra = [n for n in ("rng", "balloon", "transitional") if getattr(devices, n)]
    machine = [devices.machine] if devices.machine else []
    words = [*machine, devices.block, devices.net, *extra]
    yield f"# hardware: {' '.join(str(word) for word in words)}"
    for finding in findings:
        yield f"# finding {finding.code}: {finding.message}"


def headers(actions: Sequence[Action]) -> list[str]:
    """Return the lines over each change, in the order in which they are shown."""
    changes = [action.change for action in actions]
    order = list(dict.fromkeys(change.path for change in changes))
    return [_header(c) for path in order for c in changes if c.path == path]


def _header(change: Change) -> str:
    ran = f" (run: {change.after})" if change.kind == "run" else ""
    return f"# {change.path} — {section(change)}: {change.reason}{ran}"


def section(change: Change, table: Table = SECTIONS) -> str:
    """Return the sections that demand *change*; an AssertionError if there is none."""
    for reason, path, sections in table:
        if re.match(reason, change.reason) and re.fullmatch(path, change.path):
            return sections
    raise AssertionError(f"no section for {change.path}: {change.reason}")


def _state(appliance: Appliance, path: str) -> bytes | str | None:
    """Return what is at *path*: content, "-> target" of a link, None for nothing."""
    if appliance.g.is_symlink(path):
        return f"-> {appliance.g.readlink(path)}"
    return appliance.bytes(path)


def _shown(
    path: str,
    changes: Sequence[Change],
    before: bytes | str | None,
    after: bytes | str | None,
) -> Iterator[str]:
    yield ""
    yield from map(_header, changes)
    assert before != after, f"{path} is as it was before"
    if after is None:
        yield "removed"
    elif after == b"":
        yield "empty"
    elif after == _DRIVER:
        yield "a copy of v2v/guests/linux/firstboot.sh"
    elif "random numbers" in changes[0].reason:
        yield changes[0].after or ""
    elif isinstance(after, str):
        yield after
    elif "copy of" in (changes[0].after or ""):
        yield changes[0].after or ""
    elif isinstance(before, bytes) and (image := _image(before)):
        yield from _of_image(image, _image(after) or Initramfs())
    else:
        old = before if isinstance(before, bytes) else b""
        yield from _diff(path, _text(old), _text(after))


def _label(appliance: Appliance, path: str) -> Iterator[str]:
    """Yield the SELinux label of *path*, if it has one."""
    try:
        found = bytes(appliance.g.lgetxattr(path, "security.selinux"))
    except RuntimeError:
        return  # no file, or no label
    yield f"label: {found.rstrip(bytes(1)).decode()}"


def _image(data: bytes) -> Initramfs | None:
    try:
        return initramfs.parse(data)
    except GuestError:
        return None


def _of_image(before: Initramfs, after: Initramfs) -> Iterator[str]:
    yield from (f"- {name}" for name in sorted(before.names - after.names))
    more = after.names - before.names - after.folders
    yield from (f"+ {name}" for name in sorted(more))
    for path in sorted(before.texts.keys() & after.texts.keys()):
        old, new = before.texts[path], after.texts[path]
        if old != new and not path.endswith("/modules.dep"):
            yield from _diff(f"in it: {path}", _text(old), _text(new))


def _text(data: bytes) -> str:
    if data.startswith(b"\xff\xfe"):
        return data.decode("utf-16")
    return data.decode("utf-8", "backslashreplace")


def _diff(path: str, before: str, after: str) -> Iterator[str]:
    old, new = before.splitlines(), after.splitlines()
    lines = list(difflib.unified_diff(old, new, path, path, lineterm="", n=1))
    # GRUB fills its environment up with these.
    return (
        re.sub("#{80,}$", lambda m: f"#… ({len(m[0])})", line) for line in lines[2:]
    )
