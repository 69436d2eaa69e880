# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made in a guest can be written by none of its users: on a real NTFS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hives
from served_image import for_ntfs
from v2v.document import Change
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.windows import files, registry, security
from v2v.guests.windows.hive import dword
from windows_registry import registry as made_registry

DRIVER = "/Windows/System32/drivers/viostor.sys"
STORE = "/Windows/System32/DriverStore/viostor.sys"
SYSTEM = "/Windows/System32/config/SYSTEM"


@pytest.fixture(scope="module")
def ntfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with for_ntfs(tmp_path_factory.mktemp("ntfs"), 64) as own:
        handle: Any = own.g  # the stubs have what v2v calls
        handle.mkfs("ntfs", "/dev/sda")
        own.g.mount("/dev/sda", "/")
        for folder in ("drivers", "DriverStore", "config"):
            own.g.mkdir_p(f"/Windows/System32/{folder}")
        yield own


def said(own: Appliance, path: str) -> bytes:
    """Return the descriptor of *path*, as it is after a mount."""
    own.g.umount_all()
    own.g.mount("/dev/sda", "/")
    change = Change(path=path, kind="edit", reason="")
    found = security.noted(own, [Action(change=change, apply=lambda _: None)])[path]
    assert found is not None
    return found


def done(own: Appliance, actions: list[Action]) -> None:
    before = security.noted(own, actions)
    for action in actions:
        action.apply(own)
    security.closed(own, before)


def test_only_system_and_administrators_may_write(ntfs: Appliance) -> None:
    ntfs.g.mkdir_p("/Windows/v2v")
    ntfs.g.write("/Windows/v2v/it's a.cmd", b"x")
    paths = ("/Windows/v2v", "/Windows/v2v/it's a.cmd")
    assert all(security.is_open(said(ntfs, path)) for path in paths)
    security.give(ntfs, paths, security.descriptor())
    assert {said(ntfs, path) for path in paths} == {security.descriptor()}


def test_a_new_file_and_its_new_folders_are_for_users_to_read(ntfs: Appliance) -> None:
    new = "/Windows/Drivers/VirtIO/balloon/blnsvr.exe"
    root = said(ntfs, "/Windows")
    done(ntfs, [*files.written(ntfs, new, b"MZ", "")])
    for path in (new, "/Windows/Drivers", "/Windows/Drivers/VirtIO/balloon"):
        assert said(ntfs, path) == security.descriptor(users=True)
    assert said(ntfs, "/Windows") == root


def test_a_file_that_is_replaced_keeps_its_descriptor_and_its_links(
    ntfs: Appliance,
) -> None:
    ntfs.g.write(STORE, b"old")
    handle: Any = ntfs.g
    handle.ln(STORE, DRIVER)
    own = security.descriptor(users=True)[:-4] + bytes([19, 0, 0, 0])
    security.give(ntfs, [DRIVER], own)
    done(ntfs, [*files.written(ntfs, DRIVER, b"newer", "")])
    assert (ntfs.read(DRIVER), ntfs.read(STORE)) == ("newer", "old")
    assert said(ntfs, DRIVER) == said(ntfs, STORE) == own


def test_a_hive_and_the_one_before_stay_closed(ntfs: Appliance, tmp_path: Path) -> None:
    ntfs.g.upload(str(hives.made(tmp_path / "old", hives.SYSTEM)), SYSTEM)
    security.give(ntfs, [SYSTEM], security.descriptor())
    own = made_registry(tmp_path)
    own.system.set("Setup", "SetupType", dword(2), "")
    # An empty file of Windows' own is a FIFO for ntfs-3g, if it is marked as system.
    ntfs.g.debug("sh", [f"mkfifo /sysroot{SYSTEM}.v2v-new"])
    done(ntfs, [*registry.actions(own, tmp_path)])
    for path in (SYSTEM, SYSTEM + registry.KEPT):
        assert said(ntfs, path) == security.descriptor()


def test_what_has_no_descriptors_needs_none(ntfs: Appliance) -> None:
    change = Change(path="/no/such/file", kind="create", reason="")
    action = Action(change=change, apply=lambda _: None)
    assert security.noted(ntfs, [action]) == {"/no/such/file": None, "/no": None} | {
        "/no/such": None
    }
