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

from v2v.document import VM, Change, Devices, Finding, Guest
from v2v.errors import GuestError
from v2v.guests import inspection
from v2v.guests.appliance import Appliance
from v2v.guests.linux import drivers, fixes, initramfs
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.plan import Action

# The reason as fixup gives it, the path, and the sections that say why.
SECTIONS: tuple[tuple[str, str, str], ...] = (
    ("disks have other kernel names", r"/etc/fstab", "§5.2 rule 1, mounts"),
    ("disks have other kernel names", r"/etc/initramfs-tools/.*", "§4.2 RESUME, §5.2"),
    ("disks have other kernel names", r"/etc/crypttab", "§5.2 crypto"),
    ("disks have other kernel names", r"/etc/mdadm.*", "§5.2 RAID"),
    ("disks have other kernel names", r"/etc/multipath/.*", "§5.2 multipath"),
    ("disks have other kernel names", r"/etc/.*", "§5.2 list of files"),
    ("LVM would only use disks of the old machine", r"/etc/lvm/.*", "§5.2 LVM"),
    ("LVM's filter would refuse", r"/etc/lvm/lvm.conf", "§5.2 LVM"),
    ("it lists the old machine's disks", r"/etc/.*", "§5.2 caches"),
    ("GRUB's records must name", r"/boot/grub2?/device.map", "§3.2, §5.2 boot"),
    ("GRUB's records must name", r"/etc/.*", "§5.2 boot"),
    ("GRUB's records must name", r"/var/cache/debconf/.*", "§5.2 debconf"),
    ("kernel parameters must hold", r".*/(menu\.lst|grub\.conf)", "§3.2, §3.6"),
    ("kernel parameters must hold", r".*/grub\.cfg", "§3.3, §3.6"),
    ("kernel parameters must hold", r".*/grubenv", "§3.3 grubenv, §3.6"),
    ("kernel parameters must hold", r".*/loader/entries/.*", "§3.3 BLS, §3.6"),
    (
        "kernel parameters must hold",
        r"/boot/(photon|linux-.*|systemd)\.cfg",
        "§3.4, §3.6",
    ),
    ("kernel parameters must hold", r".*linux\.conf", "§3.4 extlinux, §3.6"),
    ("kernel parameters must hold", r"/etc/.*", "§3.3 source of the next menu, §3.6"),
    ("the default, .* is not for KVM", r".*", "§2.4"),
    ("the firmware of a new machine starts nothing else", r".*/EFI/BOOT/.*", "§3.5"),
    ("shim's fallback reads from it", r".*\.CSV", "§3.5"),
    ("updates of GRUB must reach the copy", r".*", "§3.5 Debian"),
    ("it lacks the virtio drivers", r"/boot/.*", "§4.3"),
    ("it names disks as the old machine did", r"/boot/.*", "§4.3 condition 5"),
    ("the next initramfs needs virtio", r"/etc/.*", "§4.1 persistent"),
    (".* has nothing to serve on KVM", r"/etc/.*", "§6"),
    ("an address is bound to this name", r"/etc/.*", "§7.2"),
    ("the guest installs qemu-guest-agent", r".*", "§8.1, §8.2"),
)


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


def planned(appliance: Appliance, vm: VM, *, agent: bool) -> Planned:
    """Look into the guest and plan, as v2v-fixup does."""
    guest = inspection.inspect(appliance, inspection.Asked(disks=vm.disks))
    devices = drivers.devices(guest, "libvirt", agent=agent)
    actions = fixes.plan(appliance, vm, guest, devices, None)
    return Planned(guest=guest, devices=devices, actions=actions)


def fixed(appliance: Appliance, vm: VM, *, agent: bool) -> Fixed:
    """Do all that v2v-fixup does, and show it."""
    plan = planned(appliance, vm, agent=agent)
    paths = list(dict.fromkeys(a.change.path for a in plan.actions))
    before = {path: _state(appliance, path) for path in paths}
    fixes.gate(plan.guest, plan.actions)
    fixes.apply(appliance, plan.guest, plan.actions)
    guest = fixes.verify(appliance, plan.guest, plan.devices)
    findings = list(fixes.findings(appliance, vm, guest))
    shown = [*_head(guest, plan.devices, findings)]
    for path in paths:
        changes = [a.change for a in plan.actions if a.change.path == path]
        shown += _shown(path, changes, before[path], _state(appliance, path))
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


def section(change: Change) -> str:
    """Return the sections that demand *change*; an AssertionError if there is none."""
    for reason, path, sections in SECTIONS:
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
    elif isinstance(after, str):
        yield after
    elif "copy of" in (changes[0].after or ""):
        yield changes[0].after or ""
    elif isinstance(before, bytes) and (image := _image(before)):
        yield from _of_image(image, _image(after) or Initramfs())
    else:
        old = before if isinstance(before, bytes) else b""
        yield from _diff(path, _text(old), _text(after))


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
