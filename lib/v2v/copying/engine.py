# SPDX-License-Identifier: GPL-2.0-or-later
"""Copy a disk into a new file by ``qemu-img convert``.

Between two local files no socket is in the way: measured against NBD hops, each costs
as much CPU as the copy itself (benchmarks/).  Sparse stays sparse.  The output is
NAME.part until it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2v import layers, process, sandbox
from v2v.document import Disk
from v2v.errors import TargetError
from v2v.process import ToolError
from v2v.servers import Graph

MIB = 2**20
_PROGRESS = re.compile(r"\(\s*([\d.]+)/100%\)")

Progress = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a copy shall be: a file of *format*, of at least *size* bytes."""

    path: Path
    format: Literal["raw", "qcow2"] = "qcow2"
    size: int = 0
    preallocated: bool = False
    compressed: bool = False


def rounded(size: int) -> int:
    """Return *size* rounded up to a whole MiB, never down: some targets insist."""
    return -(-size // MIB) * MIB


@contextmanager
def part(output: Output) -> Iterator[Path]:
    """Yield the name to write *output* under; it gets its own on leaving, if whole.

    Raises TargetError if the folder cannot be written.
    """
    unfinished = output.path.with_name(f"{output.path.name}.part")
    try:
        yield unfinished
        flush(unfinished)
        unfinished.rename(output.path)
        flush(output.path.parent)
    except OSError as e:
        raise TargetError(
            f"{output.path}: {e.strerror}", "make room, or name another folder"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Bring what was written to *path* (a file or folder) onto the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy(
    disk: Disk, source: Graph, output: Output, file: Path, heard: Progress
) -> None:
    """Copy *source*, a layer of *disk*, into *file* as *output* says.

    Tell *heard* what part, 0 to 1, is done.  Raises SourceError or TargetError.
    """
    _create(output, file)
    options = ["-c"] if output.compressed else []
    # Out-of-order writes suit an image that is new and whose order nobody reads.
    command = [
        *("qemu-img", "convert", "-p", "-n", "--target-is-zero", "-m", "16", "-W"),
        *(*options, *layers.objects(source), "-O", output.format),
        *(layers.argument(source), str(file)),
    ]

    def progress(text: str) -> None:
        if match := _PROGRESS.search(text):
            heard(float(match[1]) / 100)

    try:
        within = sandbox.walls("qemu-img", source, files=[file])
        process.watch(command, progress, within=within)
    except ToolError as e:
        raise _failed(disk, output, e) from e


def _create(output: Output, file: Path) -> None:
    options = ["-o", "preallocation=falloc"] if output.preallocated else []
    command = ["qemu-img", "create", "-q", "-f", output.format, *options, "--"]
    try:
        process.run([*command, str(file), str(output.size)])
    except ToolError as e:
        raise TargetError(
            f"{output.path}: {_reason(e)}", "make room, or name another folder with -o"
        ) from e


def _failed(disk: Disk, output: Output, e: ToolError) -> Exception:
    """Return the error for a copy that broke off, for the side that broke it."""
    if "error while writing" in e.message or "No space left" in e.message:
        return TargetError(
            f"{output.path}: writing failed: {_reason(e)}",
            "make room (or name another folder with -o), then run the same again",
        )
    return layers.broken(disk, None, e)


def _reason(e: ToolError) -> str:
    return e.message.rpartition(": ")[2] or e.message


def allocated(path: Path) -> int:
    """Return how many bytes of its disk the file at *path* takes."""
    return path.stat().st_blocks * 512
