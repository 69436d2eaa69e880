# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot loader of a guest: what it starts, and how that shall be on KVM.

What each loader's files mean is in loaders/; here they are read, once, and changed.
Nothing is generated anew, since the appliance is not the machine it is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from v2v.document import Finding, Guest, Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux import ranking
from v2v.guests.linux.loaders import (
    extlinux,
    grub2,
    grub_legacy,
    grubenv,
    parameters,
    photon,
    systemd_boot,
)
from v2v.guests.linux.loaders.menu import Entry, Files, Menu
from v2v.guests.linux.loaders.parameters import Stable
from v2v.guests.plan import Action, create, edit, link

FINDINGS = (
    *("boot-default-unfit", "boot-device-name", "boot-loader-untouched"),
    "boot-xen-only",
)
_TEXTS = (
    *("boot/grub2/grub.cfg", "boot/grub/grub.cfg", "boot/grub2/grubenv"),
    *("boot/grub/grubenv", "boot/grub/menu.lst", "boot/grub/grub.conf"),
    *("boot/grub/default", "boot/photon.cfg", "boot/systemd.cfg", "boot/linux-*.cfg"),
    *("boot/extlinux/extlinux.conf", "boot/extlinux.conf", "boot/syslinux.cfg"),
    *("boot/syslinux/syslinux.cfg", "boot/syslinux/extlinux.conf"),
    *("boot/loader/entries/*.conf", "efi/loader/entries/*.conf"),
    *("boot/efi/loader/entries/*.conf", "boot/loader/loader.conf"),
    *("efi/loader/loader.conf", "boot/efi/loader/loader.conf"),
    *("boot/efi/EFI/*/grub.cfg", "efi/EFI/*/grub.cfg", "boot/efi/EFI/*/grub.conf"),
    *("boot/efi/EFI/*/grubenv", "etc/default/grub", "etc/default/grub.d/*.cfg"),
    *("etc/kernel/cmdline", "etc/cmdline.d/*.conf", "etc/update-extlinux.conf"),
    *("etc/sysconfig/bootloader", "etc/sysconfig/grub2"),
    *("etc/zipl.conf", "etc/lilo.conf"),
)
_BINARIES = (
    *("boot/efi/EFI/systemd/systemd-boot*.efi", "efi/EFI/systemd/systemd-boot*.efi"),
    *("boot/EFI/systemd/systemd-boot*.efi", "boot/efi/EFI/*/grub*.efi"),
    *("boot/efi/EFI/Linux/*.efi", "efi/EFI/Linux/*.efi", "boot/EFI/Linux/*.efi"),
)
_ALL = "/{" + ",".join((*_TEXTS, *_BINARIES)) + "}"
_MAX_FILES = 500
_MAX_TEXTS = 2**25  # characters, of all files
# These write to the disk, by number, where the kernel lies: a program must be run.
_BY_NUMBER = {"/etc/lilo.conf": "lilo", "/etc/zipl.conf": "zipl"}
_REASON = "kernel parameters must hold on the new machine"


def files(appliance: Appliance) -> Files:
    """Return the files of all loaders; each is read once until it is written.

    Raises GuestError if they are larger than such files are.
    """
    known = appliance.known.get(_ALL)
    if not isinstance(known, list):
        # A folder's path ends in a slash.
        known = [p for p in appliance.glob(_ALL) if not p.endswith("/")][:_MAX_FILES]
        appliance.known[_ALL] = known
    texts = {}
    room = _MAX_TEXTS
    for path in known:
        text = None if path.lower().endswith(".efi") else _text(appliance, path)
        if text is None:
            continue
        texts[path] = text
        room -= len(text)
        if room < 0:
            raise GuestError(
                "the boot loader's files in the guest are too large to be read",
                "remove what is no menu from /boot/loader/entries and /boot/grub",
            )
    return Files(paths=known, texts=texts)


def _text(appliance: Appliance, path: str) -> str | None:
    known = appliance.known.get(path)
    if isinstance(known, str):
        return known
    text = appliance.read(path)
    if text is not None:
        appliance.known[path] = text
    return text


def menu(appliance: Appliance) -> Menu | None:
    """Return the menu of the loader that runs; None if none is known."""
    return in_use(files(appliance))


