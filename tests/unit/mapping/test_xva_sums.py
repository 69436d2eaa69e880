# SPDX-License-Identifier: GPL-2.0-or-later
"""The checksums in an XVA are compared, and the block that differs is named."""

import tarfile
import threading
import time
from pathlib import Path

import pytest

import archives
from v2v import digests
from v2v.errors import SourceError
from v2v.mapping import xvasums

MIB = 2**20
DISK = b"x" * MIB + bytes(2 * MIB) + b"y" * MIB + b"z" * 4096


def verify(path: Path, disk: str) -> tuple[int, int]:
    return xvasums.verify(path, disk, threading.Event())


def xva(path: Path, keep_alive: int = 0) -> Path:
    """Write an XVA of two disks: the first has XXH64, the second SHA-1."""
    disks = {"Ref:1": DISK, "Ref:2": DISK[::-1]}
    archives.xva(path, b"<value/>", disks, keep_alive=keep_alive)
    return path


def damaged(path: Path, member: str, offset: int) -> None:
    """Change a byte of *member* in the archive *path*."""
    with tarfile.open(path) as tar:
        place = tar.getmember(member).offset_data + offset
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("keep_alive", [0, 1])
def test_both_kinds_of_checksum_agree(tmp_path: Path, keep_alive: int) -> None:
    path = xva(tmp_path / "a", keep_alive)
    for disk in ("Ref:1", "Ref:2"):
        agree, without = verify(path, disk)
        assert agree >= 3
        assert without == 0


def test_xxh64_is_that_of_its_specification() -> None:
    """Of the empty text, and of a letter, with seed 0."""
    digest = xvasums._digest("xxhash")
    assert digest.hexdigest() == "ef46db3751d8e999"
    digest.update(b"a")
    assert digest.hexdigest() == "d24ec4f1a98c6e5b"


@pytest.mark.parametrize("block", ["Ref:1/00000000", "Ref:1/00000004"])
@pytest.mark.parametrize("offset", [0, 4095])
def test_the_block_that_was_changed_is_named(
    tmp_path: Path, block: str, offset: int
) -> None:
    path = xva(tmp_path / "a")
    damaged(path, block, offset)
    with pytest.raises(SourceError, match=f"block {block} is damaged: its XXH64") as e:
        verify(path, "Ref:1")
    assert "--no-verify-checksums" in e.value.remedy
    assert verify(path, "Ref:2")[1] == 0


def test_a_checksum_that_was_changed_is_told(tmp_path: Path) -> None:
    path = xva(tmp_path / "a")
    damaged(path, "Ref:2/00000001.checksum", 39)
    with pytest.raises(SourceError, match="block Ref:2/00000001 is damaged: its SHA-1"):
        verify(path, "Ref:2")


def test_blocks_without_a_checksum_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("Ref:1/00000000", "Ref:1/00000001", "Ref:11/00000000"):
            archives._add(tar, name, b"data")
        # Of another block than the one before it: proves nothing.
        archives._add(tar, "Ref:1/00000000.checksum", b"0" * 40)
    assert verify(path, "Ref:1") == (0, 2)


def test_a_checksum_of_a_gigabyte_is_read_to_no_more_than_it_can_be(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        archives._add(tar, "Ref:1/00000000", b"data")
        archives._add(tar, "Ref:1/00000000.checksum", b"\xff" * 100000)
    with pytest.raises(SourceError) as e:
        verify(path, "Ref:1")
    assert len(e.value.message) < 1000
    assert "\n" not in e.value.message


def test_a_copy_breaks_off_with_the_first_block_that_differs() -> None:
    error = SourceError("block 7 is damaged")

    def verify(given_up: threading.Event) -> None:
        raise error

    deadline = time.monotonic() + 10
    with (
        pytest.raises(SourceError, match="block 7"),
        digests.compared([], Path, [verify]) as told,
    ):
        while time.monotonic() < deadline:
            told(0.5)
    assert time.monotonic() < deadline


def test_a_copy_that_fails_does_not_wait_for_the_checksums() -> None:
    ended = []

    def verify(given_up: threading.Event) -> None:
        ended.append(given_up.wait(60))

    with (
        pytest.raises(ValueError, match="the copy"),
        digests.compared([], Path, [verify]) as told,
    ):
        assert told(0.5) == 0.5
        raise ValueError("the copy")
    assert ended == [True]


def test_a_block_found_after_the_copy_is_told_too() -> None:
    copied = threading.Event()

    def verify(given_up: threading.Event) -> None:
        assert copied.wait(60)
        raise SourceError("block 8 is damaged")

    with (
        pytest.raises(SourceError, match="block 8"),
        digests.compared([], Path, [verify]),
    ):
        copied.set()
