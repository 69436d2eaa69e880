# SPDX-License-Identifier: GPL-2.0-or-later
"""INF files: which devices a driver is for, and the service that it installs.

Read as SetupAPI does: names in any case, sections of one name put together, models of
the processor and of the newest Windows that is not newer than the guest's.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from v2v.errors import HostError
from v2v.guests.windows import infregistry, inftext
from v2v.guests.windows.hive import Value
from v2v.guests.windows.inftext import Line

Version4 = tuple[int, int, int, int]

# As decorations name them (facts 2.2); a bare NT is for x86 alone since Windows XP.
_ARCHES = {"i386": ("x86", ""), "x86_64": ("amd64",), "aarch64": ("arm64",)}
_DECORATION = re.compile(r"nt([a-z0-9]*)((?:\.[0-9a-fx]*){0,5})", re.I)
_MAX_MODELS = 1000
_ASSOCIATED = 2  # SPSVCINST_ASSOCSERVICE: the driver of the device itself
_ANY = (99, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value below a service's key; ``key`` may be several deep, or ""."""

    key: str
    name: str
    value: Value


@dataclass(frozen=True, kw_only=True)
class Service:
    """What AddService installs; ``image`` as the INF has it (%12%\\viostor.sys).

    ``values`` are what AddReg sets.
    """

    name: str
    start: int
    image: str
    type: int = 1
    error_control: int = 1
    group: str | None = None
    values: tuple[Setting, ...] = ()

    @property
    def file(self) -> str:
        """The file's name, whatever its folder."""
        return self.image.replace("/", "\\").rpartition("\\")[2]


@dataclass(frozen=True, kw_only=True)
class Inf:
    """What an INF says; ``system`` is the Windows that is to use it.

    That is major, minor and build.  ``class_guid`` has braces and capitals; ``date``
    and ``version`` are DriverVer's.
    """

    name: str
    provider: str
    class_name: str
    class_guid: str
    version: Version4
    date: datetime.date
    catalog: str | None
    strings: dict[str, str]
    sections: dict[str, tuple[Line, ...]]
    system: tuple[int, int, int] = _ANY

    def models(self, arch: str) -> list[tuple[str, str, str]]:
        """Return hardware id, install section and description of each device.

        In the INF's order; the section is the one of *arch* (x86_64), decoration
        included.
        """
        found = []
        for line in self._lines("manufacturer"):
            for model in self._lines(self._models_section(line, arch)):
                section = self._decorated(model.values[0], arch)
                found += [(i, section, model.key or "") for i in model.values[1:] if i]
                if len(found) > _MAX_MODELS:
                    raise broken(self.name, "it has too many devices")
        return found

    def service(self, section: str) -> Service | None:
        """Return the service of an install section; None if it has none."""
        lines = [
            line
            for line in self._lines(f"{section}.services")
            if line.key and line.key.lower() == "addservice"
        ]
        lines = [line for line in lines if line.at(0) and line.at(2)]
        own = [line for line in lines if self._number(line.at(1), 0) & _ASSOCIATED]
        for line in own or lines:
            return self._service(line.at(0), line.at(2))
        return None

    def driver(self, arch: str) -> Service | None:
        """Return the service that it installs for *arch*, of its first device."""
        sections = (section for _, section, _ in self.models(arch))
        return next(filter(None, map(self.service, sections)), None)

    def _service(self, name: str, section: str) -> Service:
        known = {
            line.key.lower(): line.at(0) for line in self._lines(section) if line.key
        }
        return Service(
            name=name,
            type=self._number(known.get("servicetype"), 1),
            start=self._number(known.get("starttype"), 3),
            error_control=self._number(known.get("errorcontrol"), 1),
            group=known.get("loadordergroup") or None,
            image=known.get("servicebinary", ""),
            values=tuple(self._values(section)),
        )

    def _values(self, section: str) -> Iterator[Setting]:
        for line in self._lines(section):
            if not line.key or line.key.lower() != "addreg":
                continue
            for name in line.values:
                for entry in self._lines(name):
                    if entry.at(0).lower() != "hkr":
                        continue
                    value = infregistry.value(entry.values[3:], self.name)
                    if value:
                        yield Setting(key=entry.at(1), name=entry.at(2), value=value)

    def _models_section(self, line: Line, arch: str) -> str:
        """Return the section that a line of [Manufacturer] leads to on *arch*.

        Raises nothing: where none is for *arch*, "" has no lines.
        """
        name = line.at(0)
        best: tuple[tuple[int, ...], str] | None = None
        for decoration in filter(None, line.values[1:]):
            rank = self._rank(decoration, arch)
            if rank is not None and (best is None or rank > best[0]):
                best = (rank, f"{name}.{decoration}")
        if best:
            return best[1]
        return name if arch == "i386" and len(line.values) == 1 else ""

    def _rank(self, decoration: str, arch: str) -> tuple[int, ...] | None:
        """Return how well *decoration* (NTamd64.10.0...16299) suits; None: not."""
        match = _DECORATION.fullmatch(decoration)
        arches = _ARCHES.get(arch, ())
        if match is None or match[1].lower() not in arches:
            return None
        parts = match[2].split(".")[1:] + [""] * 5
        wants = tuple(self._number(parts[i] or "0", 0) for i in (0, 1, 4))
        if wants > self.system:
            return None
        return (*wants, len(arches) - arches.index(match[1].lower()))

    def _decorated(self, section: str, arch: str) -> str:
        """Return the install section, with the decoration that *arch* is served by."""
        names = [f"{section}.NT{own}" for own in _ARCHES.get(arch, ()) if own]
        for name in (*names, f"{section}.NT"):
            if {name.lower(), f"{name}.services".lower()} & self.sections.keys():
                return name
        return section

    def _lines(self, section: str) -> tuple[Line, ...]:
        return self.sections.get(section.lower(), ())

    def _number(self, text: str | None, default: int) -> int:
        return default if not text else infregistry.number(text, self.name)


