# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a UEFI guest bootable without the NVRAM of its old machine.

An empty NVRAM makes the firmware start EFI/BOOT/BOOTX64.EFI.  What the guest boots by
is copied there: a signed shim with what it starts (grub, MokManager, and fallback, that
writes the boot entry anew), GRUB alone, systemd-boot or a unified kernel image.  It
stays there for ever, and nothing that is there already is replaced: that may be
another system's.
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Change, Finding, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot, debconf
from v2v.guests.plan import Action

FINDINGS = ("efi-starts-windows",)
_SUFFIXES = {"x86_64": "x64", "aarch64": "aa64", "i386": "ia32"}
# SUSE's, and those of before there were several architectures, have no suffix.
_SHIMS = ("shim{}.efi", "shim.efi")
_GRUBS = ("grub{}.efi", "grub.efi")
_BESIDE = (
    *("grub{}.efi", "grub.efi", "mm{}.efi", "MokManager.efi", "fb{}.efi"),
    *("fallback.efi", "grub.cfg"),
)
_WINDOWS = "EFI/Microsoft/Boot/bootmgfw.efi"
_NO_VENDOR = {"BOOT", "MICROSOFT", "SYSTEMD", "LINUX"}
_COMPARED = 65536  # bytes of two files


def plan(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield the copies that are missing in the fallback folder."""
    suffix = _SUFFIXES.get(guest.arch or "")
    esp = esp_path(appliance, guest)
    if not suffix or not esp:
        return
    first = f"{esp}/EFI/BOOT/BOOT{suffix.upper()}.EFI"
    if _path(appliance, first):
        return
    vendor = _vendor(appliance, guest, esp, suffix)
    program = None
    if not vendor or boot.loader(appliance) in ("systemd-boot", "uki"):
        program = _without_grub(appliance, esp, suffix)
    if program:
        yield _copy(appliance, program, first)
    elif vendor:
        yield from _with_grub(appliance, esp, vendor, suffix)


def _with_grub(
    appliance: Appliance, esp: str, vendor: str, suffix: str
) -> Iterator[Action]:
    """Yield the copies of the shim and the GRUB in the folder *vendor*."""
    to = f"{esp}/EFI/BOOT"
    shim = _first(appliance, vendor, _SHIMS, suffix)
    grub = _first(appliance, vendor, _GRUBS, suffix)
    yield _copy(appliance, shim or grub or "", f"{to}/BOOT{suffix.upper()}.EFI")
    for form in _BESIDE if shim else ("grub.cfg",):
        found = _path(appliance, f"{vendor}/{form.format(suffix)}")
        if found:
            yield _copy(appliance, found, f"{to}/{found.rpartition('/')[2]}")
    # GRUB legacy looks for the name that it was started by.
    legacy = _path(appliance, f"{vendor}/grub.conf")
    if legacy:
        yield _copy(appliance, legacy, f"{to}/BOOT{suffix.upper()}.conf")
    if shim:
        yield from _list(appliance, vendor, shim, suffix)
    # Debian's packages keep it up to date, if they are told to.
    yield from debconf.plan(
        appliance,
        "grub2/force_efi_extra_removable",
        lambda _: "true",
        "updates of GRUB must reach the copy as well",
    )


def _list(
    appliance: Appliance, vendor: str, shim: str, suffix: str
) -> Iterator[Action]:
    """Yield the list for shim's fallback, which finds nothing to start without one."""
    path = f"{vendor}/BOOT{suffix.upper()}.CSV"
    if _path(appliance, f"{vendor}/fb{suffix}.efi") and not _path(appliance, path):
        label = vendor.rpartition("/")[2]
        name = shim.rpartition("/")[2]
        text = f"{name},{label},,This is the boot entry for {label}\n"
        yield _written(path, b"\xff\xfe" + text.encode("utf-16-le"))


def _first(
    appliance: Appliance, folder: str, forms: tuple[str, ...], suffix: str
) -> str | None:
    """Return the first path in *folder* of the names *forms* that is there."""
    paths = (_path(appliance, f"{folder}/{form.format(suffix)}") for form in forms)
    return next((path for path in paths if path), None)


def _without_grub(appliance: Appliance, esp: str, suffix: str) -> str | None:
    """Return systemd-boot, or else the kernel image that is the default."""
    program = _path(appliance, f"{esp}/EFI/systemd/systemd-boot{suffix}.efi")
    if program:
        return program
    menu = boot.menu(appliance)
    default = menu.default if menu else None
    return default.kernel if default and default.sealed else None


def findings(appliance: Appliance, guest: Guest) -> Iterator[Finding]:
    """Yield that a new machine's firmware would start Windows, if it would."""
    suffix = _SUFFIXES.get(guest.arch or "")
    esp = esp_path(appliance, guest) if suffix else None
    windows = _path(appliance, f"{esp}/{_WINDOWS}") if esp else None
    if not windows or not suffix:
        return
    first = _path(appliance, f"{esp}/EFI/BOOT/BOOT{suffix.upper()}.EFI")
    if first and _same(appliance, first, windows):
        yield Finding(
            code="efi-starts-windows",
            severity="warn",
            message="the firmware of a new machine starts the Windows on the disk, "
            f"as {first} is its boot manager",
            remedy="choose the Linux system once in the firmware's boot menu",
        )


def _same(appliance: Appliance, one: str, other: str) -> bool:
    g = appliance.g
    return g.filesize(one) == g.filesize(other) and (
        g.pread(one, _COMPARED, 0) == g.pread(other, _COMPARED, 0)
    )


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


def _vendor(appliance: Appliance, guest: Guest, esp: str, suffix: str) -> str | None:
    """Return the folder of the distribution's own GRUB.

    Of several, one is of a system that was here before: the one that is called as
    this system goes before it, and one with a shim before one without.
    """
    root = _path(appliance, f"{esp}/EFI") or f"{esp}/EFI"
    folders = [
        f"{root}/{name}"
        for name in appliance.names(root)
        if name.upper() not in _NO_VENDOR
        and _first(appliance, f"{root}/{name}", _GRUBS, suffix)
    ]

    def rank(folder: str) -> tuple[bool, bool]:
        called = folder.rpartition("/")[2].lower() == guest.distro
        return not called, not _first(appliance, folder, _SHIMS, suffix)

    return min(folders, key=rank, default=None)


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
