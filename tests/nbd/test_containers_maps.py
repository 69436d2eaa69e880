# SPDX-License-Identifier: GPL-2.0-or-later
"""The map of a container is shared by the stages, on a disk, and left by none."""

import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import archives
import vmfs_delta
from pipelines import Pipeline, command, vms, wait_for

MIB = 2**20
CONFIGURATION = b"""\
name: web01
scsi0: local:100,size=120M
#qmdump#map:scsi0:drive-scsi0:local:raw:
"""


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A VMA with 120 MiB of noise: its copy can be broken off."""
    path = tmp_path / "a.vma"
    files = {"qemu-server.conf": CONFIGURATION}
    data = random.Random(1).randbytes(120 * MIB)
    archives.vma(path, files, {"drive-scsi0": data}, list(range(120 * 16)))
    return path


def start(backup: Path, out: Path) -> Pipeline:
    return Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", backup),
            command("v2v-export"),
            command("v2v-convert", "-o", out, "--compress"),
        ]
    ).start(out.with_suffix(".log"))


def copying(out: Path) -> Callable[[], bool]:
    return lambda: any(part.stat().st_size > 2**20 for part in out.glob("*.part"))


def maps(state: Path) -> list[Path]:
    """Return the folders of maps that are there."""
    return list((state / "v2v" / "views").glob("*/made/map"))


def left(state: Path) -> list[Path]:
    return list((state / "v2v" / "views").iterdir())


def test_all_stages_use_one_map(tmp_path: Path, own_state: Path, backup: Path) -> None:
    out = tmp_path / "out"
    before = set(Path("/tmp").glob("v2v-*/*"))
    running = start(backup, out)
    assert wait_for(copying(out)), out.with_suffix(".log").read_text()
    assert len(maps(own_state)) == 1
    in_memory = set(Path("/tmp").glob("v2v-*/*")) - before
    assert not [path for path in in_memory if path.is_dir()]
    [vm] = vms(running.finish(120))
    assert "error" not in vm
    assert left(own_state) == []


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_that_is_ended_leaves_no_map(
    tmp_path: Path, own_state: Path, backup: Path, stage: int
) -> None:
    out = tmp_path / "out"
    running = start(backup, out)
    assert wait_for(copying(out)), out.with_suffix(".log").read_text()
    running.signal(stage, signal.SIGTERM)
    running.finish(90)
    assert running.left() == []
    assert left(own_state) == []


def test_what_killed_stages_leave_is_swept_by_the_next(
    tmp_path: Path, own_state: Path, backup: Path
) -> None:
    out = tmp_path / "out"
    running = start(backup, out)
    assert wait_for(copying(out)), out.with_suffix(".log").read_text()
    for stage in range(3):
        running.signal(stage, signal.SIGKILL)
    running.finish(90)
    assert len(maps(own_state)) == 1
    (tmp_path / "b.img").write_bytes(bytes(MIB))
    line = command("v2v-inspect", "--no-guest", tmp_path / "b.img")
    subprocess.run(line, check=True, capture_output=True)
    assert left(own_state) == []


def test_a_map_that_cannot_be_finished_is_not_left(
    tmp_path: Path, own_state: Path
) -> None:
    """The last sector of the delta lies behind the end of its file."""
    data = [(0, b"x" * 5120)]
    vmfs_delta.cowd(tmp_path / "a-delta.vmdk", 2**12, data)
    whole = (tmp_path / "a-delta.vmdk").read_bytes()
    (tmp_path / "a-delta.vmdk").write_bytes(whole[:-512])
    (tmp_path / "base-flat.vmdk").write_bytes(bytes(2**21))
    vmfs_delta.flat(tmp_path / "base.vmdk", "base-flat.vmdk", 2**12)
    vmfs_delta.descriptor(
        tmp_path / "a.vmdk", "VMFSSPARSE", "a-delta.vmdk", 2**12, "base.vmdk"
    )
    running = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", tmp_path / "a.vmdk"),
            command("v2v-convert", "-o", tmp_path / "out"),
        ]
    ).start(tmp_path / "log")
    running.finish(60)
    assert running.statuses[-1] == 12
    assert "truncated" in (tmp_path / "log").read_text()
    assert left(own_state) == []


def test_a_container_that_was_changed_gets_another_map(
    tmp_path: Path, own_state: Path
) -> None:
    """Its name and its inode stay what they were."""
    path, out = tmp_path / "a.vma", tmp_path / "out"
    for seed in (1, 2):
        data = archives.content(seed, 26 * MIB)
        files = {"qemu-server.conf": CONFIGURATION}
        archives.vma(path, files, {"drive-scsi0": data}, list(range(26 * 16)))
        running = Pipeline(
            [
                command("v2v-inspect", "--no-guest", "--json", path),
                command("v2v-convert", "-o", out, "-f", "raw", "--force"),
            ]
        ).start(tmp_path / "log")
        running.finish(60)
        assert running.statuses == [0, 0], (tmp_path / "log").read_text()
        assert (out / "web01-sda.raw").read_bytes() == data
