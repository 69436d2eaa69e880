# SPDX-License-Identifier: GPL-2.0-or-later
"""Local files that stand for what is none: a packed file, a file at a URL.

All our readers work on local files.  A view is one that v2v makes, so that every
reader works unchanged; a module for each kind.  In a document the layer says what it
is a view of (``origin``), so every stage can make the view again, and the permission
to read it is the permission to read the origin.
"""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from v2v import formats, paths
from v2v.document import VM, Chunk, Digest, File, Finding, Layer, Stretch
from v2v.errors import SourceError
from v2v.formats import Checked
from v2v.views import fuse, means, packed, remote, store, unpacking, urls
from v2v.views.store import Hold
from v2v.views.view import View

# Of so many views it is told where each is.
_MOST_TOLD = 8
# What is left out of the name of a member.
_BAD = re.compile(r"[^A-Za-z0-9._-]|^\.+")
# What names a file in a document.
Named = Layer | Chunk | File | Digest


class Kind(Protocol):
    """What every module of this package that makes views offers."""

    def claims(self, location: str) -> bool:
        """Whether *location*, a file or a URL, needs a view of this kind.

        Raises SourceError if it contradicts itself.
        """
        ...

    def permit(self, origin: str, checked: Checked) -> str | None:
        """Return *origin*, as a document names it, if it may be opened.

        None if it is no origin of this kind; nothing of it is looked at before.
        *checked* lets files pass, see v2v.paths.  Raises SourceError if it does not.
        """
        ...

    def opened(self, location: str, most: int | None, below: View | None) -> View:
        """Return the view of *location*, made if it is not there yet.

        *location* is the view *below*, if it is one itself.  It holds for the life of
        this process.  Raises SourceError if it cannot be made, or holds more than
        *most* bytes.
        """
        ...


# The views of this process, by what each is of; and by the path of each.
_opened: dict[str, View] = {}
_HELPERS = {
    *("deflated", "fuse", "packings", "sizes", "store", "streams", "unpacking", "view"),
    *("xzindex", "download", "means", "plugins", "transports", "urls"),
}


def kinds() -> list[Kind]:
    """Return the kinds of view there are.  One may lie on another: remote, packed."""
    names = {module.name for module in pkgutil.iter_modules(__path__)} - _HELPERS
    return [
        cast(Kind, import_module(f"{__name__}.{name}"))
        for name in sorted(names, reverse=True)
    ]


@dataclass
class Limits:
    """What the user set for all views of this process: the most bytes of one."""

    most: int | None = None


limits = Limits()


def source(location: str) -> str:
    """Return where to read *location*: itself, or the file that is a view of it.

    Raises SourceError if there can be no view, or it would be larger than the limits.
    """
    if location in _opened:
        return str(_opened[location].path)
    place = location
    made: View | None = None
    for kind in kinds():
        if kind.claims(place):
            one = kind.opened(place, limits.most, made)
            # A packed file at a URL is a view of the URL.
            made = View(
                origin=made.origin if made else one.origin,
                path=one.path,
                place=one.place,
                mark=made.mark if made else one.mark,
                finding=one.finding or (made.finding if made else None),
                inside=one.inside,
            )
            place = str(one.path)
    if made:
        for file in made.inside:
            inner = replace(file, origin=made.origin)
            _opened[_key(made.origin, file.stretch)] = inner
        _opened[location] = _opened[made.origin] = made
    return place


def member(part: formats.Part, name: str) -> Path:
    """Return the file *name* that holds what *part*, a packed member, holds.

    Raises SourceError as source does, and for what is not packed by gzip, bzip2, xz or
    zip.
    """
    name = _BAD.sub("_", name)[-100:] or "member"
    outer = _at(str(part.path))
    view = packed.member(part, name, limits.most, outer)
    if outer:
        view = replace(view, origin=outer.origin)
    _opened[_key(view.origin, view.stretch)] = view
    return view.path


def _key(origin: str, stretch: Stretch | None) -> str:
    """Return what the view of the member at *stretch* of *origin* is known by."""
    return f"{origin}\0{stretch.offset}" if stretch else origin


def fetched(location: str) -> Path | None:
    """Return the view of the file at *location*, which a description names.

    None if that is no URL, or one that the user has not allowed.  Raises SourceError
    as source does.
    """
    if folder(location) is None:
        return None
    url = urls.parse(location)
    near = remote.standing_for(url.shown()) is not None
    return Path(source(location)) if near or means.now().allows(url) else None


def folder(location: str) -> str | None:
    """Return the folder of the URL *location*; None if that is no URL of a file."""
    try:
        return urls.parse(location).folder.shown() if urls.is_url(location) else None
    except SourceError:
        return None


def check_size(path: Path, size: int) -> None:
    """Raise SourceError if what *path* says to hold, *size* bytes, is too much."""
    if size > (limits.most or formats.MAX_SIZE):
        raise unpacking.too_large(path, limits.most or formats.MAX_SIZE)


def placed(layer: Layer, checked: Checked) -> tuple[Layer, Checked]:
    """Return *layer* with the paths of its views in this process, made if need be.

    Also a *checked* that lets these pass.  Raises SourceError if a view cannot be made,
    or *checked* does not let its origin pass: where a document says that the view lies
    means nothing.
    """
    if all(part.origin is None for part in _files(layer)):
        return layer, checked
    seen: list[Path] = []

    def put(part: Named) -> Any:
        if part.origin is None:
            return part
        seen.append(_again(part, checked))
        return part.having(path=str(seen[-1]))

    layer = _each(layer, put)
    folders = [path.parent.resolve() for path in seen]

    def also(path: str | Path) -> Path:
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            return checked(path)
        inside = any(real.is_relative_to(folder) for folder in folders)
        return real if inside else checked(path)

    return layer, also


