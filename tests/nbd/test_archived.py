# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives of a VM's folder: a .vmx with its disks in a .zip or a .tar."""

import gzip
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ovf_package
from nbd_vm import write_vmx
from pipelines import Pipeline, command, vms

MIB = 2**20
FORMS = ("zip", "stored zip", "tar", "tar.gz")


def vmx(folder: Path, kind: str) -> bytes:
    """Make a VM of VMware in *folder*; return what its disk holds."""
    folder.mkdir(parents=True)
    format = ["-O", "vmdk"]
    if kind == "flat":
        format += ["-o", "subformat=monolithicFlat"]
    held = bytearray(ovf_package.image(folder / "base.vmdk", *format, size=20 * MIB))
    write_vmx(folder, "web01", "delta.vmdk" if kind == "delta" else "base.vmdk")
    (folder / "web01.vmem").write_bytes(b"x")
    if kind == "delta":
        create = "qemu-img create -q -f vmdk -F vmdk -b base.vmdk delta.vmdk"
        subprocess.run(create.split(), cwd=folder, check=True)
        write = ["qemu-io", "-f", "vmdk", "delta.vmdk", "-c", "write -q -P 7 1M 64k"]
        subprocess.run(write, cwd=folder, check=True)
        held[MIB : MIB + 65536] = b"\7" * 65536
    return bytes(held)


def packed(folder: Path, form: str, below: str = "") -> Path:
    """Return an archive of what is in *folder*, in the folder *below* of it."""
    path = folder.parent / f"vm.{form.rpartition(' ')[2]}"
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = {file: f"{below}{file.relative_to(folder)}" for file in files}
    if form.endswith("zip"):
        method = zipfile.ZIP_STORED if "stored" in form else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as made:
            for file, name in names.items():
                made.write(file, name)
        return path
    with tarfile.open(path.with_suffix("") if form == "tar.gz" else path, "w") as tar:
        for file, name in names.items():
            tar.add(file, name)
    if form == "tar.gz":
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
        path.with_suffix("").unlink()
    return path


def run(tmp_path: Path, *commands: list[str]) -> tuple[list[int], dict[str, Any]]:
    job = Pipeline(list(commands)).start(tmp_path / "said")
    [vm] = vms(job.finish())
    assert "Traceback" not in (tmp_path / "said").read_text()
    return job.statuses, vm


def inspect(*words: str | Path) -> list[str]:
    return command("v2v-inspect", "--no-guest", "--json", *words)


def convert(tmp_path: Path) -> list[str]:
    return command("v2v-convert", "-o", tmp_path / "out", "--format", "raw")


def made(tmp_path: Path) -> bytes:
    [file] = (tmp_path / "out").glob("*sda*")
    return file.read_bytes()


@pytest.mark.parametrize(
    ("form", "kind", "below"),
    [
        ("zip", "flat", ""),
        ("zip", "delta", "web01/"),
        ("stored zip", "delta", "a/b/"),
        ("tar", "flat", "web01/"),
        ("tar", "delta", ""),
        ("tar.gz", "delta", "web01/"),
    ],
)
def test_a_vm_of_vmware_is_read_from_an_archive(
    tmp_path: Path, own_state: Path, form: str, kind: str, below: str
) -> None:
    held = vmx(tmp_path / "vm", kind)
    path = packed(tmp_path / "vm", form, below)
    statuses, vm = run(tmp_path, inspect(path), convert(tmp_path))
    assert statuses == [0, 0], (tmp_path / "said").read_text()
    assert (vm["source"]["kind"], vm["source"]["location"]) == ("vmx", str(path))
    assert vm["disks"][0]["source"]["origin"] == str(path)
    assert [f["code"] for f in vm["findings"]].count("unpacked") == 1
    assert made(tmp_path) == held
    assert not list((own_state / "v2v" / "views").glob("*"))


def test_a_stage_that_runs_later_unpacks_it_again(tmp_path: Path) -> None:
    held = vmx(tmp_path / "vm", "delta")
    path = packed(tmp_path / "vm", "zip", "web01/")
    job = Pipeline([inspect(path)]).start(tmp_path / "said")
    (tmp_path / "document").write_text(job.finish())
    with (tmp_path / "document").open() as stdin:
        later = Pipeline([convert(tmp_path)]).start(tmp_path / "said", stdin.fileno())
        later.finish()
    assert later.statuses == [0], (tmp_path / "said").read_text()
    assert made(tmp_path) == held


