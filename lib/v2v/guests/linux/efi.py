# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a UEFI guest bootable without the NVRAM of its old machine.

An empty NVRAM makes the firmware start EFI/BOOT/BOOTX64.EFI.  The signed shim of the
guest is copied there with what it starts (grub, MokManager, and fallback, which writes
the boot entry anew), and stays there for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from v2v.document import VM, Change, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, edit

_SUFFIXES = {"x86_64": "x64", "aarch64": "aa64", "i386": "ia32"}


def plan(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Action]:
    """Yield the copies that are missing in the fallback folder."""
    suffix = _SUFFIXES.get(guest.arch or "")
    esp = esp_path(appliance, guest)
    if not suffix or not esp:
        return
    if _path(appliance, f"{esp}/EFI/BOOT/BOOT{suffix.upper()}.EFI"):
        return
    vendor = _vendor(appliance, esp, suffix)
    if not vendor:
        return
    first = f"shim{suffix}.efi"
    shim = _path(appliance, f"{vendor}/{first}")
    boot = f"{esp}/EFI/BOOT"
    if not shim:
        yield _copy(
            appliance, f"{vendor}/grub{suffix}.efi", f"{boot}/BOOT{suffix.upper()}.EFI"
        )
        return
    yield _copy(appliance, shim, f"{boot}/BOOT{suffix.upper()}.EFI")
    for name in (f"grub{suffix}.efi", f"mm{suffix}.efi", f"fb{suffix}.efi", "grub.cfg"):
        found = _path(appliance, f"{vendor}/{name}")
        if found:
            yield _copy(appliance, found, f"{boot}/{name}")
    yield from _maintained(appliance)


def esp_path(appliance: Appliance, guest: Guest) -> str | None:
    """Return where the guest mounts its EFI system partition."""
    places = [fs.mountpoint for fs in guest.filesystems if fs.type == "vfat"]
    for place in ("/boot/efi", "/efi", "/boot"):
        if place in places and _path(appliance, f"{place}/EFI"):
            return place
    return None


def _path(appliance: Appliance, path: str) -> str | None:
    """Return *path* as it is spelt on the ESP, whose names have no case."""
    try:
        found = appliance.g.case_sensitive_path(path)
    except RuntimeError:
        return None
    return found if appliance.g.exists(found) else None


def _vendor(appliance: Appliance, esp: str, suffix: str) -> str | None:
    """Return the folder of the distribution's own boot loader."""
    root = _path(appliance, f"{esp}/EFI") or f"{esp}/EFI"
    for name in sorted(appliance.g.ls(root)):
        folder = f"{root}/{name}"
        if name.upper() not in ("BOOT", "MICROSOFT") and _path(
            appliance, f"{folder}/grub{suffix}.efi"
        ):
            return folder
    return None


def _copy(appliance: Appliance, source: str, to: str) -> Action:
    def apply(running: Appliance) -> None:
        running.g.mkdir_p(to.rpartition("/")[0])
        running.g.cp(source, to)

    change = Change(
        path=to,
        kind="create",
        reason="the firmware of a new machine starts nothing else",
        after=f"copy of {source}",
    )
    return Action(change=change, apply=apply, space=appliance.g.filesize(source))


def _maintained(appliance: Appliance) -> Iterator[Action]:
    """Let Debian's grub packages keep the copy up to date."""
    path = "/var/cache/debconf/config.dat"
    text = appliance.read(path)
    if text is None:
        return
    after = re.sub(
        r"(?m)(^Name: grub2/force_efi_extra_removable\n(?:.+\n)*?Value: )false$",
        r"\1true",
        text,
    )
    yield from edit(path, text, after, "updates of GRUB must reach the copy as well")
