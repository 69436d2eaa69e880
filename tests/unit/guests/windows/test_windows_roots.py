# SPDX-License-Identifier: GPL-2.0-or-later
"""Where Windows is on the disks, and which of several runs."""

import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

import guest_folder
import hives
from guest_folder import Folder, Volume
from v2v.guests import devices
from v2v.guests.appliance import Appliance
from v2v.guests.windows import bcd as bcds
from v2v.guests.windows import roots
from v2v.guests.windows.bcd import Default
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.partition import Place
from v2v.guests.windows.roots import Root

GUIDS = [str(uuid.UUID(int=n)) for n in range(1, 5)]
MANAGER = r"Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\23000003"
LOADER = "{00000000-0000-0000-0000-00000000000a}"


def system(folder: str = "Windows", config: str = "System32/config") -> dict[str, str]:
    """Return the files that make a folder a system."""
    system32 = config.rpartition("/")[0]
    return {
        f"{folder}/{system32}/cmd.exe": "MZ",
        f"{folder}/{config}/SYSTEM": "regf",
        f"{folder}/{config}/SOFTWARE": "regf",
    }


def guest(folder: Path, *volumes: Mapping[str, str | bytes]) -> Appliance:
    """Return a guest whose disk has an NTFS per one of *volumes*, on a GPT."""
    there = {}
    for number, files in enumerate(volumes, 1):
        root = folder / str(number)
        root.mkdir()
        for path, content in files.items():
            guest_folder.put(root, path, content)
        facts = {
            "TYPE": "ntfs",
            "PART_ENTRY_SCHEME": "gpt",
            "PART_ENTRY_TYPE": "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
            "PART_ENTRY_UUID": GUIDS[number - 1],
        }
        there[f"/dev/sda{number}"] = Volume(facts=facts, folder=root)
    return Appliance(cast(Any, Folder(folder, {}, there)))


def found(appliance: Appliance) -> list[Root]:
    return roots.found(appliance, devices.found(appliance))


def root(number: int, folder: str = "/Windows") -> Root:
    device = f"/dev/sda{number}"
    return Root(name=device, device=device, folder=folder)


def test_a_system_is_found_in_any_case(tmp_path: Path) -> None:
    there = guest(
        tmp_path,
        {"Program Files/x": "", "System Volume Information/y": ""},
        system("WINNT", "system32/CONFIG"),
        {"Windows/readme.txt": ""},
    )
    assert found(there) == [root(2, "/WINNT")]


def test_what_lacks_a_part_is_no_system(tmp_path: Path) -> None:
    for number, part in enumerate(system()):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = system()
        del files[part]
        assert found(guest(folder, files)) == []


def test_a_folder_for_a_file_or_a_link_for_a_folder_is_no_system(
    tmp_path: Path,
) -> None:
    files = system()
    del files["Windows/System32/cmd.exe"]
    there = guest(tmp_path, {**files, "Windows/System32/cmd.exe/x": ""}, system("Old"))
    (tmp_path / "2" / "Windows").symlink_to("Old")
    assert found(there) == []


def test_two_systems_on_a_volume_have_names(tmp_path: Path) -> None:
    there = guest(tmp_path, {**system("WINNT"), **system("windows")})
    second = Root(name="/dev/sda1:/WINNT", device="/dev/sda1", folder="/WINNT")
    assert found(there) == [root(1, "/windows"), second]


def test_a_medium_for_repair_is_no_system(tmp_path: Path) -> None:
    boot = {"Sources/BOOT.WIM": ""}
    there = guest(
        tmp_path, {**system(), **boot}, {**system(), **boot, "Users/x/ntuser.dat": ""}
    )
    assert found(there) == [root(2)]


