# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a UEFI guest bootable without the NVRAM of its old machine.

An empty NVRAM makes the firmware start EFI/BOOT/BOOTX64.EFI.  The signed shim of the
guest is copied there with what it starts (grub, MokManager, and fallback, which writes
the boot entry anew), and stays there for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Change, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import debconf
from v2v.guests.linux.plan import Action

_SUFFIXES = {"x86_64": "x64", "aarch64": "aa64", "i386": "ia32"}


def plan(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield the copies that are missing in the fallback folder."""
    suffix = _SUFFIXES.get(guest.arch or "")
    esp = esp_path(appliance, guest)
    if not suffix or not esp:
        return
    first = f"BOOT{suffix.upper()}.EFI"
    if _path(appliance, f"{esp}/EFI/BOOT/{first}"):
        return
    vendor = _vendor(appliance, esp, suffix)
    if not vendor:
        return
    boot = f"{esp}/EFI/BOOT"
    shim = _path(appliance, f"{vendor}/shim{suffix}.efi")
    yield _copy(appliance, shim or f"{vendor}/grub{suffix}.efi", f"{boot}/{first}")
    if shim:
        yield from _beside_shim(appliance, vendor, boot, suffix)
    # Debian's packages keep it up to date, if they are told to.
    yield from debconf.plan(
        appliance,
        "grub2/force_efi_extra_removable",
        lambda _: "true",
        "updates of GRUB must reach the copy as well",
    )


def _beside_shim(
    appliance: Appliance, vendor: str, boot: str, suffix: str
) -> Iterator[Action]:
    """Yield the copies of what shim starts from its own folder."""
    for name in (f"grub{suffix}.efi", f"mm{suffix}.efi", f"fb{suffix}.efi", "grub.cfg"):
        found = _path(appliance, f"{vendor}/{name}")
        if found:
            yield _copy(appliance, found, f"{boot}/{name}")
    list_ = f"{vendor}/BOOT{suffix.upper()}.CSV"
    if _path(appliance, f"{vendor}/fb{suffix}.efi") and not _path(appliance, list_):
        # Without one shim starts fallback, and that finds nothing to start.
        label = vendor.rpartition("/")[2]
        text = f"shim{suffix}.efi,{label},,This is the boot entry for {label}\n"
        yield _written(list_, b"\xff\xfe" + text.encode("utf-16-le"))


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
    for name in appliance.names(root):
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


def _written(path: str, data: bytes) -> Action:
    change = Change(
        path=path,
        kind="create",
        reason="shim's fallback reads from it what to start",
        after=data.decode("utf-16").strip(),
    )
    return Action(
        change=change, apply=lambda running: running.g.write(path, data), space=4096
    )
