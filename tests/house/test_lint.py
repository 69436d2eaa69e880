# SPDX-License-Identifier: GPL-2.0-or-later
"""Lint and types, as tests: a machine without the tools fails in CI."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (".ci", "benchmarks", "contrib", "lib", "tests")


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    check("ruff", "check", "--no-cache", ".")


def test_the_code_is_formatted() -> None:
    check("ruff", "format", "--no-cache", "--check", ".")


def test_types_hold() -> None:
    check("mypy", "--no-error-summary")


def shell_scripts() -> list[str]:
    """Return the scripts, known by their first line, and what they source."""
    folders = (ROOT / name for name in FOLDERS)
    files = [file for folder in folders for file in sorted(folder.rglob("*"))]
    shebang = re.compile(rb"#!/bin/(ba)?sh\b")
    return [
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file()
        and (file.suffix == ".sh" or shebang.match(file.read_bytes()[:32]))
    ]


def test_shellcheck_finds_nothing(requires: Callable[..., None]) -> None:
    requires("shellcheck")
    scripts = shell_scripts()
    assert {"contrib/quickstart", "tests/run", "tests/guests/lib.sh"} <= set(scripts)
    command = ["shellcheck", "-x", "-S", "warning", *scripts]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
