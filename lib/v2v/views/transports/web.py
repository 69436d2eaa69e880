# SPDX-License-Identifier: GPL-2.0-or-later
"""Files on web servers: looked at by curl(1), served by nbdkit-curl-plugin(1).

curl gets its URL by its stdin, so no secret stands in its argv; nbdkit cannot, so what
has a secret in its URL is not served.  Redirects are followed here, where each is
looked at, and by nobody else.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v import process, sandbox
from v2v.errors import SourceError
from v2v.views import means as means_
from v2v.views import urls
from v2v.views.means import Means
from v2v.views.transports import nbdkit
from v2v.views.transports.authorities import AUTHORITIES
from v2v.views.transports.found import BrokenOffError, Found
from v2v.views.urls import Url

_CONNECT = 30  # seconds
_ANSWER = 60
_STALLED = 60  # seconds without a byte
_REDIRECTS = 10
_MOVED = (301, 302, 303, 307, 308)
# What servers say that answer no HEAD, or not to a signature for GET.
_NO_HEAD = (400, 403, 405, 501)
_MISSING = (404, 410)
# Exit statuses of curl(1): a body longer than allowed, an answer that takes long.
_LONGER, _SLOW = 63, 28
_BROKEN_OFF = re.compile(r"curl: \((5|6|7|16|18|28|35|52|55|56|92)\)")
_REASONS = {
    6: ("there is no host of this name", "check the name, and this host's network"),
    7: ("the server refuses the connection", "check the port, and that it runs"),
    28: ("the server gives no answer", "check the name, and the firewalls between"),
}
_CHANGED = re.compile(r"error: 412\b")
# RFC 9110, 8.8.3: not a weak one, which tells nothing of the bytes.
_ETAG = re.compile(r'"[!#-~]{1,200}"')
_UNTRUSTED = (35, 58, 60, 77, 83)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a server says: the status, and the headers by their names in lower case."""

    status: int
    headers: dict[str, str]
    redirect: str


def look(url: Url, means: Means) -> Found | None:
    """See Transport."""
    for _ in range(_REDIRECTS):
        answer = _asked(url, means)
        if answer.status in _MISSING:
            return None
        if answer.status not in _MOVED:
            return _found(url, answer)
        url = _followed(url, answer, means)
    raise SourceError(f"{url.shown()} is redirected without end", "check the server")


def _followed(url: Url, answer: _Answer, means: Means) -> Url:
    """Return where *url* is moved to.  Raises SourceError if nobody allowed that."""
    if not answer.redirect:
        raise SourceError(f"{url.shown()} is redirected to nowhere", "check the server")
    target = urls.joined(url, answer.redirect)
    if target.server() == url.server() or means.allows(target):
        return target
    folder = target.folder.shown()
    raise SourceError(
        f"{url.shown()} is redirected to another server, {target.place}",
        f"if that is right, add --allow-url {folder}",
    )


def _asked(url: Url, means: Means) -> _Answer:
    """Return what the server says of *url*, without the body."""
    answer = _requested(url, means, ["head"])
    if answer.status not in _NO_HEAD:
        return answer
    # One byte shows as much, where the server knows what a range is.
    return _requested(url, means, ['range = "0-0"', "max-filesize = 1"])


def _requested(url: Url, means: Means, extra: list[str]) -> _Answer:
    wanted = ['write-out = "%{json}\\n%{header_json}"', 'output = "/dev/null"']
    text = config(url, means, [*extra, *wanted, f"max-time = {_ANSWER}"])
    done = process.run(
        ["curl", "-q", "--config", "-"],
        within=sandbox.helper("curl", reads=_reads(means), network=True),
        stdin=text.encode(),
        seconds=_ANSWER + _CONNECT,
        ok=range(127),
    )
    told = _told(done.stdout)
    status = int(told.status)
    if done.returncode and not (status and done.returncode in (_LONGER, _SLOW)):
        raise _unreachable(url, done.returncode, done.stderr)
    return told


def _told(text: bytes) -> _Answer:
    decoder = json.JSONDecoder(strict=False)
    plain = text.decode(errors="replace")
    try:
        facts, end = decoder.raw_decode(plain)
        headers, _ = decoder.raw_decode(plain[end:].lstrip())
        status = int(facts["http_code"])
    except (ValueError, KeyError, TypeError):
        return _Answer(status=0, headers={}, redirect="")
    last = {str(k).lower(): _last(v) for k, v in headers.items()}
    return _Answer(
        status=status, headers=last, redirect=str(facts.get("redirect_url") or "")
    )


def _last(values: Any) -> str:
    return str(values[-1]) if isinstance(values, list) and values else ""


