# SPDX-License-Identifier: GPL-2.0-or-later
"""What the firmware of a new machine starts, and what else is on the ESP."""

from pathlib import Path
from typing import Any

import pytest

import guest_folder
import windows_registry
from target_vm import make_vm
from v2v.document import Guest, Windows
from v2v.guests.wanted import Wanted
from v2v.guests.windows import esp
from v2v.guests.windows.place import Work

MARK = "Microsoft Corporation".encode("utf-16-le")
NEW, OLD = b"new " + MARK, b"old " + MARK
MANAGER = "/efi/EFI/Microsoft/Boot/bootmgfw.efi"
FIRST = "/efi/EFI/Boot/bootx64.efi"


def work(folder: Path, files: dict[str, bytes], **changes: Any) -> Work:
    (folder / "root").mkdir()
    fields: dict[str, Any] = {
        "appliance": guest_folder.guest(folder / "root", files),
        "registry": windows_registry.registry(folder),
        "vm": make_vm(),
        "guest": Guest(
            type="windows", arch="x86_64", windows=Windows(id="win10", build=19045)
        ),
        "wanted": Wanted(),
        "root": "/Windows",
        "esp": "/efi",
    }
    return Work(**{**fields, **changes})


def done(there: Work) -> list[str]:
    return guest_folder.applied(there.appliance, esp.plan(there))


def codes(there: Work) -> list[str]:
    return [found.code for found in esp.findings(there)]


@pytest.mark.report("https://github.com/harvester/harvester/issues/4281")
def test_the_boot_manager_is_copied_to_where_the_firmware_looks(tmp_path: Path) -> None:
    there = work(tmp_path, {MANAGER: NEW})
    assert done(there) == [FIRST]
    assert there.appliance.bytes(FIRST) == NEW
    assert list(esp.plan(there)) == []
    assert codes(there) == []


def test_an_older_boot_manager_is_replaced_as_it_is_spelled(tmp_path: Path) -> None:
    first = "/efi/EFI/BOOT/BOOTX64.EFI"
    there = work(tmp_path, {MANAGER: NEW, first: OLD})
    assert done(there) == [first]
    assert there.appliance.bytes(first) == NEW
    assert there.appliance.names("/efi/EFI/BOOT") == ["BOOTX64.EFI"]


@pytest.mark.parametrize("arch", [("i386", "ia32"), ("aarch64", "aa64")])
def test_the_name_is_the_processor_s(arch: tuple[str, str], tmp_path: Path) -> None:
    guest = Guest(type="windows", arch=arch[0])
    there = work(tmp_path, {MANAGER: NEW}, guest=guest)
    assert done(there) == [f"/efi/EFI/Boot/boot{arch[1]}.efi"]
    assert codes(there) == (["efi-narrow"] if arch[0] == "i386" else [])


def test_a_shim_is_kept_and_told_of(tmp_path: Path) -> None:
    files = {MANAGER: NEW, FIRST: b"shim", "/efi/EFI/Boot/mmx64.efi": b"mm"}
    there = work(tmp_path, files)
    before = guest_folder.tree(tmp_path / "root")
    assert done(there) == []
    assert guest_folder.tree(tmp_path / "root") == before
    (found,) = esp.findings(there)
    assert found.code == "efi-other-loader"
    assert "MokManager" in found.message


@pytest.mark.parametrize(
    "files",
    [
        {},
        {f"{MANAGER}/": b""},
        {MANAGER: b""},
        {MANAGER: bytes(esp._MOST + 1)},
    ],
    ids=["missing", "folder", "empty", "huge"],
)
def test_no_boot_manager_is_said_and_nothing_done(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    there = work(tmp_path, {**files, "/efi/EFI/Microsoft/Boot/BCD": b""})
    assert done(there) == []
    assert codes(there) == ["efi-no-boot-manager"]


def test_a_folder_in_the_place_of_the_loader_stays(tmp_path: Path) -> None:
    there = work(tmp_path, {MANAGER: NEW, f"{FIRST}/": b""})
    assert done(there) == []
    assert codes(there) == ["efi-other-loader"]


def test_a_guest_without_an_esp_is_left_alone(tmp_path: Path) -> None:
    there = work(tmp_path, {MANAGER: NEW}, esp=None)
    assert (done(there), codes(there)) == ([], [])
