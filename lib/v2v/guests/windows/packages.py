# SPDX-License-Identifier: GPL-2.0-or-later
"""Driver packages in the DriverDatabase of Windows 8 and later, as Windows writes them.

Half of a record makes `pnputil /enum-drivers` fail and breaks in-place upgrades
(MTV-2256), so a package is written whole: its INF's published name, its version,
signer, ids, descriptors, configurations and strings (facts 2.6, App. B).
"""

from __future__ import annotations

import datetime
import hashlib
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from v2v.errors import GuestError
from v2v.guests.windows.driverdb import DATABASE, id_key, package_key
from v2v.guests.windows.hive import (
    Hive,
    Value,
    binary,
    dword,
    expand_sz,
    multi_sz,
    sz,
)
from v2v.guests.windows.inf import Service

Arch = Literal["i386", "x86_64", "aarch64"]
# In labels, and in a package's Version and the DriverDatabase: winnt.h's numbers.
LABELS: dict[str, str] = {"i386": "x86", "x86_64": "amd64", "aarch64": "arm64"}
_NUMBERS: dict[str, int] = {"i386": 0, "x86_64": 9, "aarch64": 12}

# Who signs what Microsoft has tested (WHQL) or only attested: in the certificates of a
# catalogue, which is PKCS #7, by its name.
MICROSOFT = "Microsoft Windows Hardware Compatibility Publisher"
REG_NONE = 0
# What Windows notes of a package that has configurations: score and flags, where its
# catalogue is signed by its vendor, and where by Microsoft.  A real import of the same
# INF by pnputil ranks no worse, and is taken.
_BY_VENDOR = (0x0F000000, 0x16)
_BY_MICROSOFT = (0x0D000005, 0x12)
_CONFIG_SCOPE = 7
_EPOCH = datetime.date(1601, 1, 1)
_PUBLISHED = re.compile(r"oem(\d{1,5})\.inf", re.I)
_MOST_PUBLISHED = 1024  # Windows' own bitmap has some dozens
REASON = "Windows finds a driver by its package while it boots"


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device that a package is for; ``id`` has its bus (``PCI\\VEN_…``).

    ``rank`` is 1 for the INF's hardware id and more for those that it is compatible
    with; ``section`` installs it.
    """

    id: str
    section: str
    description: str
    rank: int = 1


@dataclass(frozen=True, kw_only=True)
class Package:
    """A driver, with what its INF says of it.

    ``inf`` is the file's name, ``content`` its bytes; ``version`` are four numbers;
    ``folder`` is where it came from, as the guest will see it; the image of the
    ``service`` is where Windows keeps drivers.  ``microsofts``: Microsoft signed it.
    """

    inf: str
    content: bytes
    arch: Arch
    provider: str
    catalog: str | None
    class_guid: str
    date: datetime.date
    version: tuple[int, int, int, int]
    devices: tuple[Device, ...]
    service: Service
    folder: str
    microsofts: bool = False

    @property
    def label(self) -> str:
        """The name of the package and of its folder in the driver store.

        Windows ends it with a hash of its own, which nobody else can make; it only has
        to differ from others'.
        """
        digest = hashlib.sha256(self.content).hexdigest()[:16]
        return f"{self.inf.lower()}_{LABELS[self.arch]}_{digest}"

    @property
    def sections(self) -> list[str]:
        """The install sections, each once."""
        return list(dict.fromkeys(device.section for device in self.devices))


def filetime(date: datetime.date) -> int:
    """Return *date*, at midnight, as Windows counts: 100 ns since 1601."""
    return (date - _EPOCH).days * 86400 * 10**7


def version_blob(package: Package) -> bytes:
    """Return the 48 bytes of the package's Version (facts, App. B)."""
    head = bytes([0, 0xFF, _NUMBERS[package.arch], 0, 0, 0, 0, 0])
    words = b"".join(n.to_bytes(2, "little") for n in reversed(package.version))
    return (
        head
        + uuid.UUID(package.class_guid).bytes_le
        + filetime(package.date).to_bytes(8, "little")
        + words
        + bytes(8)
    )


def published(hive: Hive, label: str) -> str | None:
    """Return the name that the package *label* is published by, if it is."""
    names = hive.keys(rf"{DATABASE}\DriverInfFiles")
    for name in filter(_PUBLISHED.fullmatch, names):
        active = hive.text(rf"{DATABASE}\DriverInfFiles\{name}", "Active")
        if active and active.lower() == label.lower():
            return name
    return None


