# SPDX-License-Identifier: GPL-2.0-or-later
"""Phony Windows guests on a real NTFS and ESP: what the stand-in says holds there.

One appliance has them, one after another; whatever fails in v2v-fixup leaves the disk
as it was.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import windows_disk
import windows_golden
import windows_guest
from failing import Failing
from nbd_vm import digest
from served_image import served
from v2v.document import VM, Disk, Layer
from v2v.errors import V2VError
from v2v.guests import appliance
from v2v.guests.appliance import Appliance
from v2v.servers import Access
from v2v.steps import fixup, inside

NAMES = ["win10", "win7-32", "win10-bios-d", "win2k25", "winxp"]
ID = "11111111-2222-4333-8444-555555555556"


@contextmanager
def running(image: Path) -> Iterator[Appliance]:
    """Yield an appliance with a blank disk, which is made in *image*."""
    image.touch()
    os.truncate(image, windows_disk.SIZE)
    with (
        served(image, image.with_suffix(".sock")) as uri,
        appliance.opened([uri], write=True) as own,
    ):
        if not own.g.feature_available(["ntfs3g", "ntfsprogs"]):
            pytest.skip("the appliance has no ntfs-3g")
        yield own


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running(tmp_path_factory.mktemp("windows") / "disk.img") as own:
        yield own


@pytest.mark.parametrize(
    "name", [pytest.param(NAMES[0], marks=pytest.mark.smoke), *NAMES[1:]]
)
def test_an_appliance_makes_the_same_changes(
    name: str, tmp_path: Path, blank: Appliance
) -> None:
    guest = windows_guest.load(name)
    folders = [tmp_path / n for n in ("files", "first", "second")]
    for folder in folders:
        folder.mkdir()
    files, first, second = folders
    blank.known.clear()
    windows_disk.write(guest, files, blank.g)
    made = windows_golden.fixed(blank, guest, first)
    assert made.text == (windows_guest.FOLDER / f"{name}.txt").read_text()
    blank.g.umount_all()
    blank.known.clear()
    again, _ = windows_golden.job(blank, guest, second)
    assert [action.change for action in again.actions] == []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    (folder / "files").mkdir()
    image = folder / "disk.img"
    with running(image) as own:
        windows_disk.write(windows_guest.load("win10"), folder / "files", own.g)
    return image


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_write_that_fails_leaves_the_disk_as_it_was(
    at: int, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = target(original, tmp_path)
    before = digest(tmp_path / "disk.raw")
    with pytest.raises(V2VError, match="injected"):
        fixed(vm, tmp_path, monkeypatch, at)
    assert digest(tmp_path / "disk.raw") == before
    assert not [p for p in (tmp_path / "work").rglob("*") if p.suffix == ".qcow2"]


def test_the_step_makes_the_same_changes(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = target(original, tmp_path)
    before = digest(tmp_path / "disk.raw")
    done = fixed(vm, tmp_path, monkeypatch, 0)
    assert digest(tmp_path / "disk.raw") != before
    expected = (windows_guest.FOLDER / "win10.txt").read_text()
    for change in done.changes:
        assert f"{change.kind} {change.path}" in expected
    assert done.devices
    assert done.guest
    assert done.guest.windows
    assert done.guest.windows.build == 19045


def target(original: Path, folder: Path) -> VM:
    """Return a VM whose disk has been converted already, so that it is written to."""
    disk = folder / "disk.raw"
    shutil.copyfile(original, disk)
    layer = Layer(server="file", path=str(disk), format="raw", readonly=False)
    own = windows_guest.load("win10").vm
    return own.having(id=ID, disks=(Disk(id="sda", target=layer),))


def fixed(vm: VM, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> VM:
    """Fix *vm*, with a fault at write number *at* into it (0: none)."""
    real = appliance.opened

    @contextmanager
    def opened(uris: Sequence[str], **more: Any) -> Iterator[Appliance]:
        with real(uris, **more) as own:
            own.g = Failing(own.g, at)  # type: ignore[assignment]
            yield own

    monkeypatch.setattr(appliance, "opened", opened)
    private = folder / "private"
    private.mkdir(exist_ok=True)
    access = Access(checked=lambda path: Path(path), private=lambda: private)
    return fixup.fixup(vm, inside.Fixup(work=folder / "work"), access).vm
