# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's first boots without Windows: run.cmd under wine's cmd.exe.

Windows' programs are stand-ins that note how they were called; a boot is one run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2v.guests.windows import firstboot
from v2v.guests.windows.firstboot.steps import crlf

SOURCES = Path(firstboot.__file__).parent
# What each stand-in does besides noting its call.
_PROGRAMS = {
    **dict.fromkeys(("mode", "sc", "shutdown", "reg", "bcdedit"), "exit /b 0"),
    "fc": "exit /b 0",
    "ping": '"%SystemRoot%\\System32\\ping.exe" -n 2 127.0.0.1 >nul\nexit /b 0',
}


@dataclass
class Machine:
    """A folder that is the guest's; ``wine`` is the prefix that its programs run in."""

    folder: Path
    wine: Path

    def __post_init__(self) -> None:
        """Put run.cmd and the stand-ins there."""
        for name in ("scripts", "files"):
            (self.home / name).mkdir(parents=True)
        for name in ("run.cmd", "one.cmd"):
            text = crlf((SOURCES / name).read_text())
            (self.home / name).write_bytes(text.encode())
        self.programs.mkdir()
        for name, body in _PROGRAMS.items():
            self.program(name, body)

    @property
    def home(self) -> Path:
        """What is %SystemRoot%\\v2v\\firstboot in a guest."""
        return self.folder / "firstboot"

    @property
    def programs(self) -> Path:
        """What stands in for System32."""
        return self.folder / "programs"

    def program(self, name: str, body: str) -> None:
        """Have the program *name* do *body*."""
        text = f'@echo off\n>>"%~dp0calls" echo {name} %*\n{body}\n'
        (self.programs / f"{name}.cmd").write_bytes(crlf(text).encode())

    def step(self, name: str, script: str, *, required: bool = False) -> None:
        """Add a step; it adds its name to "ran" first."""
        text = f'@echo off\n>>"%HERE%ran" echo {name}\n{script}\n'
        (self.home / "scripts" / f"{name}.cmd").write_bytes(crlf(text).encode())
        if required:
            (self.home / "scripts" / f"{name}.required").write_bytes(b"1\r\n")

    def boot(self, limit: int = 30) -> None:
        """Start the guest once, unless nothing is left that would be started."""
        script = self.home / "run.cmd"
        arguments: list[Path | str] = [self.programs, str(limit), self.folder / "port"]
        environment = {
            **os.environ,
            "WINEPREFIX": str(self.wine),
            "WINEDEBUG": "-all",
            "DISPLAY": "",
        }
        named = [self.named(a) if isinstance(a, Path) else a for a in arguments]
        subprocess.run(
            ["wine", "cmd", "/c", self.named(script), *named],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=120,
        )

    def boots(self, most: int = 8, limit: int = 30) -> int:
        """Start the guest until nothing is left to start; return how often it was."""
        for number in range(most):
            if not (self.home / "run.cmd").exists():
                return number
            self.boot(limit)
        return most

    def named(self, path: Path) -> str:
        """Return *path* as wine names it."""
        return "Z:" + str(path).replace("/", "\\")

    def lines(self, path: Path) -> list[str]:
        """Return the lines of a file that may not be there."""
        return path.read_text().split("\n") if path.exists() else []

    @property
    def ran(self) -> list[str]:
        """The steps, each time that one was run."""
        return [line.strip() for line in self.lines(self.home / "ran") if line.strip()]

    def calls(self, program: str) -> list[str]:
        """Return how *program* was called."""
        lines = (line.strip() for line in self.lines(self.programs / "calls"))
        return [line for line in lines if line.startswith(program)]

    @property
    def result(self) -> dict[str, Any]:
        """What the guest says of it when all is over."""
        found: dict[str, Any] = json.loads((self.home / "complete").read_text())
        return found

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the host sees by the serial port."""
        return [json.loads(line) for line in self.lines(self.folder / "port") if line]


def prefix(folder: Path) -> Path:
    """Make what wine needs, once for all tests."""
    made = folder / "wine"
    subprocess.run(
        ["wine", "cmd", "/c", "ver"],
        env={**os.environ, "WINEPREFIX": str(made), "WINEDEBUG": "-all", "DISPLAY": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=300,
    )
    return made


def has_wine() -> bool:
    """Whether there is a wine to run it."""
    return shutil.which("wine") is not None
