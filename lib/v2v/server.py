# SPDX-License-Identifier: GPL-2.0-or-later
"""Serve one disk over NBD.

We bind the socket and the server inherits it (sd_listen_fds(3)).  So the URI is
known before the server runs, a client may connect at once, there is no race for a
port, and every server is started alike.  Servers end with us: on leaving, and by the
kernel should we be killed.  What a killed process leaves in /tmp is swept by the
next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from v2v import process
from v2v.errors import HostError

# Short, since sun_path holds 108 bytes; not TMPDIR, which may be long.
_PARENT = Path("/tmp")
_PREFIX = f"v2v-{os.getuid()}-"

# sd_listen_fds(3) wants the socket as fd 3 and the pid of the very process.
# It comes as stdin: dash knows no descriptor above 9.
_INHERIT = 'exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'

# bwrap(1) must outlive its server, and hands on no signal.  So the whole group gets
# SIGTERM, to which it is deaf; a server has a handler of its own for that.
_DEAF = "trap '' TERM; exec \"$@\""

# What a server may take to flush and leave, and when it is told so again: seconds.
_GRACE, _AGAIN = 15.0, 0.5
# So much of the end of what a server said is looked at: bytes.  A graph is in it.
_MOST_WORDS = 2**20

# What the servers that run now have said, by their URIs.
_words: dict[str, IO[str]] = {}

log = logging.getLogger(__name__)


@contextmanager
def serve(command: Sequence[str], *, within: Sequence[str] = ()) -> Iterator[str]:
    """Run NBD server *command* on a new Unix socket; yield the URI.

    ``within`` is the argv that shuts it in (sandbox.walls).
    """
    number = next(_numbers)
    path = folder() / f"nbd{number}"
    uri = f"nbd+unix:///?socket={path}"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
            with _running(command, listener, within) as said:
                _words[uri] = said
                yield uri
    finally:
        _words.pop(uri, None)
        path.unlink(missing_ok=True)


def last_words(uri: str) -> str:
    """Return the last line that our server at *uri* has said; empty if none.

    A server that cannot open its disk says why and ends, and its client only sees the
    connection break.
    """
    file = _words.get(uri)
    if file is None:
        return ""
    # The server writes on where this leaves the offset that we share.
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - _MOST_WORDS)
    said = os.pread(file.fileno(), _MOST_WORDS, start).decode(errors="replace")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""


@contextmanager
def serve_tcp(
    command: Sequence[str], host: str, port: int, *, within: Sequence[str] = ()
) -> Iterator[int]:
    """Run NBD server *command* on *host* and *port* (0: any); yield the port.

    ``within`` is as for serve.  Raises HostError if the address cannot be bound.
    """
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as e:
        raise HostError(
            f"cannot listen on {host}:{port}: {e.strerror}",
            "name an address of this host that is free with --listen",
        ) from e
    with listener:
        bound: int = listener.getsockname()[1]
        with _running(command, listener, within):
            yield bound


@contextmanager
def _running(
    command: Sequence[str], listener: socket.socket, within: Sequence[str]
) -> Iterator[IO[str]]:
    """Run *command* on *listener*, of which our own copy is closed: with the server
    the socket dies too, and no client waits on a server that is gone.

    Yields the file that gets what it says.
    """
    listener.listen(64)
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        server = _start(command, listener, said, within)
        listener.close()
        try:
            yield said
        finally:
            _end(server)
            said.seek(0)
            for line in said:
                log.debug("%s: %s", command[0], line.rstrip())


def _end(server: subprocess.Popen[bytes]) -> None:
    """End *server*: politely, so that it flushes; by force if it does not react."""
    end = time.monotonic() + _GRACE
    while server.poll() is None and time.monotonic() < end:
        # Not once: a SIGTERM that comes while it starts is lost, see below.
        _tell(server, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_AGAIN)
    if server.poll() is None:
        _tell(server, signal.SIGKILL)
        server.wait()


def _tell(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send *number* to the server and to what it runs within."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, number)


def _start(
    command: Sequence[str],
    listener: socket.socket,
    said: IO[str],
    within: Sequence[str],
) -> subprocess.Popen[bytes]:
    argv = ["sh", "-c", _INHERIT, "sh", *command]
    if within:
        argv = ["sh", "-c", _DEAF, "sh", *within, *argv]
    log.debug("serving by %s", shlex.join([*within, *command]))
    # KILL, should we die: qemu-nbd forgets a SIGTERM that comes while it starts (its
    # state becomes RUNNING after the handler is there), and would stay for ever.
    return subprocess.Popen(
        process.tied(argv, by="KILL"),
        stdin=listener.fileno(),
        stdout=said,
        stderr=said,
        start_new_session=True,  # Ctrl-C is for us: we end servers last
    )


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


_numbers = _count()


@cache
def folder() -> Path:
    """Return this process's private folder for sockets; sweep those of dead ones."""
    _sweep()
    fresh = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=_PARENT))
    # Held until we end, however we end: that is how a sweeper knows.  It gets the
    # name that sweepers look for only then.
    lock = os.open(fresh / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return fresh.rename(fresh.with_name(fresh.name.removeprefix(".")))


def leave() -> None:
    """Remove this process's socket folder, if it made one."""
    if folder.cache_info().currsize:
        shutil.rmtree(folder(), ignore_errors=True)
        folder.cache_clear()


def _sweep() -> None:
    for old in _PARENT.glob(f"{_PREFIX}*"):
        # Another process may sweep it meanwhile.
        with contextlib.suppress(OSError):
            # Ours only, and no link that somebody laid in /tmp.
            facts = old.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
                continue
            lock = os.open(old / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(lock)