def in_use(there: Files) -> Menu | None:
    """Return the menu of the loader that runs, of those that left *there*."""
    found = [
        made
        for made in (
            photon.menu(there),
            grub2.menu(there),
            grub_legacy.menu(there),
            extlinux.menu(there),
            systemd_boot.menu(there),
        )
        if made
    ]
    if systemd_boot.is_installed(there) and not _has_grub_for_efi(there):
        found.sort(key=lambda made: made.loader not in ("systemd-boot", "uki"))
    # A package may leave its files behind: those with something to start are in use.
    return next((made for made in found if made.default), next(iter(found), None))


def _has_grub_for_efi(there: Files) -> bool:
    return any(
        path.rpartition("/")[2].startswith("grub")
        for path in there.paths
        if path.endswith(".efi")
    )


def loader(appliance: Appliance) -> str | None:
    """Return the loader's name: grub2, grub-legacy, systemd-boot, uki, extlinux …"""
    found = menu(appliance)
    if found:
        return found.loader
    return next(
        (_BY_NUMBER[p] for p in files(appliance).texts if p in _BY_NUMBER), None
    )


def command_lines(appliance: Appliance) -> str:
    """Return all lines with kernel parameters, of whatever loader."""
    texts = files(appliance).texts
    return "".join(
        line for path, text in texts.items() for _, line in parameters.lines(path, text)
    )


def entries(appliance: Appliance) -> tuple[Entry, ...]:
    """Return what the loader's menu offers that has a kernel."""
    found = menu(appliance)
    return tuple(e for e in found.entries if e.kernel) if found else ()


def default_kernel(appliance: Appliance) -> str | None:
    """Return the path of the kernel that is started if nobody chooses."""
    found = menu(appliance)
    return found.default.kernel if found and found.default else None


def plan(appliance: Appliance, stable: Stable, guest: Guest) -> Iterator[Action]:
    """Yield edits that make the loader's files hold on KVM.

    Devices are named by what *stable* returns; a default of *guest* that cannot drive
    virtio is changed to a kernel that can.  Raises GuestError if that cannot be.
    """
    there = files(appliance)
    bare = {
        (entry.file, entry.line) for entry in entries(appliance) if not entry.initramfs
    }

    def by_partition(name: str) -> str | None:
        return _partition(guest, stable, name)

    first = in_use(there)
    is_alone = bool(first and first.default and not first.default.initramfs)
    texts: dict[str, str] = {}
    for path, text in there.texts.items():
        # The same text is mostly the same file: /boot/grub may be a link to grub2.
        alone = {line for file, line in bare if there.texts.get(file) == text}
        if is_alone and path.startswith("/etc/"):
            # The next menu is made from it, for a kernel alone as well.
            alone = set(range(len(text.splitlines())))
        after = parameters.cleaned(path, text, stable, by_partition, alone)
        if path.endswith("/grubenv"):
            after = grubenv.resized(text, after)
        texts[path] = after
    yield from _written(appliance, there, texts, _REASON)
    now = Files(paths=there.paths, texts=texts)
    yield from _default(appliance, now, guest)


def _partition(guest: Guest, stable: Stable, name: str) -> str | None:
    """Return ``PARTUUID=…`` for device *name*: all that a kernel alone can find."""
    kind, _, value = (stable(name) or "").partition("=")
    if kind == "PARTUUID":
        return f"PARTUUID={value}"
    same = [fs.partuuid for fs in guest.filesystems if fs.uuid == value]
    return f"PARTUUID={same[0]}" if kind == "UUID" and same and same[0] else None


def _written(
    appliance: Appliance, before: Files, after: dict[str, str], reason: str
) -> Iterator[Action]:
    """Yield the edits from *before* to *after*; of links and their files only one."""
    done = set()
    for path, text in after.items():
        old = before.texts.get(path)
        if old is None:
            yield _seen_by_all(create(path, text, reason))
        elif old != text:
            real = appliance.g.realpath(path)
            if real not in done:
                yield from map(_seen_by_all, edit(real, old, text, reason))
            done.add(real)


def _seen_by_all(action: Action) -> Action:
    """Return *action* with nothing known any more, once done, of the loaders' files.

    A link to the file that it writes has another path.
    """

    def apply(appliance: Appliance) -> None:
        action.apply(appliance)
        known = appliance.known.pop(_ALL, [])
        for path in known if isinstance(known, list) else []:
            appliance.known.pop(path, None)

    return replace(action, apply=apply)


