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
    """A folder at a URL, for which ``folder`` stands.

    ``own`` has the files of this process, ``kept`` those that are downloaded for all,
    at most ``most`` bytes each; ``place`` is where documents say that they are.
    """

    url: Url
    folder: Path
    own: Path
    kept: Path
    place: Path
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
    if any(_is_granted(folder, checked) for folder in url.ancestors()):
        return origin
    raise SourceError(
        f"{url.shown()} is not fetched: nothing shows that you have named it yourself",
        "describe the source again with v2v-inspect; or, if it really belongs to this "
        f"VM, add --allow-url {url.folder.shown()}",
    )


def _is_granted(folder: Url, checked: Checked) -> bool:
    if folder in _bases:
        return _passes(_bases[folder].folder, checked)
    # Only what is there can be checked.
    share = store.hold(_key(folder))
    granted = _passes(share.folder, checked)
    if granted:
        _base(folder, None)
    share.release()
    return granted


def _passes(folder: Path, checked: Checked) -> bool:
    try:
        checked(folder)
    except SourceError:
        return False
    return True


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


def standing_for(origin: str) -> Path | None:
    """Return the folder that stands for that of *origin*; None if that is no URL.

    A grant for it is one for what is at URLs below that folder.
    """
    if not urls.is_url(origin):
        return None
    url = urls.parse(origin)
    base = next((b for b in _bases.values() if _holds(b, url)), None)
    return base.folder if base else None


def leave() -> None:
    """Forget all that this process has shown."""
    _bases.clear()
    _made.clear()


def _key(folder: Url) -> str:
    return store.key("remote", folder.shown())


def _base(url: Url, most: int | None) -> _Base:
    held = store.hold(_key(url))
    own = held.folder / str(os.getpid())
    own.mkdir(mode=0o700, exist_ok=True)
    _bases[url] = _Base(
        url=url,
        folder=held.folder,
        own=own,
        kept=held.folder / "kept",
        place=held.place(""),
        most=most or MAX_SIZE,
    )
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
    kept = base.kept / hashlib.sha256(base.named(url).encode()).hexdigest()[:24]
    found = None if kept.exists() else transports.of(url).look(url, means.now())
    finding = None
    if found is None and not kept.exists():
        return None
    if found and found.size is not None and found.size <= _SMALL:
        download.download(found, means.now(), path, _SMALL)
    elif found is None or not _mounted(found, path):
        finding = _downloaded(found, kept, base, url)
        os.link(kept, path)
    return View(
        origin=url.shown(),
        path=path,
        place=base.place / base.named(url),
        mark=_mark(found) if finding is None and found else _beside(kept).read_text(),
        finding=finding,
    )


def _mark(found: Found) -> str:
    return f"{found.size} {found.mark}"


def _beside(kept: Path) -> Path:
    """Return the file that says what a server said of *kept*."""
    return kept.with_name(f"{kept.name}.mark")


def _mounted(found: Found, path: Path) -> bool:
    """Whether *path* shows *found* now."""
    if not found.served or not fuse.is_there():
        return False
    transport = transports.of(found.url)
    server = transport.server(found, means.now())
    try:
        fuse.mount(server, path, transport.walls(means.now()))
    except fuse.MountError as e:
        log.info("%s cannot be read in place: %s", found.url.shown(), e)
        path.unlink(missing_ok=True)
        return False
    return True


def _downloaded(found: Found | None, kept: Path, base: _Base, url: Url) -> Finding:
    """Download *found* to *kept*, unless it is there; return what is to be said."""
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    with store.making(kept) as unfinished:
        if unfinished and found:
            download.download(found, means.now(), unfinished, base.most)
            _beside(kept).write_text(_mark(found))
    facts = kept.stat()
    return Finding(
        code="downloaded",
        severity="info",
        message=f"{url.shown()} cannot be read in place: downloaded for the time of "
        f"this work to {kept} ({facts.st_size} bytes, of which "
        f"{facts.st_blocks * 512} take room)",
    )
