# SPDX-License-Identifier: GPL-2.0-or-later
"""Package repositories with VMware's tools, put out of use.

They cannot give anything that is of use on KVM, many are gone, and one that does not
answer holds up every installation.  Photon's own packages come from VMware as well.
"""

from __future__ import annotations

import re

# yum(8), zypper(8) and apt(8): an address with nothing but tools behind it.
_TOOLS = re.compile(
    r"(?:https?|ftp)://[^\s/@]{0,100}\b(?:packages\.vmware|packages\.broadcom)\.com/tools\b"
)


def ini(text: str) -> str:
    """Return *text* of a .repo file with ``enabled=0`` for the tools' sections."""
    parts = re.split(r"(?m)^(?=[ \t]*\[)", text)
    return "".join(_section(part) if _is_of_tools(part) else part for part in parts)


def _is_of_tools(part: str) -> bool:
    address = (line for line in part.splitlines() if not line.lstrip().startswith("#"))
    return any(_TOOLS.search(line) for line in address)


def _section(part: str) -> str:
    lines = part.splitlines(keepends=True)
    for i, line in enumerate(lines):
        match = re.match(r"([ \t]*enabled[ \t]*=[ \t]*)(\S+)", line, re.I)
        if match:
            lines[i] = match[1] + "0" + line[match.end() :]
            return "".join(lines)
    lines.insert(1, "enabled=0\n")
    return "".join(lines)


def apt_list(text: str) -> str:
    """Return *text* of sources.list(5) with the tools' lines put out."""
    return "".join(
        f"# {line}" if line.startswith("deb") and _TOOLS.search(line) else line
        for line in text.splitlines(keepends=True)
    )


def apt_sources(text: str) -> str:
    """Return *text* of deb822(5) sources with ``Enabled: no`` for the tools'."""
    stanzas = re.split(r"(?m)^(?=[ \t]*\n)", text)
    return "".join(
        _stanza(stanza) if _is_of_tools(stanza) else stanza for stanza in stanzas
    )


def _stanza(stanza: str) -> str:
    made, count = re.subn(r"(?mi)^(Enabled:[ \t]*)\S+", r"\1no", stanza, count=1)
    if count:
        return made
    return re.sub(r"(?m)^(?=\S)", "Enabled: no\n", stanza, count=1)
