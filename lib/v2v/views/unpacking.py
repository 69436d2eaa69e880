# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpack a file once: sparse, within bounds, and not on to a full disk."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import IO

from v2v.errors import SourceError
from v2v.formats import Part
from v2v.views.packings import Packing
from v2v.views.streams import DamagedError, pieces

# Zeroes that fill a block of this size are left out of the copy.
_BLOCK = 2**16
_ZEROES = bytes(2**20)
# What is left free on the file system for everybody else.
RESERVE = 2**28
_LOOK = 2**26  # bytes written between two looks at the free space
_PAUSE = 10.0  # seconds between two lines of progress

log = logging.getLogger(__name__)


def unpack(
    part: Part, packing: Packing, into: Path, most: int, *, quietly: bool = False
) -> int:
    """Write what *part* of a file holds to *into*; return its size, at most *most*.

    ``quietly``: it is one of many, and not worth a line.

    Raises SourceError if it is damaged or larger, or there is no room for it.
    """
    source, size = part.path, part.length
    # What takes this much packed takes as much again unpacked, if not more.
    check_room(source, into.parent, size)
    try:
        with source.open("rb") as packed, into.open("xb") as plain:
            packed.seek(part.offset)
            writer = Writer(source, plain, into.parent, most)
            shown = time.monotonic()
            level = logging.DEBUG if quietly else logging.INFO
            log.log(level, "unpacking %s, %s", source, _shown(size))
            for piece in pieces(packing, packed, size):
                writer.add(piece)
                if time.monotonic() - shown > _PAUSE:
                    shown = time.monotonic()
                    done = (packed.tell() - part.offset) / max(size, 1)
                    log.info("unpacking %s: %.0f %%", source, min(100, 100 * done))
            return writer.end()
    except DamagedError as e:
        raise SourceError(
            f"{source} is damaged: {e}", "copy it again from the source"
        ) from e
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise no_room(source, into.parent) from e
        raise SourceError(
            f"{source} cannot be unpacked: {e.strerror}",
            "unpack it yourself, and name the VM or the disk in it",
        ) from e


class Writer:
    """Writes pieces one after the other, and leaves holes for zeroes.

    ``at`` is how many bytes there are by now.
    """

    def __init__(
        self, source: Path | str, file: IO[bytes], folder: Path, most: int
    ) -> None:
        """Write to *file* in *folder* what *source* holds, at most *most* bytes."""
        self._source = source
        self._file = file
        self._folder = folder
        self._most = most
        self.at = 0
        self._written = 0
        self._looked = 0

    def add(self, piece: bytes) -> None:
        """Write *piece*, at most 1 MiB."""
        if self.at + len(piece) > self._most:
            raise too_large(self._source, self._most)
        if piece != _ZEROES[: len(piece)]:
            for start in range(0, len(piece), _BLOCK):
                self._block(piece[start : start + _BLOCK], self.at + start)
        self.at += len(piece)

    def _block(self, block: bytes, at: int) -> None:
        if block == _ZEROES[: len(block)]:
            return
        self._file.seek(at)
        self._file.write(block)
        self._written += len(block)
        if self._written - self._looked >= _LOOK:
            self._looked = self._written
            check_room(self._source, self._folder, 0)

    def restarted(self) -> Writer:
        """Return a writer that writes the file anew, from its start."""
        self._file.truncate(0)
        return Writer(self._source, self._file, self._folder, self._most)

    def end(self) -> int:
        """Give the file its size, and return that."""
        self._file.truncate(self.at)
        return self.at


def too_large(source: Path | str, most: int) -> SourceError:
    """Return the error for *source*, which holds more than *most* bytes."""
    return SourceError(
        f"{source} holds more than {most} bytes",
        "if that is right, allow more: --max-size",
    )


def check_room(source: Path | str, folder: Path, needed: int) -> None:
    """Raise SourceError if *needed* bytes do not fit into *folder*, and some more."""
    facts = os.statvfs(folder)
    if facts.f_bavail * facts.f_frsize < needed + RESERVE:
        raise no_room(source, folder)


def no_room(source: Path | str, folder: Path) -> SourceError:
    """Return the error for *source*, which does not fit into *folder*."""
    place = folder.parents[1]
    return SourceError(
        f"there is no room in {place} for what {source} holds",
        "make room there, or set XDG_STATE_HOME to a folder on a larger disk",
    )


def _shown(size: int) -> str:
    return f"{size / 2**20:.0f} MiB packed" if size >= 2**20 else f"{size} bytes packed"
