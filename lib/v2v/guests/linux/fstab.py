# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Linux system mounts: fstab(5), and systemd's units (systemd.mount(5))."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from v2v.guests.appliance import Appliance

_MAX_LINES = 1000
_MAX_UNITS = 100
_UNITS = "/etc/systemd/system/*.mount"
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
# Not of a disk, or not for us to open.
_ELSEWHERE = ("/dev", "/proc", "/sys", "/run", "/selinux")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file system: what it is on, where it belongs, and how it is mounted."""

    spec: str
    point: str
    type: str = "auto"
    options: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        """Return the value of the option ``name=VALUE``, the last if there are some."""
        values = [o.partition("=")[2] for o in self.options if o.startswith(f"{name}=")]
        return values[-1] if values else None

    @property
    def is_bind(self) -> bool:
        """Whether it shows a folder again, and no device."""
        return bool({"bind", "rbind"} & set(self.options)) or self.type == "none"


def entries(appliance: Appliance) -> list[Entry]:
    """Return what the system mounts at its start: of two for one place the first."""
    found = list(parsed(appliance.read("/etc/fstab") or ""))
    for path in appliance.glob(_UNITS)[:_MAX_UNITS]:
        if unit := parsed_unit(appliance.read(path) or ""):
            found.append(unit)
    places: dict[str, Entry] = {}
    for entry in found:
        places.setdefault(entry.point, entry)
    return list(places.values())


def parsed(text: str) -> Iterator[Entry]:
    """Yield the entries of fstab's *text* whose mount points lead nowhere odd."""
    for line in text.splitlines()[:_MAX_LINES]:
        words = [unescaped(word) for word in line.split()]
        # util-linux takes an entry without a type for one of type auto.
        if len(words) < 2 or words[0].startswith("#") or not _is_sane(words[1]):
            continue
        spec, point, kind, options = [*words, "auto", "defaults"][:4]
        if len(words) == 3:
            options = "defaults"
        yield Entry(
            spec=unquoted(spec), point=point, type=kind, options=_options(options)
        )


def parsed_unit(text: str) -> Entry | None:
    """Return what the mount unit *text* mounts."""
    values: dict[str, str] = {}
    for line in text.splitlines()[:_MAX_LINES]:
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            values[key.strip()] = value.strip()
    spec, point = values.get("What", ""), values.get("Where", "")
    if not spec or not _is_sane(point):
        return None
    return Entry(
        spec=unquoted(spec),
        point=point,
        type=values.get("Type") or "auto",
        options=_options(values.get("Options", "")),
    )


def unquoted(spec: str) -> str:
    """Return *spec* without the quotes that may be around what is after its "="."""
    kind, equals, value = spec.partition("=")
    if equals and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return f"{kind}={value[1:-1]}"
    return spec


def unescaped(word: str) -> str:
    """Return what fstab writes as *word*: a blank is ``\\040`` there."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), word)


def _options(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _is_sane(point: str) -> bool:
    # The appliance would follow ".." out of the guest.
    if not point.startswith("/") or posixpath.normpath(point) != point:
        return False
    return not any(point == p or point.startswith(f"{p}/") for p in _ELSEWHERE)
