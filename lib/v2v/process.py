# SPDX-License-Identifier: GPL-2.0-or-later
"""Run other programs to their end.

Only server and lease start processes besides.  Children end with us, even when we
are killed (setpriv --pdeathsig), and sit in a session of their own, so that Ctrl-C
reaches us alone and we end them in order.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Literal

from v2v.errors import HostError, Problem

_GRACE = 15.0  # seconds that a program gets to end
# What a signal means that comes from a limit.
_LIMITS = {
    "SIGXCPU": ": it took more time than any disk needs",
    "SIGXFSZ": ": it wrote more than it may",
}

log = logging.getLogger(__name__)


class ToolError(Problem):
    """A program failed; the message is the last thing that it said.

    Callers turn it into the error of whoever can put it right.
    """


# The shell checks that we have not died between its fork and its prctl(2): such a
# child would never get the signal.
_GUARD = 'test "$PPID" = "$0" || exit 125; exec "$@"'


def tied(command: Sequence[str], by: Literal["TERM", "KILL"] = "TERM") -> list[str]:
    """Return *command* as argv of a child that the kernel ends, *by*, when we end."""
    guard = ["sh", "-c", _GUARD, str(os.getpid())]
    return ["setpriv", "--pdeathsig", by, *guard, *command]


def run(
    command: Sequence[str],
    *,
    within: Sequence[str] = (),
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float | None = None,
    ok: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run *command* to its end and return what it wrote, and its status.

    ``within`` is the argv that shuts it in (sandbox.walls).  Raises ToolError if the
    status is not in *ok* or *seconds* have passed, and HostError if the program is not
    installed.
    """
    log.debug("running %s", shlex.join([*within, *command]))
    try:
        done = subprocess.run(
            tied([*within, *command]),
            input=stdin or b"",
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            start_new_session=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise ToolError(f"{command[0]} did not end within {seconds:g} s") from e
    if done.returncode not in ok:
        raise _failed(command, done.returncode, done.stderr)
    return done


def filtered(
    command: Sequence[str], data: bytes, most: int, *, within: Sequence[str] = ()
) -> bytes:
    """Return what *command* makes of *data*, which may be at most *most* bytes.

    For programs that unpack what is hostile.  ``within`` and errors are as for run.
    """
    limited = ["prlimit", f"--fsize={most}", *within, *command]
    with tempfile.TemporaryFile() as before, tempfile.TemporaryFile() as after:
        before.write(data)
        before.seek(0)
        done = subprocess.run(
            tied(limited),
            stdin=before,
            stdout=after,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise _failed(command, done.returncode, done.stderr)
        after.seek(0)
        return after.read()


def _begun(
    command: Sequence[str],
    stdin: int | IO[bytes],
    stdout: int,
    stderr: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    """Start *command*, to end with us; the streams are as subprocess has them."""
    log.debug("running %s", shlex.join(command))
    return subprocess.Popen(
        tied(command),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
    )


def output(
    command: Sequence[str],
    stdin: IO[bytes],
    most: int,
    *,
    within: Sequence[str] = (),
) -> Iterator[bytes]:
    """Yield what *command* makes of the file *stdin*, at most *most* bytes at once.

    ``within`` is as for run.  Raises as run does, after all that it wrote.
    """
    with tempfile.TemporaryFile() as said:
        child = _begun([*within, *command], stdin, subprocess.PIPE, said)
        assert child.stdout
        try:
            while data := child.stdout.read(most):
                yield data
            if child.wait():
                said.seek(0)
                raise _failed(command, child.returncode, said.read())
        finally:
            child.stdout.close()
            if child.poll() is None:
                child.terminate()
                child.wait()


class Companion:
    """A program that runs beside us."""

    def __init__(self, child: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        """Look after *child*, which says what is wrong to the file *errors*."""
        self._child = child
        self._errors = errors

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._child.poll() is not None

    def said(self) -> str:
        """Return the last line that it wrote to stderr."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


@contextmanager
def companion(command: Sequence[str]) -> Iterator[Companion]:
    """Run *command* beside us in the block; it is ended (SIGTERM) with it."""
    with tempfile.TemporaryFile() as errors:
        child = _begun(command, subprocess.DEVNULL, subprocess.DEVNULL, errors)
        try:
            yield Companion(child, errors)
        finally:
            child.terminate()
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def watch(
    command: Sequence[str],
    heard: Callable[[str], None],
    *,
    within: Sequence[str] = (),
) -> None:
    r"""Run *command* to its end; give each line of its stdout to *heard*.

    A line may end in \r, as those of a progress display do.

    ``within`` is as for run.  Raises as run does.
    """
    argv = [*within, *command]
    child = _begun(argv, subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
    assert child.stdout and child.stderr
    try:
        _pieces(child.stdout.fileno(), heard)
        said = child.stderr.read()
        if child.wait():
            raise _failed(command, child.returncode, said)
    finally:
        child.stdout.close()
        child.stderr.close()
        if child.poll() is None:
            child.terminate()
            child.wait()


def _pieces(fd: int, heard: Callable[[str], None]) -> None:
    rest = ""
    while chunk := os.read(fd, 4096):
        *whole, rest = (
            (rest + chunk.decode(errors="replace")).replace("\r", "\n").split("\n")
        )
        for piece in whole:
            heard(piece)


def _signal(status: int) -> str:
    """Return the name of the signal that ended a program, or nothing."""
    # bwrap(1) tells it as a shell does.
    number = -status if status < 0 else status - 128
    return signal.Signals(number).name if number in set(signal.Signals) else ""


def _failed(command: Sequence[str], status: int, stderr: bytes) -> Problem:
    lines = stderr.decode(errors="replace").strip().splitlines()
    if (killer := _signal(status)) and (not lines or killer in _LIMITS):
        lines = [f"it was ended by {killer}{_LIMITS.get(killer, '')}"]
    # sh(1) and setpriv(1) say 127 for a program that is not there.
    if status == 127:
        return HostError(
            f"{command[0]} is not installed",
            "install what README lists, or run contrib/quickstart",
        )
    said = lines[-1].strip() if lines else f"exit status {status}"
    name = command[0]
    return ToolError(said if said.startswith(name) else f"{name}: {said}")
