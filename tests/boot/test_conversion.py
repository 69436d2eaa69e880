# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests, converted by real commands, really boot from virtio."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conversions import (
    MAC,
    assert_runs_well,
    changed,
    description,
    files,
    five_stages,
    validate,
)
from guests.containers import write_vmx
from nbd_vm import digest
from pipelines import Pipeline, command, vms

Guest = Callable[[str], Path]
SOURCES = [
    pytest.param("vmx-hosted", marks=pytest.mark.smoke),
    pytest.param("ova", marks=pytest.mark.smoke),
    *("vmx-esxi", "vmdk-stream", "vmdk-split", "vhd", "vhdx", "vdi", "qcow2", "raw"),
]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.usefixtures("as_root")
def test_the_five_stages_give_a_guest_that_boots_with_its_address(
    name: str, guest: Guest, tmp_path: Path
) -> None:
    """Every file is as in the source, but for what fixup reports to have changed."""
    container = guest(name)
    before = {file: digest(file) for file in container.iterdir()}
    out = tmp_path / "out"
    job, vm = five_stages(description(container), out, tmp_path / "said")
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()
    assert job.left() == []
    assert {file: digest(file) for file in container.iterdir()} == before

    disk = out / "web01-sda.qcow2"
    source = files(guest("debian12-bios"), "raw", tmp_path)
    differing = changed(source, files(disk, "qcow2", tmp_path))
    snapshot = {"/data/marker"} if name in ("vmx-hosted", "vmx-esxi") else set()
    assert differing == {change["path"] for change in vm["changes"]} | snapshot

    validate(out / "web01.xml")
    assert vm["nics"][0]["mac"] == MAC
    assert_runs_well(out / "web01.xml")


@pytest.mark.smoke
def test_a_guest_without_virtio_in_its_initramfs_is_given_it(
    guest: Guest, tmp_path: Path
) -> None:
    arguments = ["--mac", MAC, "--name", "dep", str(guest("debian12-dep"))]
    job, vm = five_stages(arguments, tmp_path / "out", tmp_path / "said")
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()
    [image] = [c for c in vm["changes"] if c["path"].startswith("/boot/initrd")]
    assert "virtio_blk.ko" in image["after"]
    assert_runs_well(tmp_path / "out" / "dep.xml")


@pytest.mark.smoke
def test_uefi_with_lvm_boots_with_an_empty_nvram(guest: Guest, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    image = guest("debian12-uefi-lvm")
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", str(image)]
    subprocess.run([*convert, str(folder / "uefi.vmdk")], check=True)
    write_vmx(folder / "uefi.vmx", "uefi.vmdk", firmware="efi")
    out = tmp_path / "out"
    job, _ = five_stages([str(folder / "uefi.vmx")], out, tmp_path / "said")
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()
    validate(out / "uefi.xml")
    done = assert_runs_well(out / "uefi.xml", data=False)
    assert done.report["root"] == "/dev/mapper/deb12--vg-root"


@pytest.mark.smoke
def test_v2v_converts_resumes_and_says_what_became_of_each(
    guest: Guest, tmp_path: Path
) -> None:
    """Three VMs, of which one is broken; then the same command again."""
    out = tmp_path / "out"
    good = str(guest("vmx-hosted") / "web01.vmx")
    other = tmp_path / "other" / "db01.vmx"
    other.parent.mkdir()
    shutil.copyfile(guest("vmdk-sparse") / "web01.vmdk", other.parent / "db01.vmdk")
    write_vmx(other, "db01.vmdk")
    broken = tmp_path / "broken" / "bad01.vmx"
    broken.parent.mkdir()
    write_vmx(broken, "bad01.vmdk")
    (broken.parent / "bad01.vmdk").write_bytes(b"KDMV" + bytes(100))
    sources = [good, str(broken), str(other)]
    v2v = command("v2v", "-o", out, "-t", "local", "-n", "user", "-p", "2", *sources)
    job = Pipeline([v2v]).start(tmp_path / "said")
    table = job.finish(600)
    assert job.statuses == [12], (tmp_path / "said").read_text()
    rows = {line.split()[0]: line for line in table.splitlines()[1:] if line.strip()}
    assert "converted" in rows["web01"] and "converted" in rows["db01"]
    assert "failed (12)" in rows["bad01"]
    documents = [json.loads(f.read_text().splitlines()[0]) for f in state(out)]
    [failed] = [d for d in documents if d["name"] == "bad01"]
    assert failed["error"]["code"] == 12 and failed["error"]["remedy"]
    assert_runs_well(out / "web01.xml")

    before = (out / "web01-sda.qcow2").stat().st_mtime_ns
    again = Pipeline([v2v]).start(tmp_path / "said")
    again.finish(120)
    assert again.statuses == [12]
    assert (out / "web01-sda.qcow2").stat().st_mtime_ns == before


def state(out: Path) -> list[Path]:
    return sorted((out / ".v2v").glob("*.json"))


def test_fixup_after_convert_commits_into_the_new_disk(
    guest: Guest, tmp_path: Path
) -> None:
    """The other order, and without export."""
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", guest("vmx-hosted")),
            command("v2v-convert", "-o", tmp_path),
            command("v2v-fixup"),
            command("v2v-define", "-t", "local"),
        ]
    ).start(tmp_path / "said")
    [vm] = vms(job.finish(600))
    assert job.statuses == [0, 0, 0, 0], (tmp_path / "said").read_text()
    assert [e["stage"] for e in vm["log"]] == ["inspect", "convert", "fixup", "define"]
    assert_runs_well(tmp_path / "web01.xml")


def test_stage_by_stage_with_files_between(guest: Guest, tmp_path: Path) -> None:
    work = tmp_path / "work"
    steps = [
        command("v2v-inspect", "--no-guest", "--json", guest("vmx-hosted")),
        command("v2v-fixup", "--work", work),
        command("v2v-convert", "-o", tmp_path / "out"),
        command("v2v-define", "-t", "local"),
    ]
    before = subprocess.DEVNULL
    text = ""
    for index, argv in enumerate(steps):
        job = Pipeline([argv]).start(tmp_path / "said", before)
        text = job.finish(600)
        assert job.statuses == [0], (tmp_path / "said").read_text()
        saved = tmp_path / f"{index}.json"
        saved.write_text(text)
        before = os.open(saved, os.O_RDONLY)
    assert_runs_well(tmp_path / "out" / "web01.xml")


def test_the_qemu_script_boots(guest: Guest, tmp_path: Path) -> None:
    from guests import boot

    out = tmp_path / "out"
    source = str(guest("vmx-hosted") / "web01.vmx")
    job = Pipeline([command("v2v", "-o", out, "-t", "qemu", "-n", "user", source)])
    job.start(tmp_path / "said").finish(600)
    assert job.statuses == [0], (tmp_path / "said").read_text()
    done = boot.watch(["sh", str(out / "web01.sh")], 240, out)
    assert not done.failure, done.console[-3000:]
    assert done.nics[0][2] == "192.0.2.20/24"