def _default(appliance: Appliance, there: Files, guest: Guest) -> Iterator[Action]:
    """Yield what makes the kernel that is to be booted the default."""
    found = in_use(there)
    wanted = ranking.better(guest.kernels)
    if found is None or found.default is None:
        return
    if wanted is None and found.default.xen:
        wanted = next((k for k in guest.kernels if k.default), None)
    if wanted is None:
        return
    entry = _entry_of(appliance, found, wanted)
    if entry is None:
        return
    reason = (
        f"the default, {_shown(found.default)}, is not for KVM; {wanted.version} is"
    )
    if found.default.file.startswith("/boot/") and photon.LINK in there.texts:
        name = entry.file.rpartition("/")[2]
        yield _seen_by_all(link(photon.LINK, name, reason))
        return
    yield from _written(appliance, there, _chosen(found, there, entry), reason)


def _entry_of(appliance: Appliance, found: Menu, kernel: Kernel) -> Entry | None:
    """Return the entry of the menu that starts *kernel* on the bare machine."""
    for entry in found.entries:
        if entry.kernel and not entry.xen:
            path = entry.kernel
            if appliance.g.exists(path) and appliance.g.realpath(path) == kernel.path:
                return entry
    return None


def _chosen(found: Menu, there: Files, entry: Entry) -> dict[str, str]:
    match found.loader:
        case "grub2":
            return grub2.chosen(there, entry)
        case "grub-legacy":
            return grub_legacy.chosen(there, entry)
        case "extlinux":
            return extlinux.chosen(there, entry)
        case _:
            return systemd_boot.chosen(there, entry)


def _shown(entry: Entry) -> str:
    return printable(entry.kernel or entry.name, 100)


def verify(appliance: Appliance, *, renamed: bool) -> None:
    """Raise GuestError if the default entry would find no kernel, or not its root.

    ``renamed``: the disks have other kernel names than before.
    """
    found = menu(appliance)
    first = found.default if found else None
    if first is None or first.kernel is None:
        return
    for file in (first.kernel, first.initramfs):
        if file and not appliance.g.is_file(file, followsymlinks=True):
            raise GuestError(
                f"{first.file} starts {file}, which is not there",
                "make the boot loader's menu anew in the guest on the source "
                "(update-grub, grub2-mkconfig)",
            )
    root = parameters.root_of_hardware(first.options)
    if renamed and root:
        raise GuestError(
            f"{first.file} names the root file system {root}, and what that means "
            "on the new machine cannot be told",
            "write root=UUID=... there on the source",
        )


def findings(appliance: Appliance, guest: Guest) -> Iterator[Finding]:
    """Yield what is worth knowing of how *guest* boots; see FINDINGS."""
    there = files(appliance)
    found = in_use(there)
    if not found:
        for path in there.texts.keys() & _BY_NUMBER.keys():
            yield _untouched(path)
    wanted = ranking.better(guest.kernels)
    if wanted:
        yield Finding(
            code="boot-default-unfit",
            severity="info",
            message=f"the default kernel has no virtio drivers, and {wanted.version} "
            "has them",
            remedy="v2v-fixup makes it the default",
        )
    if found and found.default and found.default.xen:
        yield Finding(
            code="boot-xen-only",
            severity="warn",
            message="the boot loader starts the Xen hypervisor",
            remedy="install the distribution's usual kernel, and make it the default",
        )
    for path, device in sorted(_left(there))[:20]:
        yield Finding(
            code="boot-device-name",
            severity="warn",
            message=f"{path} names {printable(device)}, as the old machine did",
            remedy="v2v-fixup changes it if it can tell what it means",
        )


def _untouched(path: str) -> Finding:
    program = _BY_NUMBER[path]
    return Finding(
        code="boot-loader-untouched",
        severity="warn",
        message=f"{program} boots the guest; v2v does not change {path}, nor what it "
        "made of it",
        remedy=f"replace device names there and run {program} in the guest",
    )


def _left(there: Files) -> set[tuple[str, str]]:
    """Return the devices, with the files, that still have names of the hardware."""
    return {
        (path, device)
        for path, text in there.texts.items()
        for _, line in parameters.lines(path, text)
        for device in parameters.of_hardware(line)
    }
