# SPDX-License-Identifier: GPL-2.0-or-later
"""Views of files at URLs: https://HOST/vm.ova is read in place, nothing is copied.

A folder of the state stands for the folder of the URL.  In it each process lets the
files appear that its readers ask for: nbdkit serves them, nbdfuse shows them.  What
can only be read from its start to its end is downloaded once, for all processes.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from v2v.document import Finding
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE, Checked
from v2v.views import download, fuse, means, store, transports, urls
from v2v.views.transports.found import Found
from v2v.views.urls import Url
from v2v.views.view import View

# A file up to this size is fetched as it is: descriptions, descriptors of disks.
_SMALL = 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Base:
    """A folder at a URL: ``folder`` is shared, ``own`` has the files of this process.

    None of them may be larger than ``most`` bytes, if it must be copied.
    """

    url: Url
    folder: Path
    own: Path
    most: int

    def named(self, url: Url) -> str:
        """Return the name of *url* below this folder."""
        return url.decoded.removeprefix(self.url.decoded)


_bases: dict[Url, _Base] = {}
# By the path of each; None stands for what the server does not have.
_made: dict[Path, View | None] = {}


def claims(location: str) -> bool:
    """See views.Kind."""
    return urls.is_url(location)


def permit(origin: str, checked: Checked) -> str | None:
    """See views.Kind.

    A grant for the folder that stands for that of a URL is a grant for the URL.
    """
    if not urls.is_url(origin):
        return None
    url = urls.parse(origin)
    if means.now().allows(url):
        return origin
    for folder in url.ancestors():
        share = store.hold(_key(folder))
        try:
            checked(share.folder)
        except SourceError:
            share.release()
            continue
        _base(folder, None)
        share.release()
        return origin
    raise SourceError(
        f"{url.shown()} is not fetched: nothing shows that you have named it yourself",
        "describe the source again with v2v-inspect; or, if it really belongs to this "
        f"VM, add --allow-url {url.folder.shown()}",
    )


def opened(location: str, most: int | None, below: View | None = None) -> View:
    """See views.Kind."""
    url = urls.parse(location)
    base = next((b for b in _bases.values() if _holds(b, url)), None)
    view = _shown(base or _base(url.folder, most), url)
    if view is None:
        raise SourceError(f"{url.shown()}: there is no such file", "check the URL")
    return view


def beside(path: Path) -> View | None:
    """Return the view *path*, made now: a file beside one that this process views.

    None if *path* is in no folder of that kind, or the server does not have the file.
    Raises SourceError if it cannot be said.
    """
    plain = Path(os.path.normpath(path))
    for base in _bases.values():
        if plain.is_relative_to(base.own) and plain != base.own:
            name = str(plain.relative_to(base.own))
            if not name.isprintable() or not urls.is_simple(name):
                return None
            return _shown(base, base.url.beside(name))
    return None


def named(text: str) -> str:
    """Return *text* with the URLs of folders in place of our folders for them."""
    for base in _bases.values():
        text = text.replace(f"{base.own}/", base.url.shown())
    return text


def leave() -> None:
    """Forget all that this process has shown."""
    _bases.clear()
    _made.clear()


def _key(folder: Url) -> str:
    return store.key("remote", folder.shown())


def _base(url: Url, most: int | None) -> _Base:
    folder = store.hold(_key(url)).folder
    own = folder / str(os.getpid())
    own.mkdir(mode=0o700, exist_ok=True)
    _bases[url] = _Base(url=url, folder=folder, own=own, most=most or MAX_SIZE)
    return _bases[url]


def _holds(base: _Base, url: Url) -> bool:
    """Whether *url* is below the folder *base*."""
    return base.url in url.ancestors()


def _shown(base: _Base, url: Url) -> View | None:
    """Return the view of *url*, which is below *base*; None if there is no such file.

    Raises SourceError if it cannot be made.
    """
    path = base.own / base.named(url)
    if path not in _made:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _made[path] = _view(base, url, path)
    return _made[path]


def _view(base: _Base, url: Url, path: Path) -> View | None:
    # A name of our own: those of the server could be those of our locks.
    name = hashlib.sha256(base.named(url).encode()).hexdigest()[:24]
    kept = base.folder / "kept" / name
    found = None
    finding = None
    if not kept.exists():
        found = transports.of(url).look(url, means.now())
        if found is None:
            return None
        if found.size is not None and found.size <= _SMALL:
            download.download(found, means.now(), path, _SMALL)
        elif not _mounted(found, path):
            finding = _downloaded(found, kept, base, url)
    if not path.exists():
        os.link(kept, path)
    return View(
        origin=url.shown(),
        path=path,
        place=base.folder / "files" / base.named(url),
        granting=base.folder,
        mark=f"{found.size} {found.mark}" if found else "kept",
        finding=finding,
    )


def _mounted(found: Found, path: Path) -> bool:
    """Whether *path* shows *found* now."""
    if not found.served or not fuse.is_there():
        return False
    server = transports.of(found.url).server(found, means.now())
    try:
        fuse.mount(server, path)
    except fuse.MountError as e:
        log.info("%s cannot be read in place: %s", found.url.shown(), e)
        path.unlink(missing_ok=True)
        return False
    return True


def _downloaded(found: Found, kept: Path, base: _Base, url: Url) -> Finding:
    """Download *found* to *kept*, unless it is there; return what is to be said."""
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    with store.making(kept) as unfinished:
        if unfinished:
            download.download(found, means.now(), unfinished, base.most)
    facts = kept.stat()
    return Finding(
        code="downloaded",
        severity="info",
        message=f"{url.shown()} cannot be read in place: downloaded for the time of "
        f"this work to {kept} ({facts.st_size} bytes, of which "
        f"{facts.st_blocks * 512} take room)",
    )
