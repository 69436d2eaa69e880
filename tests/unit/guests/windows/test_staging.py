# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of a driver package are put where Windows keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

import guest_folder
import windows_disks
from v2v.document import Change
from v2v.errors import GuestError
from v2v.guests.windows import presence, staging
from v2v.guests.windows.files import spelled

FILES = {"viostor.inf": b"viostor", "VioStor.sys": bytes(3 * 2**20 + 1), "x.cat": b""}


def changes(root: Path, *, write: bool = True) -> list[Change]:
    running = guest_folder.guest(root)
    known: dict[str, str] = {}
    actions = list(
        staging.staged(
            running,
            lambda relative: spelled(running, "/Windows", relative, known),
            windows_disks.package("viostor"),
            "oem3.inf",
            FILES,
        )
    )
    for action in actions if write else ():
        action.apply(running)
    return [action.change for action in actions]


def guest(tmp_path: Path) -> Path:
    (tmp_path / "Windows" / "inf").mkdir(parents=True)
    (tmp_path / "Windows" / "SYSTEM32").mkdir()
    return tmp_path


def test_each_file_is_in_the_store_and_the_inf_is_published(tmp_path: Path) -> None:
    root = guest(tmp_path)
    made = changes(root)
    label = windows_disks.package("viostor").label
    store = f"/Windows/SYSTEM32/DriverStore/FileRepository/{label}"
    assert [change.path for change in made] == [
        f"{store}/viostor.sys",
        f"{store}/viostor.inf",
        f"{store}/x.cat",
        "/Windows/inf/oem3.inf",
    ]
    for change, content in zip(
        made, [FILES["VioStor.sys"], b"viostor", b"", b"viostor"], strict=True
    ):
        assert (root / change.path[1:]).read_bytes() == content


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    root = guest(tmp_path)
    changes(root)
    assert changes(root) == []


def test_what_differs_is_written_again(tmp_path: Path) -> None:
    root = guest(tmp_path)
    file = root / changes(root)[0].path[1:]
    content = bytearray(file.read_bytes())
    content[-1] = 1
    file.write_bytes(content)
    assert len(changes(root)) == 1


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    root = guest(tmp_path)
    (root / "Windows" / "inf" / "oem3.inf").mkdir()
    with pytest.raises(GuestError, match=r"/Windows/inf/oem3\.inf in the guest is no"):
        changes(root, write=False)


@pytest.mark.parametrize(
    ("content", "arch", "expected"),
    [
        (windows_disks.program(0x8664), "x86_64", True),
        (windows_disks.program(0x014C), "i386", True),
        (windows_disks.program(0x014C), "x86_64", False),
        (windows_disks.program(0x8664), None, True),
        (b"", "x86_64", False),
        (b"no program", "x86_64", False),
        (None, "x86_64", False),
    ],
)
def test_a_driver_is_a_program_for_the_guests_processor(
    tmp_path: Path, content: bytes | None, arch: str | None, expected: bool
) -> None:
    files = {} if content is None else {"/Windows/system32/Drivers/x.sys": content}
    running = guest_folder.guest(tmp_path, files)
    known: dict[str, str] = {}
    is_there = presence.present(
        running,
        lambda relative: spelled(running, "/Windows", relative, known),
        arch,
        {r"system32\drivers\viostor.sys"},
    )
    assert is_there(r"System32\drivers\X.sys") is expected
    assert is_there(r"System32\drivers\viostor.sys")
    assert not is_there("system32")
