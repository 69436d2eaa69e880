# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest is planned for so that it finds its disks, and that is proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

import guest_folder
import hives
import windows_disks
from v2v.document import VM, Disk, Guest, Source, Verdict, Windows
from v2v.errors import GuestError
from v2v.guests.wanted import Wanted
from v2v.guests.windows import disks, placing
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.place import Work

# The drivers that the real guests have, and those that are going to be there.
IN_BOX = ("storahci", "msahci", "atapi", "intelide", "stornvme", "disk", "partmgr")
FILTERS = ("EhStorClass", "fvevol", "iorate", "rdyboost", "volsnap", "stdcfltn")
WIN10 = Windows(id="win10", build=18362)
OF = {
    "win7": (Windows(id="win7", build=7601), "i386", 0x014C),
    "win81": (Windows(id="win8.1", build=9600), "x86_64", 0x8664),
    "win10": (WIN10, "x86_64", 0x8664),
    "pc": (WIN10, "x86_64", 0x8664),
}


Drivers = Literal["virtio-win"] | None


def work(shared: Path, tmp_path: Path, name: str, drivers: Drivers) -> Work:
    windows, arch, machine = OF[name]
    root = tmp_path / "guest"
    files: dict[str, str | bytes] = {
        f"/Windows/System32/drivers/{driver}.sys": windows_disks.program(machine)
        for driver in (*IN_BOX, *FILTERS)
    }
    vm = VM(
        id="x",
        name="x",
        memory=2**30,
        disks=(Disk(id="sda"),),
        source=Source(kind="vmx", location="x"),
    )
    return Work(
        appliance=guest_folder.guest(root, files),
        registry=windows_disks.real(shared, name, tmp_path),
        vm=vm,
        guest=Guest(type="windows", arch=arch, windows=windows),
        wanted=Wanted(),
        root="/Windows",
        drivers=windows_disks.selected(windows, arch, tmp_path) if drivers else None,
    )


def bus(verdicts: Sequence[Verdict], name: str) -> Verdict:
    return next(verdict for verdict in verdicts if verdict.bus == name)


def place_drivers(made: Work) -> None:
    guest_folder.applied(made.appliance, placing.plan(made))


def again(made: Work, tmp_path: Path) -> Work:
    return replace(made, registry=windows_disks.again(made.registry, tmp_path))


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_a_real_guest_gets_virtio_and_it_is_proved(
    shared: Path, tmp_path: Path, name: str
) -> None:
    made = work(shared, tmp_path, name, "virtio-win")
    actions = list(disks.plan(made))
    devices, planned = disks.chosen(made)
    assert (devices.block, devices.machine, devices.net) == ("virtio", "q35", "virtio")
    paths = guest_folder.applied(made.appliance, actions)
    assert len(paths) == (0 if name == "win7" else 8)
    # Not proved before the driver's file is there.
    second = again(made, tmp_path)
    missing = bus(disks.proved(second, devices), "virtio")
    assert not missing.boots
    assert missing.reason == (
        r"system32\drivers\viostor.sys is missing, empty, or for another processor"
    )
    place_drivers(second)
    second = again(second, tmp_path)
    assert disks.proved(second, devices) == planned
    assert {v.bus for v in planned if v.boots} >= {"virtio", "scsi", "sata"}


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_a_second_run_plans_nothing(shared: Path, tmp_path: Path, name: str) -> None:
    made = work(shared, tmp_path, name, "virtio-win")
    guest_folder.applied(made.appliance, disks.plan(made))
    place_drivers(made)
    second = again(made, tmp_path)
    assert list(disks.plan(second)) == []
    assert second.registry.system.changes == []


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_a_real_guest_without_drivers_gets_sata(
    shared: Path, tmp_path: Path, name: str
) -> None:
    made = work(shared, tmp_path, name, None)
    assert list(disks.plan(made)) == []
    devices, verdicts = disks.chosen(made)
    assert devices.block == "sata"
    assert devices.net == ("e1000" if name == "win7" else "e1000e")
    assert bus(verdicts, "sata").boots
    assert disks.proved(again(made, tmp_path), devices) == verdicts


def test_the_published_name_is_one_that_the_guest_has_not(
    shared: Path, tmp_path: Path
) -> None:
    made = work(shared, tmp_path, "win10", "virtio-win")
    root = guest_folder.handle(made.appliance).host("/")
    guest_folder.put(root, "/Windows/INF/OEM12.INF", "")
    guest_folder.applied(made.appliance, disks.plan(made))
    names = made.registry.system.keys(r"DriverDatabase\DriverInfFiles")
    assert {"oem13.inf", "oem14.inf"} <= set(names)
    assert "oem12.inf" not in names


def test_a_package_names_the_folder_that_it_came_from(
    shared: Path, tmp_path: Path
) -> None:
    made = work(shared, tmp_path, "win10", "virtio-win")
    list(disks.plan(made))
    packages = r"DriverDatabase\DriverPackages"
    system = made.registry.system
    ours = [key for key in system.keys(packages) if key.startswith("viostor.inf")]
    (folder,) = [system.text(rf"{packages}\{key}", "OemPath") for key in ours]
    assert folder == r"C:\Windows\Drivers\VirtIO\viostor"


def _of_store(made: Work, tmp_path: Path) -> Work:
    database: hives.Keys = {"DriverDatabase": {"Architecture": 9}}
    drivers = Hive("DRIVERS", hives.made(tmp_path / "DRIVERS", database))
    return replace(
        made,
        registry=replace(made.registry, drivers=drivers),
        wanted=Wanted(firstboot="none"),
    )


def test_without_a_first_boot_the_card_is_in_the_store(
    shared: Path, tmp_path: Path
) -> None:
    made = _of_store(work(shared, tmp_path, "win10", "virtio-win"), tmp_path)
    actions = [*disks.plan(made), *disks.plan_others(made)]
    drivers = made.registry.drivers
    assert drivers
    names = [f"oem{number}.inf" for number in range(14, 23)]
    assert drivers.keys(r"DriverDatabase\DriverInfFiles") == names
    device = r"DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1041"
    assert list(drivers.values(device)) == ["oem14.inf"]
    of_all = made.registry.system.value("DriverDatabase", "OemInfMap")
    assert of_all and of_all.data == b"\xff\xff\xfe"
    paths = guest_folder.applied(made.appliance, actions)
    assert "/Windows/INF/oem14.inf" in paths
    assert any(path.endswith("/netkvm.sys") for path in paths)
    # Names that Windows shows, and no driver: pnputil alone knows what to do with it.
    assert not any("smbus" in path for path in paths)


def test_where_scripts_run_at_the_first_boot_they_do_it(
    shared: Path, tmp_path: Path
) -> None:
    made = work(shared, tmp_path, "win10", "virtio-win")
    scripted = replace(_of_store(made, tmp_path), wanted=Wanted())
    assert list(disks.plan_others(scripted)) == []
    old = replace(made, wanted=Wanted(firstboot="none"))
    assert list(disks.plan_others(old)) == []


def test_a_processor_without_windows_is_refused(shared: Path, tmp_path: Path) -> None:
    made = work(shared, tmp_path, "win10", "virtio-win")
    odd = replace(made, guest=made.guest.having(arch="ia64"))
    with pytest.raises(GuestError, match="the guest's Windows is for ia64"):
        list(disks.plan(odd))
