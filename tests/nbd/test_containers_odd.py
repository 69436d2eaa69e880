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
from v2v.document import Layer
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


def summed(data: bytearray, at: int, length: int, place: int) -> None:
    data[at + place : at + place + 4] = bytes(4)
    total = ~sum(data[at : at + length]) & 0xFFFFFFFF
    struct.pack_into(">I", data, at + place, total)


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


def xenserver(disk: bytes, written: set[int]) -> bytes:
    """Return *disk* as a VHD of XenServer, of which the sectors *written* were written.

    Between its table and its blocks is a map of the blocks that are whole; and what
    was never written is whatever the storage held.
    """
    block = 2 * MIB
    count = -(-len(disk) // block)
    table_at = 1536
    batmap_at = table_at + -(-count * 4 // SECTOR) * SECTOR
    at = batmap_at + 2 * SECTOR
    table, body = [], bytearray()
    per = block // SECTOR
    for number in range(count):
        some = [s for s in range(number * per, (number + 1) * per) if s in written]
        table.append((at + len(body)) // SECTOR if some else 0xFFFFFFFF)
        if not some:
            continue
        bits = bytearray(SECTOR)
        data = bytearray(random.Random(number).randbytes(block))
        for sector in some:
            inside = sector % per
            bits[inside // 8] |= 0x80 >> inside % 8
            piece = disk[sector * SECTOR : (sector + 1) * SECTOR]
            data[inside * SECTOR : inside * SECTOR + len(piece)] = piece
        body += bits + data
    footer = bytearray(512)
    fields = (b"conectix", 2, 0x10000, 512, 0, b"tap\0", 0x10003, 0)
    struct.pack_into(">8sIIQI4sII", footer, 0, *fields)
    struct.pack_into(">QQHBBI", footer, 40, len(disk), len(disk), 100, 4, 17, 3)
    footer[68:84] = uuid.uuid4().bytes
    summed(footer, 0, 512, 64)
    header = bytearray(1024)
    struct.pack_into(
        ">8sQQIII", header, 0, b"cxsparse", 2**64 - 1, table_at, 0x10000, count, block
    )
    summed(header, 0, 1024, 36)
    places = struct.pack(f">{count}I", *table)
    batmap = struct.pack(">8sQII", b"tdbatmap", batmap_at + SECTOR, 1, 0x10002)
    data = footer + header + places.ljust(batmap_at - table_at, b"\xff")
    data += batmap.ljust(2 * SECTOR, b"\0")
    return bytes(data + body + footer)


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


def repacked(data: bytes | bytearray, disk: bytes, block: int, extra: int) -> bytes:
    """Return *disk* as a VDI with the header of *data*, in blocks of *block* bytes
    with *extra* in front of each; blocks of zeroes are not there."""
    head = bytearray(data[:512])
    count = -(-len(disk) // block)
    data_at = 512 + -(-count * 4 // 512) * 512
    struct.pack_into("<II", head, 340, 512, data_at)
    struct.pack_into("<III", head, 376, block, extra, count)
    table, body = [], bytearray()
    for number in reversed(range(count)):
        piece = disk[number * block : (number + 1) * block]
        if any(piece):
            table.append(len(body) // (block + extra))
            body += os.urandom(extra) + piece.ljust(block, b"\0")
        else:
            table.append(0xFFFFFFFE if number % 2 else 0xFFFFFFFF)
    places = struct.pack(f"<{count}I", *reversed(table))
    return bytes(head) + places.ljust(data_at - 512, b"\0") + body


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