def _files(layer: Layer) -> list[Named]:
    """Return all that names a file in *layer*."""
    images: tuple[Layer | File, ...] = (layer, *layer.backing)
    return [*images, *(p for image in images for p in image.parts), *layer.digests]


def _each(layer: Layer, change: Callable[[Named], Any]) -> Layer:
    """Return *layer* with *change* made to all that names a file in it."""

    def parent(file: File) -> File:
        made: File = change(file)
        return made.having(parts=tuple(map(change, file.parts)))

    made: Layer = change(layer)
    return made.having(
        parts=tuple(map(change, layer.parts)),
        backing=tuple(map(parent, layer.backing)),
        digests=tuple(map(change, layer.digests)),
    )


def _again(part: Named, checked: Checked) -> Path:
    """Return the view that *part* names, if *checked* lets its origin pass."""
    origin = part.origin or ""
    for kind in kinds():
        permitted = kind.permit(origin, checked)
        if permitted is None:
            continue
        path = source(permitted)
        if part.stretch:
            at, length = part.stretch.offset, part.stretch.length
            known = _opened.get(_key(permitted, part.stretch))
            if known and known.stretch == part.stretch:
                return known.path
            name = Path(part.path or "").name
            return member(formats.part(Path(path), at, length), name)
        if path != permitted:
            return Path(path)
    raise SourceError(
        f"{origin} is not what was described: it is no longer packed",
        "describe the source again with v2v-inspect",
    )


def bring(path: Path) -> bool:
    """Whether *path*, which is not there, could be made: the view of another file.

    For the files that a description names beside itself.
    """
    view = None if os.path.lexists(path) else remote.beside(path)
    if view is None:
        return False
    _opened[view.origin] = view
    return True


def beside(path: Path, name: str) -> Path:
    """Return the file *name* in the folder of *path*, made if it can be a view."""
    file = path.parent / name
    try:
        if not file.exists():
            bring(file)
    except (OSError, ValueError):
        return file  # no name of a file: it is told by who opens it
    return file


def marked(vm: VM) -> VM:
    """Return *vm*, as a source read it, with the origin of each file that is a view.

    The permission for a view becomes that for its origin.
    """
    used: list[View] = []

    def mark(part: Named) -> Any:
        view = _at(part.path)
        if view is None:
            return part
        used.append(view)
        return part.having(
            path=str(view.place), origin=view.origin, stretch=view.stretch
        )

    disks = tuple(
        disk.having(source=disk.source and _each(disk.source, mark))
        for disk in vm.disks
    )
    described = _at(vm.source.location)
    used = list(dict.fromkeys([*used, *([described] if described else [])]))
    if not used:
        return vm
    location = described.origin if described else vm.source.location
    grants = tuple(g for g in vm.grants if not _is_view(Path(g.folder)))
    vm = vm.having(
        source=vm.source.having(location=location),
        disks=disks,
        grants=grants,
        findings=tuple(map(_told, (*vm.findings, *_findings(used)))),
    )
    for view in used:
        place = remote.standing_for(view.origin) or Path(view.origin).parent
        vm = paths.granted(vm, place)
    return vm


def _findings(used: Sequence[View]) -> list[Finding]:
    """Return what is to be said of *used*; of very many of them only the number."""
    # All files of one archive say the same.
    found = list(dict.fromkeys(view.finding for view in used if view.finding))
    more = len(found) - _MOST_TOLD
    if more < 2:
        return found
    last = found[-1].having(message=f"{more} more files are read in the same way")
    return [*found[:_MOST_TOLD], last]


def _told(finding: Finding) -> Finding:
    return finding.having(message=named(finding.message))


def _at(path: str | None) -> View | None:
    """Return the view that *path* is."""
    found = Path(path or "")
    return next((v for v in _opened.values() if found == v.path), None)


def _is_view(path: Path) -> bool:
    return path.is_relative_to(store.root().resolve())


def named(text: str) -> str:
    """Return *text*, a message, with the origins in place of the views of them."""
    for view in _opened.values():
        for path in (view.path, view.place):
            text = text.replace(str(path), view.origin)
    return remote.named(text)


def shown(location: str) -> str:
    """Return *location*, as the user gave it, without a secret that it may hold."""
    return urls.shown(location)


def mark(origin: str) -> str:
    """Return what changes when *origin* does; empty if its file tells, or nothing."""
    return _opened[origin].mark if origin in _opened else ""


def kept(vm: VM) -> list[Hold]:
    """Return a share in each view of *vm*, which another process has made."""
    layers = [layer for disk in vm.disks if (layer := disk.source)]
    # What is only compared is not needed for as long.
    named = [f for layer in layers for f in _files(layer.having(digests=()))]
    places = {file.path for file in named if file.origin}
    return [share for path in places if path and (share := store.share(Path(path)))]


def handed_on(fd: int) -> None:
    """Return once the reader of the pipe *fd* has its own share in our views.

    Or once it had the time for it; so that the next stage need not make them again.
    """
    if _opened:
        store.handed_on(fd)


def sweep() -> None:
    """Remove the views that killed processes left."""
    store.sweep()


def leave() -> None:
    """Release the views of this process."""
    _opened.clear()
    remote.leave()
    fuse.leave()
    store.leave()
