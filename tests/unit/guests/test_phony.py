# SPDX-License-Identifier: GPL-2.0-or-later
"""Every family of distributions, and the exact edits that each gets.

V2V_REGENERATE=1 writes the golden files anew: read each hunk against the facts then.
"""

import inspect
import os
import re
from pathlib import Path

import pytest

import golden
import phony
from guest_folder import tree
from v2v.errors import GuestError
from v2v.guests.linux import diskfiles, fixes, leftovers

NAMES = phony.names()
LINUX = "v2v.guests.linux"
REGENERATE = "V2V_REGENERATE" in os.environ
# What fixes.plan() asks, and a golden that fails without it.
PLANNERS = {
    "agent.plan": "oracle8",
    "agent.steps": "sles15",
    "boot.plan": "rhel9",
    "drivers.plan": "fedora",
    "efi.plan": "sles15",
    "firstboot.plan": "sles15",
    "network.plan": "rhel9",
    "removal.steps": "ubuntu16",
    "seed.plan": "rhel7",
    "selinux.plan": "rhel10",
    "stable.plan": "rhel10",
    "stable.renames": "debian9",
    "tools.packages": "ubuntu16",
    "tools.plan": "rhel7",
}
# What these are made of: a function that yields nothing then.
PARTS = {
    "boot._default": "photon5",
    "cloudinit.plan": "ubuntu22",
    "debconf.plan": "ubuntu16",
    "diskfiles.plan": "sles12",
    "diskfiles.plan_virtio": "rhel6",
    "drivers._stale": "ubuntu18",
    "efi._list": "centos7-efi",
    "hardware.loosened": "amazon2023",
    "leftovers.plan": "arch",
    "persistent.plan": "alpine",
    "services.off": "sles11",
}
# One that changes a text, and leaves it as it is then.
EDITS = {
    "loaders.parameters._without_hypervisor": "ubuntu24",
    "stable._fstab_line": "centos5",
    "stable._guarded": "debian9",
}
# The rows of tables, by the first pattern for the files of each.
DISKFILES = {
    "etc/crypttab": "ubuntu24",
    "etc/initramfs-tools/conf.d/resume": "ubuntu14",
    "etc/systemd/system/*.mount": "rhel8",
    "etc/mdadm/mdadm.conf": "ubuntu16",
    "etc/multipath/wwids": "sles12",
    "etc/uswsusp.conf": "debian9",
    "etc/kdump.conf": "rhel8",
    "etc/default/kdump-tools": "ubuntu18",
    "etc/rawdevices": "oracle8",
    "etc/auto.*": "rhel6",
}
LEFTOVERS = {
    "modules": "ubuntu14",
    "modules-load.d/*.conf": "arch",
    "yum.repos.d/*.repo": "rhel6",
    "zypp/repos.d/*.repo": "sles11",
    "apt/sources.list.d/*.list": "ubuntu14",
    "X11/xorg.conf": "rhel5",
    "inittab": "rhel5",
    "securetty": "rhel5",
    "modprobe.conf": "centos5",
}


def expected(name: str) -> Path:
    return phony.FOLDER / f"{name}.diff"


@pytest.mark.parametrize("name", NAMES)
def test_each_guest_gets_exactly_the_edits_it_needs(name: str, tmp_path: Path) -> None:
    guest = phony.load(name)
    appliance = phony.opened(guest, tmp_path)
    before = tree(tmp_path)
    made = golden.fixed(appliance, guest)
    if REGENERATE:
        expected(name).write_text(made.text)
    assert made.text == expected(name).read_text()
    # Nothing else was touched, and another run has nothing to do.
    after = tree(tmp_path)
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert len(changed) == len({action.change.path for action in made.actions})
    appliance.g.umount_all()
    appliance.known.clear()
    again = golden.planned(appliance, guest)
    assert [action.change for action in again.actions] == []


def test_each_planner_is_named_here() -> None:
    asked = re.findall(r"\b(\w+\.\w+)\(appliance", inspect.getsource(fixes.plan))
    assert {*asked, "firstboot.plan", "removal.steps"} == set(PLANNERS)


@pytest.mark.parametrize(("name", "guest"), {**PLANNERS, **PARTS}.items())
def test_a_golden_fails_without_what_is_planned(
    name: str, guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LINUX}.{name}", lambda *_, **__: ())
    assert differs(guest, tmp_path)


@pytest.mark.parametrize(("name", "guest"), EDITS.items())
def test_a_golden_fails_without_an_edit(
    name: str, guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LINUX}.{name}", lambda text, *_, **__: text)
    assert differs(guest, tmp_path)


@pytest.mark.parametrize(("pattern", "guest"), DISKFILES.items())
def test_a_golden_fails_without_a_file_that_names_disks(
    pattern: str, guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [kind for kind in diskfiles.KINDS if pattern not in kind.patterns]
    assert len(rows) == len(diskfiles.KINDS) - 1
    monkeypatch.setattr(diskfiles, "KINDS", rows)
    assert differs(guest, tmp_path)


@pytest.mark.parametrize(("pattern", "guest"), LEFTOVERS.items())
def test_a_golden_fails_without_what_the_old_tools_left(
    pattern: str, guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in leftovers._ROWS if row[0] != pattern]
    assert len(rows) == len(leftovers._ROWS) - 1
    monkeypatch.setattr(leftovers, "_ROWS", rows)
    assert differs(guest, tmp_path)


def differs(name: str, folder: Path) -> bool:
    guest = phony.load(name)
    try:
        made = golden.fixed(phony.opened(guest, folder), guest)
    except GuestError:
        return True  # what is not done is missed by the proof
    return made.text != expected(name).read_text()
