# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot loader's files: which there are, and the kernel command lines in them.

GRUB's generated grub.cfg is read and edited in place, token by token; it is never
generated anew, since the appliance is not the machine it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action, edit

_GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
_ENTRIES = "/boot/loader/entries/*.conf"
_DEFAULTS = ("/etc/default/grub", "/etc/default/grub.d/*.cfg", "/etc/kernel/cmdline")
_LINE = re.compile(r"^\s*(?:linux\w*|options|GRUB_CMDLINE_LINUX\w*=)")
_KERNEL = re.compile(r"^\s*linux\w*\s+(\S+)", re.MULTILINE)
_TOKEN = re.compile(
    r"(?<![\w/.-])((?:root|resume|real_root)=)(/dev/[hsvx]+d[a-z]+\d*)\b"
)


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


def default_kernel(appliance: Appliance) -> str | None:
    """Return the path of the kernel that the first entry of grub.cfg starts."""
    for path in _GRUB:
        if match := _KERNEL.search(appliance.read(path) or ""):
            name = match[1]
            # Relative to a /boot of its own.
            return name if name.startswith("/boot/") else f"/boot{name}"
    return None


def plan(appliance: Appliance, stable: Callable[[str], str | None]) -> Iterator[Action]:
    """Yield edits that name the root and resume devices by what *stable* returns."""
    for path in files(appliance):
        text = appliance.read(path)
        if text is None:
            continue

        def name(match: re.Match[str]) -> str:
            return match[1] + (stable(match[2]) or match[2])

        lines = [
            _TOKEN.sub(name, line) if _LINE.match(line) or "/cmdline" in path else line
            for line in text.splitlines(keepends=True)
        ]
        yield from edit(
            path, text, "".join(lines), "kernel parameters must name devices by UUID"
        )
