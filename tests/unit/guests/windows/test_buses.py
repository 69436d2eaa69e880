# SPDX-License-Identifier: GPL-2.0-or-later
"""A Windows guest gets the hardware that its verdicts and drivers allow."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

import hives
import windows_disks
from v2v.document import Devices, Verdict, Windows
from v2v.guests.windows import buses, storage
from v2v.guests.windows.controllers import Bus
from v2v.guests.windows.registry import Registry

XP = Windows(id="winxp", build=2600)
WIN7 = Windows(id="win7", build=7601)
WIN10 = Windows(id="win10", build=19045)
WIN2025 = Windows(id="win2k25", build=26100, installation="server")
ALL = ("netkvm", "balloon", "viorng", "vioser", "pvpanic", "viosock", "viogpudo")
SERVICES = r"ControlSet001\Services"
CRITICAL = r"ControlSet001\Control\CriticalDeviceDatabase"


def everything(_path: str) -> bool:
    return True


def asked(arch: str = "x86_64", disks: int = 1, *, agent: bool = True) -> buses.Asked:
    return buses.Asked(arch=arch, disks=disks, agent=agent, made_for="libvirt")


def verdicts(*boots: Bus) -> tuple[Verdict, ...]:
    names: tuple[Bus, ...] = ("virtio", "scsi", "sata", "ide", "nvme")
    return tuple(Verdict(bus=n, boots=n in boots, reason=f"of {n}") for n in names)


def block(windows: Windows, *boots: Bus, disks: int = 1) -> str:
    return buses.chosen(windows, verdicts(*boots), disks)


def test_virtio_is_taken_where_the_guest_boots_from_it() -> None:
    assert block(WIN10, "virtio", "scsi", "sata", "ide") == "virtio"
    assert block(WIN10, "virtio", "scsi", disks=21) == "scsi"
    assert block(WIN10, "virtio", disks=21) == "virtio"
    assert block(WIN10, "scsi", "sata") == "scsi"


@pytest.mark.parametrize(("windows", "bus"), [(XP, "ide"), (WIN7, "sata")])
def test_the_fallback_is_of_the_guests_time(windows: Windows, bus: str) -> None:
    assert block(windows, "sata", "ide", "nvme") == bus
    # None will do: then its verdict says why.
    assert block(windows) == bus


def test_the_other_emulated_bus_is_better_than_none() -> None:
    assert block(WIN7, "ide") == "ide"
    assert block(XP, "sata") == "sata"


def test_all_drivers_give_all_devices() -> None:
    made = buses.devices(WIN10, verdicts("virtio"), ALL, asked())
    assert made == Devices(
        block="virtio",
        net="virtio",
        video="virtio",
        machine="q35",
        rng=True,
        balloon=True,
        pvpanic=True,
        vsock=True,
        agent=True,
        made_for="libvirt",
    )


@pytest.mark.report("https://github.com/apache/cloudstack/issues/13241")
def test_the_newest_windows_gets_the_new_machine() -> None:
    assert buses.devices(WIN2025, verdicts("sata"), (), asked()).machine == "q35"


@pytest.mark.parametrize(
    ("windows", "arch", "boots", "expected"),
    [
        (XP, "i386", "ide", ("ide", "rtl8139", "pc")),
        (XP, "x86_64", "virtio", ("virtio", "rtl8139", "pc")),
        (WIN7, "i386", "sata", ("sata", "e1000", "q35")),
        (WIN7, "x86_64", "ide", ("ide", "e1000", "pc")),
        (WIN10, "x86_64", "sata", ("sata", "e1000e", "q35")),
    ],
)
def test_without_drivers_the_hardware_is_what_windows_has(
    windows: Windows, arch: str, boots: Bus, expected: tuple[str, str, str]
) -> None:
    made = buses.devices(windows, verdicts(boots), (), asked(arch))
    assert (made.block, made.net, made.machine) == expected
    assert not (made.rng or made.balloon or made.agent or made.vsock)


def test_an_agent_that_is_not_wanted_gets_no_channel() -> None:
    made = buses.devices(WIN10, verdicts("virtio"), ALL, asked(agent=False))
    assert not made.agent


def found(folder: Path, keys: hives.Keys) -> Collection[str]:
    return set(buses.installed(windows_disks.made(folder, keys), everything))


def test_drivers_that_the_guest_has_already_count(tmp_path: Path) -> None:
    keys: hives.Keys = {
        rf"{SERVICES}\netkvm": {"Start": 3},
        rf"{SERVICES}\balloon": {"Start": 4},
        rf"{SERVICES}\VirtRng": {},
    }
    assert found(tmp_path, keys) == {"netkvm"}


def _virtio(folder: Path, *cards: str) -> Registry:
    return windows_disks.made(
        folder,
        {
            rf"{SERVICES}\viostor": {"Type": 1, "Start": 0},
            **{rf"{CRITICAL}\PCI#{card}": {"Service": "viostor"} for card in cards},
        },
    )


def test_a_driver_of_before_virtio_1_gets_the_old_ids(tmp_path: Path) -> None:
    registry = _virtio(tmp_path, "VEN_1AF4&DEV_1001")
    found_, transitional = buses.judged(registry, everything)
    assert transitional
    made = buses.devices(WIN7, found_, (), asked(), transitional=transitional)
    assert (made.block, made.machine, made.transitional) == ("virtio", "q35", True)
    # Once chosen, the devices decide how it is judged.
    assert buses.judged(registry, everything, made) == (found_, True)
    modern = made.having(transitional=False)
    assert buses.judged(registry, everything, modern)[1] is False


def test_a_driver_of_today_gets_the_new_ids(tmp_path: Path) -> None:
    registry = _virtio(tmp_path, "VEN_1AF4&DEV_1001", "VEN_1AF4&DEV_1042")
    found_, transitional = buses.judged(registry, everything)
    assert not transitional
    assert block(WIN7, *(v.bus for v in found_ if v.boots)) == "virtio"


@pytest.mark.report("https://github.com/kubev2v/forklift/issues/1029")
def test_a_guest_that_would_not_boot_is_no_success() -> None:
    (found_,) = buses.findings("sata", verdicts())
    assert (found_.code, found_.severity) == ("boot-verdict", "warn")
    assert found_.message == "Windows would not find its disk on sata: of sata"
    assert "--virtio-win" in found_.remedy
    assert list(buses.findings("sata", verdicts("sata"))) == []


FALLBACKS = [("win7", WIN7), ("win81", WIN10), ("win10", WIN10), ("pc", WIN10)]


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/13")
@pytest.mark.parametrize(("name", "windows"), FALLBACKS)
def test_real_guests_without_drivers_boot_from_the_fallback(
    shared: Path, tmp_path: Path, name: str, windows: Windows
) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    storage.free(registry, buses.fallback(windows), everything)
    again = windows_disks.again(registry, tmp_path)
    found_, _ = buses.judged(again, everything)
    made = buses.devices(windows, found_, (), asked())
    assert made.block == "sata"
    assert list(buses.findings(made.block, found_)) == []
