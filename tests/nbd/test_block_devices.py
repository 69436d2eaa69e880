# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that is a block device of this host."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from v2v import paths, sources
from v2v.document import VM
from v2v.sources import Request

MIB = 2**20


def read(path: Path) -> VM:
    (vm,) = sources.read(Request(location=str(path)))
    return vm


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "backing").write_bytes(bytes(4 * MIB))
    command = ["losetup", "-f", "--show", str(tmp_path / "backing")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs a loop device")
    yield Path(done.stdout.strip())
    subprocess.run(["losetup", "-d", done.stdout.strip()], check=True)


def test_a_block_device_is_taken_and_grants_only_itself(device: Path) -> None:
    vm = read(device)
    assert vm.disks[0].source
    assert (vm.disks[0].size, vm.disks[0].source.path) == (4 * MIB, str(device))
    assert vm.findings == ()
    assert [g.folder for g in vm.grants] == [str(device)]
    assert paths.checked(device, paths.roots(vm)) == device


def test_a_block_device_in_use_blocks(device: Path) -> None:
    held = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        (finding,) = read(device).findings
    finally:
        os.close(held)
    assert (finding.code, finding.severity) == ("device-in-use", "block")