def test_xp_may_be_anywhere_as_boot_ini_says(tmp_path: Path) -> None:
    ini = (
        "[boot loader]\r\ntimeout=30\r\n[operating systems]\r\n"
        'multi(0)disk(0)rdisk(0)partition(2)\\My.Sys\\NT="Windows XP" /fastdetect\r\n'
        'multi(0)disk(0)rdisk(7)partition(2)\\My.Sys\\NT="Not there"\r\n'
        'multi(0)disk(0)rdisk(0)partition(2)\\..\\NT="Out"\r\nC:\\="DOS"\r\n'
    )
    there = guest(tmp_path, {"BOOT.INI": ini}, system("my.sys/nt"))
    assert found(there) == [root(2, "/my.sys/nt")]


def test_a_boot_ini_that_is_large_is_read_fast() -> None:
    assert roots.parsed_ini("multi(0)disk(0)" * 100_000) == []
    assert len(roots.parsed_ini("x\n" * 10_000)) == 0


def element(guid: str) -> bytes:
    """Return a device of a boot store: a partition of a GPT."""
    head = bytes(16) + struct.pack("<IIII", 6, 0, 0x48, 0)
    return (head + uuid.UUID(guid).bytes_le).ljust(0x58, b"\0")


def store(folder: Path, device: bytes, own: str = LOADER) -> bytes:
    elements = rf"Objects\{LOADER}\Elements"
    file = hives.made(
        folder / "BCD",
        {
            MANAGER: {"Element": own},
            rf"{elements}\21000001": {"Element": device},
            rf"{elements}\22000002": {"Element": "\\WINDOWS"},
        },
    )
    return file.read_bytes()


def test_of_two_systems_the_default_of_the_boot_store_runs(tmp_path: Path) -> None:
    bcd = store(tmp_path, element(GUIDS[1]))
    there = guest(tmp_path, {**system(), "boot/bcd": bcd}, system())
    on = devices.found(there)
    assert roots.weighed(there, roots.found(there, on), on) == root(2)


def test_two_boot_stores_that_differ_decide_nothing(tmp_path: Path) -> None:
    first, second = (store(tmp_path, element(guid)) for guid in GUIDS[:2])
    there = guest(
        tmp_path,
        {**system(), "Boot/BCD": first},
        {**system(), "EFI/Microsoft/Boot/BCD": second},
    )
    on = devices.found(there)
    assert roots.weighed(there, roots.found(there, on), on) is None


@pytest.mark.parametrize("bcd", [b"", b"regf" + bytes(5000)])
def test_a_broken_boot_store_decides_nothing(tmp_path: Path, bcd: bytes) -> None:
    there = guest(tmp_path, {**system(), "Boot/BCD": bcd}, system())
    on = devices.found(there)
    assert roots.weighed(there, roots.found(there, on), on) is None


def test_one_system_needs_no_boot_store(tmp_path: Path) -> None:
    there = guest(tmp_path, system())
    assert roots.weighed(there, [root(1)], []) == root(1)
    assert roots.weighed(there, [], []) is None


def test_the_real_store_of_a_dual_boot_starts_its_windows(
    shared: Path, tmp_path: Path
) -> None:
    bcd = Hive("BCD", hives.real(shared, "win10-uefi-dualboot-BCD", tmp_path))
    place = Place(partition="8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b")
    assert bcds.system(bcd) == Default(place, "\\Windows")


def test_the_real_store_of_a_medium_starts_no_partition(
    shared: Path, tmp_path: Path
) -> None:
    bcd = Hive("BCD", hives.real(shared, "winpe-efi-BCD", tmp_path))
    assert bcds.system(bcd) is None


def test_a_store_of_an_mbr_names_signature_and_offset(tmp_path: Path) -> None:
    device = bytearray(element(GUIDS[0]))
    device[0x20:0x40] = struct.pack("<Q12xII4x", 2**20, 1, 0x5CBEA03E)
    place = Place(signature=0x5CBEA03E, offset=2**20)
    assert bcds.place(bytes(device)) == place
    assert bcds.place(bytes(device[:0x47])) is None
    store(tmp_path, bytes(device), own=r"{x}\..")
    assert bcds.system(Hive("BCD", tmp_path / "BCD")) is None
