# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a container's tables say, a map is written of it or it is refused."""

import struct
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

import archives
import differencing
import vmfs_delta
from v2v.errors import SourceError
from v2v.formats import vhdx
from v2v.mapping import tables, vma, vmfs, xva
from v2v.mapping.pieces import Mapped, Piece, bits, merged

MIB = 2**20
Change = tuple[int, bytes]
CHANGES = st.lists(
    st.tuples(st.integers(0, 20000), st.binary(min_size=1, max_size=8)), max_size=4
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    made = bytearray(data)
    for place, some in changes:
        made[place : place + len(some)] = some
    return bytes(made)


def write(mapped: Mapped | None) -> None:
    if mapped:
        with TemporaryDirectory(dir="/var/tmp") as folder:
            tables.write(mapped, Path(folder) / "map", parent=True)


@given(changes=CHANGES)
def test_a_changed_delta_is_mapped_or_refused(
    tmp_path: Path, changes: list[Change]
) -> None:
    for kind in ("cowd", "sesparse"):
        if kind == "cowd":
            vmfs_delta.cowd(
                tmp_path / "a", 10000, [(0, b"x" * 5120), (8000, b"y" * 512)]
            )
        else:
            vmfs_delta.sesparse(tmp_path / "a", 10000, {0: b"x" * 4096, 9: None})
        whole = (tmp_path / "a").read_bytes()
        (tmp_path / "a").write_bytes(changed(whole, changes))
        try:
            write(vmfs.mapped(tmp_path / "a"))
        except SourceError as e:
            assert "\n" not in e.message


@given(changes=CHANGES)
def test_a_changed_archive_is_mapped_or_refused(
    tmp_path: Path, changes: list[Change]
) -> None:
    disk = b"x" * MIB + bytes(MIB) + b"y" * 4096
    archives.xva(tmp_path / "x", b"<value/>", {"Ref:1": disk})
    archives.vma(tmp_path / "v", {"c": b""}, {"d": disk}, list(range(33)))
    for name in ("x", "v"):
        path = tmp_path / name
        path.write_bytes(changed(path.read_bytes(), changes))
        try:
            if name == "x":
                write(xva.mapped(path, "Ref:1", len(disk)))
            else:
                write(vma.mapped(path, "d"))
        except SourceError as e:
            assert "\n" not in e.message


@given(changes=CHANGES, sector=st.sampled_from([512, 4096]))
def test_a_vhdx_with_a_changed_table_is_mapped_or_refused(
    tmp_path: Path, changes: list[Change], sector: int
) -> None:
    path = tmp_path / "a.vhdx"
    if not path.exists():
        differencing.image(path, b"x" * (9 * MIB), "vhdx", "-o block_size=1M")
    whole = path.read_bytes()
    table = whole.index(differencing.BLOCK_TABLE, 192 * 1024)
    (at,) = struct.unpack_from("<Q", whole, table + 16)
    other = [(at + place % 128, some) for place, some in changes]
    (tmp_path / "b").write_bytes(changed(whole, other))
    differencing.give_sectors(tmp_path / "b", sector)
    try:
        write(vhdx.examine(tmp_path / "b", Path).mapped)
    except SourceError as e:
        assert "\n" not in e.message


@given(bitmap=st.binary(min_size=1, max_size=40))
def test_the_runs_of_a_bitmap_are_its_ones(bitmap: bytes) -> None:
    text = "".join(f"{byte:08b}" for byte in bitmap)
    found = ["0"] * len(text)
    for first, count in bits(bitmap, len(text)):
        assert found[first - 1 : first] != ["1"]  # runs are as long as they can be
        found[first : first + count] = ["1"] * count
    assert "".join(found) == text


def test_neighbours_become_one_piece_only_if_they_are_so_in_the_file() -> None:
    pieces = [Piece(0, 512, 512), Piece(512, 512, 1024), Piece(1024, 512, 4096)]
    pieces += [Piece(1536, 512, None), Piece(2048, 512, None), Piece(4096, 512, None)]
    assert list(merged(pieces)) == [
        Piece(0, 1024, 512),
        Piece(1024, 512, 4096),
        Piece(1536, 1024, None),
        Piece(4096, 512, None),
    ]
