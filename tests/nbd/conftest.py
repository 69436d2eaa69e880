# SPDX-License-Identifier: GPL-2.0-or-later
"""Small VMs with real disks, and places of their own for state and output."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostile import watch
from hostile.case import Forbidden
from nbd_vm import write_vmx
from v2v import views

MIB = 2**20


@pytest.fixture
def make_vm(tmp_path: Path) -> Callable[..., Path]:
    """Make a VMware VM with a VMDK of *data* MiB of noise; return the .vmx."""

    def make(name: str = "web01", size: int = 64, data: int = 3) -> Path:
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        raw = folder / "raw"
        with raw.open("wb") as file:
            file.seek(MIB)
            for _ in range(data):
                file.write(os.urandom(MIB))
            file.truncate(size * MIB)
        convert = f"qemu-img convert -f raw -O vmdk {raw} {folder}/{name}.vmdk"
        subprocess.run(convert.split(), check=True)
        return write_vmx(folder, name, f"{name}.vmdk")

    return make


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Forbidden]:
    """What nobody may touch, or the test fails."""
    with watch.forbidden(tmp_path / "outside") as found:
        yield found


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep overlays and keys of a test in its own folder."""
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    yield state
    views.leave()
