# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream of a record without an end: bounded in memory, and in time."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from v2v import stream
from v2v.errors import StreamError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_record_without_an_end_takes_no_time_that_grows_with_its_square(
    pipe: tuple[int, int],
) -> None:
    def write() -> None:
        for _ in range(66 * 256):
            os.write(pipe[1], b"x" * 4096)

    writer = threading.Thread(target=write, daemon=True)
    began = time.process_time()
    writer.start()
    with pytest.raises(StreamError, match="without an end"):
        list(stream.Reader(pipe[0]).vms())
    assert time.process_time() - began < 10
    # It may have written its last between a look at it and a read.
    os.set_blocking(pipe[0], False)
    while writer.is_alive():
        with contextlib.suppress(BlockingIOError):
            os.read(pipe[0], 2**20)


def test_records_in_small_pieces_are_whole(pipe: tuple[int, int]) -> None:
    text = '{"kind":"alive"}\n{"kind":"alive"}\n{"kind":"end"}\n'

    def write() -> None:
        for byte in text.encode():
            os.write(pipe[1], bytes([byte]))

    writer = threading.Thread(target=write)
    writer.start()
    reader = stream.Reader(pipe[0])
    assert list(reader.vms()) == []
    assert reader.end is not None
    writer.join()


def test_a_file_that_is_larger_than_any_stream_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.touch()
    os.truncate(path, 2**40)
    with path.open() as file, pytest.raises(StreamError, match="bytes"):
        list(stream.Reader(file.fileno()).vms())
