# SPDX-License-Identifier: GPL-2.0-or-later
"""A system is opened: hives copied and completed, the guest described."""

import struct
from pathlib import Path
from typing import Any, cast

import pytest

import guest_folder
import hives
from guest_folder import Folder, Volume
from v2v.errors import GuestError
from v2v.guests import devices
from v2v.guests.appliance import Appliance
from v2v.guests.windows import opening, volumes
from v2v.guests.windows.roots import Root
from v2v.guests.windows.volumes import Ntfs

ROOT = Root(name="/dev/sda2", device="/dev/sda2", folder="/WINDOWS")
CONFIG = "WINDOWS/system32/config"
PHYSICAL = "win10-1709-x64-physical-dirty-SYSTEM"


def program(machine: int) -> bytes:
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    return head + b"PE\0\0" + struct.pack("<H", machine)


def files(folder: Path, *, machine: int = 0x8664) -> dict[str, str | bytes]:
    """Return the files of a system."""
    made = [
        hives.made(folder / name, keys).read_bytes()
        for name, keys in (("SYSTEM", hives.SYSTEM), ("SOFTWARE", hives.SERVER))
    ]
    return {
        "WINDOWS/system32/cmd.exe": program(machine),
        f"{CONFIG}/system": made[0],
        f"{CONFIG}/Software": made[1],
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for the copies."""
    place = tmp_path / "copies"
    place.mkdir()
    return place


def guest(folder: Path, content: dict[str, str | bytes]) -> Appliance:
    root = folder / "root"
    root.mkdir()
    return guest_folder.guest(root, content)


def test_a_server_is_described(tmp_path: Path, place: Path) -> None:
    own = guest(tmp_path, files(tmp_path, machine=0xAA64))
    opened = opening.registry(own, ROOT, place)
    assert opened.findings == ()
    assert opened.registry.paths == {
        "SYSTEM": f"/{CONFIG}/system",
        "SOFTWARE": f"/{CONFIG}/Software",
    }
    found = opening.described(own, ROOT, opened.registry)
    assert (found.type, found.version, found.arch) == ("windows", "10.0", "aarch64")
    assert (found.root, found.hostname) == ("/dev/sda2", "MADE")
    assert found.product == "Windows Server 2022 Standard"
    windows = found.windows
    assert windows
    assert (windows.id, windows.build) == ("win2k22", 20348)
    assert (windows.edition, windows.installation) == ("ServerStandard", "server")
    assert (windows.control_set, windows.system_root) == (
        "ControlSet001",
        r"C:\Windows",
    )


def test_a_compressed_program_leaves_the_word_to_the_registry(
    tmp_path: Path, place: Path
) -> None:
    content = files(tmp_path)
    content["WINDOWS/system32/cmd.exe"] = "-> unsupported reparse point"
    own = guest(tmp_path, content)
    opened = opening.registry(own, ROOT, place)
    assert opening.described(own, ROOT, opened.registry).arch == "x86_64"


@pytest.mark.report("https://github.com/os-migrate/vmware-migration-kit/issues/120")
def test_a_real_hive_that_was_in_use_is_completed(
    shared: Path, tmp_path: Path, place: Path
) -> None:
    content = files(tmp_path)
    del content[f"{CONFIG}/system"]
    for end in ("", ".LOG1", ".LOG2"):
        name = f"{CONFIG}/SYSTEM{end}"
        content[name] = hives.content(shared, PHYSICAL + end)
    own = guest(tmp_path, content)
    opened = opening.registry(own, ROOT, place)
    assert [f.code for f in opened.findings] == ["hive-replayed"]
    assert len(hives.dump(place / "SYSTEM")) == 35595
    assert sorted(p.name for p in place.iterdir()) == ["SOFTWARE", "SYSTEM"]
    (tmp_path / "root" / f"{CONFIG}/SYSTEM.LOG1").unlink()
    (tmp_path / "root" / f"{CONFIG}/SYSTEM.LOG2").unlink()
    with pytest.raises(GuestError, match="SYSTEM hive was in use"):
        opening.registry(own, ROOT, place)
    forced = opening.registry(own, ROOT, place, force=True)
    assert [f.code for f in forced.findings] == ["hive-dirty"]


def test_a_hive_that_is_missing_or_broken_is_named(
    shared: Path, tmp_path: Path, place: Path
) -> None:
    content = files(tmp_path)
    own = guest(tmp_path, content)
    system = tmp_path / "root" / CONFIG / "system"
    system.write_bytes(hives.content(shared, "corrupted-SYSTEM"))
    with pytest.raises(GuestError, match="SYSTEM hive is broken"):
        opening.registry(own, ROOT, place)
    system.unlink()
    system.mkdir()
    with pytest.raises(GuestError, match="SYSTEM hive is not in /WINDOWS"):
        opening.registry(own, ROOT, place)


def test_other_hives_are_opened_where_they_are(tmp_path: Path, place: Path) -> None:
    content = files(tmp_path)
    content[f"{CONFIG}/DRIVERS"] = content["boot/bcd"] = hives.empty()
    own = guest(tmp_path, content)
    found = opening.registry(own, ROOT, place)
    found = opening.with_store(own, found, "/boot/bcd", place, force=False)
    assert [hive.name for hive in found.registry.hives] == [
        *("SYSTEM", "SOFTWARE", "DRIVERS", "BCD")
    ]


def test_boot_stores_are_found_on_their_volumes(tmp_path: Path) -> None:
    there = {}
    for number, (kind, path) in enumerate(
        [("vfat", "efi/microsoft/boot/bcd"), ("ntfs", "x"), ("ntfs", "Boot/BCD")], 1
    ):
        root = tmp_path / str(number)
        guest_folder.put(root, path, "regf")
        there[f"/dev/sda{number}"] = Volume(facts={"TYPE": kind}, folder=root)
    own = Appliance(cast(Any, Folder(tmp_path, {}, there)))
    assert opening.stores(own, devices.found(own)) == [
        ("/dev/sda1", "/efi/microsoft/boot/bcd"),
        ("/dev/sda3", "/Boot/BCD"),
    ]


class ReadOnly(Folder):
    """A volume that ntfs-3g found unsafe: mounted, but only to be read."""

    def touch(self, path: str) -> None:
        raise RuntimeError(f"touch: {path}: Read-only file system")


@pytest.mark.report("https://github.com/apache/cloudstack/issues/11561")
def test_a_mount_that_is_secretly_read_only_is_refused(tmp_path: Path) -> None:
    there = {"/dev/sda2": Volume(facts={"TYPE": "ntfs"}, folder=tmp_path)}
    own = Appliance(cast(Any, ReadOnly(tmp_path, {}, there)))
    with pytest.raises(GuestError, match=r"cannot be written.*Read-only") as e:
        opening.mount(own, ROOT)
    assert "shutdown /s /f /t 0" in e.value.remedy
    good = Appliance(cast(Any, Folder(tmp_path, {}, there)))
    opening.mount(good, ROOT)
    assert list(tmp_path.iterdir()) == []


def system(folder: Path, place: Path, content: dict[str, str | bytes]) -> Appliance:
    """Return a guest whose system is on a volume that is not mounted."""
    root = folder / "volume"
    for path, data in content.items():
        guest_folder.put(root, path, data)
    there = {"/dev/sda2": Volume(facts={"TYPE": "ntfs"}, folder=root)}
    return Appliance(cast(Any, Folder(place, {}, there)))


def test_a_system_that_is_off_is_begun(tmp_path: Path, place: Path) -> None:
    own = system(tmp_path, place, files(tmp_path))
    opened = opening.begun(own, ROOT, place, opening.How())
    assert opened.registry.current == "ControlSet001"
    assert own.g.exists("/WINDOWS")


def test_a_system_that_is_not_off_is_not_begun(tmp_path: Path, place: Path) -> None:
    own = system(tmp_path, place, {**files(tmp_path), "hiberfil.sys": "HIBR"})
    with pytest.raises(GuestError, match="hibernated"):
        opening.begun(own, ROOT, place, opening.How())
    missing = Appliance(
        cast(Any, Folder(place, {}, {"/dev/sda2": Volume(facts={"TYPE": "ntfs"})}))
    )
    with pytest.raises(GuestError, match="cannot be read"):
        opening.begun(missing, ROOT, place, opening.How())


class InUse(Folder):
    """A volume with a journal that ntfs-3g does not write to, until it is emptied."""

    emptied = False

    def mount_options(self, options: str, device: str, point: str) -> None:
        assert (options, self.mounted) == ("remove_hiberfile", {})
        self.mount(device, point)

    def ntfsfix(self, device: str) -> None:
        self.emptied = True
        raise RuntimeError("Windows is hibernated, refused to mount.")

    def touch(self, path: str) -> None:
        if not self.emptied:
            raise RuntimeError("Read-only file system")
        super().touch(path)

    def pread_device(self, device: str, count: int, offset: int) -> bytes:
        return b"NTFS"  # too short to be one


def test_a_journal_is_emptied_only_if_it_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"/dev/sda2": Volume(facts={"TYPE": "ntfs"}, folder=tmp_path)}
    g = InUse(tmp_path, {}, there)
    own = Appliance(cast(Any, g))
    with pytest.raises(GuestError):
        opening.mount(own, ROOT)
    assert not g.emptied
    g.umount_all()
    with pytest.raises(GuestError):  # what it is then cannot be told
        opening.mount(own, ROOT, discard=True)
    monkeypatch.setattr(volumes, "ntfs", lambda _: Ntfs(open=not g.emptied))
    g.emptied = False
    opening.mount(own, ROOT, discard=True)
    assert g.emptied
    assert g.mounted
