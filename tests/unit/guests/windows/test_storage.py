# SPDX-License-Identifier: GPL-2.0-or-later
"""The drivers of disks are registered so that Windows boots from each bus."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from regipy.exceptions import RegistryKeyNotFoundException
from regipy.registry import RegistryHive

import hives
import windows_disks
from v2v.guests.windows import packages, storage, verdict
from v2v.guests.windows.controllers import Bus, spellings
from v2v.guests.windows.hive import Value, dword
from v2v.guests.windows.registry import Registry

SET = "ControlSet001"
FALLBACKS: dict[str, tuple[Bus, ...]] = {
    "win7": ("sata", "ide"),
    "win81": ("sata", "ide", "nvme"),
    "win10": ("sata", "ide", "nvme"),
    "pc": ("sata", "ide", "nvme"),
}
# Where something may be written: facts, Appendix A, rows A1 to A10.
WRITTEN = (
    *(rf"{SET[:-1]}{n}\Services\{d}" for n in (1, 2) for d in ("viostor", "vioscsi")),
    *(rf"ControlSet00{n}\Control\CriticalDeviceDatabase\PCI#VEN_1AF4" for n in (1, 2)),
    r"DriverDatabase\DeviceIds\PCI\VEN_1AF4",
    r"DriverDatabase\DriverPackages\viostor.inf_amd64_",
    r"DriverDatabase\DriverPackages\vioscsi.inf_amd64_",
    r"DriverDatabase\DriverInfFiles\oem",
)
# What is not new there: one value each.
EDITED = {
    "win7": {
        r"ControlSet001\services\msahci",
        r"ControlSet002\services\msahci",
    },
    "win81": {"DriverDatabase"},
    "win10": {"DriverDatabase"},
    "pc": {"DriverDatabase"},
}
OF_CLASS = r"DriverDatabase\DeviceIds\{4d36e97b-e325-11ce-bfc1-08002be10318}"
FREED = {
    "win7": set(),
    "win81": {"atapi", "intelide", "stornvme"},
    "win10": {"stornvme"},
    "pc": {"atapi", "intelide", "storahci", "stornvme"},
}


def everything(_path: str) -> bool:
    return True


def nothing(_name: str) -> bool:
    return False


def boots(registry: Registry) -> dict[str, bool]:
    return {v.bus: v.boots for v in verdict.verdicts(registry, everything)}


def registered(registry: Registry, *names: str) -> list[str | None]:
    arch: packages.Arch = "x86_64" if "DriverDatabase" in _top(registry) else "i386"
    return [
        storage.register(
            registry, windows_disks.package(name, arch), everything, nothing
        )
        for name in names
    ]


def _top(registry: Registry) -> list[str]:
    return registry.system.keys("")


def prepared(registry: Registry, name: str) -> None:
    registered(registry, "viostor", "vioscsi")
    for bus in FALLBACKS[name]:
        storage.free(registry, bus, everything)


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_real_guests_boot_from_virtio_and_from_the_fallback(
    shared: Path, tmp_path: Path, name: str
) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    prepared(registry, name)
    found = boots(windows_disks.again(registry, tmp_path))
    expected = {"virtio", "scsi", *FALLBACKS[name]}
    assert {bus for bus, yes in found.items() if yes} == expected


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_a_second_run_changes_nothing(shared: Path, tmp_path: Path, name: str) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    prepared(registry, name)
    second = windows_disks.again(registry, tmp_path)
    prepared(second, name)
    assert second.system.changes == []


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_nothing_else_in_the_hive_changes(
    shared: Path, tmp_path: Path, name: str
) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    before = hives.dump(tmp_path / windows_disks.REAL[name])
    prepared(registry, name)
    registry.system.save(tmp_path / "after")
    after = hives.dump(tmp_path / "after")
    edited = {key for key in before if key in after and before[key] != after[key]}
    gone = {key for key in before if key not in after}
    assert edited - {OF_CLASS} == EDITED[name]
    assert gone == {rf"{SET}\Services\{s}\StartOverride" for s in FREED[name]}
    for key in after.keys() - before.keys():
        assert key.lower().startswith(tuple(w.lower() for w in WRITTEN)), key
    for key in edited:
        kept = {n: v for n, v in before[key].items() if n != "OemInfMap"}
        start = {"Start"} if key.endswith("msahci") else set()
        assert {n for n, v in kept.items() if after[key].get(n) != v} == start, key


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_regipy_reads_what_was_written(shared: Path, tmp_path: Path, name: str) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    prepared(registry, name)
    registry.system.save(tmp_path / "after")
    hive = _regipy(tmp_path / "after")
    for change in registry.system.changes:
        key, _, value = change.path.partition("\\")[2].rpartition("\\")
        if change.kind == "delete":
            with pytest.raises(RegistryKeyNotFoundException):
                hive.get_key(rf"\{key}\{value}")
            continue
        read = {v.name: v.value for v in hive.get_key(rf"\{key}").iter_values()}
        expected = registry.system.value(key, value.replace("(default)", ""))
        assert expected
        assert read[value] == _as_regipy_has_it(expected), change.path


def _as_regipy_has_it(value: Value) -> object:
    if value.type == hives.MULTI_SZ:
        return list(value.texts)
    if value.type == hives.BINARY:
        return value.data.hex()
    return value.text if value.number is None else value.number


def test_regipy_finds_no_other_keys(shared: Path, tmp_path: Path) -> None:
    registry = windows_disks.real(shared, "win81", tmp_path)
    before = _walked(tmp_path / windows_disks.REAL["win81"])
    prepared(registry, "win81")
    registry.system.save(tmp_path / "after")
    after = _walked(tmp_path / "after")
    override = "\\StartOverride"
    assert before - after == {rf"\{SET}\Services\{s}{override}" for s in FREED["win81"]}
    new = tuple(f"\\{place}" for place in WRITTEN)
    assert all(key.startswith(new) for key in after - before)


def _regipy(file: Path) -> Any:
    hive: Any = RegistryHive
    return hive(str(file))


def _walked(file: Path) -> set[str]:
    """Return all keys of the hive in *file*, as regipy finds them."""
    walk = _regipy(file).recurse_subkeys(fetch_values=False)
    return {key.path for key in walk}


@pytest.mark.report("https://github.com/kubev2v/forklift-documentation/pull/647")
def test_both_drivers_are_there_whatever_the_bus(shared: Path, tmp_path: Path) -> None:
    # All Windows guests failed that were given diskBus scsi: viostor alone was there.
    registry = windows_disks.real(shared, "win10", tmp_path)
    registered(registry, "viostor", "vioscsi")
    found = boots(windows_disks.again(registry, tmp_path))
    assert found["virtio"] and found["scsi"]


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/16703")
def test_a_driver_that_was_held_back_is_freed(tmp_path: Path) -> None:
    registry = windows_disks.made(
        tmp_path,
        {
            rf"{SET}\Services\viostor": {"Type": 1, "Start": 3, "Tag": 7},
            rf"{SET}\Services\viostor\StartOverride": {"0": 3},
            rf"{SET}\Services\viostor\Parameters": {"BusType": 10},
        },
    )
    registered(registry, "viostor")
    system = registry.system
    assert system.number(rf"{SET}\Services\viostor", "Start") == 0
    assert not system.exists(rf"{SET}\Services\viostor\StartOverride")
    # What its own installer has set stays.
    assert system.number(rf"{SET}\Services\viostor", "Tag") == 7
    assert system.number(rf"{SET}\Services\viostor\Parameters", "BusType") == 10
    assert boots(registry)["virtio"]


def test_every_control_set_has_the_drivers(tmp_path: Path) -> None:
    other: hives.Keys = {
        "Select": {"Default": 3, "LastKnownGood": 2},
        **{rf"ControlSet00{n}\Control": {} for n in (2, 3, 4)},
    }
    registry = windows_disks.made(tmp_path, other)
    registered(registry, "viostor")
    with_driver = {
        name
        for name in registry.system.keys("")
        if registry.system.exists(rf"{name}\Services\viostor")
    }
    assert with_driver == {"ControlSet001", "ControlSet002", "ControlSet003"}


NEWER = datetime.date(2025, 3, 1)


def test_a_newer_driver_keeps_its_records(shared: Path, tmp_path: Path) -> None:
    registry = windows_disks.real(shared, "win10", tmp_path)
    newer = windows_disks.package("viostor", date=NEWER, content=b"newer")
    storage.register(registry, newer, everything, nothing)
    registry.system.set(
        rf"{SET}\Services\viostor\StartOverride", "0", dword(3), "a test"
    )
    second = windows_disks.again(registry, tmp_path)
    assert registered(second, "viostor") == [None]
    assert [c.path for c in second.system.changes] == [
        rf"SYSTEM\{SET}\Services\viostor\StartOverride"
    ]


def test_the_records_of_an_inf_without_bare_ids_are_enough(
    shared: Path, tmp_path: Path
) -> None:
    """As pnputil makes them of virtio-win's: the bare ids are v2v's own."""
    registry = windows_disks.real(shared, "win10", tmp_path)
    newer = windows_disks.package("viostor", date=NEWER, content=b"newer")
    best = tuple(device for device in newer.devices if device.rank == 1)
    assert 0 < len(best) < len(newer.devices)
    storage.register(registry, replace(newer, devices=best), everything, nothing)
    second = windows_disks.again(registry, tmp_path)
    assert registered(second, "viostor") == [None]
    assert second.system.changes == []


def test_an_older_driver_is_joined_by_the_newer(shared: Path, tmp_path: Path) -> None:
    registry = windows_disks.real(shared, "win10", tmp_path)
    first = registered(registry, "viostor")
    newer = windows_disks.package("viostor", date=NEWER, content=b"newer")
    name = storage.register(registry, newer, everything, nothing)
    assert (first, name) == (["oem12.inf"], "oem13.inf")
    assert boots(registry)["virtio"]


@pytest.mark.report("https://issues.redhat.com/browse/MTV-2256")
def test_a_package_has_all_that_windows_writes(shared: Path, tmp_path: Path) -> None:
    # Half of a record breaks pnputil and upgrades; so each kind of value that packages
    # of other vendors have in this guest is in ours.
    registry = windows_disks.real(shared, "win10", tmp_path)
    system = registry.system
    (name,) = registered(registry, "viostor")
    (label,) = system.texts(rf"DriverDatabase\DriverInfFiles\{name}", "")
    ours = rf"DriverDatabase\DriverPackages\{label}"
    theirs = r"DriverDatabase\DriverPackages\vmci.inf_amd64_5e38a278d114b813"
    assert _kinds(registry, ours) == _kinds(registry, theirs)
    for part in ("Configurations", "Strings", r"Descriptors\PCI"):
        assert system.exists(rf"{ours}\{part}")
    assert _kinds(registry, r"DriverDatabase\DriverInfFiles\oem2.inf") == _kinds(
        registry, rf"DriverDatabase\DriverInfFiles\{name}"
    )
    card = rf"{ours}\Descriptors\PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01"
    assert system.text(card, "Configuration") == "viostor_inst"
    token = system.text(card, "Description") or ""
    assert system.text(rf"{ours}\Strings", token.strip("%")) == "viostor device"
    rank = system.value(r"DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1042", name or "")
    assert rank and rank.data == b"\2\xff\0\0"


def _kinds(registry: Registry, key: str) -> dict[str, tuple[int, int]]:
    """Return type and, of what is no text, length of the values of *key*."""
    return {
        name: (value.type, len(value.data) if value.type not in (1, 7) else 0)
        for name, value in registry.system.values(key).items()
    }


def test_the_version_is_written_as_windows_does() -> None:
    # Facts, Appendix B: of pvscsi, on a real guest.
    made = windows_disks.package(
        "viostor", date=datetime.date(2019, 8, 2), version=(1, 3, 15, 0)
    )
    assert packages.version_blob(made).hex() == (
        "00ff0900000000007be9364d25e3ce11bfc108002be10318"
        "00003b3ac548d501" + "00000f0003000100" + "0000000000000000"
    )


@pytest.mark.parametrize(
    ("bitmap", "expected", "after"),
    [
        (b"\xe0", "oem3.inf", b"\xf0"),
        (b"\xff", "oem8.inf", b"\xff\x80"),
        (b"\xef\xff", "oem3.inf", b"\xff\xff"),
        (b"", "oem0.inf", b"\x80"),
    ],
)
def test_the_first_free_name_is_taken_and_noted(
    tmp_path: Path, bitmap: bytes, expected: str, after: bytes
) -> None:
    registry = windows_disks.made(tmp_path, {"DriverDatabase": {"OemInfMap": bitmap}})
    assert registered(registry, "viostor") == [expected]
    value = registry.system.value("DriverDatabase", "OemInfMap")
    assert value and value.data == after


def test_a_name_is_not_taken_that_anything_knows(tmp_path: Path) -> None:
    registry = windows_disks.made(
        tmp_path, {r"DriverDatabase\DriverInfFiles\OEM1.INF": {"Active": "x"}}
    )
    name = packages.free_name([registry.system], {"oem0.inf", "oem2.inf"}.__contains__)
    assert name == "oem3.inf"


def test_xp_that_never_saw_piix_learns_of_it(tmp_path: Path) -> None:
    driver: dict[str, hives.Content] = {"Type": 1, "Start": 4}
    registry = windows_disks.made(
        tmp_path,
        {
            rf"{SET}\Services\intelide": driver,
            rf"{SET}\Services\atapi": driver,
            rf"{SET}\Control\CriticalDeviceDatabase": {},
        },
    )
    storage.free(registry, "ide", everything)
    assert boots(registry)["ide"]


def test_what_is_not_installed_is_not_made_up(tmp_path: Path) -> None:
    registry = windows_disks.made(tmp_path, {})
    storage.free(registry, "sata", everything)
    assert registry.system.changes == []
    assert not boots(registry)["sata"]


def test_a_driver_whose_file_is_missing_is_left_alone(
    shared: Path, tmp_path: Path
) -> None:
    registry = windows_disks.real(shared, "pc", tmp_path)
    storage.free(registry, "sata", nothing)
    assert registry.system.changes == []


def test_the_three_spellings_of_an_id() -> None:
    assert spellings(r"pci\ven_1af4&dev_1001&subsys_00021af4&rev_00") == (
        "VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
        "VEN_1AF4&DEV_1001",
        "VEN_1AF4&DEV_1001&SUBSYS_00021AF4",
        "VEN_1AF4&DEV_1001&REV_00",
    )
    assert spellings(r"PCI\VEN_1AF4&DEV_1001") == ("VEN_1AF4&DEV_1001",)
    assert spellings(r"ACPI\QEMU0001") == ()
    assert spellings("PCI\\VEN_1AF4&DEV_1001\\..\\x") == ()


def test_a_driver_of_another_place_is_given_its_file_back(tmp_path: Path) -> None:
    registry = windows_disks.made(
        tmp_path,
        {
            rf"{SET}\Services\viostor": {
                "ImagePath": hives.expand(r"\??\D:\viostor.sys")
            }
        },
    )
    registered(registry, "viostor")
    image = registry.system.text(rf"{SET}\Services\viostor", "ImagePath")
    assert image == r"system32\drivers\viostor.sys"
