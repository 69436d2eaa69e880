# SPDX-License-Identifier: GPL-2.0-or-later
"""Differencing VHD, VHDX and VDI are served with what is their parent's."""

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import differencing
from containers import access, allocated, converted, node, served
from v2v.document import Format
from v2v.errors import SourceError
from v2v.sources import images
from v2v.views import store

MIB = 2**20
SECTOR = 512
# Whole geometry of a VHD, and no whole MiB.
SIZE = 1024 * 17 * 4 * SECTOR
Make = Callable[[Path, bytes, list[int], Path, str], None]


@pytest.fixture
def content() -> bytearray:
    made = bytearray(SIZE)
    dice = random.Random(3)
    for start in range(0, SIZE - 2 * MIB, 5 * MIB):
        made[start : start + 2 * MIB] = dice.randbytes(2 * MIB)
    return made


def written(dice: random.Random) -> tuple[bytes, list[int]]:
    """Return a disk with sectors here and there, and which they are."""
    sectors = {0, SIZE // SECTOR - 1, *range(8 * 100, 8 * 700)}
    for _ in range(150):
        start = dice.randrange(20 * MIB // SECTOR)
        sectors |= set(range(start, start + dice.choice([1, 3, 8, 64])))
    data = bytearray(SIZE)
    for sector in sectors:
        data[sector * SECTOR : (sector + 1) * SECTOR] = dice.randbytes(SECTOR)
    return bytes(data), sorted(sectors)


def over(below: bytearray, data: bytes, sectors: list[int]) -> None:
    for sector in sectors:
        at = sector * SECTOR
        below[at : at + SECTOR] = data[at : at + SECTOR]


@pytest.mark.report("https://github.com/MicrosoftDocs/windowsserverdocs/issues/6020")
@pytest.mark.parametrize(
    ("format", "make", "options"),
    [
        ("vpc", differencing.vhd, "-o force_size=on"),
        ("vhdx", differencing.vhdx, "-o block_size=1M"),
    ],
)
def test_a_chain_reads_as_the_disk_that_its_guest_saw(
    tmp_path: Path, content: bytearray, format: Format, make: Make, options: str
) -> None:
    dice = random.Random(7)
    differencing.image(tmp_path / "Base", bytes(content), format, options)
    for name, parent in (("1.avhd", "Base"), ("2.avhd", "1.avhd")):
        data, sectors = written(dice)
        make(tmp_path / name, data, sectors, tmp_path / parent, f".\\{parent}")
        over(content, data, sectors)
    reach = access(tmp_path, tmp_path / "private")
    layer, image = images.layer(tmp_path / "2.avhd", format, reach.checked)
    assert [Path(file.path).name for file in layer.backing] == ["1.avhd", "Base"]
    assert image.size == SIZE
    assert converted(node(layer, reach)) == content
    assert served(layer, reach) == content
    assert allocated(store.root()) < 4 * MIB


def test_a_vdi_finds_its_parent_by_its_uuid(tmp_path: Path, content: bytearray) -> None:
    differencing.image(tmp_path / "base.vdi", bytes(content), "vdi")
    (tmp_path / "Snapshots").mkdir()
    child = tmp_path / "Snapshots" / "{a}.vdi"
    data = bytearray(SIZE)
    for block in (0, 7, SIZE // MIB):
        at = block * MIB
        data[at : at + MIB] = random.Random(block).randbytes(min(MIB, SIZE - at))
        content[at : at + MIB] = data[at : at + MIB]
    differencing.vdi(child, bytes(data), tmp_path / "base.vdi")
    reach = access(tmp_path, tmp_path / "private")
    layer, _ = images.layer(child, "vdi", reach.checked)
    assert [file.path for file in layer.backing] == [str(tmp_path / "base.vdi")]
    assert converted(node(layer, reach)) == content


@pytest.mark.parametrize(
    ("format", "make"), [("vpc", differencing.vhd), ("vhdx", differencing.vhdx)]
)
def test_another_disk_of_the_parents_name_is_not_taken(
    tmp_path: Path, content: bytearray, format: Format, make: Make
) -> None:
    differencing.image(tmp_path / "Base", bytes(content), format)
    make(tmp_path / "c", bytes(content), [1], tmp_path / "Base", "C:\\vm\\Base")
    differencing.image(tmp_path / "Base", bytes(content), format)
    with pytest.raises(SourceError, match="identifiers differ"):
        images.layer(tmp_path / "c", format, access(tmp_path, tmp_path / "p").checked)


def test_a_parent_that_is_missing_or_outside_is_told(
    tmp_path: Path, content: bytearray
) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    differencing.image(tmp_path / "Base", bytes(content), "vpc")
    for name in ("..\\Base", "..\\..\\..\\etc\\passwd", "x" * 400, ""):
        differencing.vhd(folder / "c", bytes(SIZE), [], tmp_path / "Base", name)
        with pytest.raises(SourceError):
            images.layer(folder / "c", "vpc", access(folder, folder / "p").checked)


def test_a_vhd_that_is_its_own_parent_ends(tmp_path: Path, content: bytearray) -> None:
    differencing.image(tmp_path / "Base", bytes(content), "vpc")
    for name, parent in (("a", "Base"), ("b", "a")):
        differencing.vhd(tmp_path / name, bytes(SIZE), [], tmp_path / parent, ".\\b")
    uid = (tmp_path / "b").read_bytes()[-512:][68:84]
    data = bytearray((tmp_path / "a").read_bytes())
    header = int.from_bytes(data[16:24], "big")
    data[header + 40 : header + 56] = uid
    data[header + 36 : header + 40] = bytes(4)
    total = ~sum(data[header : header + 1024]) & 0xFFFFFFFF
    struct.pack_into(">I", data, header + 36, total)
    (tmp_path / "a").write_bytes(data)
    data = bytearray((tmp_path / "b").read_bytes())
    data = bytearray(
        data.replace(".\\b".encode("utf-16-le"), ".\\a".encode("utf-16-le"))
    )
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(SourceError, match="circle"):
        images.layer(tmp_path / "b", "vpc", access(tmp_path, tmp_path / "p").checked)


def test_what_qemu_alone_makes_of_a_differencing_vhd_is_wrong(
    tmp_path: Path, content: bytearray
) -> None:
    """The reason for all this; should it fail, QEMU has learnt it."""
    differencing.image(tmp_path / "Base", bytes(content), "vpc", "-o force_size=on")
    differencing.vhd(tmp_path / "c", bytes(SIZE), [], tmp_path / "Base", ".\\Base")
    out = tmp_path / "out"
    command = f"qemu-img convert -f vpc -O raw {tmp_path / 'c'} {out}"
    subprocess.run(command.split(), check=True, timeout=60)
    assert not any(out.read_bytes())
