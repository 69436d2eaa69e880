# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server for tests, as good or as bad as the test wants, that keeps count."""

from __future__ import annotations

import base64
import http.server
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_PIECE = 2**16


@dataclass
class Manners:
    """How the server behaves.

    ``ranges``: whether it knows them; ``head``: the status that HEAD gets; ``login``:
    who is let in, USER:PASSWORD; ``authorization``: how that header must begin;
    ``moved``: where a path is redirected to; ``query``: what a query must be;
    ``dies_after``: bytes after which it hangs up, as often as ``deaths`` says, and
    what it does then;
    ``delay``: seconds that each answer takes to come.
    """

    ranges: bool = True
    head: int = 200
    login: str = ""
    authorization: str = ""
    moved: dict[str, str] = field(default_factory=dict)
    query: str = ""
    dies_after: int | None = None
    deaths: int = 0
    after_death: Callable[[], None] = lambda: None
    delay: float = 0.0


@dataclass
class WebServer:
    """What the server serves, and what was asked of it."""

    folder: Path
    url: str = ""
    manners: Manners = field(default_factory=Manners)
    sent: int = 0
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, name: str) -> int:
        """Return how often the file *name* was asked for, by GET."""
        return sum(r.startswith(f"GET /{name}") for r in self.requests)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet, or each answer takes 40 ms
    web: WebServer

    def log_message(self, format: str, *args: Any) -> None:
        with self.web.lock:
            self.web.requests.append(self.requestline)

    def do_GET(self) -> None:
        time.sleep(self.web.manners.delay)
        self._answered(body=True)

    def do_HEAD(self) -> None:
        time.sleep(self.web.manners.delay)
        if self.web.manners.head != 200:
            self._said(self.web.manners.head)
        else:
            self._answered(body=False)

    def _said(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answered(self, *, body: bool) -> None:
        manners = self.web.manners
        parts = urlsplit(self.path)
        login = base64.b64encode(manners.login.encode()).decode()
        if target := manners.moved.get(parts.path):
            return self._said(302, Location=target)
        if manners.login and self.headers.get("Authorization") != f"Basic {login}":
            return self._said(401, WWW_Authenticate='Basic realm="test"')
        given = self.headers.get("Authorization") or ""
        if not given.startswith(manners.authorization):
            return self._said(403)
        if manners.query and parts.query != manners.query:
            return self._said(403)
        file = self.web.folder / unquote(parts.path).lstrip("/")
        if not file.is_file():
            return self._said(404)
        return self._file(file, body=body)

    def _file(self, file: Path, *, body: bool) -> None:
        size = file.stat().st_size
        etag = f'"{file.stat().st_mtime_ns}"'
        if self.headers.get("If-Match", etag) != etag:
            return self._said(412)
        start, end = 0, size
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and self.web.manners.ranges:
            start = int(asked[1])
            end = min(size, int(asked[2]) + 1) if asked[2] else size
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        else:
            self.send_response(HTTPStatus.OK)
        if self.web.manners.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if body:
            self._bytes(file, start, end)
        return None

    def _bytes(self, file: Path, start: int, end: int) -> None:
        manners = self.web.manners
        until = end
        if manners.deaths and manners.dies_after is not None:
            until = min(end, start + manners.dies_after)
        with file.open("rb") as data:
            data.seek(start)
            while start < until:
                piece = data.read(min(_PIECE, until - start))
                self.wfile.write(piece)
                start += len(piece)
                with self.web.lock:
                    self.web.sent += len(piece)
        if until < end:
            manners.deaths -= 1
            manners.after_death()
            self.close_connection = True


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go whenever they like."""


@contextmanager
def web(folder: Path, tls: Path | None = None) -> Iterator[WebServer]:
    """Serve the files in *folder*, with the certificate in *tls* if that is given."""
    found = WebServer(folder=folder)
    handler = type("Handler", (_Handler,), {"web": found})
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "server-cert.pem", tls / "server-key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme, port = ("https" if tls else "http"), server.server_address[1]
        found.url = f"{scheme}://127.0.0.1:{port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


_TEMPLATES = {
    "ca": 'cn = "test authority"\nca\ncert_signing_key\n',
    "server": 'cn = "127.0.0.1"\nip_address = "127.0.0.1"\ntls_www_server\n'
    "encryption_key\nsigning_key\n",
}


def certificates(folder: Path) -> Path:
    """Make an authority and a server's certificate in *folder*, as --tls-dir has it."""
    folder.mkdir(parents=True)
    for name, text in _TEMPLATES.items():
        (folder / f"{name}.template").write_text(text)
        key = folder / f"{name}-key.pem"
        _certtool("--generate-privkey", "--key-type", "ecdsa", "--outfile", str(key))
        authority = ["--load-ca-privkey", str(folder / "ca-key.pem")]
        authority += ["--load-ca-certificate", str(folder / "ca-cert.pem")]
        how = ["--generate-self-signed"] if name == "ca" else ["--generate-certificate"]
        _certtool(
            *how,
            *("--load-privkey", str(key)),
            *(authority if name != "ca" else []),
            *("--template", str(folder / f"{name}.template")),
            *("--outfile", str(folder / f"{name}-cert.pem")),
        )
    return folder


def _certtool(*arguments: str) -> None:
    subprocess.run(["certtool", *arguments], check=True, capture_output=True)
