# SPDX-License-Identifier: GPL-2.0-or-later
"""An image in pieces is read as the whole, wherever the borders are."""

import json
import random
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2v import formats
from v2v.errors import SourceError
from v2v.formats import Part
from v2v.mapping import strung

BYTES = random.Random(7).randbytes(2**16)
# Offset in the file, and length, of each piece.
PLACES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 3000) | st.just(1024)),
    min_size=1,
    max_size=12,
)


def pieces(folder: Path, places: list[tuple[int, int]]) -> list[Part]:
    """Put pieces into two files: those of the second overlap, which does not matter."""
    for name in ("a", "b"):
        (folder / name).write_bytes(BYTES)
    return [
        Part(path=folder / "ab"[number % 2], offset=offset, length=length)
        for number, (offset, length) in enumerate(places)
    ]


def whole(parts: list[Part]) -> bytes:
    return b"".join(BYTES[p.offset : p.offset + p.length] for p in parts)


@settings(max_examples=40)
@given(places=PLACES)
def test_qemu_reads_the_pieces_as_one(places: list[tuple[int, int]]) -> None:
    with TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        parts = pieces(folder, places)
        held = whole(parts)
        strung.write(formats.strung(parts), folder / "map")
        node = {"driver": "raw", "file": strung.node(folder / "map")}
        if not held:
            return
        command = ["qemu-img", "convert", "-O", "raw", f"json:{json.dumps(node)}"]
        subprocess.run([*command, str(folder / "out")], check=True)
        made = (folder / "out").read_bytes()
        # What follows the last piece in its file, up to the end of the sector, is
        # nobody's: an image's length is whole sectors, or the rest does not matter.
        assert made[: len(held)] == held
        assert len(made) == -(-len(held) // 512) * 512


@given(places=PLACES, at=st.integers(0, 9000), count=st.integers(0, 5000))
def test_we_read_the_pieces_as_one(
    tmp_path: Path, places: list[tuple[int, int]], at: int, count: int
) -> None:
    parts = pieces(tmp_path, places)
    image, held = formats.strung(parts), whole(parts)
    assert image.length == len(held)
    if at + count > len(held):
        with pytest.raises(SourceError, match="truncated"):
            image.read(at, count)
    else:
        assert image.read(at, count) == held[at : at + count]
    assert formats.ends(image) == (held[:4096], held[-512:])


def test_pieces_without_end_are_refused(tmp_path: Path) -> None:
    parts = pieces(tmp_path, [(0, 512)] * 3000)
    with pytest.raises(SourceError, match="3000 pieces") as e:
        strung.write(formats.strung(parts), tmp_path / "map")
    assert e.value.remedy and not (tmp_path / "map").exists()
