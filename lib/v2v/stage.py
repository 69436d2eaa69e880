# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop that every command runs.

Here, and only here, errors become statuses, signals become an end, and what was done
to a VM is written to its log.  v2v-stream(7) specifies what this module does.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

from v2v import __version__, lease, metadata, server, stream, views
from v2v.document import (
    VM,
    End,
    EndError,
    Failure,
    LogEntry,
    ancestry,
    blocking,
    is_live,
)
from v2v.errors import (
    BLOCKED,
    BUG,
    SEVERAL_CLASSES,
    BlockedError,
    CutOffError,
    LockedError,
    StageError,
    V2VError,
)
from v2v.lease import ReaderGoneError
from v2v.metadata import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a step made of a VM.

    ``took`` is the generation of bytes that it started from (default: the VM's) and
    ``made`` the one that it wrote (default: none, so the same).
    """

    vm: VM
    took: int | None = None
    made: int | None = None
    bytes: int | None = None
    # False for a rehearsal (--dry-run), which leaves no trace in the log.
    logged: bool = True


Step = Callable[[VM], Done]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all stages let the user choose."""

    metadata: Path | None = None
    state: Path | None = None
    again: bool = False
    only: str = ""
    run: str = ""
    allow: tuple[str, ...] = ()
    verbose: int = 0

    @property
    def store(self) -> Store | None:
        """Where documents are kept, if anywhere."""
        if self.metadata:
            return Store(path=self.metadata)
        return Store(path=self.state, is_folder=True) if self.state else None


@dataclass(kw_only=True)
class Stage:
    """One run of one command.

    ``servers`` are what must live until our reader has gone.  ``gates``: whether an
    unresolved finding of severity block stops a VM here.  ``holds``: whether live
    endpoints are passed on, so that we must stay.
    """

    name: str
    step: Step
    settings: Settings
    # Raises StageError before any VM is read, if none could be worked on.
    check: Callable[[], None] = lambda: None
    # What people see on a terminal instead of documents.
    shows: Callable[[VM], str] | None = None
    vms: Iterable[VM] | None = None
    servers: ExitStack | None = None
    gates: bool = True
    # Whether such a finding in what we made decides our exit status.
    judges: bool = False
    holds: bool = True
    reader: stream.Reader | None = None
    counts: End = field(default_factory=End)
    codes: set[int] = field(default_factory=set)
    live: bool = False


def main(stage: Stage) -> NoReturn:
    """Take every VM through the stage, pass it on, and exit.

    A VM that fails is passed on with its error, and the next one is taken.
    """
    set_up_logging(stage.name, stage.settings.verbose)
    sys.excepthook = partial(_report_bug, stage.name)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_by_signal)
    try:
        views.sweep()
        status = _run(stage)
    except StageError as e:
        _say(e)
        status = e.status
    except (ReaderGoneError, BrokenPipeError):
        status = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    finally:
        views.leave()
        server.leave()
    lease.silence(sys.stdout)
    sys.exit(status)


def _report_bug(
    name: str, kind: type[BaseException], e: BaseException, trace: TracebackType | None
) -> None:
    traceback.print_exception(kind, e, trace)
    log.error("this is a bug in v2v-%s; please report the lines above", name)
    os._exit(BUG)  # python's own status for it would be 1


def set_up_logging(name: str, verbose: int) -> None:
    """Send what is for people to stderr, each line starting with the command."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("" if name == "v2v" else f"v2v-{name}: "))
    level = logging.DEBUG if verbose > 1 else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _OneLine(logging.Formatter):
    """Makes a message one line of text: names from a source steer no terminal."""

    def __init__(self, prefix: str) -> None:
        super().__init__("%(message)s")
        self.prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        text = self.prefix + super().format(record)
        return "".join(c if c.isprintable() else "?" for c in text)


def _end_by_signal(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _run(stage: Stage) -> int:
    """Return the exit status."""
    with stage.servers or ExitStack():
        if stage.settings.run:
            return lease.captive(stage.settings.run, partial(_work, stage)) or _status(
                stage
            )
        _work(stage, sys.stdout)
        if _must_stay(stage):
            # Servers of our own need nobody upstream; endpoints of others do.
            lease.hold(sys.stdout, None if stage.servers else _upstream(stage))
        elif stage.vms is not None:
            views.handed_on(sys.stdout.fileno())
    return _status(stage)


def _must_stay(stage: Stage) -> bool:
    """Whether endpoints that depend on us are in use downstream.

    One who merely passes them on stays only between two pipes.
    """
    if not stage.live or not stage.holds:
        return False
    if stage.servers is not None:
        return True
    return _upstream(stage) is not None and lease.is_pipe(sys.stdout.fileno())


def _upstream(stage: Stage) -> int | None:
    reader = stage.reader
    return reader.fd if reader and lease.is_pipe(reader.fd) else None


def _status(stage: Stage) -> int:
    if len(stage.codes) > 1:
        return SEVERAL_CLASSES
    return stage.codes.pop() if stage.codes else 0


def _work(stage: Stage, out: IO[str]) -> None:
    """Write the stream of results to *out*."""
    writer = stream.Writer(out)
    error: EndError | None = None
    vms = failed = 0
    try:
        stage.check()
        for vm in _input(stage, out):
            result = _take(stage, vm)
            if stage.shows:
                out.write(stage.shows(result))
                out.flush()
            else:
                writer.vm(result)
            stage.live |= is_live(result)
            vms += 1
            failed += result.error is not None
            stage.codes |= _codes(stage, result)
        error = stage.reader.end.error if stage.reader and stage.reader.end else None
    except CutOffError:
        raise  # and no end record, so that the next stage knows as well
    except StageError as e:
        _say(e)
        error = EndError(
            stage=stage.name, code=e.status, message=e.message, remedy=e.remedy
        )
    if error:
        stage.codes.add(error.code)
    if not stage.shows:
        writer.end(End(vms=vms, failed=failed, error=error))


def _codes(stage: Stage, vm: VM) -> set[int]:
    """Return the exit status that *vm*, as it leaves us, asks for, if any."""
    if vm.error:
        return {vm.error.code}
    blocked = stage.judges and blocking(vm, stage.settings.allow)
    return {BLOCKED} if blocked else set()


def _input(stage: Stage, out: IO[str]) -> Iterable[VM]:
    """Return the VMs to work on: made by us, of a file, or from our stdin."""
    if stage.vms is not None:
        return stage.vms
    if stage.settings.metadata:
        return metadata.vms(Store(path=stage.settings.metadata))
    stage.reader = stream.Reader(
        sys.stdin.fileno(), lambda fd: lease.wait_for_input(fd, out)
    )
    return stage.reader.vms()


def _take(stage: Stage, vm: VM) -> VM:
    """Return what became of *vm*, with its error if it failed here."""
    if stage.settings.only not in ("", vm.name):
        return vm
    store = stage.settings.store
    try:
        if store:
            vm = _resumed(stage, store, vm)
        if _is_not_ours(stage, vm) or _is_done(stage, vm):
            return _kept(store, vm)
        return _kept(store, _worked(stage, vm.having(error=None)))
    except V2VError as e:
        e.message = views.named(e.message)
        _say(e, vm.name)
        failure = Failure(
            stage=stage.name, code=e.status, message=e.message, remedy=e.remedy
        )
        vm = vm.having(error=failure, busy=None)
        # A VM that somebody else works on is theirs to write.
        return vm if isinstance(e, LockedError) else _kept_failed(store, vm)


def _is_not_ours(stage: Stage, vm: VM) -> bool:
    """Whether the error of *vm* is another's, or of the source just read."""
    if vm.error is None:
        return False
    return stage.vms is not None or vm.error.stage != stage.name


