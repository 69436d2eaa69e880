# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left when something dies: nothing half-written, nobody hanging, no orphan.

The table of these cases is in v2v-stream(7).  Copies are of noise and compressed, so
that they take long enough to be broken off.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbd_vm import digest
from pipelines import Pipeline, command, vms, wait_for

MakeVm = Callable[..., Path]
STAGES = ("inspect", "export", "convert", "define")


def job(vmx: Path, out: Path) -> Pipeline:
    return Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", vmx),
            command("v2v-export", "--overlay"),
            command("v2v-convert", "-o", out, "--compress"),
            command("v2v-define", "-t", "null"),
        ]
    )


def copying(out: Path) -> Callable[[], bool]:
    """Whether a copy into *out* is under way."""
    return lambda: any(part.stat().st_size > 2**20 for part in out.glob("*.part"))


@pytest.fixture(params=[signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    yield request.param


@pytest.mark.parametrize("victim", ["export", "convert", "define"])
def test_a_stage_that_dies_leaves_nothing_half_done(
    tmp_path: Path, make_vm: MakeVm, victim: str, number: int
) -> None:
    vmx = make_vm(size=300, data=200)
    before = digest(vmx.parent / "web01.vmdk")
    out = tmp_path / "out"
    running = job(vmx, out).start(tmp_path / "said")
    assert wait_for(copying(out)), (tmp_path / "said").read_text()
    running.signal(STAGES.index(victim), number)
    running.finish(90)
    assert running.left() == []
    assert running.statuses[STAGES.index(victim)] == 128 + number
    assert digest(vmx.parent / "web01.vmdk") == before
    whole = list(out.glob("web01-sda.qcow2"))
    if victim == "define":
        # It had nothing to do yet: the copy that went on is whole.
        assert whole
    else:
        assert not whole
        assert running.statuses[-1] in (3, 12)
    again = job(vmx, out).start(tmp_path / "said")
    [vm] = vms(again.finish(120))
    assert again.statuses == [0, 0, 0, 0], (tmp_path / "said").read_text()
    assert "error" not in vm
    assert not list(out.glob("*.part"))


def test_ctrl_c_ends_all_and_the_same_command_finishes_the_job(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm(size=300, data=200)
    out = tmp_path / "out"
    running = job(vmx, out).start(tmp_path / "said")
    assert wait_for(copying(out))
    running.interrupt()
    running.finish(30)
    assert running.statuses[1:] == [130, 130, 130]
    assert running.left() == []
    assert not list(out.glob("*.part")) and not list(out.glob("*.qcow2"))
    assert "Traceback" not in (tmp_path / "said").read_text()
    again = job(vmx, out).start(tmp_path / "said")
    again.finish(120)
    assert again.statuses == [0, 0, 0, 0]


def test_a_reader_that_goes_takes_the_servers_with_it(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    running = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", vmx),
            command("v2v-export"),
            ["head", "-n", "1"],
        ]
    ).start(tmp_path / "said")
    running.finish(20)
    assert running.left() == []


def test_a_server_that_dies_is_an_error_of_that_vm(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm(size=300, data=200)
    out = tmp_path / "out"
    running = job(vmx, out).start(tmp_path / "said")
    assert wait_for(copying(out))
    ours = [line for line in running.orphans() if line.startswith("qemu-nbd")]
    assert ours
    subprocess.run(["pkill", "-KILL", "-f", str(vmx.parent)], check=False)
    [vm] = vms(running.finish(60))
    assert vm["error"]["code"] == 12
    assert running.left() == []
    assert not list(out.glob("*.qcow2"))


def test_a_source_file_that_vanishes_is_said_and_nothing_is_made(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    saved = tmp_path / "saved"
    with saved.open("wb") as file:
        inspect = command("v2v-inspect", "--no-guest", "--json", vmx)
        subprocess.run(inspect, check=True, stdout=file)
    (vmx.parent / "web01.vmdk").unlink()
    with saved.open() as file:
        running = Pipeline([command("v2v-convert", "-o", tmp_path / "out")])
        running.start(tmp_path / "said", file.fileno())
        [vm] = vms(running.finish())
    assert running.statuses == [12]
    assert "web01.vmdk" in vm["error"]["message"]
    assert not list((tmp_path / "out").glob("web01*"))


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_target_without_room_is_found_before_the_copy(
    small_folder: Path, tmp_path: Path, make_vm: MakeVm
) -> None:
    running = job_uncompressed(make_vm(data=40), small_folder).start(tmp_path / "said")
    [vm] = vms(running.finish())
    assert running.statuses[-1] == 13
    assert "MiB free" in vm["error"]["message"]
    assert [file.name for file in small_folder.iterdir()] == [".v2v"]


def test_a_target_that_fills_up_keeps_no_half_file(
    small_folder: Path, tmp_path: Path, make_vm: MakeVm
) -> None:
    """Compressed, so that the need is not known before."""
    running = job(make_vm(data=40), small_folder).start(tmp_path / "said")
    [vm] = vms(running.finish())
    assert running.statuses[-1] == 13, (tmp_path / "said").read_text()
    assert "make room" in vm["error"]["remedy"]
    assert [file.name for file in small_folder.iterdir()] == [".v2v"]
    assert running.left() == []


def job_uncompressed(vmx: Path, out: Path) -> Pipeline:
    return Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", vmx),
            command("v2v-convert", "-o", out),
        ]
    )


def test_sockets_of_a_killed_process_are_swept(tmp_path: Path, make_vm: MakeVm) -> None:
    vmx = make_vm()
    inspect = command("v2v-inspect", "--no-guest", "--json", vmx)
    seen = tmp_path / "seen"
    running = Pipeline(
        [inspect, command("v2v-export"), ["sh", "-c", f"exec tee {seen} > /dev/null"]]
    ).start(tmp_path / "said")
    assert wait_for(lambda: seen.exists() and b"endpoint" in seen.read_bytes())
    [vm] = vms(seen.read_text().splitlines()[0])
    old = Path(vm["disks"][0]["endpoint"]["uri"].partition("socket=")[2]).parent
    assert old.name.startswith("v2v-")
    running.signal(1, signal.SIGKILL)
    running.finish(10)
    assert running.left() == []
    again = Pipeline([inspect, command("v2v-export"), ["head", "-n", "1"]])
    again.start(tmp_path / "said").finish(20)
    assert not old.exists()
