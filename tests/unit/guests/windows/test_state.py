# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that are not off, not clean, or locked: told apart, and what to do."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

import bitlocker
import guest_folder
import hives
from guest_folder import Folder
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.windows import state
from v2v.guests.windows.volumes import BitLocker
from windows_registry import registry

POWER = r"ControlSet001\Control\Session Manager\Power"
FAST: hives.Keys = {POWER: {"HiberbootEnabled": 1}}


class Disks(Folder):
    """A guest of raw devices, by their names."""

    def __init__(self, content: Mapping[str, bytes]) -> None:
        super().__init__(Path("/"), {})
        self.content = content

    def list_devices(self) -> list[str]:
        return [name for name in self.content if not name[-1].isdigit()]

    def pread_device(self, device: str, count: int, offset: int) -> bytes:
        if offset > len(self.content[device]):
            raise RuntimeError("beyond the end")
        return self.content[device][offset : offset + count]


def volume_codes(content: Mapping[str, bytes], *there: Device) -> list[str]:
    appliance = Appliance(cast(Any, Disks(content)))
    return [found.code for found in state.volume_findings(appliance, there)]


def user(folder: Path, *, in_use: bool) -> bytes:
    head = hives.base(sequences=(8, 7) if in_use else (8, 8))
    return head + hives.empty()[4096:]


def guest(folder: Path, magic: str, *, in_session: bool = False) -> Appliance:
    hive = user(folder, in_use=in_session)
    files: dict[str, str | bytes] = {
        "hiberfil.sys": magic,
        "Users/Public/x": "",
        "Users/ann/NTUSER.DAT": hive,
    }
    root = folder / "guest"
    root.mkdir()
    return guest_folder.guest(root, files)


@pytest.mark.parametrize(
    ("magic", "keys", "in_session", "expected"),
    [
        ("HIBR", FAST, False, "fast-startup"),
        ("hibr", FAST, False, "fast-startup"),
        ("HIBR", FAST, True, "hibernated"),
        ("HIBR", {}, False, "hibernated"),
        ("HIBR", {POWER: {"HiberbootEnabled": 0}}, False, "hibernated"),
        ("wake", FAST, False, "no"),
        ("RSTR", FAST, False, "no"),
        ("\0\0\0\0", FAST, False, "no"),
        ("", FAST, False, "no"),
    ],
)
@pytest.mark.report("https://github.com/apache/cloudstack/issues/11561")
def test_hibernation_and_fast_startup_are_told_apart(
    tmp_path: Path,
    magic: str,
    keys: hives.Keys,
    in_session: bool,
    expected: state.Sleep,
) -> None:
    there = registry(tmp_path, system=keys)
    own = guest(tmp_path, magic + "x" * 100, in_session=in_session)
    assert state.sleep(own, there) == expected


def test_without_a_file_for_it_a_guest_is_off(tmp_path: Path) -> None:
    assert state.sleep(guest_folder.guest(tmp_path, {"x": ""}), None) == "no"
    (tmp_path / "hiberfil.sys").mkdir()
    assert state.sleep(guest_folder.guest(tmp_path), None) == "no"


def test_a_guest_whose_registry_is_unreadable_is_hibernated(tmp_path: Path) -> None:
    assert state.sleep(guest(tmp_path, "HIBR"), None) == "hibernated"


@pytest.mark.parametrize("name", ["win81-x64-virtualbox", "win10-x64-vmware"])
def test_real_guests_of_8_and_later_shut_down_fast(
    shared: Path, tmp_path: Path, name: str
) -> None:
    system = hives.real(shared, f"{name}-SYSTEM", tmp_path)
    there = registry(tmp_path, file=system)
    assert state.sleep(guest(tmp_path, "HIBR"), there) == "fast-startup"


