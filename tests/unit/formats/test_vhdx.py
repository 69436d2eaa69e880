# SPDX-License-Identifier: GPL-2.0-or-later
import os
import struct
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from v2v.errors import SourceError
from v2v.formats import vhdx

MIB = 2**20
SIZE = 19 * MIB + 512
HEADERS = (64 * 1024, 128 * 1024)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vhdx")
    with (folder / "raw").open("wb") as file:
        file.seek(5 * MIB)
        file.write(os.urandom(MIB))
        file.truncate(SIZE)
    for kind in ("dynamic", "fixed"):
        options = f"subformat={kind},block_size=1M"
        command = f"qemu-img convert -f raw -O vhdx -o {options} raw {kind}.vhdx"
        subprocess.run(command.split(), cwd=folder, check=True)
    return folder


def crc32c(data: bytes) -> int:
    """Bit by bit, from the definition: not as the code under test does it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_log(image: Path, copy: Path) -> Path:
    """Return *copy* of *image* as a crash leaves it: with a log in its headers."""
    whole = bytearray(image.read_bytes())
    for at in HEADERS:
        header = whole[at : at + 4096]
        header[48:64] = uuid.uuid4().bytes_le
        header[4:8] = bytes(4)
        header[4:8] = struct.pack("<I", crc32c(bytes(header)))
        whole[at : at + 4096] = header
    copy.write_bytes(whole)
    return copy


def item(image: Path, name: str) -> int:
    """Return where the metadata item *name* of *image* is, in bytes."""
    data = image.read_bytes()
    at = data.index(b"metadata", 2**20)
    entry = data.index(uuid.UUID(name).bytes_le, at)
    return at + int(struct.unpack_from("<I", data, entry + 16)[0])


def changed(image: Path, copy: Path, at: int, data: bytes) -> Path:
    whole = bytearray(image.read_bytes())
    whole[at : at + len(data)] = data
    copy.write_bytes(whole)
    return copy


@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_both_kinds_are_accepted_with_their_size(images: Path, kind: str) -> None:
    found = vhdx.examine(images / f"{kind}.vhdx", Path)
    assert (found.size, found.differencing) == (SIZE, False)


@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_a_file_without_all_its_blocks_is_refused(
    images: Path, kind: str, tmp_path: Path
) -> None:
    data = (images / f"{kind}.vhdx").read_bytes()
    short = tmp_path / "short.vhdx"
    for length in [*range(0, len(data), len(data) // 20), len(data) - 1]:
        short.write_bytes(data[:length])
        with pytest.raises(SourceError):
            vhdx.examine(short, Path)


def test_a_log_that_was_not_replayed_is_told_with_what_to_do(
    images: Path, tmp_path: Path
) -> None:
    dirty = with_log(images / "dynamic.vhdx", tmp_path / "x.vhdx")
    with pytest.raises(SourceError, match="not closed") as e:
        vhdx.examine(dirty, Path)
    assert "qemu-img check -r all" in e.value.remedy


def test_one_broken_header_of_two_does_not_matter(images: Path, tmp_path: Path) -> None:
    image = images / "dynamic.vhdx"
    for at in HEADERS:
        copy = changed(image, tmp_path / "x.vhdx", at + 200, b"!")
        assert vhdx.examine(copy, Path).size == SIZE
    copy = changed(copy, copy, HEADERS[0] + 200, b"!")
    with pytest.raises(SourceError, match="neither"):
        vhdx.examine(copy, Path)


def test_a_differencing_disk_is_told_with_its_parent(
    images: Path, tmp_path: Path
) -> None:
    image = images / "dynamic.vhdx"
    parameters = item(image, "caa16737-fa36-4d43-b3b6-33f0aa44e76b")
    copy = changed(image, tmp_path / "x.avhdx", parameters + 4, b"\2")
    # The locator takes the place of the page-83 item, and lies behind all others.
    locator = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
    key, value = ("relative_path".encode("utf-16-le"), "..\\b".encode("utf-16-le"))
    data = bytes(18) + struct.pack("<HIIHH", 1, 32, 32 + len(key), len(key), len(value))
    data += key + value
    entry = locator + struct.pack("<III", 65536 + 512, len(data), 0)
    page83 = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le
    whole = copy.read_bytes()
    start = whole.index(b"metadata", 2**20)
    changed(copy, copy, whole.index(page83, start), entry)
    changed(copy, copy, start + 65536 + 512, data)
    found = vhdx.examine(copy, Path)
    assert (found.differencing, found.parent) == (True, "..\\b")


def test_a_locator_with_more_names_than_any_is_read_soon(
    images: Path, tmp_path: Path
) -> None:
    """Each may be 64 KiB long, and all be made of the same bytes."""
    image = images / "dynamic.vhdx"
    parameters = item(image, "caa16737-fa36-4d43-b3b6-33f0aa44e76b")
    copy = changed(image, tmp_path / "x.avhdx", parameters + 4, b"\2")
    count = 40_000
    data = bytes(18) + struct.pack("<H", count)
    for n in range(count):
        data += struct.pack("<IIHH", 2 * n, 2 * n + 1, 65534, 65534)
    data = data.ljust(MIB, b"x")
    whole = bytearray(copy.read_bytes())
    end = -(-len(whole) // MIB) * MIB
    whole = whole.ljust(end, b"\0") + data
    start = whole.index(b"metadata", MIB)
    locator = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
    place = whole.index(
        uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le, start
    )
    entry = locator + struct.pack("<III", end - start, len(data), 0)
    whole[place : place + len(entry)] = entry
    copy.write_bytes(whole)
    begun = time.monotonic()
    assert vhdx.examine(copy, Path).differencing
    assert time.monotonic() - begun < 2


SECTOR = "8141bf1d-a96f-4709-ba47-f233a8faab5f"


def test_sectors_of_4096_bytes_are_told(images: Path, tmp_path: Path) -> None:
    image = images / "dynamic.vhdx"
    assert vhdx.examine(image, Path).logical_block_size == 512
    sector = struct.pack("<I", 4096)
    copy = changed(image, tmp_path / "x.vhdx", item(image, SECTOR), sector)
    found = vhdx.examine(copy, Path)
    assert (found.size, found.logical_block_size) == (SIZE, 4096)


def test_the_map_of_a_whole_disk_counts_chunks_by_its_sectors(tmp_path: Path) -> None:
    """With blocks of 256 MiB an entry of a bitmap follows each 16 blocks, or 128."""
    raw, image = tmp_path / "raw", tmp_path / "x.vhdx"
    blocks = (0, 15, 16, 17, 40)
    with raw.open("wb") as file:
        for block in blocks:
            file.seek(block * 256 * MIB)
            file.write(b"x" * 512)
        file.truncate(41 * 256 * MIB)
    command = "qemu-img convert -S 4k -f raw -O vhdx -o block_size=256M raw x.vhdx"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    assert _blocks(image) == list(blocks)
    sector = struct.pack("<I", 4096)
    changed(image, image, item(image, SECTOR), sector)
    # Then the bitmaps' entries of 512-byte sectors would be taken for those of blocks.
    assert _blocks(image) == [0, 15, 17, 18]


def _blocks(image: Path) -> list[int]:
    found = vhdx.examine(image, Path).mapped
    assert found
    return [p.at // (256 * MIB) for p in found.pieces() if p.where is not None]


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", 2**62), "is none"),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", 2**45), "small"),
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<I", 0), "blocks of 0"),
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", b"\xff" * 4, "blocks of"),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", 0), "sectors of 0"),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", 8192), "of 8192"),
    ],
)
def test_impossible_metadata_is_refused(
    images: Path, tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    image = images / "dynamic.vhdx"
    copy = changed(image, tmp_path / "x.vhdx", item(image, name), data)
    with pytest.raises(SourceError, match=what):
        vhdx.examine(copy, Path)


def test_a_broken_region_table_is_refused(images: Path, tmp_path: Path) -> None:
    copy = changed(images / "dynamic.vhdx", tmp_path / "x.vhdx", 192 * 1024 + 8, b"\3")
    with pytest.raises(SourceError, match="region table"):
        vhdx.examine(copy, Path)
