# SPDX-License-Identifier: GPL-2.0-or-later
"""Show how far a copy is: a bar on a terminal, JSON lines for programs, or nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from v2v.document import VERSION, VM, Disk

Kind = Literal["auto", "bar", "json", "none"]
Heard = Callable[[float], None]

_INTERVAL = 0.5  # seconds between two lines


@contextmanager
def shown(kind: Kind, vm: VM, disk: Disk, total: int) -> Iterator[Heard]:
    """Yield what to tell the part, 0 to 1, of *total* bytes of *disk* that is done."""
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "none"
    if kind == "bar":
        with _bar(f"{vm.name} {disk.id}", total) as heard:
            yield heard
    elif kind == "json":
        yield _lines(vm, disk, total)
    else:
        yield lambda part: None


@contextmanager
def _bar(text: str, total: int) -> Iterator[Heard]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("v2v-convert: {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(text, total=total)
        yield lambda part: bar.update(task, completed=int(part * total))


def _lines(vm: VM, disk: Disk, total: int) -> Heard:
    last = 0.0

    def heard(part: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _INTERVAL and part < 1:
            return
        last = now
        record = {
            "v2v": VERSION,
            "kind": "progress",
            "id": vm.id,
            "vm": vm.name,
            "disk": disk.id,
            "done": int(part * total),
            "total": total,
        }
        # One write, so that the lines of several processes do not mix.
        sys.stderr.write(json.dumps(record) + "\n")
        sys.stderr.flush()

    return heard
