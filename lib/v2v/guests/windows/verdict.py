# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a Windows guest finds its disk on a bus, from its registry alone.

What must hold, from the loader to the disk, is in facts 8; where a link is missing
Windows stops with 0x7B, INACCESSIBLE_BOOT_DEVICE.  Here are those that can be seen
offline: the driver and its file, its Start in the control set that is booted,
StartOverride, the controller's ids, and filters of the classes on the way.  A link
that is missing on the source as well is none of the move's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from v2v.document import Verdict
from v2v.guests.windows import controllers, driverdb
from v2v.guests.windows.bootstart import DISABLED, Present, Services
from v2v.guests.windows.controllers import Bus, Controller
from v2v.guests.windows.driverdb import NoMatch
from v2v.guests.windows.registry import Registry

# Classes whose filters are between a disk and its volume, whatever its controller.
_ALWAYS = (
    ("disk drives", "{4d36e967-e325-11ce-bfc1-08002be10318}"),
    ("volumes", "{71a27cdd-812a-11d0-bec7-08002be2092f}"),
    ("system devices", "{4d36e97d-e325-11ce-bfc1-08002be10318}"),
)
_OF_CONTROLLERS = {
    controllers.SCSI_ADAPTER: "SCSI controllers",
    controllers.HDC: "IDE and SATA controllers",
}
_FILTERS = ("UpperFilters", "LowerFilters")
_MOST_FILTERS = 64
_SHOWN = 300  # characters of a reason
# Classes of the in-box drivers; those of others are SCSI adapters.
_CLASS = {
    name: controllers.HDC
    for name in ("atapi", "intelide", "pciide", "msahci", "storahci")
}


def verdicts(
    registry: Registry, present: Present, *, legacy: bool = False
) -> tuple[Verdict, ...]:
    """Return the verdict for each bus: virtio, scsi, sata, ide, nvme.

    *present* tells whether the system's folder has a driver's file.  ``legacy``: the
    machine shows virtio's ids of before 1.0 alone; otherwise both sets must match.
    """
    return tuple(
        verdict(bus, hardware[-1:] if legacy else hardware, registry, present)
        for bus, hardware in controllers.BUSES.items()
    )


def verdict(
    bus: Bus, hardware: Sequence[Controller], registry: Registry, present: Present
) -> Verdict:
    """Return the verdict for *bus*, whose controllers are all of *hardware*."""
    found: dict[str, None] = {}
    for control_set in booted(registry):
        where = "" if control_set == registry.current else f" in {control_set}"
        services = Services(registry=registry, control_set=control_set, present=present)
        for controller in hardware:
            drivers = driverdb.drivers(registry, control_set, controller)
            if isinstance(drivers, NoMatch):
                return _made(bus, drivers.reason + where, boots=False)
            if hindrance := _hindrance(services, drivers):
                return _made(bus, hindrance + where, boots=False)
            found[" with ".join(drivers)] = None
    return _made(bus, f"{' and '.join(found)} started at boot", boots=True)


def _made(bus: Bus, reason: str, *, boots: bool) -> Verdict:
    return Verdict(bus=bus, boots=boots, reason=_sayable(reason))


def _sayable(reason: str) -> str:
    """Return *reason* on one line: it has names in it that the guest made up."""
    line = "".join(c if c.isprintable() else "?" for c in reason[:_SHOWN])
    return line if len(reason) <= _SHOWN else f"{line}…"


def booted(registry: Registry) -> list[str]:
    """Return the control sets that Windows starts from, unless a start failed."""
    number = registry.system.number("Select", "Default")
    default = f"ControlSet{number:03d}" if number is not None else registry.current
    known = [name for name in registry.control_sets if name == default]
    return list(dict.fromkeys([*known, registry.current]))


def _hindrance(services: Services, drivers: Sequence[str]) -> str | None:
    """Return why a disk that *drivers* lead to is not found; None if it is."""
    behind = ["disk"] if services.exists("disk") else []
    for driver in (*drivers, *behind):
        if hindrance := services.hindrance(driver):
            return hindrance
    guids = {_CLASS.get(d.lower(), controllers.SCSI_ADAPTER) for d in drivers}
    classes = [(_OF_CONTROLLERS[guid], guid) for guid in sorted(guids)]
    return next(_bad_filters(services, [*classes, *_ALWAYS]), None)


def _bad_filters(
    services: Services, classes: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Yield the filters that cannot be loaded; each takes its whole class with it."""
    system = services.registry.system
    for what, guid in classes:
        key = rf"{services.control_set}\Control\Class\{guid}"
        for value in _FILTERS:
            for name in filter(None, system.texts(key, value)[:_MOST_FILTERS]):
                start = system.number(services.key(name), "Start")
                if not services.exists(name):
                    hindrance: str | None = "is not installed"
                elif start == DISABLED:
                    hindrance = "is disabled"
                else:
                    hindrance = services.absence(name)
                if hindrance:
                    yield f"the filter {name} of all {what} {hindrance}"
