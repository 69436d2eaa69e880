# SPDX-License-Identifier: GPL-2.0-or-later
"""v2v-inspect --check, and manifests that are checked while disks are copied."""

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import one_disk
from pipelines import Pipeline, command, vms

MIB = 2**20


def ova(folder: Path, *, sound: bool) -> Path:
    """Return an OVA whose manifest holds (*sound*), or not for its disk."""
    build.image(folder / "a.vmdk", *build.STREAM, size=4 * MIB)
    members = {
        "web01.ovf": one_disk("a.vmdk").encode(),
        "a.vmdk": (folder / "a.vmdk").read_bytes(),
    }
    lines = [
        f"SHA256({name})= {hashlib.sha256(data).hexdigest()}\n"
        for name, data in members.items()
    ]
    if not sound:
        lines[1] = f"SHA256(a.vmdk)= {'0' * 64}\n"
    members["web01.mf"] = "".join(lines).encode()
    (folder / "a.vmdk").unlink()
    return build.archive(folder / "web01.ova", members)


def checked(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = command("v2v-inspect", "--no-guest", "--check", *arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def suspended(vmx: Path) -> Path:
    (vmx.parent / "web01.vmss").write_bytes(b"x")
    with vmx.open("a") as file:
        file.write('checkpoint.vmState = "web01.vmss"\n')
    return vmx


def converted(source: Path, out: Path, *options: str) -> tuple[list[int], Any]:
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", *options, source),
            command("v2v-convert", "-o", out),
        ]
    ).start(out.parent / "said")
    [vm] = vms(job.finish(60))
    return job.statuses, vm


def test_a_disk_that_its_manifest_was_not_made_of_gets_no_copy(tmp_path: Path) -> None:
    statuses, vm = converted(ova(tmp_path, sound=False), tmp_path / "out")
    assert statuses == [0, 12]
    assert "a.vmdk: its SHA256 is" in vm["error"]["message"]
    assert "--no-verify-manifest" in vm["error"]["remedy"]
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_it_is_copied_when_the_manifest_holds_or_is_passed_over(tmp_path: Path) -> None:
    for sound, options in ((True, []), (False, ["--no-verify-manifest"])):
        folder = tmp_path / str(sound)
        folder.mkdir()
        source = ova(folder, sound=sound)
        assert converted(source, folder / "out", *options)[0] == [0, 0]
        assert list((folder / "out").glob("*.qcow2"))


def test_check_compares_all_with_the_manifest_before_any_copy(tmp_path: Path) -> None:
    done = checked(ova(tmp_path, sound=False))
    assert done.returncode == 12
    assert "cannot be read: a.vmdk: its SHA256 is" in done.stdout


FORMS = ("folder", "tar", "zip", "deflated zip")


def packaged(folder: Path, form: str, members: dict[str, bytes]) -> Path:
    if form in ("folder", "tar"):
        return build.package(folder, members, packed=form == "tar")
    method = zipfile.ZIP_STORED if form == "zip" else zipfile.ZIP_DEFLATED
    return build.zipped(folder / "web01.zip", members, method)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_check_compares_with_every_kind_of_sum_in_every_kind_of_package(
    tmp_path: Path, form: str, algorithm: str
) -> None:
    build.image(tmp_path / "a.vmdk", *build.STREAM, size=4 * MIB)
    members = {
        "web01.ovf": one_disk("a.vmdk").encode(),
        "notes.txt": b"x",
        "a.vmdk": (tmp_path / "a.vmdk").read_bytes(),
    }
    sums = "".join(
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, data).hexdigest()}\n"
        for name, data in members.items()
    )
    members["web01.mf"] = sums.encode()
    for folder in ("good", "bad", "worse"):
        (tmp_path / folder).mkdir()
    done = checked(packaged(tmp_path / "good", form, members))
    assert done.returncode == 0, done.stdout
    assert "manifest" not in done.stdout
    at = len(members["a.vmdk"]) // 2
    for folder, name, data in (
        ("bad", "a.vmdk", members["a.vmdk"][:at] + b"!" + members["a.vmdk"][at + 1 :]),
        ("worse", "notes.txt", b"y"),
    ):
        made = members | {name: data}
        done = checked(packaged(tmp_path / folder, form, made))
        assert done.returncode == 12
        assert f"{name}: its {algorithm.upper()} is" in done.stdout


def test_what_can_be_converted_is_ready(tmp_path: Path) -> None:
    done = checked(ova(tmp_path, sound=True))
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].endswith("ready; 1 disk of 4 MiB")


def test_what_blocks_is_named_with_its_remedy_and_decides_the_status(
    make_vm: Callable[..., Path], tmp_path: Path
) -> None:
    vmx = suspended(make_vm())
    done = checked(vmx, ova(tmp_path, sound=True))
    assert done.returncode == 10
    first, finding, remedy, *_ = done.stdout.splitlines()
    assert "blocked: suspended" in first
    assert "block suspended: the VM is suspended" in finding
    assert "remedy: resume and shut it down" in remedy
    assert "ready" in done.stdout
    # Accepted, it does not decide.
    again = checked("--allow", "suspended", vmx)
    assert again.returncode == 0
    assert "suspended (accepted)" in again.stdout


def test_the_documents_are_written_too(
    make_vm: Callable[..., Path], tmp_path: Path
) -> None:
    vmx = suspended(make_vm())
    done = checked("--json", vmx)
    assert done.returncode == 10
    records = [json.loads(line) for line in done.stdout.splitlines()]
    [vm] = [record for record in records if record["kind"] == "vm"]
    assert [f["code"] for f in vm["findings"]] == ["suspended"]
    assert vm.get("error") is None


@pytest.mark.parametrize("name", ["gone.vmx"])
def test_what_cannot_be_read_is_told_among_the_others(
    name: str, tmp_path: Path
) -> None:
    done = checked(tmp_path / name, ova(tmp_path, sound=True))
    assert done.returncode == 12
    assert f"{Path(name).stem}: cannot be read" in done.stdout
    assert "ready" in done.stdout
