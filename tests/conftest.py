# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared fixtures.  A test's folder is its marker; see CONTRIBUTING.

With CI=true or V2V_TESTS_REQUIRE_ALL=1 a test that would skip fails, unless it is for
want of ../shared, which is no part of the project.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["libvirt_daemon"]

# A job in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FOLDERS = ("unit", "house", "fuzz", "nbd", "appliance", "boot")
STRICT = "CI" in os.environ or "V2V_TESTS_REQUIRE_ALL" in os.environ
NO_CORPUS = "needs ../shared"

# Emulation and neighbours make times uneven; a test that takes files from a fixture
# only reads them.  `tests/run --all` takes the deep one.
settings.register_profile(
    "quick",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("deep", settings.get_profile("quick"), max_examples=2000)
settings.load_profile("quick")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    _fail_instead_of_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    _fail_instead_of_skip(report)
    return report


def _fail_instead_of_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if NO_CORPUS not in reason:
            report.outcome = "failed"
            report.longrepr = f"nothing may be skipped here, but this was: {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    wanting = [r for r in skipped if NO_CORPUS in str(r.longrepr)]
    if wanting:
        terminalreporter.write_line(
            f"{len(wanting)} tests skipped for want of ../shared"
        )


@pytest.fixture
def shared() -> Path:
    """The folder with the corpus; not a part of the project."""
    if not SHARED.is_dir():
        pytest.skip(NO_CORPUS)
    return SHARED


@pytest.fixture(scope="session")
def requires() -> Callable[..., None]:
    """Skip the test unless every program is installed."""

    def check(*programs: str) -> None:
        for program in programs:
            if not shutil.which(program):
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
def loop_devices() -> None:
    """Make the nodes of loop devices where no udev does it: in a container."""
    if os.getuid() or Path("/run/udev/control").exists():
        return
    with suppress(OSError):  # a container may not be allowed to
        _node("loop-control", stat.S_IFCHR, os.makedev(10, 237))
        for number in range(64):
            _node(f"loop{number}", stat.S_IFBLK, os.makedev(7, number))


def _node(name: str, kind: int, device: int) -> None:
    path = Path("/dev", name)
    if not path.exists():
        os.mknod(path, kind | 0o660, device)


@pytest.fixture(scope="session", autouse=True)
def same_environment() -> None:
    """Find our commands in the environment that runs the tests."""
    bin_folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{bin_folder}:{os.environ['PATH']}"
