# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot loader's files: what they start, and the kernel command lines in them.

GRUB's generated grub.cfg is read and edited in place, token by token; it is never
generated anew, since the appliance is not the machine it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, edit

_GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
_ENTRIES = "/boot/loader/entries/*.conf"
_DEFAULTS = ("/etc/default/grub", "/etc/default/grub.d/*.cfg", "/etc/kernel/cmdline")
_LINE = re.compile(r"^\s*(?:linux\w*|options|GRUB_CMDLINE_LINUX\w*=)")
_START = re.compile(r"^[ \t]*(linux|initrd)\w*[ \t]+(\S[^\n]*)", re.MULTILINE)
_TOKEN = re.compile(r"(?<![\w/.-])((?:root|resume|real_root|boot)=)(/dev/[^\s\"']+)")
_ROOT = re.compile(r"(?<![\w/.-])root=(/dev/(?:[shx]v?d[a-z]+|nvme)\S*)")
_MAX_ENTRIES = 200


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A kernel that the boot loader offers, and its initramfs: paths in the guest."""

    kernel: str
    initramfs: str | None = None


def loader(appliance: Appliance) -> str | None:
    """Return grub2, grub-legacy, systemd-boot or extlinux; None if none is seen."""
    g = appliance.g
    if any(g.exists(path) for path in _GRUB):
        return "grub2"
    if g.exists("/boot/grub/menu.lst") or g.exists("/boot/grub/grub.conf"):
        return "grub-legacy"
    if appliance.glob(_ENTRIES):
        return "systemd-boot"
    return "extlinux" if g.exists("/boot/extlinux/extlinux.conf") else None


def files(appliance: Appliance) -> list[str]:
    """Return the files that hold kernel command lines."""
    found = [path for path in _GRUB if appliance.g.exists(path)]
    for pattern in (_ENTRIES, *_DEFAULTS):
        found += appliance.glob(pattern)
    return found


def command_lines(appliance: Appliance) -> str:
    """Return all lines with kernel parameters, of whatever loader."""
    lines = []
    for path in files(appliance):
        text = appliance.read(path) or ""
        whole = path == "/etc/kernel/cmdline"
        lines += [line for line in text.splitlines() if whole or _LINE.match(line)]
    return "\n".join(lines)


def entries(appliance: Appliance) -> list[Entry]:
    """Return what grub.cfg (the default first) and the entry files start."""
    found: list[Entry] = []
    for path in (*_GRUB, *appliance.glob(_ENTRIES)):
        found += parsed(appliance.read(path) or "")
    return list(dict.fromkeys(found))[:_MAX_ENTRIES]


def parsed(text: str) -> Iterator[Entry]:
    """Yield the entries of *text*, of grub.cfg or a boot loader specification file."""
    kernel: str | None = None
    for word, rest in _START.findall(text):
        # The last of several initramfs images; those before hold microcode.
        words = rest.split()
        path = _path(words[0] if word == "linux" else words[-1])
        if word == "linux":
            if kernel:
                yield Entry(kernel=kernel)
            kernel = path
        elif kernel:
            yield Entry(kernel=kernel, initramfs=path)
            kernel = None
    if kernel:
        yield Entry(kernel=kernel)


def _path(name: str) -> str | None:
    """Return the path of what GRUB calls *name*; None if that is computed.

    It may start with a device or a btrfs subvolume, or be relative to a /boot of its
    own.
    """
    if "$" in name:
        return None
    name = re.sub(r"^\([^)]*\)", "", name)
    _, boot, inside = name.rpartition("/boot/")
    return f"/boot/{inside}" if boot else f"/boot/{name.lstrip('/')}"


def default_kernel(appliance: Appliance) -> str | None:
    """Return the path of the kernel that the first entry of grub.cfg starts."""
    for path in _GRUB:
        if first := next(parsed(appliance.read(path) or ""), None):
            return first.kernel
    return None


def plan(appliance: Appliance, stable: Callable[[str], str | None]) -> Iterator[Action]:
    """Yield edits that name the root and resume devices by what *stable* returns."""
    for path in files(appliance):
        text = appliance.read(path)
        if text is not None:
            yield from edit(
                path,
                text,
                renamed(text, stable, whole=path.endswith("/cmdline")),
                "kernel parameters must name devices by UUID",
            )


def renamed(text: str, stable: Callable[[str], str | None], *, whole: bool) -> str:
    """Return *text* with stable names in its kernel parameters.

    They are in certain lines, or (*whole*) in all.
    """

    def name(match: re.Match[str]) -> str:
        return match[1] + (stable(match[2]) or match[2])

    return "".join(
        _TOKEN.sub(name, line) if whole or _LINE.match(line) else line
        for line in text.splitlines(keepends=True)
    )


def verify(appliance: Appliance, *, renamed: bool) -> None:
    """Raise GuestError if the default entry would find no kernel, or not its root.

    ``renamed``: the disks have other kernel names than before.
    """
    for path in _GRUB:
        text = appliance.read(path) or ""
        first = next(parsed(text), None)
        if first is None:
            continue
        for file in (first.kernel, first.initramfs):
            if file and not appliance.g.is_file(file, followsymlinks=True):
                raise GuestError(
                    f"{path} starts {file}, which is not there",
                    "run update-grub in the guest on the source",
                )
        lines = (line for line in text.splitlines() if _LINE.match(line))
        if renamed and (match := _ROOT.search(next(lines, ""))):
            raise GuestError(
                f"{path} names the root file system {match[1]}, and what that means "
                "on the new machine cannot be told",
                "write root=UUID=... there on the source",
            )
