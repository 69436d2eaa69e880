# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from v2v.errors import SourceError
from v2v.formats import recognise, vpc
from v2v.sources import Request, read

MIB = 2**20
SIZE = 9 * MIB + 512


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One disk of an odd size, as fixed and dynamic VHD of just that size."""
    folder = tmp_path_factory.mktemp("vpc")
    with (folder / "raw").open("wb") as file:
        file.seek(5 * MIB)
        file.write(os.urandom(MIB))
        file.truncate(SIZE)
    for kind in ("fixed", "dynamic"):
        options = f"subformat={kind},force_size=on"
        command = f"qemu-img convert -f raw -O vpc -o {options} raw {kind}.vhd"
        subprocess.run(command.split(), cwd=folder, check=True)
    return folder


def with_footer(image: Path, copy: Path, **fields: bytes) -> Path:
    """Return *copy*, made of *image* with a changed footer, correctly summed."""
    places = {"header": 16, "creator": 28, "size": 48, "geometry": 56, "kind": 60}
    whole = bytearray(image.read_bytes())
    footer = whole[-512:]
    for name, value in fields.items():
        footer[places[name] : places[name] + len(value)] = value
    summed(footer, 64)
    whole[-512:] = footer
    if whole[:8] == b"conectix":
        whole[:512] = footer
    copy.write_bytes(whole)
    return copy


def summed(data: bytearray, at: int) -> None:
    data[at : at + 4] = bytes(4)
    data[at : at + 4] = struct.pack(">I", ~sum(data) & 0xFFFF_FFFF)


def size_in_qemu(path: Path, options: dict[str, str]) -> int:
    file = {"driver": "file", "filename": str(path)}
    node = {"driver": "vpc", "file": file, **options}
    command = ["qemu-img", "info", "--output=json", "json:" + json.dumps(node)]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    return int(json.loads(said)["virtual-size"])


@pytest.mark.parametrize("kind", ["fixed", "dynamic"])
def test_fixed_and_dynamic_are_accepted_with_their_size(
    images: Path, kind: str
) -> None:
    image = images / f"{kind}.vhd"
    found = vpc.examine(image, Path)
    assert (found.size, found.differencing) == (SIZE, False)
    assert recognise(image) == "vpc"


@pytest.mark.parametrize("kind", ["fixed", "dynamic"])
@pytest.mark.parametrize("creator", [b"vbox", b"win ", b"tap\0", b"wa\0\0", b"vpc "])
def test_qemu_shows_the_size_that_we_tell(
    images: Path, tmp_path: Path, kind: str, creator: bytes
) -> None:
    geometry = struct.pack(">HBB", 260, 4, 17)
    copy = tmp_path / "x.vhd"
    with_footer(images / f"{kind}.vhd", copy, creator=creator, geometry=geometry)
    found = vpc.examine(copy, Path)
    assert found.size == size_in_qemu(copy, found.options)
    assert found.size == (260 * 4 * 17 * 512 if creator == b"vpc " else SIZE)


def test_a_dynamic_file_without_all_its_blocks_is_refused(
    images: Path, tmp_path: Path
) -> None:
    data = (images / "dynamic.vhd").read_bytes()
    short = tmp_path / "short.vhd"
    for length in [*range(0, len(data) - 513, len(data) // 40), len(data) - 513]:
        short.write_bytes(data[:length])
        with pytest.raises(SourceError):
            vpc.examine(short, Path)


def test_a_fixed_file_cut_off_anywhere_is_refused(images: Path, tmp_path: Path) -> None:
    data = (images / "fixed.vhd").read_bytes()
    short = tmp_path / "short.vhd"
    # Without its last byte it is a fixed VHD of old.
    for length in [*range(0, len(data), len(data) // 40), len(data) - 2]:
        short.write_bytes(data[:length])
        with pytest.raises(SourceError):
            vpc.examine(short, Path)
    short.write_bytes(data[:MIB] + data[2 * MIB :])
    with pytest.raises(SourceError, match="truncated"):
        vpc.examine(short, Path)


def test_a_differencing_file_is_told_with_its_parent(
    images: Path, tmp_path: Path
) -> None:
    copy = with_footer(
        images / "dynamic.vhd", tmp_path / "x.avhd", kind=struct.pack(">I", 4)
    )
    whole = bytearray(copy.read_bytes())
    header = whole[512:1536]
    header[64 : 64 + 16] = "base.vhd".encode("utf-16-be")
    summed(header, 36)
    whole[512:1536] = header
    copy.write_bytes(whole)
    found = vpc.examine(copy, Path)
    assert (found.differencing, found.parent) == (True, "base.vhd")


def test_a_member_of_an_archive_is_read_in_place(images: Path, tmp_path: Path) -> None:
    for kind in ("fixed", "dynamic"):
        data = (images / f"{kind}.vhd").read_bytes()
        archive = tmp_path / "archive"
        archive.write_bytes(bytes(1536) + data + bytes(1024))
        assert vpc.examine(archive, Path, 1536, len(data)).size == SIZE
        assert recognise(archive, 1536, len(data)) == "vpc"


def test_a_footer_of_511_bytes_is_read_by_ourselves(
    images: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old.vhd"
    old.write_bytes((images / "fixed.vhd").read_bytes()[:-1])
    assert recognise(old) == "vpc"
    found = vpc.examine(old, Path)
    assert (found.size, found.doubts) == (SIZE, ())
    assert found.mapped
    assert list(found.mapped.pieces()) == [(0, SIZE, 0)]


def test_a_guest_cannot_pass_its_first_sector_off_as_the_footer(
    images: Path, tmp_path: Path
) -> None:
    fixed = (images / "fixed.vhd").read_bytes()
    hostile = tmp_path / "x.vhd"
    hostile.write_bytes(fixed[-512:] + fixed[512:])
    with pytest.raises(SourceError, match="contradicts"):
        vpc.examine(hostile, Path)


def test_a_guest_cannot_make_a_fixed_disk_a_dynamic_one(
    images: Path, tmp_path: Path
) -> None:
    """It can write what it likes to its first sectors, but not behind its disk."""
    fixed = bytearray((images / "fixed.vhd").read_bytes())
    fixed[:2048] = (images / "dynamic.vhd").read_bytes()[:2048]
    (tmp_path / "x.vhd").write_bytes(fixed)
    with pytest.raises(SourceError, match="contradicts"):
        vpc.examine(tmp_path / "x.vhd", Path)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"kind": struct.pack(">I", 7)}, "of type 7"),
        ({"size": struct.pack(">Q", 0)}, "is none"),
        ({"size": struct.pack(">Q", 2**62)}, "is none"),
        ({"size": struct.pack(">Q", 2**45)}, "too small"),
        ({"header": struct.pack(">Q", 2**63)}, "truncated"),
        ({"header": struct.pack(">Q", 1536)}, "dynamic header"),
    ],
)
def test_an_impossible_footer_is_refused(
    images: Path, tmp_path: Path, fields: dict[str, bytes], what: str
) -> None:
    copy = with_footer(images / "dynamic.vhd", tmp_path / "x.vhd", **fields)
    with pytest.raises(SourceError, match=what):
        vpc.examine(copy, Path)


def test_a_table_of_holes_costs_nobody_much_time(images: Path, tmp_path: Path) -> None:
    """A file of holes is as long as it says, and takes no room."""
    whole = bytearray((images / "dynamic.vhd").read_bytes())
    whole[512 + 16 : 512 + 24] = struct.pack(">Q", MIB)
    whole[512 + 28 : 512 + 36] = struct.pack(">II", 2**32 - 1, 512)
    header = whole[512:1536]
    summed(header, 36)
    whole[512:1536] = header
    copy = tmp_path / "x.vhd"
    copy.write_bytes(whole)
    with_footer(copy, copy, size=struct.pack(">Q", 2**40))
    with copy.open("r+b") as file:
        file.truncate(64 * 2**30)
    begun = time.monotonic()
    with pytest.raises(SourceError, match="blocks is none"):
        vpc.examine(copy, Path)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(("kind", "pieces"), [("fixed", 1), ("dynamic", 3)])
def test_a_wrong_checksum_is_a_doubt(
    images: Path, tmp_path: Path, kind: str, pieces: int
) -> None:
    """QEMU refuses what other tools read: we read it, and say so."""
    whole = bytearray((images / f"{kind}.vhd").read_bytes())
    for footer in (-500, 12) if kind == "dynamic" else (-500,):
        whole[footer] ^= 1
    (tmp_path / "x.vhd").write_bytes(whole)
    found = vpc.examine(tmp_path / "x.vhd", Path)
    assert found.doubts == ("the checksum of its footer is wrong",)
    assert found.mapped
    assert len(list(found.mapped.pieces())) <= pieces


def test_a_footer_that_is_whole_goes_before_its_damaged_copy(
    images: Path, tmp_path: Path
) -> None:
    whole = bytearray((images / "dynamic.vhd").read_bytes())
    whole[48:56] = bytes(8)
    (tmp_path / "x.vhd").write_bytes(whole)
    found = vpc.examine(tmp_path / "x.vhd", Path)
    assert (found.size, found.doubts) == (SIZE, ())


def test_a_wrong_sum_of_the_dynamic_header_is_a_doubt(
    images: Path, tmp_path: Path
) -> None:
    whole = bytearray((images / "dynamic.vhd").read_bytes())
    whole[512 + 24] ^= 1  # the version of the header
    (tmp_path / "x.vhd").write_bytes(whole)
    found = vpc.examine(tmp_path / "x.vhd", Path)
    assert found.doubts == ("the checksum of its dynamic header is wrong",)


@pytest.mark.parametrize(
    ("at", "base", "doubts"), [(85, True, 0), (84, False, 1), (86, False, 0)]
)
def test_marks_of_xenserver_and_of_a_saved_state_are_told(
    images: Path, tmp_path: Path, at: int, base: bool, doubts: int
) -> None:
    copy = with_footer(images / "dynamic.vhd", tmp_path / "x.vhd", creator=b"tap\0")
    whole = bytearray(copy.read_bytes())
    for start in (0, len(whole) - 512):
        whole[start + at] = 1
        footer = whole[start : start + 512]
        summed(footer, 64)
        whole[start : start + 512] = footer
    copy.write_bytes(whole)
    found = vpc.examine(copy, Path)
    assert (found.base, len(found.doubts)) == (base, doubts)


def test_what_is_odd_is_told_of_the_disk(images: Path, tmp_path: Path) -> None:
    whole = bytearray((images / "fixed.vhd").read_bytes())
    whole[-500] ^= 1
    (tmp_path / "x.vhd").write_bytes(whole)
    (vm,) = read(Request(location=str(tmp_path / "x.vhd")))
    (finding,) = vm.findings
    assert (finding.code, finding.severity, finding.disk) == (
        *("image-doubtful", "warn"),
        "sda",
    )
