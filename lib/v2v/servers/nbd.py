# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server, ours or a foreign one, on this host or another.

TLS credentials are each host's own: --tls-psk FILE or --tls-dir DIR.  The document
has only the kind and the user name.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from v2v.document import Layer
from v2v.errors import SourceError, UsageError
from v2v.servers import Access, Graph, Node

PORT = 10809
_LONGEST_SOCKET = 107  # bytes: unix(7)
# The group ffdhe2048 of RFC 7919.  Without it a QEMU before 9 makes parameters of its
# own at each start of a server, which takes from seconds to minutes.
_FFDHE2048 = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
_CREDENTIALS = "v2v-tls"
SERVER_CREDENTIALS = "v2v-tls-server"


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    uri = address.uri or ""
    place, export = parse(uri)
    if place["type"] == "unix" and address.host not in (None, socket.gethostname()):
        raise SourceError(
            f"{uri} is served on host {address.host}, and this is "
            f"{socket.gethostname()}",
            "export it with --listen ADDRESS, or run this stage there",
        )
    node: Node = {"driver": "nbd", "server": place, "export": export}
    objects = []
    if address.tls or uri.startswith("nbds"):
        objects = [credentials(address.tls or "x509", access, user=address.tls_user)]
        node["tls-creds"] = _CREDENTIALS
    return Graph(
        node={"driver": "raw", "file": node, "read-only": not write},
        objects=objects,
        remote=True,
    )


def parse(uri: str) -> tuple[dict[str, str], str]:
    """Return qemu's SocketAddress and the export name of an NBD URI.

    The grammar is doc/uri.md of the NBD project.  Raises SourceError.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port or PORT
    except ValueError as e:
        raise SourceError(f"{uri:.300}: {e}", "correct the URI") from e
    export = unquote(parts.path.lstrip("/"))
    if parts.scheme in ("nbd+unix", "nbds+unix"):
        path = parse_qs(parts.query).get("socket", [""])[0]
        if path and "\0" not in path and len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return {"type": "unix", "path": path}, export
    elif parts.scheme in ("nbd", "nbds") and parts.hostname:
        return {"type": "inet", "host": parts.hostname, "port": str(port)}, export
    raise SourceError(
        f"{uri:.300} is no NBD URI that can be opened",
        "write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH",
    )


def credentials(
    kind: str, access: Access, *, user: str | None, server: bool = False
) -> str:
    """Return qemu's --object for TLS of *kind*, psk or x509.

    Raises UsageError if the option that names the keys was not given.
    """
    endpoint = "server" if server else "client"
    common = f"id={SERVER_CREDENTIALS if server else _CREDENTIALS},endpoint={endpoint}"
    if kind == "psk":
        if not access.keys.psk:
            raise UsageError(
                "this endpoint wants TLS with a pre-shared key",
                "give the file with the key: --tls-psk FILE",
            )
        folder = _psk_folder(access, access.keys.psk)
        name = "" if server else f",username={user or 'v2v'}"
        return f"tls-creds-psk,{common},dir={_quoted(folder)}{name}"
    if not access.keys.folder:
        raise UsageError(
            "this endpoint wants TLS with certificates",
            "give the folder with ca-cert.pem and the others: --tls-dir DIR",
        )
    verify = "yes" if access.keys.verify_peer and not server else "no"
    folder = access.keys.folder.resolve()
    return f"tls-creds-x509,{common},dir={_quoted(folder)},verify-peer={verify}"


def _psk_folder(access: Access, file: Path) -> Path:
    """Return a folder in which qemu finds *file* under the one name it accepts."""
    folder = access.private() / "psk"
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / "keys.psk"
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())
    (folder / "dh-params.pem").write_text(_FFDHE2048)
    return folder


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")
