# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad and hostile input: one clear line, status 12, and nothing left behind."""

import json
import os
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nbd_vm import write_vmx
from pipelines import Pipeline, command, vms

MIB = 2**20


def truncated_vmdk(folder: Path) -> Path:
    raw = folder / "raw"
    raw.write_bytes(os.urandom(4 * MIB))
    disk = folder / "web01.vmdk"
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", str(raw), str(disk)]
    subprocess.run(convert, check=True)
    os.truncate(disk, disk.stat().st_size - 70000)
    return write_vmx(folder, "web01", disk.name)


def no_disks(folder: Path) -> Path:
    path = folder / "web01.vmx"
    path.write_text('config.version = "8"\ndisplayName = "web01"\nmemsize = "512"\n')
    return path


def hostile_descriptor(folder: Path) -> Path:
    (folder / "web01.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        'createType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n'
    )
    return write_vmx(folder, "web01", "web01.vmdk")


def disk_elsewhere(folder: Path) -> Path:
    return write_vmx(folder, "web01", "/etc/hostname")


def qcow2_header_in_a_raw_disk(folder: Path) -> Path:
    """What a guest can write into its own disk to be given /etc/passwd."""
    name = b"/etc/passwd"
    head = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 72, len(name), 16, MIB, *[0] * 7
    )
    path = folder / "web01.img"
    path.write_bytes((head + name).ljust(MIB, b"\0"))
    return path


OVF = '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1">{}</Envelope>'


def ova(folder: Path, *members: tuple[str, bytes]) -> Path:
    path = folder / "web01.ova"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            file = folder / "member"
            file.write_bytes(data)
            tar.add(file, name)
    (folder / "member").unlink()
    return path


def wrong_checksum(folder: Path) -> Path:
    manifest = f"SHA256(web01.ovf)= {'0' * 64}\n".encode()
    return ova(folder, ("web01.ovf", OVF.format("").encode()), ("web01.mf", manifest))


def escaping_member(folder: Path) -> Path:
    return ova(folder, ("web01.ovf", OVF.format("").encode()), ("../../evil", b"x"))


def external_entity(folder: Path) -> Path:
    path = folder / "web01.xml"
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE domain [<!ENTITY x SYSTEM "/etc/passwd">]>'
        "<domain type='kvm'><name>&x;</name><memory>1</memory></domain>"
    )
    return path


def empty_file(folder: Path) -> Path:
    (folder / "web01.img").touch()
    return folder / "web01.img"


def not_there(folder: Path) -> Path:
    return folder / "web01.vmx"


CASES: list[Callable[[Path], Path]] = [
    *(truncated_vmdk, no_disks, hostile_descriptor, disk_elsewhere),
    *(qcow2_header_in_a_raw_disk, wrong_checksum, escaping_member, external_entity),
    *(empty_file, not_there),
]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_each_is_one_clear_line_and_status_12(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    source = make(folder)
    before = sorted(file.name for file in folder.iterdir())
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", source),
            command("v2v-export"),
            command("v2v-convert", "-o", tmp_path / "out"),
            command("v2v-define", "-t", "null"),
        ]
    ).start(tmp_path / "said")
    [vm] = vms(job.finish(60))
    said = (tmp_path / "said").read_text()
    assert job.statuses[-1] == 12
    assert vm["error"]["code"] == 12
    assert vm["error"]["message"] and vm["error"]["remedy"]
    assert "\n" not in vm["error"]["message"]
    lines = [line for line in said.splitlines() if ": error: " in line]
    assert len(lines) == 1, said
    assert vm["error"]["message"] in lines[0]
    assert "Traceback" not in said
    assert "root:" not in said + str(vm)
    assert sorted(file.name for file in folder.iterdir()) == before
    assert not [f for f in tmp_path.glob("out/*") if f.name != ".v2v"]


def test_a_disk_that_is_said_to_be_raw_is_raw_whatever_is_in_it(tmp_path: Path) -> None:
    source = qcow2_header_in_a_raw_disk(tmp_path)
    inspect = command("v2v-inspect", "--no-guest", "--json", "--input-format", "raw")
    job = Pipeline(
        [
            [*inspect, str(source)],
            command("v2v-convert", "-o", tmp_path / "out", "-f", "raw"),
        ]
    ).start(tmp_path / "said")
    job.finish(60)
    assert job.statuses == [0, 0], (tmp_path / "said").read_text()
    assert (tmp_path / "out" / "web01-sda.raw").read_bytes() == source.read_bytes()


def test_a_document_from_elsewhere_cannot_name_files_of_this_host(
    tmp_path: Path,
) -> None:
    """Not even by a source that it says lies beside them."""
    document = tmp_path / "vm.json"
    source = {"server": "file", "path": "/etc/passwd"}
    vm_ = {
        "id": "x",
        "name": "x",
        "memory": 1,
        "source": {"kind": "disk", "location": "/etc/passwd"},
        "grants": [{"folder": "/etc", "seal": "00"}],
        "disks": [{"id": "sda", "source": source}],
    }
    document.write_text(json.dumps(vm_))
    with document.open() as file:
        job = Pipeline([command("v2v-convert", "-o", tmp_path / "out")])
        [vm] = vms(job.start(tmp_path / "said", file.fileno()).finish(60))
    assert job.statuses == [12]
    assert "--allow-path" in vm["error"]["remedy"]


@pytest.mark.parametrize(
    "text", ["", "garbage\n", '{"v2v": 2, "kind": "vm"}\n', "[1]\n", "\xff\n"]
)
def test_what_is_no_stream_is_said_and_nothing_hangs(text: str, tmp_path: Path) -> None:
    job = Pipeline([["printf", "%s", text], command("v2v-convert", "-o", tmp_path)])
    job.start(tmp_path / "said").finish(20)
    assert job.statuses[1] == 3
    assert "Traceback" not in (tmp_path / "said").read_text()
