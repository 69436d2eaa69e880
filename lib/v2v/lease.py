# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a stage stays: the pipe is the lease (v2v-stream(7)).

A stage that serves disks, or passes live endpoints on, stays until the reader of its
output has gone.  While it waits on a pipe it writes an ``alive`` record a second, so
that filters in between (tee, ssh, jq), which learn of a lost reader only by writing,
leave too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import stat
import subprocess
from collections.abc import Callable
from typing import IO

from v2v import process
from v2v.stream import ALIVE

_SECOND = 1000  # milliseconds

log = logging.getLogger(__name__)


class ReaderGoneError(Exception):
    """Nobody reads our output any more; we have nothing left to do."""


def is_pipe(fd: int) -> bool:
    """Whether *fd* is a pipe or a socket: something whose other end can go."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def wait_for_input(fd: int, out: IO[str]) -> None:
    """Return when *fd* has something to read or has ended.

    Raises ReaderGoneError if the reader of *out* goes before.
    """
    if is_pipe(fd):
        _poll({fd: select.POLLIN}, out)


def hold(out: IO[str], upstream: int | None) -> None:
    """Return once nobody reads *out* any more, or the writer of *upstream* has gone.

    A file or a terminal has no reader to lose: then only a signal ends us.
    """
    if not is_pipe(out.fileno()):
        log.info("serving until interrupted (process %d)", os.getpid())
        signal.pause()
    with contextlib.suppress(ReaderGoneError):
        while True:
            _poll({} if upstream is None else {upstream: select.POLLIN}, out)
            # What comes now are the writer's own alive records, or its end.
            if upstream is not None and not os.read(upstream, 65536):
                return


def _poll(wanted: dict[int, int], out: IO[str]) -> None:
    """Return when one of *wanted* is ready; keep *out* alive until then."""
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    watched = is_pipe(out.fileno())
    if watched:
        poll.register(out.fileno(), 0)  # POLLERR alone
    while True:
        ready = poll.poll(_SECOND)
        if any(fd in wanted for fd, _ in ready):
            return
        if ready:
            raise ReaderGoneError
        if watched:
            _keep_alive(out)


def _keep_alive(out: IO[str]) -> None:
    try:
        out.write(ALIVE)
        out.flush()
    except BrokenPipeError as e:
        raise ReaderGoneError from e


def captive(command: str, produce: Callable[[IO[str]], None]) -> int:
    """Run shell *command* on what *produce* writes; return its exit status.

    The one place where a shell reads a line: the user's own, as with nbdkit --run.
    """
    child = subprocess.Popen(
        process.tied(["sh", "-c", command]), stdin=subprocess.PIPE, text=True
    )
    assert child.stdin
    try:
        with child.stdin:
            produce(child.stdin)
    except BrokenPipeError:
        log.debug("the command did not read all of its input")
    return child.wait()


def silence(out: IO[str]) -> None:
    """Let nothing be written to *out* any more, not even at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)
