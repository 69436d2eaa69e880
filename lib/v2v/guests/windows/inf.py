# SPDX-License-Identifier: GPL-2.0-or-later
"""What a driver's INF says: its version, the devices it is for, the service it makes.

Nothing of a driver is known beforehand: all comes from here (facts 2.6).  Of several
models sections Windows takes the one for its processor and the newest version of
Windows that is not newer than it (Microsoft, "INF Manufacturer Section").
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from v2v.errors import HostError
from v2v.guests.windows import inffile
from v2v.guests.windows.hive import (
    BINARY,
    DWORD,
    EXPAND_SZ,
    MULTI_SZ,
    QWORD,
    SZ,
    Value,
    binary,
    dword,
    expand_sz,
    multi_sz,
    qword,
    sz,
)
from v2v.guests.windows.inffile import InfError, InfFile, Line

# As INFs name processors.
_ARCHES = {"i386": "x86", "x86_64": "amd64", "aarch64": "arm64"}
_MOST = 1000  # models, or values of a service
_DECORATION = re.compile(
    r"nt(x86|amd64|arm64|ia64|arm)?"
    r"(?:\.(\d{0,5}))?(?:\.(\d{0,5}))?(?:\.(0x[0-9a-f]{1,4}|\d{0,5}))?"
    r"(?:\.(?:0x[0-9a-f]{1,4}|\d{0,5}))?(?:\.(\d{0,6}))?",
    re.I,
)
_GUID = re.compile(r"\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}", re.I)
_WORKSTATION = 1
# Flags of AddReg: what they mean is in the low word, the type is in all of it.
_DELETES, _KEY_ONLY = 0x4, 0x10
_TYPE_MASK = 0xFFFF0001
_TYPES = {
    0x00000000: SZ,
    0x00000001: BINARY,
    0x00010000: MULTI_SZ,
    0x00020000: EXPAND_SZ,
    0x00010001: DWORD,
    0x000B0001: QWORD,
}
# The service is that of the device: SPSVCINST_ASSOCSERVICE.
_OF_DEVICE = 0x2


@dataclass(frozen=True)
class Target:
    """The Windows that an INF is read for: ``arch`` as in ``Guest.arch``."""

    arch: str
    version: tuple[int, int] = (10, 0)
    build: int = 0
    is_server: bool = False


@dataclass(frozen=True)
class InfValue:
    """A value that AddReg sets, ``key`` being below the service's."""

    key: str
    name: str
    value: Value


@dataclass(frozen=True, kw_only=True)
class InfService:
    """A service: ``type`` and ``start`` as the registry has them."""

    name: str
    type: int
    start: int
    error_control: int
    group: str | None
    image: str
    values: tuple[InfValue, ...]


