# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the real commands, joined by pipes as a shell would, and look after them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
_MARK = "V2V_TEST_MARK"


def command(name: str, *arguments: str | Path) -> list[str]:
    """Return the argv of our command *name*."""
    return [str(BIN / name), *map(str, arguments)]


@dataclass
class Pipeline:
    """Processes joined by pipes, in a process group of their own, as a shell job is."""

    commands: Sequence[Sequence[str]]
    cwd: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    said: Path | None = None

    def start(self, log: Path, stdin: int = subprocess.DEVNULL) -> Pipeline:
        """Start all; what they say on stderr goes to the file *log*."""
        self.said = log
        before: Any = stdin
        with log.open("ab") as errors:
            for argv in self.commands:
                child = subprocess.Popen(
                    argv,
                    stdin=before,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=self.cwd,
                    env={**os.environ, **self.env, _MARK: self.mark},
                    process_group=self.children[0].pid if self.children else 0,
                )
                if self.children:
                    assert self.children[-1].stdout
                    self.children[-1].stdout.close()
                before = child.stdout
                self.children.append(child)
        return self

    def signal(self, index: int, number: int) -> None:
        """Send *number* to one process."""
        self.children[index].send_signal(number)

    def interrupt(self) -> None:
        """Do what Ctrl-C does: signal the whole job."""
        os.killpg(self.children[0].pid, signal.SIGINT)

    def finish(self, seconds: float = 120) -> str:
        """Return what the last one wrote, once all have ended; kill those that hang."""
        end = time.monotonic() + seconds
        last = self.children[-1].stdout
        assert last
        try:
            out = self.children[-1].communicate(timeout=seconds)[0]
            for child in self.children[:-1]:
                child.wait(max(0.1, end - time.monotonic()))
        finally:
            for child in self.children:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        return out.decode()

    @property
    def statuses(self) -> list[int]:
        """Exit statuses as a shell shows them."""
        return [
            child.returncode if child.returncode >= 0 else 128 - child.returncode
            for child in self.children
        ]

    def processes(self) -> list[Path]:
        """Return the folders in /proc of the processes of this job."""
        return [Path("/proc", str(pid)) for pid, _ in _marked(self.mark)]

    def orphans(self) -> list[str]:
        """Return the command lines of processes of this job that still run."""
        return [line for _, line in _marked(self.mark)]

    def left(self, seconds: float = 5) -> list[str]:
        """Return the processes still there after *seconds*: those that never end."""
        wait_for(lambda: not self.orphans(), seconds)
        return self.orphans()


@cache
def own_mounts() -> tuple[str, ...]:
    """Return the argv that gives a script its own mounts; KEEP_PRIVATE comes first.

    In a chroot that is no mount point "/" cannot be made private.
    """
    private = ("unshare", "--mount", "--propagation", "private")
    works = subprocess.run([*private, "true"], check=False, capture_output=True)
    return private if works.returncode == 0 else (*private[:-1], "unchanged")


KEEP_PRIVATE = """
awk '{print $5}' /proc/self/mountinfo | while read -r point; do
    mount --make-private "$point" 2>/dev/null || true
done
"""


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes()
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{_MARK}={mark}".encode() in environ and line:
            yield int(process.name), line.replace(b"\0", b" ").decode()


def wait_for(true: Callable[[], object], seconds: float = 30) -> bool:
    """Return whether *true* became so within *seconds*."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def records(text: str) -> list[dict[str, Any]]:
    """Return the records of a stream, but for alive ones."""
    found = [json.loads(line) for line in text.splitlines()]
    return [record for record in found if record.get("kind") != "alive"]


def vms(text: str) -> list[dict[str, Any]]:
    """Return the VM records of a stream."""
    return [record for record in records(text) if record["kind"] == "vm"]
