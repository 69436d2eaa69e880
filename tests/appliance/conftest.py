# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests to look into, as small VMs that a test may change."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd_vm import write_vmx


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def copy_of(guest: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a private raw copy of a test guest."""

    def copy(name: str) -> Path:
        target = tmp_path / f"{name}.raw"
        command = ["cp", "--sparse=always", "--reflink=auto", str(guest(name))]
        subprocess.run([*command, str(target)], check=True)
        return target

    return copy


@pytest.fixture
def vmx_of(tmp_path: Path) -> Callable[..., Path]:
    """Return a .vmx for raw disks, which stay in their folder."""

    def make(*disks: Path) -> Path:
        path = write_vmx(tmp_path, "vm01", disks[0].name)
        more = "".join(
            f'scsi0:{i}.present = "TRUE"\nscsi0:{i}.fileName = "{disk.name}"\n'
            for i, disk in enumerate(disks[1:], 1)
        )
        path.write_text(path.read_text() + more)
        return path

    return make
