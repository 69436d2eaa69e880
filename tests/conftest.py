# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared fixtures.  A test's folder is its marker; see CONTRIBUTING."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FOLDERS = ("unit", "house", "nbd", "appliance", "boot")
STRICT = "CI" in os.environ or "V2V_TESTS_REQUIRE_ALL" in os.environ


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    wanting = [r for r in skipped if "needs ../shared" in str(r.longrepr)]
    if wanting:
        terminalreporter.write_line(
            f"{len(wanting)} tests skipped for want of ../shared"
        )


@pytest.fixture
def shared() -> Path:
    """The folder with the corpus; not a part of the project."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    return SHARED


@pytest.fixture(scope="session")
def requires() -> Callable[..., None]:
    """Skip the test unless every program is installed; in CI: fail it."""

    def check(*programs: str) -> None:
        for program in programs:
            if not shutil.which(program):
                if STRICT:
                    pytest.fail(f"{program} is not installed")
                pytest.skip(f"{program} is not installed")

    return check


@pytest.fixture(scope="session")
def guest() -> Callable[[str], Path]:
    """Return the path of a test guest or container, built once per machine."""

    def built(name: str) -> Path:
        command = [str(ROOT / "tests" / "guests" / "build"), name]
        if os.getuid():
            command = ["sudo", *command]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
        if done.returncode:
            pytest.fail(f"test guest {name} could not be built")
        return Path(done.stdout.strip())

    return built


@pytest.fixture
def as_root() -> None:
    """Skip a test that mounts or makes devices, unless we are root."""
    if os.getuid():
        pytest.skip("needs root")


@pytest.fixture(scope="session", autouse=True)
def same_environment() -> None:
    """Find our commands in the environment that runs the tests."""
    bin_folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{bin_folder}:{os.environ['PATH']}"
