# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of an .xz file are known before it is unpacked."""

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v.views import sizes, xzindex
from v2v.views.packings import PACKINGS

MIB = 2**20
DATA = bytes(range(256)) * (5 * MIB // 256) + b"the end"


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def in_blocks(data: bytes, size: str) -> bytes:
    command = ["xz", "-c", "-1", "-T2", f"--block-size={size}"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def test_one_block(tmp_path: Path) -> None:
    path = written(tmp_path / "x", lzma.compress(DATA))
    found = xzindex.blocks(path)
    assert found == xzindex.Blocks(count=1, largest=len(DATA), total=len(DATA))


def test_many_blocks(tmp_path: Path) -> None:
    path = written(tmp_path / "x", in_blocks(DATA, "1MiB"))
    found = xzindex.blocks(path)
    assert found == xzindex.Blocks(count=6, largest=MIB, total=len(DATA))


def test_streams_one_after_the_other_with_padding(tmp_path: Path) -> None:
    streams = (in_blocks(DATA, "2MiB"), bytes(8), lzma.compress(b"more"), bytes(4))
    path = written(tmp_path / "x", b"".join(streams))
    found = xzindex.blocks(path)
    assert found == xzindex.Blocks(count=4, largest=2 * MIB, total=len(DATA) + 4)


def test_an_empty_stream(tmp_path: Path) -> None:
    found = xzindex.blocks(written(tmp_path / "x", lzma.compress(b"")))
    assert found == xzindex.Blocks(count=0, largest=0, total=0)


@given(data=st.data())
def test_what_is_broken_has_no_blocks(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.xz"
    whole = bytearray(lzma.compress(b"some data" * 99))
    at = data.draw(st.integers(len(whole) - 24, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    assert xzindex.blocks(written(path, bytes(whole))) is None


@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_an_answer(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xz"
    xzindex.blocks(written(path, data + b"YZ"))
    assert xzindex.blocks(written(path, b"\xfd7zXZ\0" + data)) is None


def test_a_file_of_zeroes_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert xzindex.blocks(path) is None


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_791, 65_792, 3 * MIB])
def test_zstd_says_its_size(size: int) -> None:
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    command = ["zstd", "-cq", f"--stream-size={size}"]
    done = subprocess.run(command, input=bytes(size), capture_output=True, check=True)
    assert sizes.zstd(done.stdout + bytes(18)) == size


def test_a_size_is_declared_where_there_is_one(tmp_path: Path) -> None:
    gzip, _, xz, zstd, *_ = PACKINGS
    path = written(tmp_path / "x", lzma.compress(DATA))
    assert sizes.declared(path, xz) == len(DATA)
    assert sizes.declared(path, gzip) == 0
    assert sizes.declared(path, zstd) == 0
    assert sizes.declared(written(path, b"broken"), xz) == 0
