# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that an NBD server offers, taken as a VM.

The grammar of the URIs is doc/uri.md of the NBD project.  A URI goes into the
document, so of its query only the socket is kept: keys are each host's own
(--tls-psk, --tls-dir).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit, urlunsplit

from v2v.document import VM, Disk, Layer, Source, disk_id
from v2v.errors import SourceError
from v2v.sources import Request, bare

_TCP = ("nbd", "nbds")
_UNIX = ("nbd+unix", "nbds+unix")


def claims(location: str) -> bool:
    """See sources.Source."""
    return location.partition("://")[0].lower() in (*_TCP, *_UNIX)


def read(request: Request) -> Iterator[VM]:
    """See sources.Source.  Nothing is opened; the size is asked for later."""
    if request.format not in (None, "raw"):
        raise SourceError(
            f"{request.location} is to be {request.format}, and NBD is read as raw",
            f"let the server open the image: qemu-nbd -f {request.format}",
        )
    parts = split(request.location)
    layer = layer_of(parts)
    yield bare.machine(
        _name(parts),
        Disk(id=disk_id(0), boot=1, source=layer),
        Source(kind="nbd", location=layer.uri or "", host=parts.hostname),
    )


def layer_of(parts: SplitResult) -> Layer:
    """Return the layer that is reached at the NBD URI *parts*."""
    wants_psk = parts.username is not None or "tls-psk-file" in parse_qs(parts.query)
    secure = parts.scheme.startswith("nbds")
    at_socket = parts.scheme in _UNIX
    return Layer(
        server="nbd",
        uri=_uri(parts),
        # A socket is on this host only.
        host=socket.gethostname() if at_socket else None,
        tls=("psk" if wants_psk else "x509") if secure else None,
        tls_user=unquote(parts.username) if secure and parts.username else None,
    )


def split(uri: str) -> SplitResult:
    """Return the parts of *uri*.  Raises SourceError if it is no NBD URI of ours."""
    try:
        parts = urlsplit(uri)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError as e:
        raise SourceError(f"{uri}: {e}", "correct the host and port") from e
    if parts.scheme in _UNIX:
        valid = parse_qs(parts.query).get("socket", [""])[0].startswith("/")
    if not valid:
        raise SourceError(
            f"{uri} is no NBD URI that can be opened",
            "write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=/PATH",
        )
    if parts.password is not None:
        raise SourceError(
            "an NBD URI must not hold a password", "give the key with --tls-psk FILE"
        )
    return parts


def _uri(parts: SplitResult) -> str:
    """Return the URI without the user and all of the query but the socket."""
    place = parts.netloc.rpartition("@")[2]
    if parts.scheme in _TCP:
        return urlunsplit((parts.scheme, place, parts.path, "", ""))
    path = quote(parse_qs(parts.query)["socket"][0])
    return f"{parts.scheme}://{place}{parts.path or '/'}?socket={path}"


def _name(parts: SplitResult) -> str:
    """Return a name for the VM: the export's, else the host's or the socket's."""
    export = PurePosixPath(unquote(parts.path)).name
    path = parse_qs(parts.query).get("socket", [""])[0]
    return export or parts.hostname or PurePosixPath(path).stem
