# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers of virtio-win are put where Windows finds them, and only once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import guest_folder
import virtio_win as made
import windows_disks
import windows_registry
from v2v.document import VM, Guest, Source, Windows
from v2v.guests.wanted import Wanted
from v2v.guests.windows import disks, placing, selection, virtio_win
from v2v.guests.windows.hive import EXPAND_SZ, expand_sz
from v2v.guests.windows.place import Work
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.selection import Selection

CURRENT = r"Microsoft\Windows\CurrentVersion"
USUAL = r"%SystemRoot%\inf"
# Beside the drivers of disks, in every guest.
FILTERS = ("partmgr", "volsnap", "fvevol", "disk", "EhStorClass", "rdyboost", "iorate")


def chosen(root: Path) -> Selection:
    media = virtio_win.media(made.folder(root / "iso", made.files()))
    assert media is not None
    return selection.selected(media, Windows(id="win10", build=19045), "x86_64")


def work(
    root: Path, registry: Registry, drivers: Selection | None, *, agent: bool = True
) -> Work:
    (root / "guest/WINDOWS/system32/Drivers").mkdir(parents=True, exist_ok=True)
    return Work(
        appliance=guest_folder.guest(root / "guest"),
        registry=registry,
        vm=VM(id="x", name="x", memory=2**30, source=Source(kind="vmx", location="x")),
        guest=Guest(type="windows", arch="x86_64"),
        wanted=Wanted(agent=agent),
        root="/WINDOWS",
        drivers=drivers,
    )


def placed(planned: Work) -> list[str]:
    actions = list(placing.plan(planned))
    for action in actions:
        action.apply(planned.appliance)
    return [action.change.path for action in actions]


def registry(root: Path, path: str | None = USUAL) -> Registry:
    made_now = windows_registry.registry(root)
    if path is not None:
        made_now.software.set(CURRENT, "DevicePath", expand_sz(path), "a test")
    return made_now


def test_each_driver_has_a_folder_and_those_of_disks_are_loaded(tmp_path: Path) -> None:
    planned = work(tmp_path, registry(tmp_path), chosen(tmp_path))
    paths = placed(planned)
    assert "/WINDOWS/Drivers/VirtIO/netkvm/netkvm.inf" in paths
    assert "/WINDOWS/Drivers/VirtIO/qemu-ga/qemu-ga-x86_64.msi" in paths
    assert not [path for path in paths if path.endswith(".pdb")]
    loaded = [path for path in paths if path.startswith("/WINDOWS/system32")]
    assert loaded == [
        "/WINDOWS/system32/Drivers/viostor.sys",
        "/WINDOWS/system32/Drivers/vioscsi.sys",
    ]
    for path in paths:
        assert (tmp_path / "guest" / path[1:]).is_file()
    assert (tmp_path / "guest" / loaded[0][1:]).read_bytes() == made.program()


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    planned = work(tmp_path, registry(tmp_path), chosen(tmp_path))
    placed(planned)
    before = planned.registry.software.changes
    assert placed(planned) == []
    assert planned.registry.software.changes == before


def test_windows_searches_each_folder_once_and_the_type_is_kept(tmp_path: Path) -> None:
    own = registry(tmp_path, rf"{USUAL};%systemroot%\drivers\virtio\VIOSTOR;")
    placed(work(tmp_path, own, chosen(tmp_path)))
    value = own.software.value(CURRENT, "DevicePath")
    assert value and value.type == EXPAND_SZ
    parts = value.text.split(";")
    assert parts[:3] == [
        USUAL,
        r"%systemroot%\drivers\virtio\VIOSTOR",
        r"%SystemRoot%\Drivers\VirtIO\vioscsi",
    ]
    assert len({part.lower() for part in parts}) == len(parts) == 12


def test_a_registry_without_a_path_gets_windows_own(tmp_path: Path) -> None:
    own = registry(tmp_path, None)
    placing.search(own.software, ["viostor"], r"C:\Windows")
    text = own.software.text(CURRENT, "DevicePath")
    assert text == rf"{USUAL};%SystemRoot%\Drivers\VirtIO\viostor"


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (made.program((200, 0, 0, 0)), True),
        (made.program(), True),
        (made.program((1, 0, 0, 0)), False),
        (made.program((200, 0, 0, 0), machine=0x14C), False),
        (b"no program", False),
    ],
)
def test_a_driver_that_is_no_older_is_kept(
    tmp_path: Path, content: bytes, kept: bool
) -> None:
    planned = work(tmp_path, registry(tmp_path), chosen(tmp_path))
    file = tmp_path / "guest/WINDOWS/system32/Drivers/viostor.sys"
    file.write_bytes(content + b"as it was")
    placed(planned)
    assert (file.read_bytes() == content + b"as it was") is kept


def test_without_drivers_nothing_is_changed(tmp_path: Path) -> None:
    own = registry(tmp_path)
    before = own.software.changes
    assert placed(work(tmp_path, own, None)) == []
    assert own.software.changes == before


def test_an_agent_that_is_not_wanted_is_not_there(tmp_path: Path) -> None:
    planned = work(tmp_path, registry(tmp_path), chosen(tmp_path), agent=False)
    assert not [path for path in placed(planned) if path.endswith(".msi")]


def test_what_is_given_is_chosen_from_and_told_of(tmp_path: Path) -> None:
    root = made.folder(tmp_path / "iso", made.files(("NetKVM/w11",)))
    guest = Guest(
        type="windows", arch="x86_64", windows=Windows(id="win11", build=22631)
    )
    software = registry(tmp_path).software
    found, told = placing.given(Wanted(virtio_win=root), guest, software)
    assert found and len(found.drivers) == 11
    assert [finding.code for finding in told] == ["virtio-win-fallback"]
    assert {finding.code for finding in told} <= {*placing.FINDINGS}


def test_without_virtio_win_nothing_is_chosen_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtio_win, "DEFAULTS", ())
    guest = Guest(
        type="windows", arch="x86_64", windows=Windows(id="win11", build=22631)
    )
    found, told = placing.given(Wanted(), guest, registry(tmp_path).software)
    assert found is None
    assert [finding.code for finding in told] == ["virtio-win-missing"]


@pytest.mark.parametrize("name", ["win10", "win81"])
def test_a_real_guest_finds_its_disk_by_them(
    shared: Path, tmp_path: Path, name: str
) -> None:
    own = windows_disks.real(shared, name, tmp_path)
    windows = Windows(id="win10", build=19045)
    guest = Guest(type="windows", arch="x86_64", windows=windows)
    wanted = Wanted(virtio_win=made.folder(tmp_path / "iso", made.files()))
    found, _ = placing.given(wanted, guest, own.software)
    planned = replace(work(tmp_path, own, found), guest=guest)
    for driver in FILTERS:
        file = tmp_path / f"guest/WINDOWS/system32/Drivers/{driver}.sys"
        file.write_bytes(windows_disks.program(0x8664))
    placed(planned)
    for action in disks.plan(planned):
        action.apply(planned.appliance)
    devices, verdicts = disks.chosen(planned)
    now = {v.bus: v.boots for v in disks.proved(planned, devices)}
    assert devices.block == "virtio", verdicts
    assert devices.net == "virtio"
    assert now["virtio"]
    assert now["scsi"]
