# SPDX-License-Identifier: GPL-2.0-or-later
"""That a Windows guest finds its disks: what is planned, chosen, and proved of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from v2v.document import Devices, Verdict, Windows
from v2v.errors import GuestError
from v2v.guests.plan import Action
from v2v.guests.windows import buses, described, presence, staging, storage
from v2v.guests.windows.bootstart import Present
from v2v.guests.windows.packages import LABELS, Arch
from v2v.guests.windows.place import Work

# Of virtio-win, whichever bus is chosen (MTV-2199).
DRIVERS = ("viostor", "vioscsi")


def plan(work: Work) -> Iterator[Action]:
    """Register the drivers of disks, virtio's and the fallback bus's own.

    The registry is edited at once; what is yielded puts files into the driver store.
    """
    there = present(work)

    def published(name: str) -> bool:
        return staging.is_published(work.appliance, work.path, name)

    for name, inf, files in _given(work):
        package = described.package(
            inf, f"{name}.inf", files[f"{name}.inf"], _arch(work), _folder(work, name)
        )
        oem = storage.register(work.registry, package, there, published)
        if oem:
            yield from staging.staged(work.appliance, work.path, package, oem, files)
    storage.free(work.registry, buses.fallback(_windows(work)), there)


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


def _given(work: Work) -> Iterator[tuple[str, described.Inf, Mapping[str, bytes]]]:
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