def _found(url: Url, answer: _Answer) -> Found:
    """Return what *answer* says of *url*.  Raises SourceError if it is an error."""
    shown = url.shown()
    if answer.status == 401:
        raise SourceError(
            f"{shown}: the server wants a user and a password, or others",
            f"name the user, {url.scheme}://USER@{url.place}/..., and give "
            "--url-password FILE",
        )
    if answer.status == 403:
        raise SourceError(
            f"{shown}: the server refuses to give it",
            "check the permission, or that the signature of the URL has not expired",
        )
    if answer.status not in (200, 206):
        raise SourceError(
            f"{shown}: the server answers with {answer.status}", "try again later"
        )
    headers = answer.headers
    total = headers.get("content-length", "")
    if answer.status == 206:
        total = headers.get("content-range", "").rpartition("/")[2]
    seekable = answer.status == 206 or headers.get("accept-ranges", "") == "bytes"
    encoded = headers.get("content-encoding", "identity") != "identity"
    # Where one byte was asked for, HEAD was refused, and nbdkit needs that.
    return Found(
        url=url,
        size=int(total) if total.isascii() and total.isdigit() else None,
        mark=headers.get("etag") or headers.get("last-modified") or "",
        seekable=seekable and not encoded,
        served=seekable and answer.status == 200 and not (encoded or url.has_secret),
    )


def _unreachable(url: Url, status: int, said: bytes) -> SourceError:
    shown = url.shown()
    if status in _UNTRUSTED and url.scheme == "https":
        return SourceError(
            f"{shown}: the server's certificate is not trusted",
            "give that of its authority: --tls-dir DIR, with ca-cert.pem in it",
        )
    if status in _REASONS:
        reason, remedy = _REASONS[status]
        return SourceError(f"{shown}: {reason}", remedy)
    lines = said.decode(errors="replace").strip().splitlines()
    reason = lines[-1].partition(") ")[2] if lines else f"curl ends with {status}"
    return SourceError(f"{shown} cannot be read: {reason}", "try it with curl")


def config(url: Url, means: Means, extra: list[str]) -> str:
    """Return what curl(1) reads by --config to ask for *url*.

    Raises SourceError if a password would cross the network for everybody to see.
    """
    lines = [
        f"url = {quoted(url.whole())}",
        *("globoff", "silent", "show-error", "path-as-is"),
        'proto = "=http,https"',
        f"connect-timeout = {_CONNECT}",
        *extra,
    ]
    if url.scheme == "https":
        if not means.check:
            lines.append("insecure")
        if authority := _authority(means):
            lines.append(f"cacert = {quoted(os.fspath(authority))}")
    if password := _password(url, means):
        login = f"{url.user}:{means_.secret(password)}"
        lines.append(f"user = {quoted(login)}")
    elif url.user:
        lines.append(f"user = {quoted(url.user + ':')}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Return *text* as a value of a configuration file, see curl(1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _authority(means: Means) -> Path | None:
    """Return the file of certificates to trust, if it is not the system's own."""
    named = os.environ.get("SSL_CERT_FILE")
    return means.authority or (Path(named) if named else None)


def _password(url: Url, means: Means) -> Path | None:
    """Return the file of the password for *url*, if it takes one."""
    if not (url.user and means.password):
        return None
    if url.scheme == "http" and means.check:
        raise SourceError(
            f"{url.shown()}: everybody on the way could read the password",
            "use https; or accept it: --no-check-certificate",
        )
    return means.password


def server(found: Found, means: Means) -> list[str]:
    """See Transport."""
    url = found.url
    words = ["curl", f"url={url.whole()}", "protocols=http,https"]
    words += ["followlocation=false", f"timeout={_ANSWER}"]
    if url.scheme == "https":
        if not means.check:
            words.append("sslverify=false")
        if authority := _authority(means):
            words.append(f"cainfo={authority}")
    if condition := _condition(found):
        words.append(f"header={condition}")
    if url.user:
        words.append(f"user={url.user}")
    if password := _password(url, means):
        words.append(f"password=+{password}")
    return nbdkit.command(words)


def walls(means: Means) -> list[str]:
    """See Transport."""
    password = [means.password] if means.password else []
    return nbdkit.walls(*_reads(means), *password)


def _reads(means: Means) -> list[Path]:
    """Return the files that tell whom to trust."""
    authority = _authority(means)
    return [*AUTHORITIES, *([authority] if authority else [])]


def _condition(found: Found) -> str:
    """Return the header that has the server refuse what is not *found* any more.

    Or nothing: a part of one file and a part of another would make no disk.
    """
    return f"If-Match: {found.mark}" if _ETAG.fullmatch(found.mark) else ""


def pieces(found: Found, means: Means, start: int) -> Iterator[bytes]:
    """See Transport."""
    extra = ["fail", "speed-limit = 1", f"speed-time = {_STALLED}"]
    if condition := _condition(found):
        extra.append(f"header = {quoted(condition)}")
    if start:
        extra.append(f"continue-at = {start}")
    with tempfile.TemporaryFile() as text:
        text.write(config(found.url, means, extra).encode())
        text.seek(0)
        try:
            asked = ["curl", "-q", "--config", "-"]
            within = sandbox.helper("curl", reads=_reads(means), network=True)
            yield from process.output(asked, text, nbdkit.PIECE, within=within)
        except process.ToolError as e:
            if _BROKEN_OFF.match(e.message):
                raise BrokenOffError(e.message.partition(") ")[2]) from e
            reason = e.message.partition(") ")[2]
            remedy = "try it with curl"
            if _CHANGED.search(reason):
                reason = "it has changed on the server meanwhile"
                remedy = "run the same command again, once nobody writes it"
            raise SourceError(
                f"{found.url.shown()} cannot be read: {reason}", remedy
            ) from e
