# SPDX-License-Identifier: GPL-2.0-or-later
"""Every version of Windows, and all that is done to each: files and registry values.

V2V_REGENERATE=1 writes the golden files anew: read each line against the facts then.
"""

import os
from pathlib import Path
from typing import Any

import pytest

import hives
import windows_folder
import windows_golden
import windows_guest
import windows_store
from golden import Fixed
from guest_folder import tree
from v2v.document import Change, Guest
from v2v.errors import GuestError
from v2v.guests import inspection
from v2v.guests.appliance import Appliance
from v2v.guests.windows import opening, security

NAMES = windows_guest.names()
WINDOWS = "v2v.guests.windows"
REGENERATE = "V2V_REGENERATE" in os.environ
# What family.job asks, and a golden that fails without it.
PLANNERS = {
    "disks.plan": "win2k16",
    "tools.plan": "win7",
    "bcd.show": "win10",
    "esp.plan": "win11",
    "esp.findings": "win11-dualboot",
}


class Made:
    """A guest that is made in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.phony = windows_guest.load(name)
        self.root = folder / "guest"
        self.folder = folder
        self.root.mkdir()
        self.appliance: Appliance = windows_folder.opened(self.phony, self.root)

    def hives(self, run: str) -> Path:
        """Return an empty folder for the copies of the hives."""
        place = self.folder / run
        place.mkdir()
        return place

    def fixed(self) -> Fixed:
        return windows_golden.fixed(self.appliance, self.phony, self.hives("first"))

    def looked(self) -> Guest:
        """Return what v2v-inspect says of it."""
        vm = self.phony.vm
        asked = inspection.Asked(
            disks=vm.disks, nics=vm.nics, folder=self.hives("looked")
        )
        guest, _ = inspection.look(self.appliance, asked)
        self.appliance.g.umount_all()
        self.appliance.known.clear()
        return guest

    def again(self) -> list[Change]:
        """Return what a second run would change."""
        self.appliance.g.umount_all()
        self.appliance.known.clear()
        job, _ = windows_golden.job(self.appliance, self.phony, self.hives("second"))
        return [action.change for action in job.actions]


def expected(name: str) -> Path:
    return windows_guest.FOLDER / f"{name}.txt"


@pytest.mark.parametrize("name", NAMES)
def test_each_windows_gets_exactly_what_it_needs(name: str, tmp_path: Path) -> None:
    guest = Made(name, tmp_path)
    text = guest.fixed().text
    if REGENERATE:
        expected(name).write_text(text)
    assert text == expected(name).read_text()


def test_no_user_of_the_guest_may_write_what_was_made(tmp_path: Path) -> None:
    guest = Made("win10", tmp_path)
    disk: Any = guest.appliance.g
    guest.fixed()
    ours = f"0x{security.descriptor(users=True).hex()}"
    driver = "/sysroot/Windows/Drivers/VirtIO/balloon/balloon.sys"
    for path in ("/sysroot/Windows/System32/drivers/viostor.sys", driver):
        assert disk.attributes[path] == ours
    own = disk.attributes["/sysroot/Windows/v2v/firstboot/run.cmd"]
    assert own == f"0x{security.descriptor().hex()}"


@pytest.mark.parametrize("name", windows_guest.refused())
def test_what_is_not_off_or_locked_is_left_alone(name: str, tmp_path: Path) -> None:
    guest = Made(name, tmp_path)
    before = tree(guest.root)
    text = windows_golden.refused(guest.appliance, guest.phony, guest.hives("first"))
    if REGENERATE:
        expected(name).write_text(text)
    assert text == expected(name).read_text()
    assert tree(guest.root) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_changes_nothing(name: str, tmp_path: Path) -> None:
    guest = Made(name, tmp_path)
    first = guest.fixed()
    assert first.actions
    done = tree(guest.root)
    assert guest.again() == []
    assert tree(guest.root) == done


@pytest.mark.parametrize("name", NAMES)
def test_no_other_file_is_touched(name: str, tmp_path: Path) -> None:
    guest = Made(name, tmp_path)
    before = tree(guest.root)
    made = guest.fixed()
    after = tree(guest.root)
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    told = {path for a in made.actions for path in (a.change.path, *a.also)}
    places = {path.removeprefix("/.v2v-boot") for path in told}
    assert {path[len("/sda1") :] for path in changed} <= places
    assert not [path for path in after if ".v2v-new" in path or path.endswith(".new")]


@pytest.mark.parametrize("name", NAMES)
def test_no_other_value_is_touched(name: str, tmp_path: Path) -> None:
    guest = Made(name, tmp_path)
    before = {path: hives.dump(path) for path in _hives(guest.root)}
    made = guest.fixed()
    changed = {a.change.path.lower() for a in made.actions}
    for path, keys in before.items():
        now = hives.dump(path)
        for key in keys.keys() | now.keys():
            own = f"{path.name.upper()}\\{key}".lower()
            if keys.get(key) != now.get(key):
                assert any(c == own or c.startswith(f"{own}\\") for c in changed) or (
                    any(own.startswith(f"{c}\\") for c in changed)
                ), own


@pytest.mark.parametrize("name", NAMES)
def test_an_independent_reader_finds_each_value_that_was_set(
    name: str, tmp_path: Path
) -> None:
    """Regipy knows nothing of hivex, which wrote them."""
    registry = pytest.importorskip("regipy.registry")
    guest = Made(name, tmp_path)
    made = guest.fixed()
    files = {path.name.upper(): path for path in _hives(guest.root)}
    values = [
        a.change
        for a in made.actions
        if a.change.after and a.change.path.partition("\\")[0] in files
    ]
    for change in values:
        hive, _, rest = change.path.partition("\\")
        key, _, value = rest.rpartition("\\")
        read = registry.RegistryHive(str(files[hive])).get_key("\\" + key)
        assert read.get_value(value, as_json=True) is not None, change.path


def _hives(root: Path) -> list[Path]:
    found = [*root.rglob("System32/[Cc]*/*"), *root.rglob("BCD")]
    return [path for path in found if path.is_file() and "." not in path.name]


@pytest.mark.parametrize(("name", "guest"), PLANNERS.items())
def test_a_golden_fails_without_what_is_planned(
    name: str, guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{WINDOWS}.{name}", lambda *_, **__: ())
    try:
        text = Made(guest, tmp_path).fixed().text
    except GuestError:
        return  # what is not done is missed by the proof
    assert text != expected(guest).read_text()


def test_every_hive_before_is_kept(tmp_path: Path) -> None:
    guest = Made("win10", tmp_path)
    before = {path: path.read_bytes() for path in _hives(guest.root)}
    guest.fixed()
    changed = [path for path, data in before.items() if path.read_bytes() != data]
    assert {path.name for path in changed} == {"SYSTEM", "SOFTWARE", "BCD"}
    for path in changed:
        assert path.with_name(f"{path.name}.pre-v2v").read_bytes() == before[path]


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/11332")
@pytest.mark.parametrize(
    ("name", "firmware"), [("win10", "efi"), ("win7", "bios"), ("winxp", "bios")]
)
def test_the_disks_tell_the_firmware(name: str, firmware: str, tmp_path: Path) -> None:
    """By the loader that the store names, whatever the description says."""
    made = Made(name, tmp_path)
    assert made.looked().firmware == firmware
    assert made.fixed().guest.firmware == firmware


def test_a_disk_that_was_made_gpt_starts_by_uefi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MBR2GPT leaves the store of the BIOS where it was: on the system's volume."""
    made = Made("win10", tmp_path)
    folders = {name: v.folder for name, v in made.appliance.g.volumes.items()}  # type: ignore[attr-defined]
    system = folders["/dev/sda2"]
    keys = windows_store.keys(windows_store.mbr(1, 2**20), efi=False)
    (system / "Boot").mkdir()
    hives.made(system / "Boot" / "BCD", keys)
    stores = opening.stores
    # The ESP was made last, from what was free on the disk.
    monkeypatch.setattr(opening, "stores", lambda *a: stores(*a)[::-1])
    found = made.fixed()
    assert found.guest.firmware == "efi"
    assert "create /dev/sda1:/EFI/Boot/bootx64.efi" in found.text


@pytest.mark.report("https://github.com/apache/cloudstack/issues/13241")
@pytest.mark.parametrize(
    ("name", "machine"), [("win2k25", "q35"), ("win7-32", "q35"), ("winxp", "pc")]
)
def test_the_machine_is_of_the_guest_s_time(
    name: str, machine: str, tmp_path: Path
) -> None:
    assert Made(name, tmp_path).fixed().devices.machine == machine


@pytest.mark.report("https://github.com/vexxhost/migratekit/issues/62")
def test_a_clock_that_runs_in_utc_stays_so(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for name in ("win10", "win2k22"):
        (tmp_path / name).mkdir()
        found[name] = Made(name, tmp_path / name).fixed().devices.clock
    assert found == {"win10": "localtime", "win2k22": "utc"}


def test_a_volume_that_the_boot_store_does_not_find_is_told_of(tmp_path: Path) -> None:
    guest = Made("win2k25", tmp_path)
    facts = guest.appliance.g.volumes["/dev/sda"].facts  # type: ignore[attr-defined]
    facts["PTUUID"] = "00000000-0000-4000-8000-000000000001"
    codes = [finding.code for finding in guest.fixed().findings]
    assert codes.count("bcd-device-mismatch") == 2
