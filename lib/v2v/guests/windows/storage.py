# SPDX-License-Identifier: GPL-2.0-or-later
"""The drivers of disk controllers, registered so that Windows loads them at boot.

Both of virtio, blk and scsi, so that the bus may still change later (MTV-2199); and the
in-box ones of an emulated bus, so that the guest starts there too should a virtio disk
not be to be had.  In every control set that Windows may start from (facts 2.5, 2.6).
"""

from __future__ import annotations

from collections.abc import Callable

from v2v.guests.windows import controllers, driverdb, packages
from v2v.guests.windows.bootstart import (
    BOOT_START,
    KERNEL_DRIVER,
    OVERRIDE,
    Present,
    Services,
)
from v2v.guests.windows.controllers import Bus
from v2v.guests.windows.driverdb import Match, NoMatch
from v2v.guests.windows.hive import dword, expand_sz, multi_sz, sz
from v2v.guests.windows.inf import Setting
from v2v.guests.windows.packages import Package
from v2v.guests.windows.registry import Registry

_LOADED = "Windows needs the driver to find its disk when it starts"
_FREED = "it held the driver back for want of such a disk on the source"
_MATCHED = "Windows finds the driver by this id when it starts"
# What the INF of each sets, should it not: Appendix A of the facts, A4 and A5.
_PNP = Setting(key=r"Parameters\PnpInterface", name="5", value=dword(1))
_PARAMETERS = {
    "viostor": (Setting(key="Parameters", name="BusType", value=dword(0x01)), _PNP),
    "vioscsi": (Setting(key="Parameters", name="BusType", value=dword(0x0A)), _PNP),
}
# The driver of a bus in Windows before 8, and of what is behind it, by device id.
_IN_BOX: dict[Bus, dict[tuple[str, str], str]] = {
    "ide": {
        ("PCI", "VEN_8086&DEV_7010"): "intelide",
        ("", "Primary_IDE_Channel"): "atapi",
        ("", "Secondary_IDE_Channel"): "atapi",
    },
    "sata": {
        ("PCI", "CC_010601"): "msahci",
        ("", "Internal_IDE_Channel"): "atapi",
    },
}


def register(
    registry: Registry,
    package: Package,
    present: Present,
    is_published: Callable[[str], bool],
) -> str | None:
    """Make Windows load the driver of *package* for its devices when it starts.

    *present* tells whether the system's folder has, or will have, a driver's file;
    *is_published* whether its INF folder has one.  A driver that is there and no older
    keeps its records.  Return the oemN.inf that the package is published by, if it is.
    """
    name = None
    if driverdb.has_database(registry) and not _is_known(registry, package):
        name = _published(registry, package, is_published)
        packages.register(registry.system, package, name)
    for control_set in registry.control_sets:
        services = Services(registry=registry, control_set=control_set, present=present)
        _serve(services, package, name)
        if not driverdb.has_database(registry):
            _critical(registry, control_set, package)
    return name


def _published(
    registry: Registry, package: Package, is_published: Callable[[str], bool]
) -> str:
    known = packages.published(registry.system, package.label)
    hives = [hive for hive in (registry.system, registry.drivers) if hive]
    return known or packages.free_name(hives, is_published)


def _is_known(registry: Registry, package: Package) -> bool:
    """Whether all that *package* is for leads to its service already, no older one.

    By the best id of each device: an INF has no bare ones, which are added here.  Its
    own records of an earlier run are completed, not taken for granted.
    """
    if packages.published(registry.system, package.label):
        return False
    ours = (packages.filetime(package.date), package.version)
    for device in (one for one in package.devices if one.rank == 1):
        ids = controllers.spellings(device.id)[:1]
        match = driverdb.matched(registry, registry.current, "PCI", ids)
        if not isinstance(match, Match) or match.version < ours:
            return False
        if match.service.lower() != package.service.name.lower():
            return False
    return True


def _serve(services: Services, package: Package, published: str | None) -> None:
    """Complete the service of *package*; what a driver there has set is kept."""
    service, system = package.service, services.registry.system
    key = services.key(service.name)
    system.set(key, "Type", dword(KERNEL_DRIVER), _LOADED)
    system.set(key, "Start", dword(BOOT_START), _LOADED)
    if system.value(key, "ErrorControl") is None:
        system.set(key, "ErrorControl", dword(service.error_control), _LOADED)
    if service.group and system.value(key, "Group") is None:
        system.set(key, "Group", sz(service.group), _LOADED)
    if system.value(key, "ImagePath") is None or services.absence(service.name):
        system.set(key, "ImagePath", expand_sz(service.image), _LOADED)
    if published and system.value(key, "Owners") is None:
        system.set(key, "Owners", multi_sz([published]), _LOADED)
    for setting in (*service.values, *_PARAMETERS.get(service.name.lower(), ())):
        where = rf"{key}\{setting.key}".rstrip("\\")
        if system.value(where, setting.name) is None:
            system.set(where, setting.name, setting.value, _LOADED)
    system.remove(rf"{key}\{OVERRIDE}", _FREED)


def _critical(registry: Registry, control_set: str, package: Package) -> None:
    for device in package.devices:
        for device_id in controllers.spellings(device.id):
            _lead(
                registry,
                driverdb.critical_key(control_set, "PCI", device_id),
                package.service.name,
                package.class_guid.upper(),
            )


def _lead(registry: Registry, key: str, service: str, class_guid: str) -> None:
    """Make the entry *key* of the CriticalDeviceDatabase lead to *service*."""
    system = registry.system
    if (system.text(key, "Service") or "").lower() != service.lower():
        system.set(key, "Service", sz(service), _MATCHED)
    if (system.text(key, "ClassGUID") or "").lower() != class_guid.lower():
        system.set(key, "ClassGUID", sz(class_guid), _MATCHED)


def free(registry: Registry, bus: Bus, present: Present) -> None:
    """Make Windows load the in-box drivers of *bus* when it starts.

    What is not installed stays so: the verdict tells.
    """
    for control_set in registry.control_sets:
        services = Services(registry=registry, control_set=control_set, present=present)
        if not driverdb.has_database(registry):
            _lead_in_box(services, bus)
        for service in sorted(_drivers(services, bus)):
            if services.exists(service) and not services.absence(service):
                key = services.key(service)
                registry.system.set(key, "Start", dword(BOOT_START), _LOADED)
                registry.system.remove(rf"{key}\{OVERRIDE}", _FREED)


def _lead_in_box(services: Services, bus: Bus) -> None:
    """Add the ids of *bus* to the CriticalDeviceDatabase where they are not.

    Windows XP and 2003 that were installed on another controller do without them.
    """
    for (enumerator, device_id), service in _IN_BOX.get(bus, {}).items():
        known = driverdb.matched(
            services.registry, services.control_set, enumerator, (device_id,)
        )
        if isinstance(known, NoMatch) and services.exists(service):
            key = driverdb.critical_key(services.control_set, enumerator, device_id)
            _lead(services.registry, key, service, controllers.HDC)


def _drivers(services: Services, bus: Bus) -> set[str]:
    """Return the services that Windows would take for *bus*."""
    chains = (
        driverdb.drivers(services.registry, services.control_set, controller)
        for controller in controllers.BUSES[bus]
    )
    return {
        service
        for chain in chains
        if not isinstance(chain, NoMatch)
        for service in chain
    }
