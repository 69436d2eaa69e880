# SPDX-License-Identifier: GPL-2.0-or-later
"""URLs of files of VMs: what they mean, and what of them may be shown.

RFC 3986.  A password in a URL would be seen by everybody, so there may be none.  A
query is mostly a signature that lets its bearer in (S3, Azure, Google): it is used,
and never shown or kept.  Only that of a datastore of VMware says what is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

from v2v.errors import SourceError

SCHEMES = ("http", "https", "ssh", "s3")
WEB = ("http", "https")
_PORTS = {"http": 80, "https": 443, "ssh": 22}
# https://HOST/folder/PATH?dcPath=DATACENTER&dsName=DATASTORE
_DATASTORE = {"dcpath", "dsname"}
_LONGEST = 4096
_LONGEST_NAME = 255
_DEEPEST = 64
# Marks that a path of a URL may hold as they are; "%" stands in what is encoded.
_PLAIN = "%/:@!$&'()*+,;=~-._"


@dataclass(frozen=True, kw_only=True)
class Url:
    """The URL of a file.  ``path`` is as the scheme has it: encoded for http(s).

    ``host`` is in lower case, the bucket for s3.  ``query`` is a secret, unless the URL
    is of a datastore.
    """

    scheme: str
    host: str
    path: str
    user: str | None = None
    port: int | None = None
    query: str = ""

    @property
    def is_web(self) -> bool:
        """Whether the web's rules hold: an encoded path, redirects, a query."""
        return self.scheme in WEB

    @property
    def is_datastore(self) -> bool:
        """Whether it is of VMware's datastore browser, where the query is the place."""
        return bool(self.query) and {k.lower() for k in parse_qs(self.query)} == (
            _DATASTORE
        )

    @property
    def has_secret(self) -> bool:
        """Whether whoever knows the URL may read the file."""
        return bool(self.query) and not self.is_datastore

    @property
    def place(self) -> str:
        """The server, in the way that a URL has it, without the user."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.decoded.rpartition("/")[2]

    @property
    def decoded(self) -> str:
        """The path in plain text."""
        return unquote(self.path) if self.is_web else self.path

    @property
    def folder(self) -> Url:
        """The folder that the file is in; what is signed holds for the file alone."""
        query = "" if self.has_secret else self.query
        return replace(self, path=self.path.rpartition("/")[0] + "/", query=query)

    def beside(self, name: str) -> Url:
        """Return the URL of the file *name*, in plain text, of this folder."""
        return replace(self, path=self.path + (quote(name) if self.is_web else name))

    def shown(self) -> str:
        """Return the URL without secrets: for people, documents and programs."""
        return self.text(replace(self, query="" if self.has_secret else self.query))

    def whole(self) -> str:
        """Return the URL with its secrets, but without the user."""
        return self.text(replace(self, user=None))

    @staticmethod
    def text(url: Url) -> str:
        """Return *url* as one writes it."""
        user = f"{quote(url.user, safe='')}@" if url.user else ""
        path = url.path if url.is_web or url.scheme == "s3" else quote(url.path)
        query = f"?{url.query}" if url.query else ""
        return f"{url.scheme}://{user}{url.place}{path}{query}"

    def server(self) -> tuple[str, str, int | None]:
        """Return what tells one server from another."""
        return self.scheme, self.host, self.port or _PORTS.get(self.scheme)

    def ancestors(self) -> Iterator[Url]:
        """Yield the folders that the file is in, the nearest first."""
        folder = self.folder
        yield folder
        while folder.path.strip("/"):
            path = folder.path.rstrip("/").rpartition("/")[0] + "/"
            folder = replace(folder, path=path)
            yield folder


def is_url(location: str) -> bool:
    """Whether *location* is a URL of a scheme that we read."""
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def shown(location: str) -> str:
    """Return *location*, right or wrong, without what may be secret in it."""
    plain = _without_password(location)
    try:
        return parse(plain).shown() if is_url(plain) else plain
    except SourceError:
        return _bare(plain)


def _without_password(location: str) -> str:
    scheme, separator, rest = location.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}{slash}{path}"


def _bare(location: str) -> str:
    return _without_password(location).partition("?")[0].partition("#")[0]


def parse(location: str) -> Url:
    """Return the URL that *location* is.

    Raises SourceError if it is none, names a folder, or holds a password.
    """
    url = _split(location)
    names = url.decoded.split("/")[1:]
    if not names or not names[-1]:
        raise SourceError(
            f"{url.shown()} names a folder", "name the description or the disk in it"
        )
    odd = any(
        name in (".", "..") or "\0" in name or len(name.encode()) > _LONGEST_NAME
        for name in names
    )
    if odd or len(names) > _DEEPEST:
        raise _wrong(url.shown(), "a path that no file has")
    return url


def folder(location: str) -> Url:
    """Return the folder that *location* is, or lies in.  Raises SourceError."""
    return _split(location).folder


def joined(base: Url, reference: str) -> Url:
    """Return what *reference*, a redirect from *base*, means.  Raises SourceError."""
    target = parse(urljoin(base.whole(), reference))
    if not target.is_web or (base.scheme == "https" and target.scheme == "http"):
        raise SourceError(
            f"{base.shown()} is redirected to {target.shown()}, which is not safe",
            "name the right URL yourself, if you trust it",
        )
    # The same server knows the same user.
    same = target.server() == base.server()
    return replace(target, user=base.user if same else None)


def _split(location: str) -> Url:
    if len(location) > _LONGEST or not location.isprintable():
        raise _wrong("the URL", "it is too long, or not printable")
    try:
        parts = urlsplit(location)
        port, host = parts.port, parts.hostname
    except ValueError as e:
        raise _wrong(_bare(location), str(e)) from e
    scheme = parts.scheme.lower()
    if parts.password is not None:
        raise SourceError(
            "a URL must not hold a password",
            "give the user alone (USER@HOST), and the password in a file: "
            "--url-password FILE",
        )
    if scheme not in SCHEMES or not host or port == 0 or host.startswith("-"):
        raise _wrong(_bare(location), "it names no server that we read from")
    path = parts.path if scheme != "s3" else location.partition("://")[2]
    if scheme == "s3":
        path = "/" + path.partition("/")[2]
    user = unquote(parts.username) if parts.username else None
    return Url(
        scheme=scheme,
        host=host,
        port=None if port == _PORTS.get(scheme) else port,
        user=user,
        path=quote(path, safe=_PLAIN)
        if scheme in WEB
        else (path if scheme == "s3" else unquote(path)),
        query=quote(parts.query, safe=_PLAIN + "?") if scheme in WEB else "",
    )


def _wrong(what: str, reason: str) -> SourceError:
    return SourceError(
        f"{what}: {reason}",
        "write https://HOST/PATH, ssh://USER@HOST/PATH or s3://BUCKET/KEY",
    )


def is_simple(name: str) -> bool:
    """Whether *name* is that of a file below a folder, and leads nowhere else."""
    parts = name.split("/")
    return len(parts) <= _DEEPEST and not any(
        part in ("", ".", "..") or len(part.encode(errors="replace")) > _LONGEST_NAME
        for part in parts
    )
