# SPDX-License-Identifier: GPL-2.0-or-later
"""What the registry says of a guest; of the real hives as it was read by people."""

import zoneinfo
from pathlib import Path
from typing import Any

import pytest

import hives
from v2v.guests.windows import facts, zones
from v2v.guests.windows.partition import Place
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.version import VERSION
from windows_registry import registry

ZONE = r"ControlSet001\Control\TimeZoneInformation"

# hives/README.md and the facts' Appendix B.
REAL: dict[str, dict[str, Any]] = {
    "win7-x86-vmware-static": {
        "zone": "America/New_York",
        "hostname": "WKS-WIN732BITA",
        "uuid": None,
        "C:": Place(signature=0x5CBEA03E, offset=0x100000),
    },
    "win81-x64-virtualbox": {
        "zone": "America/Los_Angeles",
        "hostname": "sensei",
        "uuid": "0082a41f-0a8c-5d41-9a34-5caa8b6f544c",
        "C:": Place(signature=0x273E4CFE, offset=0x15F00000),
    },
    "win10-x64-vmware": {
        "zone": "America/Los_Angeles",
        "hostname": "DESKTOP-2KGM189",
        "uuid": "25194d56-caef-8737-5c44-50fe82f3ffde",
    },
    "win10-1709-x64-physical-dirty": {
        "zone": "America/New_York",
        "hostname": "DESKTOP-PM6C56D",
        "uuid": "4c4c4544-0042-3210-804d-c4c04f4e3232",
        "C:": Place(partition="09931f21-7faf-44a9-81d8-1e73c14b9eaf"),
    },
}


def lettered(there: Registry) -> dict[str, Place]:
    return {
        drive.letter: Place(**drive.model_dump(exclude={"letter"}))
        for drive in facts.drives(there)
    }


@pytest.mark.parametrize("name", REAL)
def test_real_hives_say_what_they_are_of(
    shared: Path, tmp_path: Path, name: str
) -> None:
    system = hives.real(shared, f"{name}-SYSTEM", tmp_path)
    there = registry(tmp_path, file=system)
    expected = REAL[name]
    assert there.current == "ControlSet001"
    assert facts.hostname(there) == expected["hostname"]
    assert facts.machine_uuid(there) == expected["uuid"]
    assert facts.clock(there) == "localtime"
    assert facts.timezone(there) == expected["zone"]
    if "C:" in expected:
        assert lettered(there)["C:"] == expected["C:"]


@pytest.mark.report("https://github.com/vexxhost/migratekit/issues/62")
@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/8507")
def test_a_clock_of_utc_may_be_said_in_two_ways(tmp_path: Path) -> None:
    values: list[hives.Content] = [1, hives.qword(1), 0, (0, b""), "1"]
    said = []
    for number, value in enumerate(values):
        folder = tmp_path / str(number)
        folder.mkdir()
        keys = {ZONE: {"RealTimeIsUniversal": value}}
        said.append(facts.clock(registry(folder, system=keys)))
    assert said == ["utc", "utc", "localtime", "localtime", "localtime"]


def test_a_time_zone_has_no_remnants_behind_it(tmp_path: Path) -> None:
    name = "W. Europe Standard Time\0".encode("utf-16-le") + b"\xff\xfe\x01"
    there = registry(tmp_path, system={ZONE: {"TimeZoneKeyName": (hives.SZ, name)}})
    assert facts.timezone(there) == "Europe/Berlin"
    folder = tmp_path / "xp"
    folder.mkdir()
    there = registry(folder, system={ZONE: {"StandardName": "@tzres.dll,-322"}})
    assert facts.timezone(there) is None


@pytest.mark.parametrize(
    ("said", "root", "drive"),
    [
        (r"D:\WINNT", r"D:\WINNT", "D:"),
        ("e:\\Windows", "E:\\Windows", "E:"),
        ("%SystemRoot%", r"C:\Windows", "C:"),
        ("", r"C:\Windows", "C:"),
        ("D:\\Windows\\", r"D:\Windows", "D:"),
        (r"D:\Windows & calc", r"C:\Windows", "C:"),
        ("D:\\Win\ndows", r"C:\Windows", "C:"),
        (r"Ä:\Windows", r"C:\Windows", "C:"),
    ],
)
def test_the_system_need_not_be_on_c(
    tmp_path: Path, said: str, root: str, drive: str
) -> None:
    there = registry(tmp_path, software={VERSION: {"SystemRoot": said}})
    assert (facts.system_root(there), facts.drive(there)) == (root, drive)


def test_only_volumes_of_disks_have_a_place(tmp_path: Path) -> None:
    keys: hives.Keys = {
        "MountedDevices": {
            r"\DosDevices\d:": b"DMIO:ID:" + bytes(range(16)),
            r"\DosDevices\E:": r"\??\IDE#CdRom".encode("utf-16-le"),
            r"\DosDevices\F:": b"",
            r"\??\Volume{x}": bytes(12),
            r"\DosDevices\more:": bytes(12),
        }
    }
    assert lettered(registry(tmp_path, system=keys)) == {
        "C:": Place(signature=0x5CBEA03E, offset=0x100000),
        "D:": Place(partition="03020100-0504-0706-0809-0a0b0c0d0e0f"),
    }


def test_every_zone_of_microsofts_is_one_of_ianas() -> None:
    known = zoneinfo.available_timezones()
    assert len(zones.ZONES) > 140
    assert [zone for zone in zones.ZONES.values() if zone not in known] == []
    assert zones.iana("w. europe STANDARD time ") == "Europe/Berlin"
    assert zones.iana("Mitteleurop\xe4ische Zeit") is None
