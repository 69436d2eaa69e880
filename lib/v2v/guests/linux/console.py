# SPDX-License-Identifier: GPL-2.0-or-later
"""Logins on Xen's consoles, which on KVM are on the first serial port.

systemd finds the console by the kernel's command line; what came before has files.
"""

from __future__ import annotations

import re

_XEN = re.compile(r"(?<![\w/.-])(?:xvc0|hvc0)(?![\w-])")
# inittab(5): id:runlevels:action:process
_GETTY = re.compile(r"[^#:\n]{1,4}:[^:\n]*:[^:\n]*:[^\n]*getty[^\n]*")
# XenServer's tools put out the logins of a display that Xen guests did not have.
_PUT_OUT = re.compile(r"#([1-6]:[2-5]{1,4}:respawn:[^\n]*getty[^\n]*\n?)")


def inittab(text: str, *, xenserver: bool = False) -> str:
    """Return *text* of inittab(5) with a login on ttyS0 where there was one on Xen's.

    Two on one port would take each other's characters.  *xenserver*: its tools put out
    the logins on tty1 to tty6.
    """
    lines = text.splitlines(keepends=True)
    has_serial = any(_GETTY.match(line) and "ttyS0" in line for line in lines)
    found = []
    for line in lines:
        if _GETTY.match(line) and _XEN.search(line):
            line = f"#{line}" if has_serial else _XEN.sub("ttyS0", line)
            has_serial = True
        elif xenserver and (match := _PUT_OUT.fullmatch(line)):
            line = match[1]
        found.append(line)
    return "".join(found)


def securetty(text: str) -> str:
    """Return *text* of securetty(5) where root may log in on ttyS0 as on Xen's."""
    lines = text.splitlines(keepends=True)
    names = [line.strip() for line in lines]
    if "ttyS0" in names:
        return text
    for i, name in enumerate(names):
        if name in ("xvc0", "hvc0"):
            lines[i] = lines[i].replace(name, "ttyS0")
            break
    return "".join(lines)


def job(text: str) -> str:
    """Return *text* of a job of upstart, init(5), for ttyS0, not Xen's console."""
    return "".join(
        line if line.lstrip().startswith("#") else _XEN.sub("ttyS0", line)
        for line in text.splitlines(keepends=True)
    )