def _kept(store: Store | None, vm: VM) -> VM:
    if store:
        metadata.save(store, vm.having(busy=None))
    return vm


def _kept_failed(store: Store | None, vm: VM) -> VM:
    """Return *vm*, which failed; that may be because *store* cannot be written."""
    try:
        return _kept(store, vm)
    except V2VError as e:
        if vm.error is None or vm.error.message != e.message:
            _say(e, vm.name)
        return vm


def _resumed(stage: Stage, store: Store, vm: VM) -> VM:
    """Return *vm* as the store knows it, marked as ours to work on.

    Endpoints come from the pipe: those of an earlier run are gone with it.
    """
    if stage.vms is not None:
        return vm
    known = metadata.claim(store, vm, stage.name, force=stage.settings.again)
    if stage.settings.metadata:
        return known
    if len(known.log) <= len(vm.log):
        return vm
    live = {disk.id: disk.endpoint for disk in vm.disks}
    disks = tuple(d.having(endpoint=live.get(d.id)) for d in known.disks)
    return known.having(disks=disks)


def _worked(stage: Stage, vm: VM) -> VM:
    """Return *vm* after the step, with what was done in its log."""
    finding = blocking(vm, stage.settings.allow) if stage.gates else None
    if finding:
        remedy = finding.remedy or "resolve it on the source"
        raise BlockedError(
            finding.message, f"{remedy} (or accept it: --allow {finding.code})"
        )
    started = _now()
    began = time.monotonic()
    with _heard() as warnings:
        done = stage.step(vm)
    if not done.logged:
        return done.vm
    log.info("%s: done in %.1f s", vm.name, time.monotonic() - began)
    took = vm.generation if done.took is None else done.took
    made = took if done.made is None else done.made
    entry = LogEntry(
        stage=stage.name,
        version=__version__,
        host=socket.gethostname(),
        started=started,
        ended=_now(),
        took=took,
        made=made,
        bytes=done.bytes,
        warnings=tuple(dict.fromkeys(_bare(text, vm) for text in warnings)),
    )
    return done.vm.having(generation=made, log=(*vm.log, entry))


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Yield a list that gets every warning said in the block, by whichever module."""
    heard: list[str] = []
    handler = _Collector(heard)
    logging.getLogger().addHandler(handler)
    try:
        yield heard
    finally:
        logging.getLogger().removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.into = into

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.into.append(record.getMessage())


def _bare(text: str, vm: VM) -> str:
    """Return a warning without what a terminal needs: whose it is, and that it is one.

    Guests have names that are no UTF-8, and documents have not.
    """
    text = text.removeprefix(f"{vm.name}: ").removeprefix("warning: ")
    return text.encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _is_done(stage: Stage, vm: VM) -> bool:
    """Whether the store shows that this stage has finished *vm* as it is now."""
    settings = stage.settings
    if settings.again or not settings.store or vm.error or stage.name == "export":
        return False
    entries = [entry for entry in vm.log if entry.stage == stage.name]
    if not entries:
        return False
    if stage.vms is not None:
        return True  # as the store knows it: of an unchanged source
    last = entries[-1]
    if last.took == last.made:
        return last.took == vm.generation
    return last.made in ancestry(vm)


def _say(e: StageError | V2VError, name: str = "") -> None:
    text = f"{name}: {e.message}" if name else e.message
    log.error("error: %s%s", text, f"; {e.remedy}" if e.remedy else "")


def warned(vm: VM, text: str, *values: Any) -> str:
    """Say that *vm* works but differs; return the text for the log."""
    message = text % values
    log.warning("%s: warning: %s", vm.name, message)
    return message
