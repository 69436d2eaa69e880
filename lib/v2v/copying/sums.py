# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare a source with the checksums that it carries, while it is copied.

A thread reads along: what one of both has read the other finds in the page cache, and
hashing needs no lock of Python's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from v2v.copying.engine import Progress
from v2v.document import Disk
from v2v.errors import SourceError
from v2v.layers import Verifier

log = logging.getLogger(__name__)


@contextmanager
def verified(
    disk: Disk, verify: Verifier | None, heard: Progress
) -> Iterator[Progress]:
    """Yield what a copy of *disk* tells its progress to, which goes on to *heard*.

    The copy breaks off, and so does leaving, with the SourceError of a part of the
    source that differs from its checksum, as *verify* finds.
    """
    if verify is None:
        yield heard
        return
    reader = _Reader(disk, verify)

    def told(part: float) -> None:
        if reader.wrong:
            raise reader.wrong
        heard(part)

    reader.start()
    try:
        yield told
        reader.join()
    finally:
        reader.stop.set()
        reader.join()
    reader.tell()


class _Reader(Thread):
    """Reads a source to its end, or until ``stop`` is set."""

    def __init__(self, disk: Disk, verify: Verifier) -> None:
        super().__init__(name=f"checksums of {disk.id}")
        self.disk, self.verify = disk, verify
        self.stop = Event()
        self.wrong: SourceError | None = None
        self.counts = (0, 0)

    def run(self) -> None:
        try:
            self.counts = self.verify(self.stop.is_set)
        except SourceError as e:
            self.wrong = e
        except OSError as e:
            self.wrong = SourceError(
                f"disk {self.disk.id}: {e.strerror}", "check the file"
            )

    def tell(self) -> None:
        """Say what was found.  Raises SourceError if that is a part that differs."""
        if self.wrong:
            raise self.wrong
        agree, without = self.counts
        log.info("disk %s: %d checksums of its source agree", self.disk.id, agree)
        if without:
            log.warning(
                "disk %s: %d of its parts have no checksum", self.disk.id, without
            )
