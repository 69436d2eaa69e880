# SPDX-License-Identifier: GPL-2.0-or-later
"""What is packed comes out whole, or not at all, in bounded memory."""

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v.views import packings, streams
from v2v.views.packings import Packing
from v2v.views.streams import DamagedError

MIB = 2**20


def by(program: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
        command = [program, "-c", "-q"]
        return subprocess.run(command, input=data, capture_output=True).stdout

    return pack


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": by("zstd"),
    "lz4": by("lz4"),
    "lzop": by("lzop"),
}
IN_PYTHON = ["gzip", "bzip2", "xz"]


def packing(name: str) -> Packing:
    return next(p for p in packings.PACKINGS if p.name == name)


def unpacked(name: str, data: bytes) -> bytes:
    # A program wants a real file.
    if not packing(name).command:
        return b"".join(streams.pieces(packing(name), io.BytesIO(data), len(data)))
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return b"".join(streams.pieces(packing(name), file, 2**40))


def test_every_packing_is_tried_here() -> None:
    assert set(PACKERS) == {p.name for p in packings.PACKINGS}


@pytest.mark.parametrize("name", PACKERS)
def test_all_comes_out(name: str) -> None:
    data = bytes(3 * MIB) + bytes(range(256)) * 5000 + b"end"
    assert unpacked(name, PACKERS[name](data)) == data


@pytest.mark.parametrize("name", IN_PYTHON)
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_members_follow_each_other(name: str, parts: list[bytes]) -> None:
    packed = b"".join(PACKERS[name](part) for part in parts)
    assert unpacked(name, packed) == b"".join(parts)


@pytest.mark.parametrize("name", PACKERS)
def test_what_is_cut_off_is_refused(name: str) -> None:
    packed = PACKERS[name](bytes(range(256)) * 9000)
    for length in (len(packed) // 2, len(packed) - 1):
        with pytest.raises(DamagedError):
            unpacked(name, packed[:length])


@pytest.mark.parametrize("name", PACKERS)
def test_what_follows_the_end_is_refused(name: str) -> None:
    for more in (b"x", b"garbage" * 999):
        with pytest.raises(DamagedError):
            unpacked(name, PACKERS[name](b"data" * 1000) + more)


@pytest.mark.parametrize("name", ["gzip", "xz"])
def test_zeroes_after_the_end_are_padding(name: str) -> None:
    assert unpacked(name, PACKERS[name](b"data") + bytes(3 * MIB)) == b"data"


@pytest.mark.parametrize("name", PACKERS)
def test_a_flipped_bit_is_found(name: str) -> None:
    packed = bytearray(PACKERS[name](bytes(range(256)) * 9000))
    packed[len(packed) // 2] ^= 16
    if name == "lzop":
        packed = packed[: len(packed) // 2]
    with pytest.raises(DamagedError):
        unpacked(name, bytes(packed))


@pytest.mark.parametrize("name", IN_PYTHON)
@given(data=st.binary(max_size=400))
def test_any_bytes_end_in_an_answer(name: str, data: bytes) -> None:
    start = packing(name).magics[0]
    try:
        unpacked(name, start + data)
    except DamagedError as e:
        assert "\n" not in str(e)


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_comes_in_small_pieces(name: str) -> None:
    """A gigabyte of zeroes in a few bytes takes a megabyte of memory at a time."""
    if packing(name).command:
        packed = PACKERS[name](bytes(64 * MIB))
    else:
        packed = PACKERS[name](bytes(64 * MIB)) * 16
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(packed)
        file.seek(0)
        some = list(islice(streams.pieces(packing(name), file, 2**40), 40))
    assert max(map(len, some)) <= MIB
    assert sum(map(len, some)) >= 30 * MIB
