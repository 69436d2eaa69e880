# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that QEMU refuses or misreads are served as their makers meant them."""

import os
import random
import struct
import subprocess
import uuid
from pathlib import Path

import pytest

import differencing
from archives import content
from containers import access, converted, node, served
from odd_images import repacked, summed, xenserver
from v2v.document import Layer
from v2v.errors import SourceError
from v2v.formats import vdi, vpc
from v2v.sources import images

MIB = 2**20
SECTOR = 512
SIZE = 33 * MIB + SECTOR


def read(path: Path, format: str) -> bytes:
    """Return what is served of *path*, over NBD; and qemu-img copies the same."""
    reach = access(path.parent, path.parent / "private")
    layer, _ = images.layer(path, "vdi" if format == "vdi" else "vpc", reach.checked)
    made = converted(node(layer, reach))
    assert served(layer, reach) == made
    return made


def refused(path: Path, format: str) -> bool:
    """Whether QEMU by itself cannot open *path*."""
    command = ["qemu-img", "info", "-f", format, str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


def by_qemu(path: Path, format: str) -> bytes:
    """Return what QEMU by itself reads of *path*."""
    raw = path.with_name("by-qemu")
    command = ["qemu-img", "convert", "-f", format, "-O", "raw", str(path), str(raw)]
    subprocess.run(command, check=True, timeout=60)
    return raw.read_bytes()


# VHD


def test_a_fixed_vhd_with_a_footer_of_511_bytes(tmp_path: Path) -> None:
    disk = content(1, SIZE)
    path = tmp_path / "a.vhd"
    options = "-o subformat=fixed,force_size=on"
    path.write_bytes(differencing.image(path, disk, "vpc", options)[:-1])
    assert read(path, "vpc") == disk


@pytest.mark.parametrize("kind", ["fixed", "dynamic"])
def test_a_vhd_whose_sums_are_wrong(tmp_path: Path, kind: str) -> None:
    disk = content(2, SIZE)
    path = tmp_path / "a.vhd"
    options = f"-o subformat={kind},force_size=on"
    data = differencing.image(path, disk, "vpc", options)
    data[-512 + 12] ^= 1
    data[12] ^= kind == "dynamic"
    path.write_bytes(data)
    assert refused(path, "vpc")
    assert read(path, "vpc") == disk


@pytest.mark.parametrize("tail", [0, 512, 3 * MIB, 777])
def test_a_fixed_vhd_in_a_file_longer_than_its_disk(tmp_path: Path, tail: int) -> None:
    """Azure's and partitions' tools round the file up, and leave the size."""
    disk = content(3, SIZE)
    path = tmp_path / "a.vhd"
    options = "-o subformat=fixed,force_size=on"
    data = bytes(differencing.image(path, disk, "vpc", options))
    path.write_bytes(data[:-512] + os.urandom(tail) + data[-512:])
    assert read(path, "vpc") == disk


def test_a_fixed_vhd_of_no_whole_sectors(tmp_path: Path) -> None:
    disk = content(4, SIZE)
    path = tmp_path / "a.vhd"
    options = "-o subformat=fixed,force_size=on"
    data = differencing.image(path, disk, "vpc", options)
    foot = len(data) - 512
    struct.pack_into(">Q", data, foot + 48, SIZE - 100)
    summed(data, foot, 512, 64)
    path.write_bytes(data)
    image = vpc.examine(path, Path)
    assert image.size == SIZE - 100
    made = read(path, "vpc")
    # A server serves whole sectors.
    assert made[: SIZE - 100] == disk[: SIZE - 100]
    assert len(made) == SIZE


def test_what_xenserver_never_wrote_is_zero_whatever_is_there(tmp_path: Path) -> None:
    """QEMU does not look at the bitmaps of a VHD without a parent."""
    disk = bytearray(os.urandom(SIZE))
    dice = random.Random(5)
    sectors = SIZE // SECTOR
    written = set(range(100)) | {dice.randrange(sectors) for _ in range(300)}
    written |= {sectors - 1, *range(20000, 24096)}
    for sector in range(sectors):
        if sector not in written:
            disk[sector * SECTOR : (sector + 1) * SECTOR] = bytes(SECTOR)
    path = tmp_path / "a.vhd"
    path.write_bytes(xenserver(bytes(disk), written))
    assert by_qemu(path, "vpc")[: len(disk)] != disk
    assert read(path, "vpc") == disk


# VDI


@pytest.mark.parametrize(
    ("block", "extra"), [(MIB, 512), (4 * MIB, 0), (64 * 1024, 4096), (512, 0)]
)
def test_a_vdi_with_blocks_of_another_size(
    tmp_path: Path, block: int, extra: int
) -> None:
    size = SIZE if block > 512 else 17 * MIB + 512
    disk = content(6, SIZE)[:size] if block > 512 else os.urandom(MIB) + bytes(16 * MIB)
    disk = disk.ljust(size, b"\0")
    path = tmp_path / "a.vdi"
    path.write_bytes(
        repacked(differencing.image(path, disk, "vdi"), disk, block, extra)
    )
    assert refused(path, "vdi") or by_qemu(path, "vdi") != disk
    assert vdi.examine(path, Path).size == size
    assert read(path, "vdi") == disk


def test_a_parent_that_was_written_to_since_is_told(tmp_path: Path) -> None:
    disk = content(7, SIZE)
    differencing.image(tmp_path / "base.vdi", disk, "vdi")
    child = tmp_path / "child.vdi"
    differencing.vdi(child, bytes(SIZE), tmp_path / "base.vdi")
    base = bytearray((tmp_path / "base.vdi").read_bytes())
    data = bytearray(child.read_bytes())
    stamp = uuid.uuid4().bytes_le
    data[440:456] = base[408:424] = stamp
    (tmp_path / "base.vdi").write_bytes(base)
    child.write_bytes(data)
    checked = access(tmp_path, tmp_path / "private").checked
    _, image = images.layer(child, "vdi", checked)
    assert image.doubts == ()
    base[408:424] = uuid.uuid4().bytes_le
    (tmp_path / "base.vdi").write_bytes(base)
    layer, image = images.layer(child, "vdi", checked)
    assert isinstance(layer, Layer)
    (doubt,) = image.doubts
    assert "base.vdi was changed" in doubt
    (finding,) = images.doubtful(image, child, "sda")
    assert (finding.code, finding.severity) == ("image-doubtful", "warn")


# VHDX


def chained(tmp_path: Path, link: str) -> Layer:
    disk = content(8, SIZE)
    base = tmp_path / "base.vhdx"
    differencing.image(base, disk, "vhdx")
    child = tmp_path / "child.avhdx"
    differencing.vhdx(child, disk, [1, 9], base, r".\base.vhdx", link=link)
    checked = access(tmp_path, tmp_path / "private").checked
    return images.layer(child, "vhdx", checked)[0]


def test_a_parent_is_proved_by_either_of_its_two_identifiers(tmp_path: Path) -> None:
    """Hyper-V writes the second while it merges or resizes a parent."""
    for number, link in enumerate(("parent_linkage", "parent_linkage2")):
        folder = tmp_path / str(number)
        folder.mkdir()
        layer = chained(folder, link)
        assert [file.path for file in layer.backing] == [str(folder / "base.vhdx")]
    (tmp_path / "other").mkdir()
    with pytest.raises(SourceError, match="identifiers differ"):
        chained(tmp_path / "other", "parent_linkage3")
