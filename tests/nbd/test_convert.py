# SPDX-License-Identifier: GPL-2.0-or-later
"""What the options of v2v-convert and v2v-inspect do."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbd_vm import write_vmx
from pipelines import Pipeline, command, vms

MakeVm = Callable[..., Path]
MIB = 2**20


def convert(vmx: Path, out: Path, *options: str) -> tuple[list[int], Any, str]:
    log = out.parent / "said"
    log.unlink(missing_ok=True)
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", vmx),
            command("v2v-convert", "-o", out, *options),
        ]
    ).start(log)
    [vm] = vms(job.finish(60))
    return job.statuses, vm, log.read_text()


def info(path: Path) -> dict[str, Any]:
    command = ["qemu-img", "info", "--output=json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.check_output(command))
    return found


def test_sparse_takes_what_is_in_use_and_preallocated_all(
    make_vm: MakeVm, tmp_path: Path
) -> None:
    vmx = make_vm()
    convert(vmx, tmp_path / "sparse", "-f", "raw")
    convert(vmx, tmp_path / "full", "-f", "raw", "--allocation", "preallocated")
    sparse = (tmp_path / "sparse/web01-sda.raw").stat().st_blocks * 512
    full = (tmp_path / "full/web01-sda.raw").stat().st_blocks * 512
    assert sparse < 5 * MIB
    assert full >= 64 * MIB


def test_a_disk_is_grown_and_never_made_smaller(
    make_vm: MakeVm, tmp_path: Path
) -> None:
    vmx = make_vm()
    statuses, _, _ = convert(vmx, tmp_path / "a", "-d", "size=+1G")
    assert statuses == [0, 0]
    grown = info(tmp_path / "a/web01-sda.qcow2")["virtual-size"]
    assert grown == 64 * MIB + 2**30
    statuses, vm, _ = convert(vmx, tmp_path / "b", "-d", "sda:size=10M")
    assert statuses == [0, 13]
    assert "cannot be made smaller" in vm["error"]["message"]


def test_each_disk_may_have_its_own_format(make_vm: MakeVm, tmp_path: Path) -> None:
    vmx = make_vm()
    second = vmx.parent / "second.vmdk"
    create = ["qemu-img", "create", "-q", "-f", "vmdk", str(second), "5M"]
    subprocess.run(create, check=True)
    vmx.write_text(
        vmx.read_text() + 'scsi0:1.present = "TRUE"\nscsi0:1.fileName = "second.vmdk"\n'
    )
    statuses, vm, _ = convert(vmx, tmp_path / "out", "-d", "sdb:format=raw")
    assert statuses == [0, 0]
    formats = [disk["target"].get("format", "raw") for disk in vm["disks"]]
    assert formats == ["qcow2", "raw"]
    # Sizes are rounded up to whole MiB, and each disk has a file.
    assert (tmp_path / "out/web01-sdb.raw").stat().st_size == 5 * MIB


def test_compressed_is_smaller(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "web01.img").write_bytes(b"the same again and again. " * (MIB // 8))
    vmx = write_vmx(folder, "web01", "web01.img")
    convert(vmx, tmp_path / "a")
    convert(vmx, tmp_path / "b", "--compress")
    plain, packed = (tmp_path / f"{x}/web01-sda.qcow2" for x in "ab")
    assert packed.stat().st_size < plain.stat().st_size / 4


@pytest.mark.parametrize(
    "options",
    [
        ("-d", "format=vmdk"),
        ("-d", "size=big"),
        ("-d", "colour=red"),
        ("-f", "raw", "--compress"),
        ("--compress", "--allocation", "preallocated"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    job = Pipeline([["true"], command("v2v-convert", "-o", tmp_path / "o", *options)])
    job.start(tmp_path / "said").finish(20)
    assert job.statuses[1] == 2
    assert "Traceback" not in (tmp_path / "said").read_text()


def test_progress_as_json_lines_ends_with_all(make_vm: MakeVm, tmp_path: Path) -> None:
    _, _, said = convert(make_vm(), tmp_path / "out", "--progress", "json")
    lines = [json.loads(x) for x in said.splitlines() if x.startswith('{"v2v"')]
    assert lines
    assert {line["kind"] for line in lines} == {"progress"}
    assert (lines[-1]["vm"], lines[-1]["disk"]) == ("web01", "sda")
    assert lines[-1]["done"] == lines[-1]["total"] == 64 * MIB


def test_nothing_is_shown_to_a_pipe_and_a_bar_to_a_terminal(
    make_vm: MakeVm, tmp_path: Path
) -> None:
    vmx = make_vm()
    _, _, said = convert(vmx, tmp_path / "out")
    assert "%" not in said and "━" not in said
    document = tmp_path / "doc"
    with document.open("wb") as file:
        inspect = command("v2v-inspect", "--no-guest", "--json", vmx)
        subprocess.run(inspect, check=True, stdout=file)
    ours, theirs = pty.openpty()
    with document.open() as file:
        child = subprocess.Popen(
            command("v2v-convert", "-o", tmp_path / "other"),
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
        )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        pass  # the other end of a terminal that is closed
    os.close(ours)
    assert child.wait() == 0
    assert "web01 sda" in shown.decode(errors="replace")
    assert "64.0/64.0 MiB" in shown.decode(errors="replace")


def test_a_large_sparse_disk_fits_where_its_data_fits(
    make_vm: MakeVm, tmp_path: Path, as_root: None
) -> None:
    vmx = make_vm(size=4096)
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        statuses, _, said = convert(vmx, folder, "-f", "raw")
        assert statuses == [0, 0], said
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_terminal_shows_a_summary_and_print_source_what_virt_v2v_does(
    make_vm: MakeVm,
) -> None:
    inspect = command("v2v-inspect", "--no-guest", make_vm())
    ours, theirs = pty.openpty()
    child = subprocess.Popen(inspect, stdout=theirs, stderr=subprocess.DEVNULL)
    assert child.wait(30) == 0
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "machine   1 vCPU, 512 MiB, BIOS" in shown
    printed = subprocess.check_output([*inspect[:-1], "--print-source", inspect[-1]])
    assert b"source name: web01" in printed
    assert b"memory: 536870912 (bytes)" in printed