@dataclass(frozen=True)
class Inf:
    """The INF *name*, as it is for *target*."""

    name: str
    target: Target
    file: InfFile

    @property
    def strings(self) -> dict[str, str]:
        """The strings by their names in lower case."""
        return dict(self.file.strings)

    @property
    def provider(self) -> str:
        """Who made it."""
        return self.file.text("version", "Provider")

    @property
    def class_name(self) -> str:
        """The class of its devices, by name."""
        return self.file.text("version", "Class")

    @property
    def class_guid(self) -> str:
        """The class of its devices."""
        return self.file.text("version", "ClassGuid")

    @property
    def catalog(self) -> str | None:
        """The file with its signatures; one for the processor comes first."""
        keys = (f"CatalogFile.NT{_ARCHES[self.target.arch]}", "CatalogFile.NT")
        names = (self.file.text("version", key) for key in (*keys, "CatalogFile"))
        return next(filter(None, names), None)

    @cached_property
    def _driver_version(self) -> tuple[datetime.date, tuple[int, int, int, int]]:
        line = self.file.entry("version", "DriverVer") or Line(None, ())
        try:
            month, day, year = (int(x) for x in re.split("[/-]", line.field(0)[:10]))
            words = [int(x) for x in line.field(1)[:40].split(".")]
            first, second, third, fourth = (*words, 0, 0, 0)[:4]
            made = datetime.date(year, month, day)
        except ValueError as e:
            raise InfError("it has no DriverVer, or one that is no version") from e
        if not all(0 <= word <= 0xFFFF for word in words):
            raise InfError("its DriverVer is no version")
        return made, (first, second, third, fourth)

    @property
    def date(self) -> datetime.date:
        """The date of DriverVer."""
        return self._driver_version[0]

    @property
    def version(self) -> tuple[int, int, int, int]:
        """The four numbers of DriverVer."""
        return self._driver_version[1]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The files that it says it is made of, in lower case, itself and catalogue."""
        arch = _ARCHES[self.target.arch]
        files = [self.name, self.catalog or self.name]
        for section in ("SourceDisksFiles", f"SourceDisksFiles.{arch}"):
            lines = self.file.lines(section)
            files += [line.key or line.field(0) for line in lines]
        return tuple(dict.fromkeys(name.lower() for name in files if name))

    def models(self, arch: str) -> Sequence[tuple[str, str, str]]:
        """Return hardware id, install section and description, in the INF's order."""
        found: list[tuple[str, str, str]] = []
        for maker in self.file.lines("manufacturer"):
            for line in self.file.lines(self._models_section(maker, arch)):
                section, ids = line.field(0), line.fields[1:]
                found += [(i, section, line.key or "") for i in ids if i]
                if len(found) > _MOST:
                    raise InfError(f"it is for more than {_MOST} devices")
        return found

    def _models_section(self, maker: Line, arch: str) -> str:
        """Return the section with *maker*'s models; "" if none is for this Windows."""
        best: tuple[tuple[int, ...], str] | None = None
        # The bare section is for x86 alone: others have to be named.
        if arch == "i386" and maker.field(0):
            best = (0,), maker.field(0)
        for decoration in filter(None, maker.fields[1:]):
            rank = self._rank(decoration, arch)
            if rank and (best is None or rank > best[0]):
                best = rank, f"{maker.field(0)}.{decoration}"
        return best[1] if best else ""

    def _rank(self, decoration: str, arch: str) -> tuple[int, ...] | None:
        """Return how well *decoration* fits; None if it is not for this Windows."""
        match = _DECORATION.fullmatch(decoration)
        if not match:
            return None
        processor, major, minor, product, build = match.groups()
        if processor and processor.lower() != _ARCHES[arch]:
            return None
        version = int(major or 0), int(minor or 0)
        if version > self.target.version:
            return None
        if build and (*version, int(build)) > (*self.target.version, self.target.build):
            return None
        kind = int(product, 0) if product else 0
        if kind and (kind != _WORKSTATION) != self.target.is_server:
            return None
        return (1, *version, int(build or 0), bool(kind), bool(processor))

    def _decorated(self, section: str, ending: str) -> str | None:
        """Return the install section that is there: the processor's, NT's, any."""
        for mark in (f".nt{_ARCHES[self.target.arch]}", ".nt", ""):
            name = f"{section}{mark}{ending}"
            if name.lower() in self.file.sections:
                return name
        return None

    def service(self, section: str) -> InfService | None:
        """Return the service of the devices that *section* installs, if there is one.

        Raises InfError if it is described in part only.
        """
        where = self._decorated(section, ".services")
        for line in self.file.lines(where) if where else ():
            of_device = _number(line.field(1)) & _OF_DEVICE
            if (line.key or "").lower() == "addservice" and of_device and line.field(0):
                return self._service(line.field(0), line.field(2))
        return None

    def _service(self, name: str, section: str) -> InfService:
        file = self.file
        if "\\" in name or "/" in name:
            raise InfError("the name of its service is none")
        image = file.text(section, "ServiceBinary")
        if not image:
            raise InfError(f"the service {name} has no file")
        return InfService(
            name=name,
            type=_number(file.text(section, "ServiceType")),
            start=_number(file.text(section, "StartType")),
            error_control=_number(file.text(section, "ErrorControl")),
            group=file.text(section, "LoadOrderGroup") or None,
            image=image,
            values=tuple(self._values(section)),
        )

    def _values(self, section: str) -> Iterator[InfValue]:
        count = 0
        added = [
            x for x in self.file.lines(section) if (x.key or "").lower() == "addreg"
        ]
        names = dict.fromkeys(name.lower() for line in added for name in line.fields)
        for name in names:
            for line in self.file.lines(name):
                count += 1
                if count > _MOST:
                    raise InfError(f"a service has more than {_MOST} values")
                if line.field(0).upper() == "HKR" and (made := _value(line)):
                    yield InfValue(line.field(1).strip("\\"), line.field(2), made)


def parsed(name: str, content: bytes, target: Target) -> Inf:
    """Return what *content*, of the file *name*, says for *target*.

    Raises HostError if it is no INF of a driver, or broken: virtio-win is the user's.
    """
    try:
        inf = Inf(name, target, inffile.read(content))
        if not _GUID.fullmatch(inf.class_guid):
            raise InfError("it does not name the class of its devices")
        # What is read later shall not fail then.
        _ = inf.version, [inf.service(s) for _, s, _ in inf.models(target.arch)]
    except InfError as e:
        raise HostError(
            f"{name} of virtio-win is broken: {e}",
            "use another release of virtio-win with --virtio-win",
        ) from e
    return inf


def _value(line: Line) -> Value | None:
    """Return what a line of AddReg sets; None if it sets nothing, or of other types."""
    flags = _number(line.field(3))
    if flags & (_DELETES | _KEY_ONLY):
        return None
    kind = _TYPES.get(flags & _TYPE_MASK)
    first, rest = line.field(4), line.fields[4:]
    if kind == SZ:
        return sz(first)
    if kind == EXPAND_SZ:
        return expand_sz(first)
    if kind == MULTI_SZ:
        return multi_sz(rest)
    if kind in (DWORD, QWORD):
        size = 4 if kind == DWORD else 8
        if len(rest) > 1:
            number = int.from_bytes(_bytes(rest)[:size], "little")
        else:
            number = _number(first) & (1 << 8 * size) - 1
        return dword(number) if kind == DWORD else qword(number)
    return binary(_bytes(rest)) if kind == BINARY else None


def _bytes(fields: Sequence[str]) -> bytes:
    """Return the bytes that are given in hexadecimal, a field each."""
    try:
        return bytes(int(field, 16) for field in fields if field)
    except ValueError as e:
        raise InfError("a value of a service has bytes that are none") from e


def _number(text: str) -> int:
    """Return the number *text*: decimal, or hexadecimal with 0x; 0 if it is empty."""
    try:
        return int(text[:40] or "0", 16 if text[:2].lower() == "0x" else 10)
    except ValueError as e:
        raise InfError(f"{text[:40]!r} is no number") from e
