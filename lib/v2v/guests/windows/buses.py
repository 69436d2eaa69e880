# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual hardware of a Windows guest: what its drivers, and the verdicts, allow.

Facts 7.  Virtio where a disk is found there; else the emulated bus of the guest's time.
Not NVMe, though Windows 8.1 and later boot from it: libvirt has no such disks in files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from v2v.document import Devices, Finding, Verdict, Windows
from v2v.guests.windows import verdict
from v2v.guests.windows.bootstart import DISABLED, Present, Services
from v2v.guests.windows.controllers import Bus
from v2v.guests.windows.registry import Registry

# As for Linux: with more disks each would take a slot of PCI.
MANY_DISKS = 20

FINDINGS = ("boot-verdict",)
_VISTA = 6000  # build
# Drivers of virtio-win, by their INFs, and the services that they are.
SERVICES = {
    "netkvm": "netkvm",
    "balloon": "BALLOON",
    "viorng": "VirtRng",
    "vioser": "VirtioSerial",
    "pvpanic": "PVPanic",
    "viosock": "VirtioSocket",
    "viogpudo": "VioGpuDod",
}
_Block = Literal["virtio", "scsi", "sata", "ide"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the choice depends on besides the registry.

    ``arch`` is the guest's; ``disks`` their number; ``agent``: whether a channel for
    its agent is wanted; ``made_for`` the target.
    """

    arch: str
    disks: int
    agent: bool
    made_for: str


def fallback(windows: Windows) -> Literal["sata", "ide"]:
    """Return the emulated bus for a guest that does without virtio."""
    return "sata" if windows.build >= _VISTA else "ide"


def installed(registry: Registry, present: Present) -> Iterator[str]:
    """Yield the drivers of virtio-win (their INFs) that the guest has already."""
    services = Services(
        registry=registry, control_set=registry.current, present=present
    )
    for inf, service in SERVICES.items():
        start = registry.system.number(services.key(service), "Start")
        if start not in (None, DISABLED) and not services.absence(service):
            yield inf


def judged(
    registry: Registry, present: Present, devices: Devices | None = None
) -> tuple[tuple[Verdict, ...], bool]:
    """Return the verdicts, and whether virtio devices must show their old ids.

    They must if the guest's virtio driver is of before virtio 1.0; *devices*, if they
    were chosen already, decide.
    """
    now = verdict.verdicts(registry, present)
    if devices is None and _yes(now, "virtio"):
        return now, False
    old = verdict.verdicts(registry, present, legacy=True)
    is_old = devices.transitional if devices else _yes(old, "virtio")
    return (old, True) if is_old else (now, False)


def chosen(windows: Windows, verdicts: Sequence[Verdict], disks: int) -> _Block:
    """Return the bus for the disks: the first by preference whose verdict is yes.

    If all are no, the fallback: its verdict says why it would not do.
    """
    emulated = fallback(windows)
    other: _Block = "ide" if emulated == "sata" else "sata"
    order: list[_Block] = ["virtio", "scsi", emulated, other]
    if disks > MANY_DISKS:
        order.insert(0, "scsi")
    return next((bus for bus in order if _yes(verdicts, bus)), emulated)


def devices(
    windows: Windows,
    verdicts: Sequence[Verdict],
    drivers: Collection[str],
    asked: Asked,
    *,
    transitional: bool = False,
) -> Devices:
    """Return the hardware for a guest that has *drivers* (INFs of virtio-win)."""
    block = chosen(windows, verdicts, asked.disks)
    old = windows.build < _VISTA or block == "ide"
    return Devices(
        block=block,
        net=_card(windows, drivers, asked.arch, on_pc=old),
        video="virtio" if "viogpudo" in drivers else "vga",
        machine="pc" if old else "q35",
        transitional=transitional and block in ("virtio", "scsi"),
        rng="viorng" in drivers,
        balloon="balloon" in drivers,
        pvpanic="pvpanic" in drivers,
        vsock="viosock" in drivers,
        agent=asked.agent and "vioser" in drivers,
        made_for=asked.made_for,
    )


def _card(
    windows: Windows, drivers: Collection[str], arch: str, *, on_pc: bool
) -> Literal["virtio", "e1000e", "e1000", "rtl8139"]:
    """Return the network card; in-box drivers are e1000e's from Vista on, of 64 bits.

    What is on PCI Express does not fit the old machine.
    """
    if "netkvm" in drivers:
        return "virtio"
    if windows.build < _VISTA:
        return "rtl8139"
    return "e1000" if on_pc or arch == "i386" else "e1000e"


def findings(chosen_bus: str, verdicts: Sequence[Verdict]) -> Iterator[Finding]:
    """Yield that the guest would not find its disk where it is going to be."""
    for found in verdicts:
        if found.bus == chosen_bus and not found.boots:
            yield Finding(
                code="boot-verdict",
                # The next stage goes on; define refuses, unless it is accepted.
                severity="warn",
                message=f"Windows would not find its disk on {chosen_bus}: "
                f"{found.reason}",
                remedy=remedy(verdicts),
            )


def remedy(verdicts: Sequence[Verdict]) -> str:
    """Return what to do about a bus that the guest does not boot from."""
    if good := [found.bus for found in verdicts if found.boots]:
        return f"use a bus that it boots from: {', '.join(good)}"
    return (
        "give its drivers with v2v-fixup --virtio-win, or install them in the guest "
        "and start it once with a second disk on that bus"
    )


def _yes(verdicts: Sequence[Verdict], bus: Bus) -> bool:
    return any(found.bus == bus and found.boots for found in verdicts)
