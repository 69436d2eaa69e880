# SPDX-License-Identifier: GPL-2.0-or-later
"""A display and a mouse that xorg.conf(5) has of the old machine.

A driver or a place on the bus that is not there keeps the X server from starting; one
without such a file finds what it needs by itself.
"""

from __future__ import annotations

import re

_DRIVER = re.compile(
    r"([ \t]*Driver[ \t]+\")(vmware|vboxvideo|fglrx|cirrus|vmmouse)(\".*)", re.I | re.S
)
_PLACE = re.compile(r"[ \t]*BusID[ \t]+\"PCI:", re.I)
_PUT_OUT = "# not on KVM: "


def edited(text: str, display: str) -> str:
    """Return *text* with the driver *display* for a graphics card of the old machine.

    The bus of such a card is put out; a card that has another driver keeps all.
    """
    lines = text.splitlines(keepends=True)
    start = 0
    for i, line in enumerate(lines):
        words = line.split(maxsplit=1)
        if words and words[0].lower() == "section":
            start = i
        if words and words[0].lower() == "endsection":
            lines[start : i + 1] = _section(lines[start : i + 1], display)
            start = i + 1
    return "".join(lines)


def _section(lines: list[str], display: str) -> list[str]:
    matches = [_DRIVER.fullmatch(line) for line in lines]
    drivers = {match[2].lower() for match in matches if match}
    if not drivers:
        return lines
    found = []
    for line, match in zip(lines, matches, strict=True):
        if match:
            new = "mouse" if match[2].lower() == "vmmouse" else display
            line = f"{match[1]}{new}{match[3]}"
        elif _PLACE.match(line):
            line = _PUT_OUT + line
        found.append(line)
    return found