@pytest.mark.report("https://github.com/adminsyspro/proxcenter-ui/issues/400")
def test_a_guest_that_is_not_off_is_refused_with_what_to_do() -> None:
    with pytest.raises(GuestError, match="Fast Startup") as e:
        state.refuse_sleep("fast-startup")
    assert "shutdown /s /f /t 0" in e.value.remedy
    assert "--discard-hibernation" in e.value.remedy
    with pytest.raises(GuestError, match="hiberfil"):
        state.refuse_sleep("hibernated")
    state.refuse_sleep("no")
    state.refuse_sleep("hibernated", discard=True)


def test_volumes_of_disks_are_judged() -> None:
    sector = bytearray(512)
    sector[450], sector[510:] = 0x42, b"\x55\xaa"
    locked = b"\xeb\x58\x90-FVE-FS-".ljust(512, b"\0")
    content = {"/dev/sda": bytes(sector), "/dev/sda1": locked, "/dev/sda2": b"x" * 512}
    there = [
        Device(name="/dev/sda1", type="BitLocker"),
        Device(name="/dev/sda2", type="ntfs"),
    ]
    assert volume_codes(content, *there) == ["bitlocker-locked", "disk-dynamic"]
    assert volume_codes({"/dev/sda": b"", "/dev/sda2": b""}, there[1]) == []


def test_bitlocker_is_seen_where_libblkid_does_not_know_it() -> None:
    content = {"/dev/sda1": bytes(bitlocker.volume(0x0100)), "/dev/sda2": b"x" * 512}
    there = [Device(name=name, type="unknown") for name in content]
    assert volume_codes(content, *there) == ["bitlocker-locked"]


def test_a_gpt_for_dynamic_disks_is_seen() -> None:
    kind = "af9b60a0-1431-4f62-bc68-3311714a69ad"
    there = Device(name="/dev/sda3", type="unknown", partition_type=kind)
    content = {"/dev/sda": b"", "/dev/sda3": b""}
    assert volume_codes(content, there) == ["disk-dynamic"]


@pytest.mark.parametrize(
    ("protectors", "partial", "says"),
    [
        (("clear key", "TPM"), False, "suspended"),
        (("TPM",), True, "at work"),
        (("TPM", "recovery password"), False, "(TPM, recovery password)"),
        (("TPM",), False, "no password (TPM)"),
        ((), False, "no password (unknown)"),
    ],
)
@pytest.mark.report("https://github.com/kubevirt/common-instancetypes/issues/168")
def test_each_case_of_bitlocker_has_its_advice(
    protectors: tuple[str, ...], partial: bool, says: str
) -> None:
    found = state.locked("/dev/sda3", BitLocker(protectors=protectors, partial=partial))
    assert says in found.message
    assert found.remedy


def dirty() -> bytes:
    return hives.base(sequences=(3, 2)) + hives.empty()[4096:]


def test_a_clean_hive_needs_no_logs() -> None:
    def never() -> list[bytes]:
        raise AssertionError

    own = hives.empty()
    assert state.completed("SYSTEM", own, never, force=False) == (own, None)


def test_a_hive_that_was_in_use_is_completed_and_told() -> None:
    own = dirty()
    log = bytearray(512 + 512)
    log[:512] = hives.base(kind=1)[:512]
    log[512:517] = b"DIRT\1"
    done, found = state.completed(
        "SYSTEM", own, lambda: [bytes(log) + own[4096:4608]], force=False
    )
    assert found and found.code == "hive-replayed"
    assert struct.unpack_from("<II", done, 4) == (4, 4)


def test_a_hive_without_its_logs_is_refused_unless_forced() -> None:
    own = dirty()
    with pytest.raises(GuestError, match="SOFTWARE hive was in use") as e:
        state.completed("SOFTWARE", own, list, force=False)
    assert "--force-dirty-hive" in e.value.remedy
    same, found = state.completed("SOFTWARE", own, list, force=True)
    assert found and (found.code, found.severity) == ("hive-dirty", "warn")
    assert same == own
    with pytest.raises(GuestError, match="no registry hive"):
        state.completed("SAM", b"MZ", list, force=True)


def test_all_codes_are_known() -> None:
    codes = {"bitlocker-locked", "disk-dynamic", "hive-dirty", "hive-replayed"}
    assert codes < set(state.FINDINGS)
