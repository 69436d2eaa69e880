# SPDX-License-Identifier: GPL-2.0-or-later
"""A Windows made by hand is found, judged and opened on a real NTFS, in one appliance.

The tests build upon each other, as a guest's conversion does: nothing is written before
the last ones.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bitlocker
import hives
import ntfs
from served_image import for_ntfs
from v2v.errors import GuestError
from v2v.guests import devices
from v2v.guests.appliance import Appliance
from v2v.guests.windows import facts, opening, roots, state
from v2v.guests.windows.partition import Place
from v2v.guests.windows.roots import Root

CONFIG = "/WINDOWS/System32/Config"
ROOT = Root(name="/dev/sda1", device="/dev/sda1", folder="/WINDOWS")
SIGNATURE = 0x5CBEA03E
PROGRAM = (
    b"MZ".ljust(0x3C, b"\0") + struct.pack("<I4sH", 0x40, b"PE\0\0", 0x8664) + bytes(99)
)
HIBERNATED = b"HIBR".ljust(8192, b"\0")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("windows")
    with for_ntfs(folder, 128) as own:
        make(own.g, folder)
        yield own


def make(g: Any, folder: Path) -> None:
    """Make a Windows on partition 1, and a BitLocker volume on partition 2."""
    g.part_init("/dev/sda", "mbr")
    g.part_add("/dev/sda", "p", 2048, 2048 + 131071)
    g.part_add("/dev/sda", "p", 196608, 196608 + 32767)
    g.pwrite_device("/dev/sda", struct.pack("<I", SIGNATURE), 440)
    g.mkfs("ntfs", "/dev/sda1")
    locked = bitlocker.volume(0x0100, 0x0800, lost=0)
    g.pwrite_device("/dev/sda2", bytes(locked), 0)
    g.mount("/dev/sda1", "/")
    for path in (f"{CONFIG}/x", "/Boot/x", "/Users/ann/x"):
        g.mkdir_p(path.rpartition("/")[0])
    g.write("/WINDOWS/System32/CMD.EXE", PROGRAM)
    for name, keys in (("SYSTEM", hives.SYSTEM), ("software", hives.SOFTWARE)):
        g.upload(str(hives.made(folder / name, keys)), f"{CONFIG}/{name}")
    g.write("/Boot/BCD", hives.empty())
    g.write("/Users/ann/NTUSER.DAT", hives.empty())
    g.umount_all()
    # Windows is to check it: ntfsfix's last step.
    g.ntfsfix("/dev/sda1")
    g.mount("/dev/sda1", "/")
    g.write("/hiberfil.sys", HIBERNATED)
    g.umount_all()


def test_the_volumes_are_judged(running: Appliance) -> None:
    there = devices.found(running)
    assert [device.type for device in there] == ["ntfs", "BitLocker"]
    dirty, locked = state.volume_findings(running, there)
    assert (dirty.code, locked.code) == ("ntfs-dirty", "bitlocker-locked")
    assert "(TPM, recovery password)" in locked.message


def test_the_system_and_its_boot_store_are_found(running: Appliance) -> None:
    there = devices.found(running)
    assert roots.found(running, there) == [ROOT]
    assert opening.stores(running, there) == [("/dev/sda1", "/Boot/BCD")]


def test_the_system_is_described_and_its_drive_is_on_its_disk(
    running: Appliance, tmp_path: Path
) -> None:
    with roots.shown(running, ROOT.device):
        opened = opening.registry(running, ROOT, tmp_path)
        own = opening.with_store(
            running, opened, "/Boot/BCD", tmp_path, force=False
        ).registry
        guest = opening.described(running, ROOT, own)
        assert state.sleep(running, own) == "hibernated"
    assert (guest.product, guest.arch) == ("Windows 10 Pro", "x86_64")
    assert own.paths["SOFTWARE"] == f"{CONFIG}/software"
    # As Windows has it in MountedDevices.
    there = devices.found(running)
    place = Place(signature=SIGNATURE, offset=2**20)
    assert roots.places(running, there)[ROOT.device] == place
    drive = facts.drives(own)[0]
    assert (drive.letter, drive.signature, drive.offset) == ("C:", SIGNATURE, 2**20)


def test_a_hibernated_system_is_not_written(running: Appliance, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="is hibernated") as e:
        opening.begun(running, ROOT, tmp_path, opening.How())
    assert "--discard-hibernation" in e.value.remedy
    # ntfs-3g says nothing: the mount is one to be read.
    with pytest.raises(GuestError, match="cannot be written"):
        opening.mount(running, ROOT)
    running.g.umount_all()


def test_its_memory_is_discarded_if_it_is_wished(
    running: Appliance, tmp_path: Path
) -> None:
    own = opening.begun(running, ROOT, tmp_path, opening.How(discard=True)).registry
    assert state.sleep(running, own) == "no"
    names = running.names("/")
    running.g.umount_all()
    assert "hiberfil.sys" not in names
    assert not [name for name in names if name.startswith("v2v-")]
    opening.begun(running, ROOT, tmp_path, opening.How())
    running.g.umount_all()


def test_a_system_in_use_is_written_only_if_its_journal_may_be_lost(
    running: Appliance, tmp_path: Path
) -> None:
    """As Windows 8 and later leave it by Fast Startup, or a snapshot does."""
    g: Any = running.g
    g.mount(ROOT.device, "/")
    g.write("/hiberfil.sys", HIBERNATED)
    g.umount_all()
    at = ntfs.journal_at(state.reader(running, ROOT.device))
    g.pwrite_device(ROOT.device, ntfs.restart(9, 0, 0, major=2), at)
    [finding, *_] = state.volume_findings(running, devices.found(running))
    assert finding.code == "ntfs-not-closed"
    with pytest.raises(GuestError, match="is hibernated"):
        opening.begun(running, ROOT, tmp_path, opening.How())
    opening.begun(running, ROOT, tmp_path, opening.How(discard=True))
    assert not g.exists("/hiberfil.sys")
    g.umount_all()
    g.pwrite_device(ROOT.device, ntfs.restart(9, 0, 0), at)
    with pytest.raises(GuestError, match="was not closed"):
        opening.begun(running, ROOT, tmp_path, opening.How())
