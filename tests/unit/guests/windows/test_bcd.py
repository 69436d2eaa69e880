# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot stores: the two real ones, and those that are made for a case."""

from collections.abc import Callable
from pathlib import Path

import pytest

import hives
import windows_store
from guest_folder import Folder, Volume
from v2v.guests.appliance import Appliance
from v2v.guests.windows import bcd
from v2v.guests.windows.bcd import MANAGER
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.partition import Place

DISK = "0b2394a9-095e-487d-8d48-719ecd4d78ca"
ESP = "36be3955-63bf-4068-a6ab-00195cca3a22"
WINDOWS = "8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b"
LOADER = "{733b62e5-f608-11eb-825c-c112f60133ab}"
SIGNATURE = 0x5CBEA03E


@pytest.fixture
def dual(shared: Path, tmp_path: Path) -> Hive:
    return Hive("BCD", hives.real(shared, "win10-uefi-dualboot-BCD", tmp_path))


@pytest.fixture
def winpe(shared: Path, tmp_path: Path) -> Hive:
    return Hive("BCD", hives.real(shared, "winpe-efi-BCD", tmp_path))


def test_a_real_store_tells_what_starts_by_default(dual: Hive) -> None:
    found = bcd.default(dual)
    assert found
    assert (found.guid, found.description) == (LOADER, "Windows 10")
    assert found.path == r"\Windows\system32\winload.efi"
    assert found.place == Place(partition=WINDOWS, disk=DISK)
    assert bcd.order(dual) == (LOADER,)
    assert bcd.firmware(dual) == "efi"


def test_recovery_in_a_real_store_is_in_memory(dual: Hive) -> None:
    loaders = [e for e in bcd.entries(dual) if e.is_loader]
    assert [(e.description, e.ramdisk) for e in loaders] == [
        ("Windows 10", False),
        ("Windows Recovery Environment", True),
    ]


def test_the_second_system_of_a_real_store_is_seen(dual: Hive) -> None:
    assert [e.description for e in bcd.foreign(dual)] == ["Linux Boot Manager"]
    (found,) = bcd.findings(dual, {place for _, place in bcd.places(dual)})
    assert (found.code, found.severity) == ("bcd-other-systems", "info")
    assert "Linux Boot Manager" in found.message


def test_a_real_store_looks_for_partitions_of_its_disk(dual: Hive) -> None:
    there = {Place(partition=guid, disk=DISK) for guid in (ESP, WINDOWS)}
    assert "bcd-device-mismatch" not in {f.code for f in bcd.findings(dual, there)}


@pytest.mark.parametrize(
    "there",
    [
        {Place(partition=ESP, disk=DISK)},
        {Place(partition=ESP, disk=DISK), Place(partition=WINDOWS, disk=ESP)},
    ],
    ids=["partition", "disk"],
)
def test_a_partition_that_no_disk_has_is_found(dual: Hive, there: set[Place]) -> None:
    found = [f for f in bcd.findings(dual, there) if f.code == "bcd-device-mismatch"]
    assert [f.severity for f in found] == ["warn"]
    assert "Windows 10" in found[0].message
    assert "0xC000000E" in found[0].message


def test_the_store_of_a_winpe_starts_from_memory(winpe: Hive) -> None:
    found = bcd.default(winpe)
    assert found
    assert found.ramdisk
    assert found.place is None
    assert list(bcd.findings(winpe, frozenset())) == []


def edited(store: Hive) -> None:
    bcd.show(store)
    bcd.ignore_failures(store)


def test_a_real_store_is_edited_once_and_elsewhere_stays(
    shared: Path, tmp_path: Path, dual: Hive
) -> None:
    edited(dual)
    assert [(c.path, c.kind) for c in dual.changes] == [
        (rf"BCD\Objects\{LOADER}\Elements\250000E0\Element", "create")
    ]
    dual.save(tmp_path / "edited")
    again = Hive("BCD", tmp_path / "edited")
    edited(again)
    assert again.changes == []
    before = hives.dump(hives.real(shared, "win10-uefi-dualboot-BCD", tmp_path))
    after = hives.dump(tmp_path / "edited")
    added = rf"Objects\{LOADER}\Elements\250000E0"
    assert after.pop(added) == {"Element": (hives.BINARY, (1).to_bytes(8, "little"))}
    assert after == before


