# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Windows a guest is: told by its build, since its names do not tell.

Windows 11 says that it is a "Windows 10", and its version is 6.3 for ever.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from v2v.errors import GuestError
from v2v.guests.windows.registry import Registry

Installation = Literal["client", "server", "server-core", "nano"]

VERSION = r"Microsoft\Windows NT\CurrentVersion"
# A system that runs from memory: for installing and repair.
_PE = rf"{VERSION}\WinPE"
_WINDOWS_11 = 22000
# Builds that are servers' own; those between are of the one before.
_SERVERS = (
    (0, "win2k16"),
    (17763, "win2k19"),
    (20348, "win2k22"),
    (26100, "win2k25"),
)
# By major and minor version: clients and servers.
_EARLIER = {
    (5, 0): ("win2k", "win2k"),
    (5, 1): ("winxp", "winxp"),
    (6, 0): ("winvista", "win2k8"),
    (6, 1): ("win7", "win2k8r2"),
    (6, 2): ("win8", "win2k12"),
    (6, 3): ("win8.1", "win2k12r2"),
}
_INSTALLATIONS: dict[str, Installation] = {
    "client": "client",
    "server": "server",
    "server core": "server-core",
    "nano server": "nano",
}
_NUMBER = re.compile(r"\d{1,9}")
_PAIR = re.compile(r"(\d{1,4})\.(\d{1,4})")
# Of a program's header: where it says where the new one is, and for which machine.
_NEW_AT, _MACHINE_AT = 0x3C, 4
_MACHINES = {0x014C: "i386", 0x8664: "x86_64", 0xAA64: "aarch64"}
_PROCESSORS = {"x86": "i386", "amd64": "x86_64", "arm64": "aarch64"}
HEAD = 4096  # bytes of a program that say for which machine it is


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version: ``id`` as virtio-win and libosinfo have it; ``patch`` is the UBR."""

    id: str
    major: int
    minor: int
    build: int
    installation: Installation = "client"
    product: str | None = None
    edition: str | None = None
    display: str | None = None
    patch: int | None = None

    @property
    def is_server(self) -> bool:
        """Whether it is a server of any kind."""
        return self.installation != "client"


def version(registry: Registry) -> Version:
    """Return which Windows *registry* is of.

    Raises GuestError if it is none that can be told, or one that runs from memory.
    """
    software = registry.software
    if software.exists(_PE):
        raise GuestError(
            "the system is Windows PE, which is for installing and repair",
            "name the root of the Windows that runs with v2v-fixup --root",
        )
    major, minor = _numbers(registry)
    build = _build(registry)
    installation = _installation(registry)
    product = software.text(VERSION, "ProductName")
    id_ = _id((major, minor), build, product or "", installation != "client")
    return Version(
        id=id_,
        major=major,
        minor=minor,
        build=build,
        installation=installation,
        product=_sold_as(id_, product),
        edition=software.text(VERSION, "EditionID"),
        display=software.text(VERSION, "DisplayVersion")
        or software.text(VERSION, "ReleaseId"),
        patch=software.number(VERSION, "UBR"),
    )


def _sold_as(id_: str, product: str | None) -> str | None:
    """Return *product* as it is sold: Windows 11 goes on calling itself 10 there."""
    if id_ == "win11" and product and product.startswith("Windows 10"):
        return product.replace("Windows 10", "Windows 11", 1)
    return product


def _numbers(registry: Registry) -> tuple[int, int]:
    """Return major and minor version; CurrentVersion stays at 6.3 from 10 on."""
    software = registry.software
    major = software.number(VERSION, "CurrentMajorVersionNumber")
    if major is not None:
        return major, software.number(VERSION, "CurrentMinorVersionNumber") or 0
    pair = _PAIR.fullmatch(software.text(VERSION, "CurrentVersion") or "")
    if pair is None:
        raise GuestError(
            "the guest's SOFTWARE hive does not say which Windows it is",
            "see that the guest starts on the source, and shut it down there",
        )
    return int(pair[1]), int(pair[2])


def _build(registry: Registry) -> int:
    # XP has junk in CurrentBuild.
    for name in ("CurrentBuildNumber", "CurrentBuild"):
        number = _NUMBER.match(registry.software.text(VERSION, name) or "")
        if number:
            return int(number[0])
    return 0


def _installation(registry: Registry) -> Installation:
    """Return the kind of installation.

    A client for several users at a time calls itself a server in ProductType alone.
    """
    said = registry.software.text(VERSION, "InstallationType") or ""
    if said.lower() in _INSTALLATIONS:
        return _INSTALLATIONS[said.lower()]
    options = rf"{registry.current}\Control\ProductOptions"
    kind = registry.system.text(options, "ProductType") or "WinNT"
    return "client" if kind.lower() == "winnt" else "server"


def _id(numbers: tuple[int, int], build: int, product: str, is_server: bool) -> str:
    if numbers >= (10, 0):
        if is_server:
            at = bisect_right(_SERVERS, build, key=lambda row: row[0])
            return _SERVERS[at - 1][1]
        return "win11" if build >= _WINDOWS_11 else "win10"
    if numbers == (5, 2):
        if "XP" in product:
            return "winxp"  # of 64 bits
        return "win2k3r2" if "R2" in product else "win2k3"
    if numbers in _EARLIER:
        return _EARLIER[numbers][is_server]
    raise GuestError(
        f"the guest is Windows NT {numbers[0]}.{numbers[1]}, which is not supported",
        "convert guests of Windows 2000 and later",
    )


def architecture(head: bytes) -> str | None:
    """Return the machine that the program beginning with *head* is for.

    "i386", "x86_64" or "aarch64"; None if it is no program, or for another machine.
    libguestfs calls all of 64 bits x86_64.
    """
    if head[:2] != b"MZ" or len(head) < _NEW_AT + 4:
        return None
    at = int.from_bytes(head[_NEW_AT : _NEW_AT + 4], "little")
    new = head[at : at + _MACHINE_AT + 2]
    if len(new) < _MACHINE_AT + 2 or new[:4] != b"PE\0\0":
        return None
    return _MACHINES.get(int.from_bytes(new[_MACHINE_AT:], "little"))


def processor(registry: Registry) -> str | None:
    """Return the machine that the registry says it is, in the same words."""
    key = rf"{registry.current}\Control\Session Manager\Environment"
    said = registry.system.text(key, "PROCESSOR_ARCHITECTURE") or ""
    return _PROCESSORS.get(said.lower())
