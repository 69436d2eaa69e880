# SPDX-License-Identifier: GPL-2.0-or-later
"""The heads that the boot code of Windows XP and 2003 counts by."""

from pathlib import Path

import pytest

import windows_folder
import windows_guest
from target_vm import make_vm
from v2v.document import Guest, Windows
from v2v.guests.wanted import Wanted
from v2v.guests.windows import bootsector
from v2v.guests.windows.place import Work
from windows_registry import registry


def work(folder: Path, name: str, build: int) -> Work:
    (folder / "guest").mkdir()
    return Work(
        appliance=windows_folder.opened(windows_guest.load(name), folder / "guest"),
        registry=registry(folder),
        vm=make_vm(),
        guest=Guest(type="windows", windows=Windows(id="x", build=build)),
        wanted=Wanted(),
        root="/WINDOWS",
    )


@pytest.mark.parametrize(
    ("size", "heads"),
    [
        *((1, 0x40), (2114445311, 0x40), (2114445312, 0x80), (4228374779, 0x80)),
        *((4228374780, 0xFF), (2**41, 0xFF)),
    ],
)
def test_the_heads_are_those_of_the_size(size: int, heads: int) -> None:
    assert bootsector.heads(size) == heads


def test_only_the_count_is_written_and_once(tmp_path: Path) -> None:
    own = work(tmp_path, "winxp", 2600)
    sectors = own.appliance.g.sectors  # type: ignore[attr-defined]
    before = sectors["/dev/sda2"]
    (action,) = bootsector.plan(own, "/dev/sda2")
    assert (action.change.before, action.change.after) == ("16 heads", "64 heads")
    action.apply(own.appliance)
    assert sectors["/dev/sda2"] == before[:0x1A] + b"\x40\0"
    assert list(bootsector.plan(own, "/dev/sda2")) == []


@pytest.mark.parametrize(
    ("build", "device"), [(6002, "/dev/sda2"), (2600, "/dev/sda"), (2600, "/dev/sda1")]
)
def test_other_sectors_stay(build: int, device: str, tmp_path: Path) -> None:
    """Of Vista, of a whole disk, and of what is no NTFS."""
    assert list(bootsector.plan(work(tmp_path, "winxp", build), device)) == []
