# SPDX-License-Identifier: GPL-2.0-or-later
"""Where views are kept, and for how long: a folder each, shared by all who use it.

All processes of a user on this host find the same folder by its key, so what is
unpacked once serves a whole pipeline.  Each of them holds a shared flock(2) on the
folder's lock for as long as it may need the view; whoever can get the exclusive lock
is the last, and removes it.  So a view outlives no user of it, and what killed
processes left is swept by the next one that starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import select
import shutil
import stat
import termios
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from v2v import paths
from v2v.errors import HostError
from v2v.views import fuse

_LOCK = "lock"
_MAKING = "making"
_MADE = "made"
_UNFINISHED = ".part"
# What a reader of our output may take to come for a view: seconds.
_GRACE = 2.0
_TICK = 0.05

log = logging.getLogger(__name__)


class Hold:
    """A share in the view in *folder*, up to its release; the last one removes it."""

    def __init__(self, folder: Path, fd: int) -> None:
        """Take over *fd*, which has the lock of *folder* shared."""
        self.folder = folder
        self._fd = fd
        _holds.add(self)

    def place(self, name: str) -> Path:
        """Return where a view called *name* goes, made or not."""
        return self.folder / _MADE / name

    def is_shared(self) -> bool:
        """Whether another process holds the view as well."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The attempt has cost us our own share, says flock(2).
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            return True
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        return False

    def release(self) -> None:
        """Give the share back, and remove the view if nobody else has one."""
        if self in _holds:
            _holds.remove(self)
            _removed(self.folder, self._fd)
            os.close(self._fd)


_holds: set[Hold] = set()


def root() -> Path:
    """Return the folder of all views of this user."""
    return paths.state_home().resolve() / "views"


def key(*facts: object) -> str:
    """Return the name of the folder for the view of what *facts* tell apart."""
    text = "\0".join(map(str, facts))
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]


def hold(name: str) -> Hold:
    """Return a share in the folder of the view called *name*, made if need be.

    Raises HostError if there can be no such folder.
    """
    paths.own_state()
    folder = root() / name
    try:
        while True:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if made := _shared(folder, os.O_CREAT):
                return made
    except OSError as e:
        raise HostError(
            f"{folder}: {e.strerror}", "set XDG_STATE_HOME to a folder of your own"
        ) from e


def share(path: Path) -> Hold | None:
    """Return a share in the view that *path* lies in; None if it is in none."""
    if not path.is_relative_to(root()) or path == root():
        return None
    return _shared(root() / path.relative_to(root()).parts[0], 0)


def _shared(folder: Path, flags: int) -> Hold | None:
    """Return a share in *folder*; None if it has been removed, or is none."""
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Held exclusively only by one who removes it, for an instant.
    fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        if os.path.samestat(os.fstat(fd), (folder / _LOCK).stat()):
            return Hold(folder, fd)
    except FileNotFoundError:
        log.debug("%s was removed while we came", folder)
    os.close(fd)
    return None


@contextmanager
def making(path: Path) -> Iterator[Path | None]:
    """Yield where to write what becomes the view *path*; None if it is there by now.

    Others wait meanwhile.  It gets its name when the block has ended without an error.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    turn = path.parents[1] / _MAKING
    fd = os.open(turn, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another v2v, which makes %s", path)
            fcntl.flock(fd, fcntl.LOCK_EX)
        if path.exists():
            yield None
            return
        _delete(unfinished)  # of one who was killed
        yield unfinished
        unfinished.rename(path)
    finally:
        _delete(unfinished)
        os.close(fd)


def leave() -> None:
    """Release all shares of this process."""
    for one in tuple(_holds):
        one.release()


def shares() -> tuple[Hold, ...]:
    """Return the shares that this process has."""
    return tuple(_holds)


def handed_on(fd: int) -> None:
    """Return once the reader of the pipe *fd* has a share in each of our views.

    Or has read all and has not taken any, as jq does; or has gone.
    """
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return
    gone = select.poll()
    gone.register(fd, 0)  # POLLERR alone
    grace = _GRACE
    while grace > 0 and not all(one.is_shared() for one in _holds):
        if gone.poll(_TICK * 1000):
            return
        if not _unread(fd):
            grace -= _TICK


def _unread(fd: int) -> int:
    """Return how many bytes in the pipe *fd* nobody has read yet; see pipe(7)."""
    count = array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def sweep() -> None:
    """Remove the views that nobody uses: their users were killed."""
    with contextlib.suppress(FileNotFoundError):
        for folder in tuple(root().iterdir()):
            _swept(folder)


def _swept(folder: Path) -> None:
    if folder.name.startswith("."):
        fuse.unmount_below(folder)
        _delete(folder)  # its remover was killed, or is at it
        return
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Made this instant, or by one who was killed then.
        with contextlib.suppress(OSError):
            folder.rmdir()
        return
    try:
        if _removed(folder, fd):
            log.debug("removed %s, which nobody uses", folder)
    finally:
        os.close(fd)


def _removed(folder: Path, fd: int) -> bool:
    """Remove *folder*, whose lock *fd* is, and return True, if nobody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(fd), (folder / _LOCK).stat()):
            return False
        gone = folder.with_name(f".{folder.name}.{os.getpid()}")
        folder.rename(gone)
    except (BlockingIOError, FileNotFoundError):
        return False
    fuse.unmount_below(gone)
    _delete(gone)
    return True


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
