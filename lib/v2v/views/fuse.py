# SPDX-License-Identifier: GPL-2.0-or-later
"""Let what an NBD server serves appear as a local file, by nbdfuse(1).

Nothing is copied.  The mount is this process's own: it ends with us, however we end.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from v2v import process, sandbox, server
from v2v.errors import Problem

_DEVICE = Path("/dev/fuse")
_TABLE = Path("/proc/self/mountinfo")
_PATIENCE = 20.0  # seconds until a mount must be there
_TICK = 0.02

log = logging.getLogger(__name__)


class MountError(Exception):
    """The file could not be made to appear; says why."""


_mounts = ExitStack()


def is_there(*programs: str) -> bool:
    """Whether this host can do it, as far as that shows: FUSE, and *programs*."""
    needed = ("nbdfuse", "nbdkit", *programs)
    return os.access(_DEVICE, os.R_OK | os.W_OK) and all(map(shutil.which, needed))


def mount(command: Sequence[str], path: Path, within: Sequence[str]) -> None:
    """Let *path*, in a folder of this process, be what NBD server *command* serves.

    There must be no such file; other files beside it stay visible.  *within* shuts the
    server in (sandbox.helper).

    It stays until this process ends, or leave.  Raises MountError.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch()  # a "naked" mount lies over a file, not over its folder
    with ExitStack() as parts:
        uri = parts.enter_context(server.serve(command, within=within))
        # What is read once is not fetched again: a view does not change.
        asked = ["nbdfuse", "-r", "-o", "kernel_cache", str(path), uri]
        # Within walls it could not mount: limits have to do.
        asked = [*sandbox.limited(), *asked]
        helper = parts.enter_context(process.companion(asked))
        end = time.monotonic() + _PATIENCE
        while not _appears(path):
            if helper.has_ended() or time.monotonic() > end:
                raise MountError(helper.said() or "nbdfuse gives no answer")
            time.sleep(_TICK)
        log.debug("%s is there", path)
        _mounts.enter_context(parts.pop_all())


def leave() -> None:
    """Unmount all that this process has mounted."""
    _mounts.close()


def unmount_below(folder: Path) -> None:
    """Unmount what killed processes left mounted below *folder*."""
    for line in _TABLE.read_bytes().splitlines():
        point = _plain(line.split()[4])
        if Path(point).is_relative_to(folder):
            try:
                process.run(["fusermount3", "-u", "-z", point], seconds=30)
            except Problem as e:
                log.debug("%s stays mounted: %s", point, e.message)


def _plain(name: bytes) -> str:
    """Return *name*, in which blanks and the like are octal (proc(5), mountinfo)."""
    plain = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name)
    return os.fsdecode(plain)


def _appears(path: Path) -> bool:
    """Whether *path* is another file system than its folder."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False  # while it is being mounted
