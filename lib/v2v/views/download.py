# SPDX-License-Identifier: GPL-2.0-or-later
"""Download a file once: sparse, within bounds, and on from where it broke off."""

from __future__ import annotations

import errno
import logging
import time
from pathlib import Path

from v2v.errors import SourceError
from v2v.views import transports
from v2v.views.means import Means
from v2v.views.transports.found import BrokenOffError, Found
from v2v.views.unpacking import Writer, check_room, no_room, too_large

_TRIES = 5  # without a byte that is new
_PROGRESS = 2**21  # bytes; what is smaller is not worth a line
_PAUSE = 10.0  # seconds between two lines of progress

log = logging.getLogger(__name__)


def download(found: Found, means: Means, into: Path, most: int) -> None:
    """Write what *found* holds, at most *most* bytes, to *into*.

    Raises SourceError if it holds more, breaks off again and again, or there is no
    room for it.
    """
    name = found.url.shown()
    if found.size is not None and found.size > most:
        raise too_large(name, most)
    # Zeroes take no room, but nobody knows how many there are.
    check_room(name, into.parent, found.size or 0)
    small = found.size is not None and found.size < _PROGRESS
    level = logging.DEBUG if small else logging.INFO
    log.log(level, "downloading %s, %s", name, _shown(found.size))
    try:
        _written(found, means, into, most)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise no_room(name, into.parent) from e
        raise SourceError(
            f"{name} cannot be written down: {e.strerror}",
            "check the disk of XDG_STATE_HOME",
        ) from e


def _written(found: Found, means: Means, into: Path, most: int) -> None:
    name = found.url.shown()
    transport = transports.of(found.url)
    tries = farthest = 0
    with into.open("xb") as file:
        writer = Writer(name, file, into.parent, most)
        progress = _Progress(found)
        while True:
            try:
                for piece in transport.pieces(found, means, writer.at):
                    writer.add(piece)
                    progress.told(writer.at)
                if found.size in (None, writer.at):
                    break
                reason = f"it has {writer.at} bytes instead of {found.size}"
            except BrokenOffError as e:
                reason = str(e)
            tries = 1 if writer.at > farthest else tries + 1
            farthest = max(farthest, writer.at)
            writer = _again(found, writer, tries, reason)
        writer.end()


def _again(found: Found, writer: Writer, tries: int, reason: str) -> Writer:
    """Return with what to go on after *tries* in vain.  Raises SourceError."""
    name = found.url.shown()
    overlong = found.size is not None and writer.at > found.size
    if tries >= _TRIES or overlong:
        raise SourceError(
            f"{name} broke off at {writer.at} bytes: {reason}",
            "check the server and the network, then run the same command again",
        )
    log.info("%s broke off at %d bytes, going on: %s", name, writer.at, reason)
    time.sleep(min(2 ** (tries - 1), 8) / 4)
    return writer if found.seekable else writer.restarted()


class _Progress:
    """Says now and then how far the download is."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._said = time.monotonic()

    def told(self, done: int) -> None:
        if time.monotonic() - self._said < _PAUSE:
            return
        self._said = time.monotonic()
        size = self._found.size
        part = f"{100 * done / size:.0f} %" if size else _shown(done)
        log.info("downloading %s: %s", self._found.url.shown(), part)


def _shown(size: int | None) -> str:
    if size is None:
        return "of a size that the server does not tell"
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size} bytes"
