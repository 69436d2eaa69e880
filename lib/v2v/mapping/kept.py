# SPDX-License-Identifier: GPL-2.0-or-later
"""Where maps of containers are kept: with the views, for all of a user's processes.

The map of a container of a TiB takes seconds to write and up to hundreds of MB; all
stages of a pipeline use the same one, and the last of them removes it (views.store).
It is on a disk: /tmp may be memory.
"""

from __future__ import annotations

import errno
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
    """Return the folder with the map of *what*, written if it is not there yet.

    It holds until this process leaves the views.  Raises as tables.write does, and
    HostError if there is no room for it.
    """
    hold = _share(_name(what, parent=parent))
    place = hold.place("map")
    try:
        with store.making(place) as unfinished:
            if unfinished:
                tables.write(what, unfinished, parent=parent)
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise HostError(
                f"{store.root()}: no map of {what.file} can be written: {e.strerror}",
                "make room there, or set XDG_STATE_HOME to a folder on a larger disk",
            ) from e
        raise SourceError(f"{what.file}: {e.strerror}", "check the file") from e
    return place


def _name(what: Mapped, *, parent: bool) -> str:
    """Return what tells the map apart from all others; a changed file has another."""
    facts = what.file.stat()
    file = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return store.key(
        "map", __version__, what.file, what.label, what.size, parent, *file
    )


def _share(name: str) -> Hold:
    hold = _held.get(name)
    if hold is None or hold not in store.shares():
        hold = _held[name] = store.hold(name)
    return hold
