# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a Windows guest finds its disk on a bus is told from its registry alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hives
import windows_disks
from v2v.guests.windows import bootstart, verdict
from v2v.guests.windows.controllers import Controller
from v2v.guests.windows.registry import Registry

SET = "ControlSet001"
SERVICES = rf"{SET}\Services"
CRITICAL = rf"{SET}\Control\CriticalDeviceDatabase"
DISKS = "{4d36e967-e325-11ce-bfc1-08002be10318}"
AHCI: hives.Keys = {
    rf"{SERVICES}\storahci": {
        "Type": 1,
        "Start": 0,
        "ImagePath": hives.expand(r"System32\drivers\storahci.sys"),
    },
    r"DriverDatabase\DeviceIds\PCI\CC_010601": {"mshdc.inf": b"\1\xff\0\0"},
    r"DriverDatabase\DriverInfFiles\mshdc.inf": {"Active": "mshdc.inf_amd64_1"},
    r"DriverDatabase\DriverPackages\mshdc.inf_amd64_1\Descriptors\PCI\CC_010601": {
        "Configuration": "msahci_Inst"
    },
    r"DriverDatabase\DriverPackages\mshdc.inf_amd64_1\Configurations\msahci_Inst": {
        "Service": "storahci"
    },
}
# What VMware gives most guests, and no target here.
LSI_SAS = Controller(
    name="LSI SAS 1068",
    card="VEN_1000&DEV_0054",
    subsystem="197615AD",
    revision="01",
    class_code="010700",
)


def everything(_path: str) -> bool:
    return True


def shown(
    registry: Registry, present: Callable[[str], bool] = everything
) -> dict[str, tuple[bool, str]]:
    found = verdict.verdicts(registry, present)
    return {v.bus: (v.boots, v.reason) for v in found}


def sata(
    tmp_path: Path, *changes: hives.Keys, present: Callable[[str], bool] = everything
) -> tuple[bool, str]:
    registry = windows_disks.made(tmp_path, hives.with_keys(AHCI, *changes))
    return shown(registry, present)["sata"]


# Facts, Appendix C: reviewed by hand.
NO_CRITICAL = "its id is not in the CriticalDeviceDatabase"
NO_DATABASE = "its id is not in the DriverDatabase"
EXPECTED = {
    "win7": {
        "virtio": (False, f"no driver for virtio-blk: {NO_CRITICAL}"),
        "scsi": (False, f"no driver for virtio-scsi: {NO_CRITICAL}"),
        "ide": (True, "intelide with atapi started at boot"),
        "sata": (False, "msahci is not started at boot (Start is 3)"),
        "nvme": (False, f"no driver for NVMe: {NO_CRITICAL}"),
    },
    "win81": {
        "virtio": (False, f"no driver for virtio-blk: {NO_DATABASE}"),
        "scsi": (False, f"no driver for virtio-scsi: {NO_DATABASE}"),
        "ide": (False, "intelide is overridden (StartOverride)"),
        "sata": (True, "storahci started at boot"),
        "nvme": (False, "stornvme is overridden (StartOverride)"),
    },
    "win10": {
        "virtio": (False, f"no driver for virtio-blk: {NO_DATABASE}"),
        "scsi": (False, f"no driver for virtio-scsi: {NO_DATABASE}"),
        "ide": (True, "intelide with atapi started at boot"),
        "sata": (True, "storahci started at boot"),
        "nvme": (False, "stornvme is overridden (StartOverride)"),
    },
    "pc": {
        "virtio": (False, f"no driver for virtio-blk: {NO_DATABASE}"),
        "scsi": (False, f"no driver for virtio-scsi: {NO_DATABASE}"),
        "ide": (False, "intelide is overridden (StartOverride)"),
        "sata": (False, "storahci is overridden (StartOverride)"),
        "nvme": (False, "stornvme is overridden (StartOverride)"),
    },
}


@pytest.mark.parametrize("name", windows_disks.REAL)
def test_real_guests_have_the_verdicts_that_were_reviewed(
    shared: Path, tmp_path: Path, name: str
) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    assert shown(registry) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "boots"), [("win7", True), ("win81", False), ("win10", True)]
)
def test_the_controller_of_vmware_is_judged_as_it_booted(
    shared: Path, tmp_path: Path, name: str, boots: bool
) -> None:
    registry = windows_disks.real(shared, name, tmp_path)
    found = verdict.verdict("scsi", (LSI_SAS,), registry, everything)
    assert found.boots is boots


def test_what_is_complete_boots(tmp_path: Path) -> None:
    assert sata(tmp_path) == (True, "storahci started at boot")


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/16703")
def test_a_driver_that_was_staged_on_another_machine_is_held_back(
    tmp_path: Path,
) -> None:
    # virtio's drivers are installed, and Windows still stops with 0x7B.
    override = {rf"{SERVICES}\storahci\StartOverride": {"0": 3}}
    expected = (False, "storahci is overridden (StartOverride)")
    assert sata(tmp_path, override) == expected


