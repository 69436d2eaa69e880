# SPDX-License-Identifier: GPL-2.0-or-later
"""See who touches what nobody may touch: by inotify(7), and by listening."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostile.case import Forbidden, listening

_OPENED = 0x20 | 0x1  # IN_OPEN, IN_ACCESS


class Watched:
    """Say whether the file was opened or read in the block, by whomever."""

    def __init__(self, path: Path) -> None:
        """Watch *path*."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        name = os.fsencode(path)
        if self._libc.inotify_add_watch(self._fd, name, _OPENED) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def __call__(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError as e:
            assert e.errno == errno.EAGAIN
            return False


@contextmanager
def forbidden(folder: Path) -> Iterator[Forbidden]:
    """Yield a file in *folder* that nobody may open, and a port that nobody may call.

    Raises AssertionError after the block if somebody did.
    """
    path = folder / "secret"
    path.parent.mkdir()
    path.write_text("root:secret\n" * 1000)
    with listening() as listener, Watched(path) as touched:
        yield Forbidden(path=path, port=listener.getsockname()[1])
        assert not touched(), "the forbidden file was opened"
        try:
            listener.accept()
        except BlockingIOError:
            return
        raise AssertionError("the forbidden port was called")
