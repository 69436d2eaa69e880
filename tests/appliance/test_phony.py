# SPDX-License-Identifier: GPL-2.0-or-later
"""The phony guests on real file systems: the same edits, to the byte.

One appliance has them all, one after another.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import golden
import phony
import phony_disk
from pipelines import Pipeline, command, vms
from served_image import served
from v2v.guests import appliance
from v2v.guests.appliance import Appliance

SMOKE = ("rhel9", "sles15")
# On XFS, for which Debian's appliance has no mkfs.
WITHOUT = ("rhel7",)
NAMES = [name for name in phony.names() if name not in WITHOUT]


def marked(names: list[str], smoke: tuple[str, ...]) -> list[Any]:
    marks = {name: [pytest.mark.smoke] for name in smoke}
    return [pytest.param(name, marks=marks.get(name, [])) for name in names]


@contextmanager
def running(folder: Path) -> Iterator[Appliance]:
    """Yield an appliance with two blank disks, which are files in *folder*."""
    with ExitStack() as stack:
        uris = []
        for name in ("one.img", "two.img"):
            image = folder / name
            image.touch()
            os.truncate(image, phony_disk.SIZE)
            socket = image.with_suffix(".sock")
            uris.append(stack.enter_context(served(image, socket)))
        yield stack.enter_context(appliance.opened(uris, write=True))


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running(tmp_path_factory.mktemp("phony")) as there:
        yield there


def headers(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("# /")]


@pytest.mark.parametrize("name", marked(NAMES, SMOKE))
def test_an_appliance_makes_the_same_edits(
    name: str, tmp_path: Path, blank: Appliance
) -> None:
    guest = phony.load(name)
    expected = (phony.FOLDER / f"{name}.diff").read_text()
    blank.known.clear()
    phony_disk.write(guest, tmp_path, blank.g)
    if "(run: " in expected:
        # There is no program in it that could run.
        plan = golden.planned(blank, guest)
        assert golden.headers(plan.actions) == headers(expected)
        return
    made = golden.fixed(blank, guest)
    assert made.text == expected
    blank.g.umount_all()
    blank.known.clear()
    again = golden.planned(blank, guest)
    assert [action.change for action in again.actions] == []


def vmx(guest: phony.Phony, folder: Path, disk: str) -> Path:
    """Write the .vmx of *guest*, which has one SCSI disk and one card."""
    [nic] = guest.vm.nics
    path = folder / f"{guest.name}.vmx"
    path.write_text(
        f'displayName = "{guest.name}"\nmemsize = "512"\n'
        f'firmware = "{guest.vm.firmware}"\n'
        f'scsi0.present = "TRUE"\nscsi0:0.present = "TRUE"\n'
        f'scsi0:0.fileName = "{disk}"\nethernet0.present = "TRUE"\n'
        f'ethernet0.address = "{nic.mac}"\nethernet0.addressType = "static"\n'
        f'ethernet0.pciSlotNumber = "{nic.pci_slot}"\n'
    )
    return path


@pytest.mark.parametrize("name", marked(["rhel9", "arch", "sles11"], ("rhel9",)))
def test_the_command_plans_the_same_edits(name: str, tmp_path: Path) -> None:
    guest = phony.load(name)
    files = tmp_path / "files"
    files.mkdir()
    with running(tmp_path) as there:
        phony_disk.write(guest, files, there.g)
    source = vmx(guest, tmp_path, "one.img")
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", source),
            command("v2v-fixup", "--dry-run", "--agent", "no"),
        ]
    ).start(tmp_path / "said")
    [vm] = vms(job.finish(400))
    assert job.statuses == [0, 0]
    expected = headers((phony.FOLDER / f"{name}.diff").read_text())
    found = [f"# {c['path']} — " for c in vm["changes"]]
    assert len(found) == len(expected)
    assert all(line.startswith(f) for f, line in zip(found, expected, strict=True))
