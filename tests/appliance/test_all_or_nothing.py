# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever fails while a guest is changed: its disk is as it was, nothing is left."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import made_guest
from failing import Failing
from nbd_vm import digest
from v2v.document import VM, Disk, Layer, Nic, Source
from v2v.errors import V2VError
from v2v.guests import appliance
from v2v.guests.appliance import Appliance
from v2v.servers import Access
from v2v.steps import fixup, inside


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_guest.build(tmp_path_factory.mktemp("guest"))


def target(original: Path, folder: Path) -> VM:
    """Return a VM whose disk has been converted already, so that it is written to."""
    disk = folder / "web01-sda.raw"
    shutil.copyfile(original, disk)
    layer = Layer(server="file", path=str(disk), format="raw", readonly=False)
    return VM(
        id="11111111-2222-4333-8444-555555555555",
        name="web01",
        memory=2**30,
        source=Source(kind="vmx", location="/nowhere/web01.vmx"),
        disks=(Disk(id="sda", target=layer),),
        nics=(Nic(mac=made_guest.MAC), Nic(mac="00:50:56:01:02:04")),
    )


def fixed(vm: VM, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> int:
    """Fix *vm*, with a fault at write number *at*; return how many there were."""
    real = appliance.opened
    seen: list[Failing] = []

    @contextmanager
    def opened(uris: Sequence[str], **more: Any) -> Iterator[Appliance]:
        with real(uris, **more) as running:
            seen.append(Failing(running.g, at))
            running.g = seen[-1]  # type: ignore[assignment]
            yield running

    monkeypatch.setattr(appliance, "opened", opened)
    private = folder / "private"
    private.mkdir(exist_ok=True)
    access = Access(checked=lambda path: Path(path), private=lambda: private)
    try:
        fixup.fixup(vm, inside.Fixup(work=folder / "work"), access)
    finally:
        monkeypatch.setattr(appliance, "opened", real)
    return seen[-1].count


def refused(
    original: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    vm = target(original, folder)
    with pytest.raises(V2VError, match="injected"):
        fixed(vm, folder, monkeypatch, at)
    assert digest(folder / "web01-sda.raw") == digest(original), f"write {at}"
    left = [path for path in (folder / "work").rglob("*") if path.is_file()]
    assert left == [], f"write {at}"


@pytest.mark.smoke
def test_the_first_edit_that_fails_changes_nothing(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(original, tmp_path, monkeypatch, 3)


def test_a_fault_at_any_write_changes_nothing(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good"
    good.mkdir()
    count = fixed(target(original, good), good, monkeypatch, 0)
    assert digest(good / "web01-sda.raw") != digest(original)
    assert count > 10
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        refused(original, folder, monkeypatch, at)