def test_an_override_of_any_configuration_counts(tmp_path: Path) -> None:
    override = {rf"{SERVICES}\storahci\StartOverride": {"0": 0, "1": 3}}
    assert sata(tmp_path, override)[0] is False


def test_an_override_that_says_boot_is_none(tmp_path: Path) -> None:
    override = {rf"{SERVICES}\storahci\StartOverride": {"0": 0}}
    assert sata(tmp_path, override)[0] is True


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/13")
def test_a_package_without_configurations_does_not_boot(tmp_path: Path) -> None:
    # pnputil said that the drivers are installed; nothing was bound to a device.
    staged: hives.Keys = {
        r"DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1042": {"oem3.inf": b"\1\xff\0\0"},
        r"DriverDatabase\DriverInfFiles\oem3.inf": {"Active": "viostor.inf_amd64_2"},
        r"DriverDatabase\DriverPackages\viostor.inf_amd64_2": {"": "oem3.inf"},
        rf"{SERVICES}\viostor": {"Type": 1, "Start": 0},
    }
    registry = windows_disks.made(tmp_path, staged)
    boots, reason = shown(registry)["virtio"]
    assert not boots
    assert "the driver of oem3.inf is staged, but was never installed" in reason


def test_both_generations_of_virtio_must_match(tmp_path: Path) -> None:
    old = rf"{CRITICAL}\PCI#VEN_1AF4&DEV_1001"
    new = rf"{CRITICAL}\PCI#VEN_1AF4&DEV_1042&REV_01"
    service = {rf"{SERVICES}\viostor": {"Type": 1, "Start": 0}}
    (tmp_path / "old").mkdir()
    (tmp_path / "both").mkdir()
    only_old = windows_disks.made(
        tmp_path / "old", {old: {"Service": "viostor"}, **service}
    )
    both = windows_disks.made(
        tmp_path / "both",
        {old: {"Service": "viostor"}, new: {"Service": "viostor"}, **service},
    )
    assert shown(only_old)["virtio"][0] is False
    assert shown(both)["virtio"] == (True, "viostor started at boot")
    old_machine = verdict.verdicts(only_old, everything, legacy=True)
    assert {v.bus: v.boots for v in old_machine}["virtio"] is True


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"Start": 4}, "storahci is disabled"),
        ({"Start": 3}, "storahci is not started at boot (Start is 3)"),
        ({"Start": "0"}, "storahci is not started at boot (Start is None)"),
        ({"Type": 16}, "storahci is no driver"),
        (
            {"ImagePath": hives.expand(r"\??\D:\storahci.sys")},
            "storahci has its driver outside of the system's folder",
        ),
    ],
)
def test_a_service_that_does_not_start_at_boot_is_said(
    tmp_path: Path, value: dict[str, hives.Content], reason: str
) -> None:
    assert sata(tmp_path, {rf"{SERVICES}\storahci": value}) == (False, reason)


def test_a_driver_whose_file_is_missing_does_not_boot(tmp_path: Path) -> None:
    asked = []

    def nothing(path: str) -> bool:
        asked.append(path)
        return False

    reason = (
        r"System32\drivers\storahci.sys is missing, empty, or for another processor"
    )
    assert sata(tmp_path, present=nothing) == (False, reason)
    assert asked == [r"System32\drivers\storahci.sys"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "is not installed"),
        ({"Start": 4}, "is disabled"),
        ({"Start": 0, "ImagePath": "prl_strg.sys"}, "prl_strg.sys is missing"),
    ],
)
def test_a_filter_that_cannot_be_loaded_takes_all_disks_with_it(
    tmp_path: Path, values: dict[str, hives.Content], reason: str
) -> None:
    filters: hives.Keys = {
        rf"{SET}\Control\Class\{DISKS}": {"LowerFilters": ["", "prl_strg"]}
    }
    service = {rf"{SERVICES}\prl_strg": values} if values else {}
    boots, why = sata(
        tmp_path, filters, service, present=lambda path: "prl_strg" not in path
    )
    assert not boots
    assert why.startswith("the filter prl_strg of all disk drives")
    assert reason in why


def test_a_filter_of_another_controllers_class_does_not_count(tmp_path: Path) -> None:
    scsi = rf"{SET}\Control\Class\{{4d36e97b-e325-11ce-bfc1-08002be10318}}"
    assert sata(tmp_path, {scsi: {"UpperFilters": ["gone"]}})[0] is True


def test_the_control_set_that_is_booted_decides(tmp_path: Path) -> None:
    other: hives.Keys = {
        "Select": {"Default": 2},
        r"ControlSet002\Services\storahci": {"Type": 1, "Start": 3},
    }
    expected = "storahci is not started at boot (Start is 3) in ControlSet002"
    assert sata(tmp_path, other) == (False, expected)


