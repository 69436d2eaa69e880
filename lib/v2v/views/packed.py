# SPDX-License-Identifier: GPL-2.0-or-later
"""Views of packed files: x.qcow2.gz is read as the x.qcow2 in it, unpacked once."""

from __future__ import annotations

import os
from pathlib import Path

from v2v.document import Finding
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE, Checked
from v2v.views import packings, store, unpacking
from v2v.views.view import View


def claims(location: str) -> bool:
    """See views.Kind.  Raises SourceError if its name and its first bytes disagree."""
    return packings.of(Path(location)) is not None


def permit(origin: str, checked: Checked) -> str | None:
    """See views.Kind."""
    return None if "://" in origin else os.fspath(checked(origin))


def opened(location: str, most: int | None) -> View:
    """See views.Kind."""
    path = Path(location).resolve()
    packing = packings.of(path)
    if packing is None:
        raise SourceError(f"{path} is no packed file", "describe the source again")
    facts = path.stat()
    mark = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    place = store.hold(store.key("packed", path, *mark)).folder / packings.inner(path)
    with store.making(place) as unfinished:
        if unfinished:
            unpacking.unpack(path, packing, unfinished, most or MAX_SIZE)
    size = place.stat().st_size
    if most is not None and size > most:
        raise unpacking.too_large(path, most)
    return View(origin=str(path), path=place, finding=_finding(path, place))


def _finding(path: Path, place: Path) -> Finding:
    facts = place.stat()
    return Finding(
        code="unpacked",
        severity="info",
        message=f"{path} is packed: unpacked for the time of this work to {place} "
        f"({facts.st_size} bytes, of which {facts.st_blocks * 512} take room)",
    )
