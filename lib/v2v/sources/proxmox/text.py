# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of Proxmox VE's configurations: sections of "key: value", and their values.

Source: parse_vm_config of PVE/QemuServer.pm, and PVE/JSONSchema.pm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

Settings = Mapping[str, str]

_LINE = re.compile(r"([a-z][a-z0-9_-]*):[ \t]*(.*)")
_SECTION = re.compile(r"\[([^\]]+)\][ \t]*")
_PENDING = "PENDING"
# Other sections that are no snapshots: [special:cloudinit].
_APART = ("special:",)
# What vzdump notes in a backup's configuration.
_NOTED = "#qmdump#"
_MAX_DESCRIPTION = 64 * 2**10


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The machine as it is now, names of its snapshots, keys that wait for a start."""

    settings: Settings
    snapshots: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    description: str | None = None


def parse(text: str) -> Configuration:
    """Return what *text* says.  Of a key that is there twice the last one holds."""
    found: dict[str, str] = {}
    snapshots, pending, comments = [], [], []
    section = ""
    # Not splitlines(): it would take more for an end of a line than Proxmox VE does.
    for line in (line.rstrip() for line in text.split("\n")):
        if match := _SECTION.fullmatch(line):
            section = match[1]
            if section != _PENDING and not section.startswith(_APART):
                snapshots.append(section)
        elif match := _LINE.fullmatch(line):
            if not section:
                found["ide2" if match[1] == "cdrom" else match[1]] = match[2].strip()
            elif section == _PENDING:
                pending.append(match[1])
        elif line.startswith("#") and not section and not line.startswith(_NOTED):
            comments.append(decoded(line[1:]))
    told = "\n".join(comments) or decoded(found.pop("description", ""))
    return Configuration(
        settings=found,
        snapshots=tuple(snapshots),
        pending=tuple(pending),
        description=told.strip()[:_MAX_DESCRIPTION] or None,
    )


def decoded(word: str) -> str:
    """Return percent-encoded text as it was."""
    return unquote(word, errors="replace").replace("\0", "")


def options(value: str) -> Settings:
    """Return the KEY=VALUE parts of *value*; the first may be a value alone: ""."""
    first, _, rest = value.partition(",")
    pairs = [part.partition("=") for part in rest.split(",") if "=" in part]
    if "=" in first and ":" not in first.partition("=")[0]:
        pairs.insert(0, first.partition("="))
        first = ""
    return {"": first, **{key.strip(): value.strip() for key, _, value in pairs}}


def flag(word: str | None) -> bool:
    """Whether *word* is one that Proxmox VE takes for yes."""
    return (word or "").lower() in ("1", "on", "yes", "true")


def numbered(settings: Settings, *names: str) -> Iterator[str]:
    """Yield the keys that are one of *names* and a number, by that."""
    key = re.compile(rf"({'|'.join(names)})([0-9]{{1,3}})")
    found = [match for name in settings if (match := key.fullmatch(name))]
    for match in sorted(found, key=lambda m: (names.index(m[1]), int(m[2]))):
        yield match[0]