def free_name(hives: Sequence[Hive], is_there: Callable[[str], bool]) -> str:
    """Return the first oemN.inf that no hive of *hives* knows.

    *is_there* tells whether the guest has such a file in its INF folder.  Raises
    GuestError if there is none.
    """
    taken = set()
    for hive in hives:
        known = filter(None, map(_PUBLISHED.fullmatch, _published(hive)))
        taken |= {int(match[1]) for match in known}
        taken |= _bits(_map(hive))
    for number in range(_MOST_PUBLISHED):
        if number not in taken and not is_there(name := f"oem{number}.inf"):
            return name
    raise GuestError(
        f"the guest has {_MOST_PUBLISHED} drivers of vendors, and no name is left",
        "remove those that are not in use (pnputil /delete-driver) on the source",
    )


def _published(hive: Hive) -> list[str]:
    return hive.keys(rf"{DATABASE}\DriverInfFiles")


def _map(hive: Hive) -> bytes:
    value = hive.value(DATABASE, "OemInfMap")
    return value.data if value else b""


def _bits(bitmap: bytes) -> set[int]:
    """Return the numbers of the bits that are set, the highest of a byte being first.

    E0 is oem0, oem1 and oem2.
    """
    return {
        8 * at + bit
        for at, byte in enumerate(bitmap[: _MOST_PUBLISHED // 8])
        for bit in range(8)
        if byte & 0x80 >> bit
    }


def register(hive: Hive, package: Package, name: str) -> None:
    """Write the whole record of *package*, published as *name*, to *hive*."""
    label, key = package.label, package_key(package.label)
    inf = rf"{DATABASE}\DriverInfFiles\{name}"
    hive.set(inf, "", multi_sz([label]), REASON)
    hive.set(inf, "Active", sz(label), REASON)
    hive.set(inf, "Configurations", multi_sz(package.sections), REASON)
    take(hive, name)
    for value_name, value in _properties(package, name).items():
        hive.set(key, value_name, value, REASON)
    for section in package.sections:
        _configure(hive, rf"{key}\Configurations\{section}", package.service)
    strings: dict[str, str] = {}
    maker = _token(strings, package.provider)
    for device in package.devices:
        bus, _, rest = device.id.partition("\\")
        hive.set(id_key(bus, rest), name, _rank(device.rank), REASON)
        described = rf"{key}\Descriptors\{bus}\{rest}"
        hive.set(described, "Configuration", sz(device.section), REASON)
        hive.set(described, "Manufacturer", sz(maker), REASON)
        about = _token(strings, device.description)
        hive.set(described, "Description", sz(about), REASON)
    for token, text in strings.items():
        hive.set(rf"{key}\Strings", token, sz(text), REASON)
    of_class = id_key("", package.class_guid.lower())
    hive.set(of_class, name, Value(REG_NONE, b""), REASON)


def _properties(package: Package, name: str) -> dict[str, Value]:
    score, flags = _BY_MICROSOFT if package.microsofts else _BY_VENDOR
    found = {
        "": sz(name),
        "Version": binary(version_blob(package)),
        "Provider": sz(package.provider),
        "InfName": sz(package.inf),
        "OemPath": sz(package.folder),
        "SignerName": sz(MICROSOFT if package.microsofts else package.provider),
        "SignerScore": dword(score),
        "StatusFlags": dword(flags),
        # The driver's own date: a second run must find what the first one wrote.
        "ImportDate": binary(filetime(package.date).to_bytes(8, "little")),
    }
    if package.catalog:
        found["Catalog"] = sz(package.catalog)
    return found


def _rank(rank: int) -> Value:
    return binary(bytes([min(rank, 0xFE), 0xFF, 0, 0]))


def _configure(hive: Hive, key: str, service: Service) -> None:
    hive.set(key, "ConfigFlags", dword(0), REASON)
    hive.set(key, "ConfigScope", dword(_CONFIG_SCOPE), REASON)
    hive.set(key, "Service", sz(service.name), REASON)
    for setting in service.values:
        where = rf"{key}\Services\{service.name}\{setting.key}".rstrip("\\")
        hive.set(where, setting.name, setting.value, REASON)


def _token(strings: dict[str, str], text: str) -> str:
    """Return what stands for *text* in a descriptor, and put it into *strings*."""
    known = {value: token for token, value in strings.items()}
    token = known.get(text) or f"v2v.text{len(strings)}"
    strings[token] = text
    return f"%{token}%"


def take(hive: Hive, name: str) -> None:
    """Note in the bitmap of *hive* that the published *name* is in use."""
    match = _PUBLISHED.fullmatch(name)
    assert match
    at, bit = divmod(int(match[1]), 8)
    bitmap = bytearray(_map(hive).ljust(at + 1, b"\0"))
    bitmap[at] |= 0x80 >> bit
    hive.set(DATABASE, "OemInfMap", binary(bytes(bitmap)), REASON)


def image_path(image: str) -> Value:
    """Return *image*, from the system's folder, as the ImagePath of a driver."""
    return expand_sz(image)
