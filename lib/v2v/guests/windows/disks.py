# SPDX-License-Identifier: GPL-2.0-or-later
"""That a Windows guest finds its disks: what is planned, chosen, and proved of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import cast

from v2v.document import Devices, Verdict, Windows
from v2v.errors import GuestError
from v2v.guests.plan import Action
from v2v.guests.windows import (
    buses,
    described,
    driverdb,
    packages,
    presence,
    signing,
    staging,
    storage,
)
from v2v.guests.windows.bootstart import Present
from v2v.guests.windows.inf import Inf
from v2v.guests.windows.packages import LABELS, Arch
from v2v.guests.windows.place import Work

# Of virtio-win, whichever bus is chosen (MTV-2199).
DRIVERS = ("viostor", "vioscsi")


def plan(work: Work) -> Iterator[Action]:
    """Register the drivers of disks, virtio's and the fallback bus's own.

    The registry is edited at once; what is yielded puts files into the driver store.
    """
    there = present(work)

    for name, inf, files in _given(work):
        package = _package(work, name, inf, files)
        oem = storage.register(work.registry, package, there, _publishes(work))
        if oem:
            yield from staging.staged(work.appliance, work.path, package, oem, files)
    storage.free(work.registry, buses.fallback(_windows(work)), there)


def plan_others(work: Work) -> Iterator[Action]:
    """Put the other drivers into the driver store, so that Windows finds them itself.

    For a guest in which no script runs at its first boot: otherwise pnputil does it
    better.  Windows 10 and later keep the records of what is not needed for booting in
    a hive of their own, DRIVERS (facts 2.6).
    """
    hive = work.registry.drivers
    known = hive and hive.exists(driverdb.DATABASE)
    if work.wanted.firstboot != "none" or not hive or not known:
        return
    for driver in work.drivers.drivers if work.drivers else ():
        if driver.name in DRIVERS or not described.has_service(driver.inf, _arch(work)):
            continue
        package = _package(work, driver.name, driver.inf, driver.files)
        oem = packages.published(hive, package.label) or packages.free_name(
            [hive, work.registry.system], _publishes(work)
        )
        packages.register(hive, package, oem)
        packages.take(work.registry.system, oem)
        yield from staging.staged(work.appliance, work.path, package, oem, driver.files)


def present(work: Work, *, written: bool = False) -> Present:
    """Return what tells whether the guest has, or will have, a driver's file.

    With *written* only what is there counts.
    """
    names = [] if written else [name for name, _, _ in _given(work)]
    planned = {rf"system32\drivers\{name}.sys" for name in names}
    return presence.present(work.appliance, work.path, work.guest.arch, planned)


def chosen(work: Work) -> tuple[Devices, tuple[Verdict, ...]]:
    """Return the hardware for the guest as it is planned, and the verdicts for it."""
    there = present(work)
    verdicts, transitional = buses.judged(work.registry, there)
    given = {driver.name for driver in work.drivers.drivers} if work.drivers else set()
    devices = buses.devices(
        _windows(work),
        verdicts,
        given | set(buses.installed(work.registry, there)),
        buses.Asked(
            arch=_arch(work),
            disks=len(work.vm.disks),
            agent=work.wanted.agent,
            made_for=work.wanted.made_for,
        ),
        transitional=transitional,
    )
    return devices, verdicts


def proved(work: Work, devices: Devices) -> tuple[Verdict, ...]:
    """Return the verdicts for *devices*, of what is in the guest now.

    To be asked when all is written, of hives that were read again.
    """
    return buses.judged(work.registry, present(work, written=True), devices)[0]


def _package(
    work: Work, name: str, inf: Inf, files: Mapping[str, bytes]
) -> packages.Package:
    file = f"{name}.inf"
    made = described.package(inf, file, files[file], _arch(work), _folder(work, name))
    catalogue = files.get((inf.catalog or "").lower(), b"")
    return replace(made, microsofts=signing.is_microsofts(catalogue))


def _publishes(work: Work) -> Callable[[str], bool]:
    """Return what tells whether the INF folder has a file."""
    return lambda name: staging.is_published(work.appliance, work.path, name)


def _given(work: Work) -> Iterator[tuple[str, Inf, Mapping[str, bytes]]]:
    """Yield name, INF and files of the drivers of disks that were chosen."""
    for driver in work.drivers.drivers if work.drivers else ():
        if driver.name in DRIVERS:
            yield driver.name, driver.inf, driver.files


def _arch(work: Work) -> Arch:
    """Return the guest's processor.  Raises GuestError if it is none of Windows'."""
    if work.guest.arch not in LABELS:
        raise GuestError(
            f"the guest's Windows is for {work.guest.arch or 'an unknown processor'}",
            "guests for x86, x86-64 and ARM64 can be converted",
        )
    return cast(Arch, work.guest.arch)


def _windows(work: Work) -> Windows:
    assert work.guest.windows, "only Windows is planned for here"
    return work.guest.windows


def _folder(work: Work, name: str) -> str:
    """Return where the guest finds the driver, as Windows names it."""
    return rf"{_windows(work).system_root}\Drivers\VirtIO\{name}"
