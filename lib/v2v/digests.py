# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare files with the digests that their package gives them.

Those of disks are compared while they are copied: then each byte comes from the disk
once, and is in memory for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

from v2v.document import Digest
from v2v.errors import SourceError

_BLOCK = 4 * 2**20

# Compares something; ends early once the event is set.  Raises SourceError.
Comparison = Callable[[Event], None]


@contextmanager
def compared(
    digests: Iterable[Digest],
    checked: Callable[[str | Path], Path],
    others: Iterable[Comparison] = (),
) -> Iterator[Callable[[float], float]]:
    """Compare files with *digests* while the body runs, and wait for that after it.

    *checked* returns a path resolved, or raises SourceError if it may not be opened;
    *others* are compared as they do it.  What is yielded returns its argument, the
    progress of the copy; so that the copy need not go on for nothing, it raises what
    leaving would raise: SourceError if a file is not the one that a digest was made of.
    """
    given_up = Event()
    wanted: list[Comparison] = [partial(compare, one, checked) for one in digests]
    wanted += others
    with ThreadPoolExecutor(1, "digests") as pool:
        try:
            jobs = [pool.submit(one, given_up) for one in wanted]

            def told(part: float) -> float:
                for job in jobs:
                    if job.done():
                        job.result()
                return part

            yield told
            for job in jobs:
                job.result()
        finally:
            given_up.set()


def compare(
    digest: Digest,
    checked: Callable[[str | Path], Path],
    given_up: Event | None = None,
) -> None:
    """Raise SourceError if the file of *digest* is not the one it was made of."""
    found = hashlib.new(digest.algorithm, usedforsecurity=False)
    for block in _blocks(digest, checked(digest.path)):
        if given_up and given_up.is_set():
            return
        found.update(block)
    if found.hexdigest() != digest.value:
        raise SourceError(
            f"{digest.name}: its {digest.algorithm.upper()} is {found.hexdigest()}, "
            f"and {digest.said_by} says {digest.value}",
            "download it again; or take it as it is: --no-verify-manifest",
        )


def _blocks(digest: Digest, path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(_BLOCK, max(digest.length, 1))))
    left = digest.length
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(digest.offset)
            while left:
                count = file.readinto(buffer[:left])
                if not count:
                    raise SourceError(
                        f"{path} is truncated", "copy it again from the source"
                    )
                yield buffer[:count]
                left -= count
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the file") from e