def test_the_last_known_good_set_is_no_reason(tmp_path: Path) -> None:
    # Windows takes it when a start has failed; then it would not help either.
    other: hives.Keys = {
        "Select": {"LastKnownGood": 2},
        r"ControlSet002\Services\storahci": {"Type": 1, "Start": 3},
    }
    assert sata(tmp_path, other)[0] is True


def test_the_driver_of_disks_must_start_as_well(tmp_path: Path) -> None:
    disk = {rf"{SERVICES}\disk": {"Type": 1, "Start": 3}}
    expected = (False, "disk is not started at boot (Start is 3)")
    assert sata(tmp_path, disk) == expected


def test_a_channel_needs_its_driver(tmp_path: Path) -> None:
    piix: hives.Keys = {
        rf"{SERVICES}\intelide": {"Type": 1, "Start": 0},
        rf"{CRITICAL}\PCI#VEN_8086&DEV_7010": {"Service": "IntelIde"},
    }
    registry = windows_disks.made(tmp_path, piix)
    expected = (False, f"no driver for Primary_IDE_Channel: {NO_CRITICAL}")
    assert shown(registry)["ide"] == expected


def test_the_newest_of_two_packages_is_taken(tmp_path: Path) -> None:
    keys: dict[str, dict[str, hives.Content]] = {
        r"DriverDatabase\DeviceIds\PCI\CC_010802": {"a.inf": b"\1", "b.inf": b"\1"},
        rf"{SERVICES}\new": {"Type": 1, "Start": 0},
    }
    for inf, service, year in (("a.inf", "new", 2), ("b.inf", "old", 1)):
        package = rf"DriverDatabase\DriverPackages\{inf}_amd64_1"
        blob = bytes(24) + year.to_bytes(8, "little") + bytes(16)
        keys |= {
            rf"DriverDatabase\DriverInfFiles\{inf}": {"Active": f"{inf}_amd64_1"},
            package: {"Version": blob},
            rf"{package}\Descriptors\PCI\CC_010802": {"Configuration": "x"},
            rf"{package}\Configurations\x": {"Service": service},
        }
    registry = windows_disks.made(tmp_path, keys)
    assert shown(registry)["nvme"] == (True, "new started at boot")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (r"system32\drivers\x.sys", r"system32\drivers\x.sys"),
        (r"\SystemRoot\System32\drivers\x.sys", r"System32\drivers\x.sys"),
        (r"%systemroot%\System32\drivers\x.sys", r"System32\drivers\x.sys"),
        (r"\??\C:\WINDOWS\system32\x.sys", r"system32\x.sys"),
        (r"\??\C:\Windows.old\x.sys", None),
        (r"..\x.sys", None),
        (r"System32\..\..\x.sys", None),
        (r"\Device\HarddiskVolume1\x.sys", None),
        ("", None),
    ],
)
def test_an_image_path_is_found_from_the_systems_folder(
    image: str, expected: str | None
) -> None:
    roots = ["\\SystemRoot", "%SystemRoot%", r"C:\Windows"]
    assert bootstart.relative(image, roots) == expected


_VALUES = st.one_of(
    st.integers(0, 2**32 - 1),
    st.text("ab\\.:%/\0é", max_size=20),
    st.binary(max_size=9),
    st.tuples(st.sampled_from([0, 1, 2, 4, 7, 11, 0x20007]), st.binary(max_size=9)),
)


@given(
    service=st.dictionaries(st.sampled_from(["Type", "Start", "ImagePath"]), _VALUES),
    override=st.dictionaries(st.sampled_from(["0", "1", ""]), _VALUES),
    inf=_VALUES,
    configuration=_VALUES,
    filters=_VALUES,
)
def test_whatever_the_values_there_is_a_verdict(
    tmp_path_factory: pytest.TempPathFactory,
    service: dict[str, hives.Content],
    override: dict[str, hives.Content],
    inf: hives.Content,
    configuration: hives.Content,
    filters: hives.Content,
) -> None:
    package = r"DriverDatabase\DriverPackages\mshdc.inf_amd64_1"
    hostile: hives.Keys = {
        rf"{SERVICES}\storahci": service,
        rf"{SERVICES}\storahci\StartOverride": override,
        r"DriverDatabase\DriverInfFiles\mshdc.inf": {"Active": inf},
        package: {"Version": filters},
        rf"{package}\Descriptors\PCI\CC_010601": {"Configuration": configuration},
        rf"{SET}\Control\Class\{DISKS}": {"LowerFilters": filters},
    }
    boots, reason = sata(tmp_path_factory.mktemp("hostile"), hostile)
    assert isinstance(boots, bool)
    assert reason
    assert reason.isprintable()


def test_names_of_a_hostile_guest_stay_on_one_line(tmp_path: Path) -> None:
    hostile: hives.Keys = {
        rf"{SET}\Control\Class\{DISKS}": {"LowerFilters": ["x\n\x1b[2Jy" * 99]}
    }
    _, reason = sata(tmp_path, hostile)
    assert reason.isprintable()
    assert len(reason) < 400