def parse(name: str, data: bytes, system: tuple[int, int, int] = _ANY) -> Inf:
    """Return what the INF *name* with content *data* says to Windows *system*.

    Raises HostError if it is none: it is virtio-win's, not the guest's.
    """
    sections, strings = inftext.parsed(name, data)
    version = {
        line.key.lower(): line.at(0)
        for line in sections.get("version", ())
        if line.key and line.at(0)
    }
    if not version.get("signature"):
        raise broken(name, "it has no signature in [Version]")
    date, numbers = _driver_version(name, sections.get("version", ()))
    return Inf(
        name=name,
        provider=version.get("provider", ""),
        class_name=version.get("class", ""),
        class_guid=_guid(name, version.get("classguid", "")),
        version=numbers,
        date=date,
        catalog=_catalog(version),
        strings=strings,
        sections=sections,
        system=system,
    )


def _catalog(version: dict[str, str]) -> str | None:
    names = (key for key in sorted(version) if key.startswith("catalogfile"))
    return next((version[key] for key in names), None)


def _guid(name: str, text: str) -> str:
    try:
        return f"{{{uuid.UUID(text)}}}".upper()
    except ValueError as e:
        raise broken(name, "its ClassGuid is none") from e


def _driver_version(
    name: str, lines: tuple[Line, ...]
) -> tuple[datetime.date, Version4]:
    """Return date and numbers of DriverVer=mm/dd/yyyy,w.x.y.z."""
    found = [line for line in lines if line.key and line.key.lower() == "driverver"]
    if not found:
        raise broken(name, "it has no DriverVer")
    date = re.fullmatch(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})", found[-1].at(0))
    numbers = re.fullmatch(r"\d{1,5}(\.\d{1,5}){0,3}", found[-1].at(1) or "0")
    if date is None or numbers is None:
        raise broken(name, "its DriverVer is no date and version")
    words = [*map(int, numbers[0].split(".")), 0, 0, 0]
    try:
        day = datetime.date(int(date[3]), int(date[1]), int(date[2]))
    except ValueError as e:
        raise broken(name, "its DriverVer is no date and version") from e
    if max(words) > 0xFFFF or day.year < 1601:
        raise broken(name, "its DriverVer is no date and version")
    return day, (words[0], words[1], words[2], words[3])


def broken(name: str, why: str) -> HostError:
    """Return the error that the INF *name* cannot be used."""
    return inftext.broken(name, why)
