# SPDX-License-Identifier: GPL-2.0-or-later
"""Where maps of containers are kept: with the views, for all of a user's processes.

The map of a container of a TiB takes seconds to write and up to hundreds of MB; all
stages of a pipeline use the same one, and the last of them removes it (views.store).
It is on a disk: /tmp may be memory.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from v2v import __version__
from v2v.errors import HostError, SourceError
from v2v.mapping import tables
from v2v.mapping.pieces import Mapped
from v2v.views import store
from v2v.views.store import Hold

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

# The shares of this process, by the names of the maps.
_held: dict[str, Hold] = {}


def written(what: Mapped, *, parent: bool) -> Path:
    """Return the folder with the map of *what*; raises as once and tables.write do."""

    def write(folder: Path) -> None:
        tables.write(what, folder, parent=parent)

    return once(_name(what, parent=parent), what.file, write)


def once(name: str, file: Path, write: Callable[[Path], None]) -> Path:
    """Return the folder *name*, a key of the store, that *write* has filled for *file*.

    It holds until this process leaves the views.  Raises as *write* does, and HostError
    if there is no room for it.
    """
    place = _share(name).place("map")
    try:
        with store.making(place) as unfinished:
            if unfinished:
                write(unfinished)
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise HostError(
                f"{store.root()}: no map of {file} can be written: {e.strerror}",
                "make room there, or set XDG_STATE_HOME to a folder on a larger disk",
            ) from e
        raise SourceError(f"{file}: {e.strerror}", "check the file") from e
    return place


def _name(what: Mapped, *, parent: bool) -> str:
    """Return what tells the map apart from all others; a changed file has another."""
    marks: list[object] = []
    for file in what.files:
        facts = file.stat()
        marks += (file, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return store.key("map", __version__, what.label, what.size, parent, *marks)


def _share(name: str) -> Hold:
    hold = _held.get(name)
    if hold is None or hold not in store.shares():
        hold = _held[name] = store.hold(name)
    return hold
