# SPDX-License-Identifier: GPL-2.0-or-later
"""Lint and types, as tests: a machine without the tools fails in CI."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


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


def test_shellcheck_finds_nothing(requires: Callable[..., None]) -> None:
    requires("shellcheck")
    scripts = [
        *("contrib/quickstart", "contrib/install.sh", "tests/run", ".ci/run"),
        *(str(p.relative_to(ROOT)) for p in (ROOT / "tests/guests").glob("build-*")),
        *("tests/guests/build", "tests/guests/lib.sh"),
    ]
    command = ["shellcheck", "-x", "-S", "warning", *scripts]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
