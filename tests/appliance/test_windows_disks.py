# SPDX-License-Identifier: GPL-2.0-or-later
"""A Windows finds its disks after it was changed on a real NTFS, in one appliance.

The tests build upon each other, as a guest's conversion does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hives
import windows_disks
from served_image import for_ntfs
from v2v.document import VM, Change, Disk, Guest, Source, Verdict, Windows
from v2v.guests.appliance import Appliance
from v2v.guests.wanted import Wanted
from v2v.guests.windows import disks, opening, placing, registry
from v2v.guests.windows.place import Work
from v2v.guests.windows.roots import Root

ROOT = Root(name="/dev/sda1", device="/dev/sda1", folder="/WINDOWS")
WINDOWS = Windows(id="win10", build=16299)
SYSTEM32 = "/WINDOWS/system32"
IN_BOX = ("storahci", "atapi", "intelide", "stornvme", "disk", "partmgr")
FILTERS = ("EhStorClass", "fvevol", "iorate", "rdyboost", "volsnap")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    shared = Path(__file__).parents[3] / "shared"
    if not shared.is_dir():
        pytest.skip("needs ../shared")
    folder = tmp_path_factory.mktemp("windows")
    with for_ntfs(folder, 128) as own:
        make(own.g, shared, folder)
        yield own


def make(g: Any, shared: Path, folder: Path) -> None:
    """Make a Windows 10 of VMware, spelled as no two tools would spell it."""
    g.part_disk("/dev/sda", "mbr")
    g.mkfs("ntfs", "/dev/sda1")
    g.mount("/dev/sda1", "/")
    for path in ("Config", "DRIVERS", "DriverStore/filerepository"):
        g.mkdir_p(f"{SYSTEM32}/{path}")
    g.mkdir_p("/WINDOWS/Inf")
    g.write(f"{SYSTEM32}/cmd.exe", windows_disks.program(0x8664))
    for driver in (*IN_BOX, *FILTERS):
        file = f"{SYSTEM32}/DRIVERS/{driver.upper()}.SYS"
        g.write(file, windows_disks.program(0x8664))
    system = hives.real(shared, windows_disks.REAL["pc"], folder)
    g.upload(str(system), f"{SYSTEM32}/Config/SYSTEM")
    for number in (1, 2):
        log = hives.content(shared, f"{windows_disks.REAL['pc']}.LOG{number}")
        (folder / "log").write_bytes(log)
        g.upload(str(folder / "log"), f"{SYSTEM32}/Config/SYSTEM.LOG{number}")
    software = hives.made(folder / "software", hives.SOFTWARE)
    g.upload(str(software), f"{SYSTEM32}/Config/software")
    # The filter of a disk's maker, of which nothing else is known here.
    g.write(f"{SYSTEM32}/DRIVERS/stdcfltn.sys", windows_disks.program(0x8664))
    g.umount_all()


def begun(running: Appliance, folder: Path, *, drivers: bool = False) -> Work:
    own = opening.begun(running, ROOT, folder, opening.How())
    return Work(
        appliance=running,
        registry=own.registry,
        vm=VM(
            id="x",
            name="x",
            memory=2**30,
            disks=(Disk(id="sda"),),
            source=Source(kind="vmx", location="x"),
        ),
        guest=Guest(type="windows", arch="x86_64", windows=WINDOWS),
        wanted=Wanted(),
        root=ROOT.folder,
        drivers=windows_disks.selected(WINDOWS, "x86_64", folder) if drivers else None,
    )


def applied(work: Work, folder: Path) -> list[Change]:
    """Do what is planned, the hives last."""
    actions = [*disks.plan(work), *registry.actions(work.registry, folder)]
    for action in actions:
        action.apply(work.appliance)
    return [action.change for action in actions]


def bus(verdicts: tuple[Verdict, ...], name: str) -> Verdict:
    return next(verdict for verdict in verdicts if verdict.bus == name)


def test_without_drivers_it_is_made_to_boot_from_sata(
    running: Appliance, tmp_path: Path
) -> None:
    work = begun(running, tmp_path)
    before = disks.proved(work, disks.chosen(work)[0])
    assert bus(before, "sata").reason == "storahci is overridden (StartOverride)"
    changes = applied(work, tmp_path)
    devices, planned = disks.chosen(work)
    assert (devices.block, devices.net) == ("sata", "e1000e")
    assert [change.path for change in changes] == [
        r"SYSTEM\ControlSet001\Services\storahci\StartOverride",
        f"{SYSTEM32}/Config/SYSTEM",
    ]
    running.g.umount_all()
    assert disks.proved(begun(running, tmp_path), devices) == planned
    running.g.umount_all()


def test_with_drivers_it_boots_from_virtio_once_their_files_are_there(
    running: Appliance, tmp_path: Path
) -> None:
    work = begun(running, tmp_path, drivers=True)
    changes = applied(work, tmp_path)
    devices, planned = disks.chosen(work)
    assert (devices.block, devices.machine) == ("virtio", "q35")
    files = [change.path for change in changes if change.kind == "create"]
    published = [path for path in files if path.startswith("/WINDOWS/Inf/")]
    assert published == ["/WINDOWS/Inf/oem14.inf", "/WINDOWS/Inf/oem15.inf"]
    store = f"{SYSTEM32}/DriverStore/filerepository/viostor.inf_amd64_"
    assert sum(path.startswith(store) for path in files) == 3
    assert all(running.g.is_file(p) for p in files if p.startswith("/"))
    running.g.umount_all()
    second = begun(running, tmp_path)
    missing = bus(disks.proved(second, devices), "virtio")
    assert missing.reason.startswith(r"system32\drivers\viostor.sys is missing")
    for action in placing.plan(work):
        action.apply(running)
    running.g.umount_all()
    assert disks.proved(begun(running, tmp_path), devices) == planned
    running.g.umount_all()


def test_a_second_run_changes_nothing(running: Appliance, tmp_path: Path) -> None:
    work = begun(running, tmp_path, drivers=True)
    assert applied(work, tmp_path) == []
    assert running.g.exists(f"{SYSTEM32}/Config/SYSTEM{registry.KEPT}")