def test_the_store_of_a_winpe_is_left_as_it_is(winpe: Hive) -> None:
    edited(winpe)
    assert winpe.changes == []


def test_graphics_are_on_in_all_loaders(tmp_path: Path) -> None:
    keys = windows_store.keys(
        windows_store.gpt(WINDOWS, DISK), efi=True, graphics_off=True
    )
    store = Hive("BCD", hives.made(tmp_path / "BCD", keys))
    bcd.show(store)
    element = rf"Objects\{windows_store.LOADER}\Elements\16000046"
    assert not store.exists(element)


def test_the_old_policy_can_be_put_back(tmp_path: Path) -> None:
    keys = windows_store.keys(windows_store.gpt(WINDOWS, DISK), efi=True)
    store = Hive("BCD", hives.made(tmp_path / "BCD", keys))
    bcd.show(store)
    assert bcd.policy(store) is None
    bcd.ignore_failures(store)
    assert bcd.policy(store) == 1


@pytest.mark.report("https://github.com/apache/cloudstack/issues/9645")
@pytest.mark.parametrize(("efi", "firmware"), [(True, "efi"), (False, "bios")])
def test_the_loader_tells_the_firmware(
    efi: bool, firmware: str, tmp_path: Path
) -> None:
    keys = windows_store.keys(windows_store.mbr(SIGNATURE, 2**20), efi=efi)
    store = Hive("BCD", hives.made(tmp_path / "BCD", keys))
    assert bcd.firmware(store) == firmware


def test_a_partition_of_an_mbr_is_known_by_signature_and_offset(tmp_path: Path) -> None:
    keys = windows_store.keys(windows_store.mbr(SIGNATURE, 2**20), efi=False)
    store = Hive("BCD", hives.made(tmp_path / "BCD", keys))
    there = Place(signature=SIGNATURE, offset=2**20)
    assert list(bcd.findings(store, {there})) == []
    other = Place(signature=SIGNATURE, offset=2**21)
    codes = [f.code for f in bcd.findings(store, {other})]
    assert codes == ["bcd-device-mismatch"] * 2


def test_the_disks_tell_their_partitions_as_a_store_does(tmp_path: Path) -> None:
    gpt = {"PART_ENTRY_SCHEME": "gpt", "PART_ENTRY_UUID": WINDOWS.upper()}
    mbr = {
        "PART_ENTRY_SCHEME": "dos",
        "PART_ENTRY_UUID": "5cbea03e-01",
        "PART_ENTRY_OFFSET": "2048",
    }
    volumes = {
        "/dev/sda": Volume(facts={"PTUUID": DISK}),
        "/dev/sda1": Volume(facts=gpt),
        "/dev/sdb": Volume(facts={"PTUUID": "5cbea03e"}),
        "/dev/sdb1": Volume(facts=mbr),
    }
    folder = Folder(tmp_path, {}, volumes)
    folder.list_partitions = lambda: ["/dev/sda1", "/dev/sdb1"]  # type: ignore[method-assign]
    assert bcd.volumes(Appliance(folder)) == {  # type: ignore[arg-type]
        Place(partition=WINDOWS, disk=DISK),
        Place(signature=SIGNATURE, offset=2**20),
    }


def _no_default(keys: dict[str, dict[str, hives.Content]]) -> None:
    keys[rf"Objects\{MANAGER}\Elements\23000003"] = {"Element": "{nonsense}"}


def _itself(keys: dict[str, dict[str, hives.Content]]) -> None:
    keys[rf"Objects\{MANAGER}\Elements\23000003"] = {"Element": MANAGER}


def _short(keys: dict[str, dict[str, hives.Content]]) -> None:
    loader = rf"Objects\{windows_store.LOADER}\Elements\11000001"
    keys[loader] = {"Element": b"\6" * 30}


@pytest.mark.parametrize("broken", [_no_default, _itself, _short])
def test_a_store_that_makes_no_sense_is_left_as_it_is(
    broken: Callable[[dict[str, dict[str, hives.Content]]], None], tmp_path: Path
) -> None:
    keys = windows_store.keys(windows_store.gpt(WINDOWS, DISK), efi=True)
    broken(keys)
    store = Hive("BCD", hives.made(tmp_path / "BCD", keys))
    there = {Place(partition=WINDOWS, disk=DISK)}
    assert list(bcd.findings(store, there)) == []
    found = bcd.default(store)
    assert found is None or not found.is_loader or found.place is None
