# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks in pieces go through the real commands, whole and with none left out."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from archives import content
from pipelines import Pipeline, command, vms
from url_server import web

MIB = 2**20
SIZE = 26 * MIB
OLD_XVA = """<appliance version="0.1"><vm name="vm"><label>web01</label>
<config mem_set="268435456" vcpus="1"/>
<vbd device="xvda" function="root" mode="w" vdi="first"/></vm>
<vdi name="first" size="{size}" source="file://xvda" type="dir-gzipped-chunks"/>
</appliance>"""


@pytest.fixture
def disk() -> bytes:
    return content(6, SIZE)


def converted(source: Path | str, out: Path, *options: str) -> tuple[Any, bytes]:
    """Return the document of the VM, and its disk as it came over."""
    stages = [
        command("v2v-inspect", "--no-guest", "--json", *options, source),
        command("v2v-export"),
        command("v2v-convert", "-f", "raw", "-o", out),
    ]
    job = Pipeline(stages).start(out.with_suffix(".log"))
    [vm] = vms(job.finish())
    assert "error" not in vm, vm["error"]
    assert job.statuses == [0, 0, 0]
    return vm, Path(vm["disks"][0]["target"]["path"]).read_bytes()


def cut(folder: Path, data: bytes, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    size = -(-len(data) // len(names)) + 77
    for number, name in enumerate(names):
        (folder / name).write_bytes(data[number * size :][:size])


@pytest.mark.parametrize("suffix", ["001 002 003", "aa ab ac", "part1 part2 part3"])
def test_a_raw_disk_in_pieces(tmp_path: Path, disk: bytes, suffix: str) -> None:
    names = [f"web01.img.{word}" for word in suffix.split()]
    cut(tmp_path / "vm", disk, names)
    vm, found = converted(tmp_path / "vm", tmp_path / "out")
    assert found == disk
    assert vm["name"] == "web01"
    assert [f["code"] for f in vm["findings"]] == ["disk-joined"]


def test_an_old_export_of_xenserver(tmp_path: Path, disk: bytes) -> None:
    folder = tmp_path / "vm"
    names = [f"chunk-{number:09}.gz" for number in range(3)]
    (folder / "xvda").mkdir(parents=True)
    for number, name in enumerate(names):
        some = disk[number * 10 * MIB :][: 10 * MIB]
        (folder / "xvda" / name).write_bytes(gzip.compress(some, 1))
    (folder / "ova.xml").write_text(OLD_XVA.format(size=len(disk)))
    vm, found = converted(folder, tmp_path / "out")
    assert found == disk
    assert [f["code"] for f in vm["findings"]] == ["unpacked"] * 3
    assert not [*(tmp_path / "state" / "v2v" / "views").rglob("*")]


def test_a_folder_with_a_packed_disk(tmp_path: Path, disk: bytes) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    (folder / "readme.txt").write_text("x")
    (folder / "web01.raw.gz").write_bytes(gzip.compress(disk, 1))
    vm, found = converted(folder, tmp_path / "out")
    assert found == disk
    assert vm["source"]["location"] == str(folder / "web01.raw.gz")


@pytest.mark.parametrize("named", ["000", "002"])
def test_a_disk_in_pieces_at_a_url(tmp_path: Path, disk: bytes, named: str) -> None:
    cut(tmp_path / "vm", disk, [f"web01.img.{number:03}" for number in range(4)])
    with web(tmp_path / "vm") as server:
        url = f"{server.url}/web01.img.{named}"
        vm, found = converted(url, tmp_path / "out")
    assert found == disk
    assert len(vm["disks"][0]["source"]["parts"]) == 4
    assert vm["source"]["location"] == f"{server.url}/web01.img.000"


def test_pieces_that_changed_are_described_anew(tmp_path: Path, disk: bytes) -> None:
    names = ["a.001", "a.002", "a.003"]
    cut(tmp_path / "vm", disk, names)
    line = command("v2v-inspect", "--no-guest", "--json", tmp_path / "vm")

    def mark() -> str:
        done = subprocess.run(line, check=True, capture_output=True)
        return str(json.loads(done.stdout.splitlines()[0])["id"])

    before = mark()
    assert mark() == before
    with (tmp_path / "vm" / "a.003").open("r+b") as file:
        file.truncate(100)
    assert mark() != before
