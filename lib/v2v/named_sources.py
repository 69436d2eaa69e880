# SPDX-License-Identifier: GPL-2.0-or-later
"""The SOURCEs that a user names: on the command line, and in a file.

A signed URL lets in whoever knows it, and every user of the host sees command lines.
So what is signed is named in a file, or on stdin, where nobody else does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from v2v.errors import UsageError

STDIN = "-"
_LONGEST = 2**24  # bytes of such a file


def named(given: Sequence[str], file: str) -> tuple[str, ...]:
    """Return the sources *given* and those in *file*, if that is no empty text.

    Raises UsageError if there are none, or the file cannot be read.
    """
    found = (*given, *(parse(_read(file), file) if file else ()))
    if not found:
        place = f" in {file}" if file else ""
        remedy = "name one, or a file that does: --sources-from FILE"
        raise UsageError(f"there is no SOURCE{place}", remedy)
    return found


def parse(data: bytes, file: str) -> list[str]:
    """Return the sources in *data*, one a line; or ended by NUL, as find -print0 has
    them.  Empty lines mean nothing.

    Raises UsageError if it is too long to be such a list.
    """
    if len(data) > _LONGEST:
        raise UsageError(
            f"--sources-from {file!r}: longer than {_LONGEST} bytes",
            "name a list of sources, one a line",
        )
    if b"\0" in data:
        lines = data.split(b"\0")
    else:
        lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(line) for line in lines if line]


def text(sources: Iterable[str]) -> bytes:
    """Return *sources* as a list that parse understands, whatever their names hold."""
    return b"".join(os.fsencode(source) + b"\0" for source in sources)


def _read(file: str) -> bytes:
    try:
        if file == STDIN:
            return sys.stdin.buffer.read(_LONGEST + 1)
        with Path(file).open("rb") as data:
            return data.read(_LONGEST + 1)
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise UsageError(f"--sources-from {file!r}: {reason}") from e
