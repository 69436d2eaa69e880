# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest on a disk with sectors of 4096 bytes (4Kn) boots from such a one again."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

import large_sectors
from conversions import MAC, assert_runs_well, five_stages, validate
from differencing import give_sectors


@pytest.mark.parametrize("kind", ["vhdx", "qcow2"])
@pytest.mark.usefixtures("as_root")
def test_a_guest_on_large_sectors_boots_from_virtio(
    kind: str, guest: Callable[[str], Path], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    raw = source / "web01.raw"
    large_sectors.moved(guest("debian12-uefi-lvm"), raw)
    disk = source / f"web01.{kind}"
    convert = ["qemu-img", "convert", "-f", "raw", "-O", kind]
    options = ["-o", "block_size=1M"] if kind == "vhdx" else []
    subprocess.run([*convert, *options, str(raw), str(disk)], check=True)
    raw.unlink()
    if kind == "vhdx":
        give_sectors(disk, 4096)
    out = tmp_path / "out"
    job, vm = five_stages(["--mac", MAC, str(disk)], out, tmp_path / "said")
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()
    assert vm["disks"][0]["logical_block_size"] == 4096
    assert vm["firmware"] == "efi"
    xml = out / "web01.xml"
    validate(xml)
    [blockio] = etree.parse(xml).findall("devices/disk/blockio")
    assert blockio.get("logical_block_size") == "4096"
    done = assert_runs_well(xml, data=False)
    assert done.report["root"] == "/dev/mapper/deb12--vg-root"
