# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``v2v`` does around its pipelines: choose, refuse early, show, sum up."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from v2v import compose, stage, targets, views
from v2v.compose import Plan, Result
from v2v.copying import ownership
from v2v.document import VM, Failure
from v2v.errors import SEVERAL_CLASSES, StageError, UsageError, V2VError
from v2v.steps import convert, define
from v2v.targets import Wish

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked of v2v; ``stages`` has the options that are a stage's own.

    ``sources_from`` is the file that some of the sources come from; for a dry run they
    are not read.
    """

    sources: tuple[str, ...]
    output: Path
    sources_from: str = ""
    target: str = ""
    networks: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    parallel: int = 1
    dry_run: bool = False
    verbose: int = 0
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Where the documents, logs and overlays of this output are kept."""
        return self.output / ownership.FOLDER


def folder(output: str) -> str:
    """Return *output* if it is a folder of this host.  Raises UsageError."""
    if "://" in output:
        raise UsageError(
            f"-o {output}: the home of the VM must be a folder of this host",
            "convert into a folder, then copy the VM to where it will live",
        )
    return output


def main(asked: Asked) -> NoReturn:
    """Convert all that was *asked* for, show what became of it, and exit."""
    stage.set_up_logging("v2v", asked.verbose)
    try:
        kind = asked.target or _default_target(asked)
        wish = _wish(asked)
        convert.wishes(asked.disks)
        if not asked.dry_run:
            define.check(kind, wish)
        status = _shown(asked, kind) if asked.dry_run else _run(asked, kind, wish)
    except StageError as e:
        log.error("v2v: error: %s%s", e.message, f"; {e.remedy}" if e.remedy else "")
        status = e.status
    except KeyboardInterrupt:
        log.error("v2v: interrupted; run the same command again to go on")
        status = 130
    finally:
        views.leave()
    sys.exit(status)


def _default_target(asked: Asked) -> str:
    from v2v.targets import libvirt

    kind = (
        "libvirt" if libvirt.answers(_option(asked, "define", "--connect")) else "local"
    )
    why = "a libvirt answers" if kind == "libvirt" else "no libvirt answers here"
    log.info("v2v: target %s, since %s (choose with -t)", kind, why)
    return kind


def _option(asked: Asked, name: str, word: str) -> str:
    words = asked.stages.get(name, ())
    return words[words.index(word) + 1] if word in words else ""


def _wish(asked: Asked) -> Wish:
    return Wish(
        output=asked.output,
        uri=_option(asked, "define", "--connect"),
        networks=asked.networks,
        force="--force" in asked.stages.get("define", ()),
    )


def _arguments(asked: Asked, kind: str) -> dict[str, tuple[str, ...]]:
    """Return the arguments of each stage."""
    state = ("--state", str(asked.state))
    work = ("--work", str(asked.state / "work"))
    output = ("-o", str(asked.output))
    own: dict[str, tuple[str, ...]] = {
        "inspect": ("--no-guest",),
        "export": ("--overlay", *work),
        "fixup": ("--for", kind, *work),
        "convert": (*output, *(w for word in asked.disks for w in ("-d", word))),
        "define": (
            *("-t", kind, *output),
            *(w for word in asked.networks for w in ("-n", word)),
        ),
    }
    return {
        name: (*words, *asked.stages.get(name, ()), *state)
        for name, words in own.items()
    }


def _shown(asked: Asked, kind: str) -> int:
    arguments = _arguments(asked, kind)
    if asked.sources_from:
        arguments["inspect"] += ("--sources-from", asked.sources_from)
    plan = Plan(sources=asked.sources, arguments=arguments, state=asked.state)
    sys.stdout.write(compose.shown(plan))
    return 0


def _run(asked: Asked, kind: str, wish: Wish) -> int:
    arguments = _arguments(asked, kind)
    arguments["convert"] += ("--progress", "json")
    if asked.verbose > 1:
        arguments = {name: (*words, "-vv") for name, words in arguments.items()}
    with _bars() as told:
        plan = Plan(
            sources=asked.sources,
            arguments=arguments,
            state=asked.state,
            parallel=asked.parallel,
            verbose=asked.verbose > 0,
            told=told,
            admit=lambda vm: _refusal(vm, kind, wish),
        )
        results = compose.run(plan)
    _table(results)
    return _status(results)


def _refusal(vm: VM, kind: str, wish: Wish) -> Failure | None:
    """Return why *vm* cannot be created, found before any of its data moves."""
    try:
        targets.load(kind).preflight(vm, wish)
    except (V2VError, StageError) as e:
        log.error("v2v: error: %s: %s; %s", vm.name, e.message, e.remedy)
        return Failure(stage="v2v", code=e.status, message=e.message, remedy=e.remedy)
    return None


@contextmanager
def _bars() -> Iterator[Callable[[dict[str, object]], None]]:
    """Yield what draws a bar for each disk that is copied, if this is a terminal."""
    if not sys.stderr.isatty():
        yield lambda record: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[tuple[object, object], TaskID] = {}
    with Progress(console=Console(stderr=True)) as bars:

        def told(record: dict[str, object]) -> None:
            key = (record["id"], record["disk"])
            total = float(str(record["total"]))
            if key not in tasks:
                tasks[key] = bars.add_task(
                    f"{record['vm']} {record['disk']}", total=total
                )
            bars.update(tasks[key], completed=float(str(record["done"])))

        yield told


def _table(results: Sequence[Result]) -> None:
    """Print a line for each VM: result, where it is, time, what to know."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("VM", "result", "where", "time", "to know", box=None, pad_edge=False)
    for result in sorted(results, key=lambda r: r.vm.name):
        vm = result.vm
        cells = (
            vm.name,
            _result(vm),
            _place(vm),
            f"{result.seconds:.0f} s",
            _note(result),
        )
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    # Not on a terminal: wide enough that no line is broken.
    width = None if sys.stdout.isatty() else 240
    Console(width=width).print(table)


def _result(vm: VM) -> str:
    return f"failed ({vm.error.code})" if vm.error else "converted"


def _place(vm: VM) -> str:
    if vm.target:
        return vm.target.location
    return next((d.target.path for d in vm.disks if d.target and d.target.path), "-")


def _note(result: Result) -> str:
    error = result.vm.error
    if error:
        return f"{error.stage}: {error.message}; {error.remedy}".rstrip("; ")
    return "; ".join(dict.fromkeys(result.warnings)) or "-"


def _status(results: Sequence[Result]) -> int:
    codes = {result.vm.error.code for result in results if result.vm.error}
    if len(codes) > 1:
        return SEVERAL_CLASSES
    return codes.pop() if codes else 0