def test_a_document_from_elsewhere_opens_nothing(tmp_path: Path) -> None:
    vmx(tmp_path / "vm", "delta")
    path = packed(tmp_path / "vm", "zip")
    job = Pipeline([inspect(path)]).start(tmp_path / "said")
    found = [json.loads(line) for line in job.finish().splitlines()]
    found[0]["grants"] = []
    (tmp_path / "foreign").write_text("".join(json.dumps(r) + "\n" for r in found))
    with (tmp_path / "foreign").open() as stdin:
        hostile = Pipeline([convert(tmp_path)]).start(tmp_path / "said", stdin.fileno())
        [vm] = vms(hostile.finish())
    assert hostile.statuses == [12] and "outside" in vm["error"]["message"]


@pytest.mark.parametrize("form", FORMS)
def test_a_lone_disk_is_read_from_an_archive(tmp_path: Path, form: str) -> None:
    (tmp_path / "disk").mkdir()
    disk = tmp_path / "disk" / "web01.qcow2"
    held = ovf_package.image(disk, "-O", "qcow2", size=20 * MIB)
    (tmp_path / "disk" / "README.txt").write_text("hello")
    path = packed(tmp_path / "disk", form)
    statuses, vm = run(tmp_path, inspect(path), convert(tmp_path))
    assert statuses == [0, 0], (tmp_path / "said").read_text()
    assert (vm["name"], vm["source"]["kind"]) == ("web01", "disk")
    assert made(tmp_path) == held


def test_an_ova_in_a_zip_is_read(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    held = ovf_package.image(tmp_path / "a.vmdk", *ovf_package.STREAM, size=20 * MIB)
    data = (tmp_path / "a.vmdk").read_bytes()
    members = {"web01.ovf": ovf_package.one_disk("a.vmdk").encode(), "a.vmdk": data}
    ovf_package.archive(tmp_path / "vm" / "web01.ova", members)
    path = packed(tmp_path / "vm", "zip")
    statuses, vm = run(tmp_path, inspect(path), convert(tmp_path))
    assert statuses == [0, 0], (tmp_path / "said").read_text()
    assert vm["source"]["kind"] == "ova" and made(tmp_path) == held


def refusal(tmp_path: Path, *words: str | Path) -> str:
    statuses, vm = run(tmp_path, inspect(*words))
    assert statuses == [12] and vm["error"]["remedy"]
    assert "\n" not in vm["error"]["message"]
    return str(vm["error"]["message"])


def test_several_vms_in_an_archive_are_listed(tmp_path: Path) -> None:
    vmx(tmp_path / "vm", "flat")
    write_vmx(tmp_path / "vm", "web02", "base.vmdk")
    path = packed(tmp_path / "vm", "zip")
    assert "holds several VMs: web01.vmx, web02.vmx" in refusal(tmp_path, path)


def test_more_than_is_allowed_is_not_unpacked(tmp_path: Path, own_state: Path) -> None:
    vmx(tmp_path / "vm", "flat")
    path = packed(tmp_path / "vm", "zip")
    message = refusal(tmp_path, "--max-size", "10M", path)
    assert f"{path} holds more than {10 * MIB} bytes" in message
    assert not list((own_state / "v2v" / "views").glob("*"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.writestr("../web02.vmx", b"x"),
        lambda made: made.writestr("base.vmdk/x", b"x"),
        lambda made: made.writestr(f"{'x' * 300}.txt", b"x"),
        lambda made: made.writestr(zipfile.ZipInfo("a.txt"), b"x", zipfile.ZIP_LZMA),
    ],
)
def test_a_hostile_archive_is_one_line(
    tmp_path: Path, own_state: Path, spoil: Callable[[zipfile.ZipFile], None]
) -> None:
    vmx(tmp_path / "vm", "flat")
    path = packed(tmp_path / "vm", "zip")
    with zipfile.ZipFile(path, "a") as made:
        spoil(made)
    assert str(path) in refusal(tmp_path, path)
    assert not list((own_state / "v2v" / "views").glob("*"))


def test_an_archive_of_other_things_is_no_vm(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "a.txt").write_text("x")
    assert "holds no OVF" in refusal(tmp_path, packed(tmp_path / "vm", "zip"))
    assert "packed file" in refusal(tmp_path, packed(tmp_path / "vm", "tar"))
