# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps over several files, side by side on the disk."""

from pathlib import Path

import pytest

from containers import access
from v2v.document import Chunk, Layer
from v2v.errors import SourceError
from v2v.mapping import stretches
from v2v.mapping.copies import Copies
from v2v.mapping.pieces import Mapped, Piece, places
from v2v.mapping.stretches import Stretch
from v2v.servers import split

KIB = 1024


def stretch(folder: Path, at: int, length: int, pieces: list[Piece]) -> Stretch:
    path = folder / f"{at}"
    path.write_bytes(bytes([at // 512 % 256]) * length)
    image = Mapped(file=path, size=length, pieces=lambda: iter(pieces))
    return Stretch(at=at, length=length, image=image)


def test_files_begin_at_whole_pieces_of_64_kib() -> None:
    assert places([10]) == [0, 10]
    assert places([65536, 1, 65537, 5]) == [0, 65536, 131072, 262144, 262149]


def test_pieces_move_to_where_their_part_and_their_file_are(tmp_path: Path) -> None:
    one = stretch(tmp_path, 0, 1024, [Piece(512, 512, 512)])
    two = stretch(tmp_path, 1024, 1024, [Piece(0, 512, None), Piece(512, 4096, 0)])
    made = stretches.joined([two, one], 2048)
    assert made.files == (one.image.file, two.image.file)
    assert list(made.pieces()) == [
        Piece(512, 512, 512),
        Piece(1024, 512, None),
        Piece(1536, 512, 65536),
    ]


def test_a_piece_behind_the_end_of_its_own_file_is_told(tmp_path: Path) -> None:
    """And is not read from the file that follows."""
    one = stretch(tmp_path, 0, 1024, [Piece(0, 1024, 512)])
    two = stretch(tmp_path, 1024, 1024, [])
    with pytest.raises(SourceError, match="0 is truncated"):
        list(stretches.joined([one, two], 2048).pieces())


@pytest.mark.parametrize("size", [1500, 2047])
def test_parts_that_overlap_or_reach_beyond_are_refused(
    tmp_path: Path, size: int
) -> None:
    one, two = (stretch(tmp_path, at, 1024, []) for at in (0, 1024))
    with pytest.raises(SourceError):
        stretches.joined([one, two], size)
    with pytest.raises(SourceError):
        stretches.joined([one, one], 4096)


def test_small_pieces_of_a_very_large_disk_are_copied_from_each_file(
    tmp_path: Path,
) -> None:
    parts = [stretch(tmp_path, at, 65536, []) for at in (0, 65536, 131072)]
    (tmp_path / "65536").write_bytes(b"y" * 600)
    made = stretches.joined(parts, 196608)
    (tmp_path / "map").mkdir()
    copies = Copies(tmp_path / "map" / "c", made)
    assert copies._read(65530, 8) == b"\0" * 6 + b"yy"
    assert copies._read(131072, 2) == b"\0\0"
    assert copies._read(65536 + 598, 4) == b"yy\0\0"
    copies.shut()


def test_a_document_that_names_no_parts_or_odd_ones_is_refused(tmp_path: Path) -> None:
    reach = access(tmp_path, tmp_path / "private")
    (tmp_path / "a").write_bytes(bytes(1024))
    (tmp_path / "a.qcow2").write_bytes(b"QFI\xfb".ljust(1024, b"\0"))
    one = Chunk(path=str(tmp_path / "a"), length=1024, at=0)
    for layer in (
        Layer(server="split", path="x", length=1024),
        Layer(server="split", path="x", parts=(one,)),
        Layer(server="split", path="x", length=512, parts=(one,)),
        Layer(server="split", path="x", length=2048, parts=(one.having(length=1536),)),
        Layer(
            server="split",
            path="x",
            length=1024,
            parts=(one.having(path="/etc/hostname", length=1),),
        ),
        Layer(
            server="split",
            path="x",
            length=1024,
            parts=(one.having(path=str(tmp_path / "a.qcow2"), format="qcow2"),),
        ),
    ):
        with pytest.raises(SourceError):
            split.graph(layer, reach, write=False)
