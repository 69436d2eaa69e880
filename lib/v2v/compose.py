# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the pipelines of ``v2v``: the real commands, as processes joined by pipes.

One inspect describes all sources; then each VM gets a pipeline of its own, some at a
time.  One VM that fails never stops the others.  All stages keep each VM's document
in OUTPUT/.v2v, so the same command again resumes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from v2v import named_sources, process, sandbox, stream, views
from v2v.document import VM, End, Failure, decode, decode_end
from v2v.errors import CUT_OFF, LOCKED, HostError, StreamError
from v2v.views.store import Hold

STAGES = ("inspect", "export", "fixup", "convert", "define")
_GRACE = 20  # seconds that stages get to clean up after a signal
_LIMIT = 64 * 2**20  # bytes of one line

_TAKEN = Failure(
    stage="v2v",
    code=LOCKED,
    message="another v2v converts this VM into this folder now",
    remedy="wait for it to end",
)

log = logging.getLogger(__name__)

Progress = Callable[[dict[str, object]], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run: for each stage its arguments, of which inspect's lack the sources.

    ``state`` is the folder for documents and logs; ``told`` gets progress records and
    ``verbose`` shows all that the stages say.
    """

    sources: tuple[str, ...]
    arguments: Mapping[str, tuple[str, ...]]
    state: Path
    parallel: int = 1
    verbose: bool = False
    told: Progress = lambda record: None
    admit: Callable[[VM], Failure | None] = lambda vm: None


@dataclass(kw_only=True)
class Result:
    """What became of one VM: as it came out of the last stage, and how long it took."""

    vm: VM
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)


def shown(plan: Plan) -> str:
    """Return the pipeline of *plan* as a line for a shell."""
    lines = []
    for name in STAGES:
        words = [f"v2v-{name}", *plan.arguments[name]]
        if name == "inspect" and plan.sources:
            words += ["--", *plan.sources]
        lines.append(shlex.join(words))
    return " |\n    ".join(lines) + "\n"


def run(plan: Plan) -> list[Result]:
    """Run *plan* and return what became of each VM, in the order of their ends.

    Raises HostError if a command is missing, KeyboardInterrupt once the stages have
    ended after Ctrl-C, SystemExit after SIGTERM.
    """
    plan.state.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> list[Result]:
    results: list[Result] = []
    room = asyncio.Semaphore(plan.parallel)
    me = asyncio.current_task()
    assert me
    terminated = asyncio.Event()

    def terminate() -> None:
        terminated.set()
        me.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        async with asyncio.TaskGroup() as tasks:
            async for vm in _described(plan):
                tasks.create_task(_one(plan, vm, room, results, views.kept(vm)))
    except asyncio.CancelledError:
        if terminated.is_set():
            raise SystemExit(128 + signal.SIGTERM) from None
        raise  # asyncio.run makes KeyboardInterrupt of it
    return results


async def _described(plan: Plan) -> AsyncIterator[VM]:
    """Yield the VMs of all sources, as inspect describes them."""
    # Not on its command line, which every user of the host can read.
    arguments = ["--json", *plan.arguments["inspect"], "--sources-from", "-"]
    pipe = asyncio.subprocess.PIPE
    child = await _start("inspect", arguments, plan, stdin=pipe, stdout=pipe)
    listener = asyncio.create_task(_listen(child, plan, None))
    ended = _ended
    try:
        assert child.stdout
        await _given(child, named_sources.text(plan.sources))
        async for line in child.stdout:
            record = stream.parse(line.decode())
            match record.pop("kind", None):
                case "vm":
                    yield decode(record)
                case "end":
                    end = decode_end(record)
                    if end.error:
                        raise StreamError(end.error.message, end.error.remedy)
                    return
        raise StreamError("v2v-inspect has died", "see what it said above")
    except asyncio.CancelledError:
        ended = _stopped
        raise
    finally:
        await ended([child])
        await listener


async def _one(
    plan: Plan,
    vm: VM,
    room: asyncio.Semaphore,
    results: list[Result],
    shares: Sequence[Hold],
) -> None:
    """Put into *results* what became of *vm*, whose views we have *shares* in."""
    async with room:
        started = time.monotonic()
        result = Result(vm=vm)
        if not vm.error:
            await _converted(plan, result)
        for share in shares:
            share.release()
        result.seconds = time.monotonic() - started
        results.append(result)


async def _converted(plan: Plan, result: Result) -> None:
    """Take the VM of *result* through the pipeline, unless it may not be taken."""
    with _locked(plan.state / f"{result.vm.id}.lock") as ours:
        refused = plan.admit(result.vm) if ours else _TAKEN
        if refused:
            result.vm = result.vm.having(error=refused)
        else:
            await _pipeline(plan, result)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Yield whether the lock at *path* could be had; hold it meanwhile."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


async def _pipeline(plan: Plan, result: Result) -> None:
    """Run the stages after inspect on the VM of *result*."""
    children = []
    listeners = []
    ended = _ended
    try:
        children = await _joined(plan)
        listeners = [
            asyncio.create_task(_listen(child, plan, result)) for child in children
        ]
        await _feed(children[0], result.vm)
        result.vm = await _outcome(children[-1], result.vm)
    except asyncio.CancelledError:
        ended = _stopped
        raise
    finally:
        await ended(children)
        await asyncio.gather(*listeners)


async def _joined(plan: Plan) -> list[asyncio.subprocess.Process]:
    """Start the stages after inspect, each reading what the one before it writes."""
    children: list[asyncio.subprocess.Process] = []
    names = STAGES[1:]
    before: int = asyncio.subprocess.PIPE
    for name in names:
        ours, theirs = (None, asyncio.subprocess.PIPE)
        if name != names[-1]:
            ours, theirs = os.pipe()
        try:
            child = await _start(
                name, plan.arguments[name], plan, stdin=before, stdout=theirs
            )
        finally:
            # The children alone hold the pipes: so the one learns of the other's end.
            for fd in (before, theirs):
                if fd >= 0:
                    os.close(fd)
        children.append(child)
        before = ours if ours is not None else before
    return children


async def _start(
    name: str,
    arguments: Sequence[str],
    plan: Plan,
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int,
) -> asyncio.subprocess.Process:
    command = [_path(f"v2v-{name}"), *arguments]
    log.debug("running %s", shlex.join(map(views.shown, command)))
    return await asyncio.create_subprocess_exec(
        *process.tied(command),
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        limit=_LIMIT,
        env={**os.environ, **sandbox.inherited()},
    )


def _path(name: str) -> str:
    """Return the command *name* that belongs to us, and not another release's."""
    beside = Path(sys.argv[0]).resolve().parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise HostError(f"{name} is not installed", "run contrib/quickstart again")
    return found


async def _feed(child: asyncio.subprocess.Process, vm: VM) -> None:
    """Give *child* a stream of *vm* alone."""
    text = io.StringIO()
    writer = stream.Writer(text)
    writer.vm(vm)
    writer.end(End(vms=1))
    await _given(child, text.getvalue().encode())


async def _given(child: asyncio.subprocess.Process, data: bytes) -> None:
    """Give *child* *data*, and no more, on its stdin."""
    assert child.stdin
    child.stdin.write(data)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await child.stdin.drain()
        child.stdin.close()


async def _outcome(child: asyncio.subprocess.Process, vm: VM) -> VM:
    """Return *vm* as the last stage gives it out."""
    assert child.stdout
    failure: Failure | None = None
    async for line in child.stdout:
        record = stream.parse(line.decode())
        match record.pop("kind", None):
            case "vm":
                vm = decode(record)
            case "end":
                error = decode_end(record).error
                if error and not vm.error:
                    failure = Failure(
                        stage=error.stage,
                        code=error.code,
                        message=error.message,
                        remedy=error.remedy,
                    )
                return vm.having(error=failure) if failure else vm
    return vm.having(
        error=Failure(
            stage="v2v",
            code=CUT_OFF,
            message="a stage died before it was done",
            remedy="see what it said; run the same command again to go on",
        )
    )


async def _listen(
    child: asyncio.subprocess.Process, plan: Plan, result: Result | None
) -> None:
    """Sort what *child* says on stderr: progress, warnings, and the rest."""
    assert child.stderr
    async for data in child.stderr:
        text = data.decode(errors="replace").rstrip()
        record = _progress(text)
        if record:
            plan.told(record)
            continue
        _keep(plan, result, text)
        if result and ": warning: " in text:
            result.warnings.append(text.partition(": warning: ")[2])
        if plan.verbose or ": error: " in text or ": warning: " in text:
            log.info("%s", text)
        elif not text.startswith("v2v-"):
            log.info("%s", text)  # a traceback: nothing of it is held back


def _progress(text: str) -> dict[str, object] | None:
    if not text.startswith('{"v2v"'):
        return None
    with contextlib.suppress(ValueError):
        record: dict[str, object] = json.loads(text)
        return record
    return None


def _keep(plan: Plan, result: Result | None, text: str) -> None:
    """Write *text* to the VM's own log: what was said is wanted in the morning."""
    name = f"{result.vm.id}.log" if result else "inspect.log"
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    with (plan.state / name).open("a") as file:
        file.write(f"{now} {text}\n")


async def _ended(children: Sequence[asyncio.subprocess.Process]) -> None:
    """Wait for *children*, who end by themselves once their reader has gone."""
    waiting = asyncio.gather(*(child.wait() for child in children))
    try:
        await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await _stopped(children)
        raise


async def _stopped(children: Sequence[asyncio.subprocess.Process]) -> None:
    """End *children*, who get some time to leave nothing half done."""
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    waiting = asyncio.gather(*(child.wait() for child in children))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(waiting, _GRACE)
