# SPDX-License-Identifier: GPL-2.0-or-later
"""Which driver Windows takes for a device while it boots, from its registry alone.

Before Windows 8 that is in the CriticalDeviceDatabase of a control set, since then in
the DriverDatabase beside them; which one there is decides, not the version (facts 2.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2v.guests.windows.controllers import CHANNELS, Controller
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.registry import Registry

DATABASE = "DriverDatabase"
_CANDIDATES = 16  # INFs that answer to one id
_BLOB = 48  # bytes of a package's Version


@dataclass(frozen=True, kw_only=True)
class Match:
    """What Windows takes for a device: ``found`` says by which id, of which INF."""

    service: str
    found: str
    inf: str | None = None
    # Of the package: FILETIME, and the four words in order of weight.
    version: tuple[int, tuple[int, ...]] = (0, ())


@dataclass(frozen=True, kw_only=True)
class NoMatch:
    """Why Windows takes nothing."""

    reason: str


def has_database(registry: Registry) -> bool:
    """Whether drivers are found as in Windows 8 and later."""
    return registry.system.exists(DATABASE)


def matched(
    registry: Registry, control_set: str, bus: str, ids: Sequence[str]
) -> Match | NoMatch:
    """Return what Windows, started from *control_set*, takes for a device.

    *ids* are the device's, best first; *bus* is what enumerates it: "PCI", or "" for
    ids that have none.
    """
    if has_database(registry):
        return _of_database(registry.system, bus, ids)
    return _of_critical(registry.system, control_set, bus, ids)


def drivers(
    registry: Registry, control_set: str, controller: Controller
) -> tuple[str, ...] | NoMatch:
    """Return the services that stand between *controller* and its disks.

    Its own, and that of the channel that the disk is behind.
    """
    match = matched(registry, control_set, "PCI", controller.ids)
    if isinstance(match, NoMatch):
        return NoMatch(reason=f"no driver for {controller.name}: {match.reason}")
    channel = CHANNELS.get(match.service.lower())
    if not channel:
        return (match.service,)
    behind = matched(registry, control_set, "", (channel,))
    if isinstance(behind, NoMatch):
        return NoMatch(reason=f"no driver for {channel}: {behind.reason}")
    return match.service, behind.service


def critical_key(control_set: str, bus: str, device_id: str) -> str:
    """Return the key of *device_id* in the database of before Windows 8."""
    name = f"{bus}#{device_id}" if bus else device_id
    return rf"{control_set}\Control\CriticalDeviceDatabase\{name}"


def id_key(bus: str, device_id: str, place: str = "DeviceIds") -> str:
    """Return the key of *device_id* below *place* of the DriverDatabase."""
    name = rf"{bus}\{device_id}" if bus else device_id
    return rf"{DATABASE}\{place}\{name}"


def package_key(label: str) -> str:
    """Return the key of the package *label*."""
    return rf"{DATABASE}\DriverPackages\{label}"


def _of_critical(
    system: Hive, control_set: str, bus: str, ids: Sequence[str]
) -> Match | NoMatch:
    for device_id in ids:
        key = critical_key(control_set, bus, device_id)
        if service := system.text(key, "Service"):
            return Match(service=service, found=key.rpartition("\\")[2])
    return NoMatch(reason="its id is not in the CriticalDeviceDatabase")


def _of_database(system: Hive, bus: str, ids: Sequence[str]) -> Match | NoMatch:
    """Return the match of the best id for which a package is complete.

    A package that was only staged (pnputil, or an installer, without the device there)
    has its ids in DeviceIds but no configurations: it is of no use while booting.
    """
    staged = None
    for device_id in ids:
        candidates = []
        for inf in list(system.values(id_key(bus, device_id)))[:_CANDIDATES]:
            found = _of_package(system, bus, device_id, inf)
            if isinstance(found, Match):
                candidates.append(found)
            else:
                staged = staged or found
        if candidates:
            # As Windows ranks drivers that answer to the same id: the newest.
            return max(candidates, key=lambda match: match.version)
    return staged or NoMatch(reason="its id is not in the DriverDatabase")


def _of_package(system: Hive, bus: str, device_id: str, inf: str) -> Match | NoMatch:
    label = system.text(rf"{DATABASE}\DriverInfFiles\{inf}", "Active") or ""
    package = package_key(label)
    if not label or not system.exists(package):
        return NoMatch(reason=f"the DriverDatabase has no package of {inf}")
    name = rf"{bus}\{device_id}" if bus else device_id
    described = system.text(rf"{package}\Descriptors\{name}", "Configuration")
    service = described and system.text(
        rf"{package}\Configurations\{described}", "Service"
    )
    if not service:
        return NoMatch(
            reason=f"the driver of {inf} is staged, but was never installed for it"
        )
    blob = system.value(package, "Version")
    return Match(
        service=service,
        found=f"{device_id} of {inf}",
        inf=inf,
        version=version(blob.data if blob else b""),
    )


def version(blob: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the date (FILETIME) and the four words of a package's Version.

    Two reserved words, class GUID, date, then the words, lowest first: facts, App. B.
    """
    if len(blob) != _BLOB:
        return 0, ()
    date = int.from_bytes(blob[24:32], "little")
    words = [int.from_bytes(blob[at : at + 2], "little") for at in range(32, 40, 2)]
    return date, tuple(reversed(words))
