# SPDX-License-Identifier: GPL-2.0-or-later
"""Views of packed files: x.qcow2.gz is read as the x.qcow2 in it.

An .xz of several blocks is read in place, the blocks unpacked as they are asked for
(nbdkit-xz-filter(1)); all else is unpacked once.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from v2v import formats, sandbox
from v2v.document import Finding, Stretch
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE, Checked, Part
from v2v.views import fuse, packings, sizes, store, unpacking, xzindex
from v2v.views.packings import Packing
from v2v.views.view import View

# The filter keeps some blocks in memory, and unpacks a whole one for each byte.
_LARGEST_BLOCK = 2**26
_KEPT_BLOCKS = 4

log = logging.getLogger(__name__)


def claims(location: str) -> bool:
    """See views.Kind.  Raises SourceError if its name and its first bytes disagree."""
    return packings.of(Path(location)) is not None


def permit(origin: str, checked: Checked) -> str | None:
    """See views.Kind."""
    return None if "://" in origin else os.fspath(checked(origin))


def opened(location: str, most: int | None, below: View | None = None) -> View:
    """See views.Kind."""
    path = Path(location).resolve()
    packing = packings.of(path)
    if packing is None:
        raise SourceError(f"{path} is no packed file", "describe the source again")
    if most is not None and sizes.declared(path, packing) > most:
        raise unpacking.too_large(path, most)
    held = store.hold(store.key("packed", *identity(path, below)))
    place = held.place(packings.inner(path))
    own = held.folder / str(os.getpid())
    if packing.name == "xz" and (mounted := _in_place(path, own)):
        return View(origin=str(path), path=mounted, place=place)
    return _unpacked(formats.part(path, 0, None), packing, place, most)


def member(part: Part, name: str, most: int | None, below: View | None = None) -> View:
    """Return the view of *part*, packed with gzip, bzip2 or xz, as the file *name*.

    Raises SourceError as opened does.
    """
    packing = packings.of_member(part)
    facts = identity(part.path, below)
    key = store.key("member", part.offset, part.length, *facts)
    view = _unpacked(part, packing, store.hold(key).place(name), most)
    return replace(view, stretch=Stretch(offset=part.offset, length=part.length))


def identity(path: Path, below: View | None) -> tuple[object, ...]:
    """Return what tells the file *path* from others, and from what it was before.

    One that shows what is at a URL is another file in each process.
    """
    if below and below.mark:
        return below.origin, below.mark
    facts = path.stat()
    return path, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _unpacked(part: Part, packing: Packing, place: Path, most: int | None) -> View:
    with store.making(place) as unfinished:
        if unfinished:
            unpacking.unpack(part, packing, unfinished, most or MAX_SIZE)
    if most is not None and place.stat().st_size > most:
        raise unpacking.too_large(part.path, most)
    finding = _note(part.path, place)
    return View(origin=str(part.path), path=place, place=place, finding=finding)


def _in_place(path: Path, folder: Path) -> Path | None:
    """Return a file in *folder* that shows what the .xz *path* holds.

    None if its blocks are too large for that, or this host cannot do it.
    """
    blocks = xzindex.blocks(path)
    if blocks is None or blocks.count < 2 or blocks.largest > _LARGEST_BLOCK:
        return None
    if not fuse.is_there():
        log.info("%s could be read in place by nbdkit, nbdfuse and /dev/fuse", path)
        return None
    mounted = folder / packings.inner(path)
    limits = (f"xz-max-block={_LARGEST_BLOCK}", f"xz-max-depth={_KEPT_BLOCKS}")
    command = ("nbdkit", "-f", "-r", "--filter=xz", "file", f"file={path}", *limits)
    try:
        fuse.mount(command, mounted, sandbox.helper("nbdkit", reads=[path]))
    except fuse.MountError as e:
        log.info("%s cannot be read in place: %s", path, e)
        return None
    return mounted


def _note(path: Path, place: Path) -> Finding:
    facts = place.stat()
    return Finding(
        code="unpacked",
        severity="info",
        message=f"{path} is packed: unpacked for the time of this work to {place} "
        f"({facts.st_size} bytes, of which {facts.st_blocks * 512} take room)",
    )
