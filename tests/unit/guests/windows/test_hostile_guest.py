# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests whose files are not what they should be, and what is left of earlier work."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

import guest_folder
import windows_folder
import windows_golden
import windows_guest
from guest_folder import Folder, Volume
from v2v.document import Finding, Guest
from v2v.errors import GuestError
from v2v.guests import devices, inspection
from v2v.guests.appliance import Appliance
from v2v.guests.windows import hive, opening, roots


def phony(name: str, folder: Path) -> tuple[Appliance, Path]:
    """Return a phony guest, and the folder of its ESP or small volume."""
    own = windows_guest.load(name)
    (folder / "guest").mkdir()
    appliance = windows_folder.opened(own, folder / "guest")
    disk: Any = appliance.g
    return appliance, disk.volumes["/dev/sda1"].folder


def looked(appliance: Appliance, folder: Path) -> tuple[Guest, list[Finding]]:
    copies = folder / "copies"
    copies.mkdir()
    return inspection.look(appliance, inspection.Asked(folder=copies))


def store_of(place: Path) -> Path:
    (found,) = (path for path in place.rglob("*") if path.name.upper() == "BCD")
    return found


@pytest.mark.parametrize("content", [b"", b"no hive", b"regf" + bytes(8192)])
def test_a_broken_boot_store_is_told_and_holds_up_no_look(
    tmp_path: Path, content: bytes
) -> None:
    appliance, esp = phony("win11", tmp_path)
    store_of(esp).write_bytes(content)
    guest, found = looked(appliance, tmp_path)
    assert guest.windows
    assert [f.severity for f in found if f.code == "windows-unreadable"] == ["block"]


def test_a_huge_boot_store_is_not_fetched(tmp_path: Path) -> None:
    appliance, esp = phony("win11", tmp_path)
    with store_of(esp).open("r+b") as file:
        file.truncate(hive.MAX_SIZE + 1)  # sparse, in NTFS too
    _, found = looked(appliance, tmp_path)
    (told,) = (f for f in found if f.code == "windows-unreadable")
    assert "BCD hive is too large" in told.message
    assert not [p for p in (tmp_path / "copies").iterdir() if p.name not in NAMES]


NAMES = ("SYSTEM", "SOFTWARE", "DRIVERS")


@pytest.mark.parametrize("what", ["link", "file"])
def test_a_boot_volume_is_mounted_over_no_link(tmp_path: Path, what: str) -> None:
    appliance, _ = phony("win11", tmp_path)
    disk: Any = appliance.g
    place = disk.volumes["/dev/sda2"].folder / ".v2v-boot"
    if what == "link":
        place.symlink_to("/usr")
    else:
        place.write_bytes(b"")
    with pytest.raises(GuestError, match="is no folder, and one must be made there"):
        windows_golden.job(appliance, windows_guest.load("win11"), tmp_path)


class Damaged(Folder):
    """A guest with a volume whose root cannot be read."""

    def ls0(self, folder: str, to: str) -> None:
        if self.mounted["/"].name == "1":
            raise RuntimeError(f"ls0: {folder}: Input/output error")
        super().ls0(folder, to)


def volumes(
    folder: Path, *all_: tuple[Mapping[str, str], str], kind: type[Folder] = Folder
) -> Appliance:
    there = {}
    for number, (facts, path) in enumerate(all_, 1):
        root = folder / str(number)
        guest_folder.put(root, path, "regf")
        there[f"/dev/sda{number}"] = Volume(facts=facts, folder=root)
    return Appliance(cast(Any, kind(folder, {}, there)))


def test_a_damaged_data_volume_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ntfs = {"TYPE": "ntfs"}
    own = volumes(tmp_path, (ntfs, "x"), (ntfs, "Boot/BCD"), kind=Damaged)
    there = devices.found(own)
    assert roots.found(own, there) == []
    assert "/dev/sda1 cannot be read" in caplog.text
    assert opening.stores(own, there) == [("/dev/sda2", "/Boot/BCD")]
