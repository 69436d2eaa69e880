# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that removes the tools' packages, run with package managers of ours."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from v2v.guests.linux import removal

QUERY = """\
#!/bin/sh
# dpkg-query -W -f FORMAT NAME
case $4 in
    tools) echo "install ok installed" ;;
    gone) echo "deinstall ok config-files" ;;
    *) exit 1 ;;
esac
"""
LOG = '#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\nexit ${STATUS:-0}\n'
RPM = """\
#!/bin/sh
case $1 in
    -qa) printf 'tools-a\\ntools-b\\n' ;;
    -e) echo "rpm $*" >> "$LOG"; [ $# -eq 2 ] ;;
esac
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    """Run a script with *programs*; return its status and what they were asked."""

    def ran(script: str, status: int = 0, **programs: str) -> tuple[int, list[str]]:
        for name, text in programs.items():
            file = tmp_path / name.replace("_", "-")
            file.write_text(text)
            file.chmod(0o755)
        log = tmp_path / "log"
        env = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(log),
            "STATUS": str(status),
        }
        done = subprocess.run(["sh", "-c", script], env=env, check=False)
        lines = log.read_text().splitlines() if log.exists() else []
        return done.returncode, lines

    return ran


def test_dpkg_purges_what_is_installed(
    run: Callable[..., tuple[int, list[str]]],
) -> None:
    script = removal.script(["tools", "gone", "never"], "deb")
    assert script
    found = run(script, dpkg_query=QUERY, dpkg=LOG)
    assert found == (0, ["dpkg --purge tools"])


@pytest.mark.parametrize(("status", "result"), [(1, 0), (2, 1)])
def test_it_is_tried_again_only_while_the_database_is_in_use(
    run: Callable[..., tuple[int, list[str]]], status: int, result: int
) -> None:
    """What others need stays: ubuntu-server needs open-vm-tools."""
    script = removal.script(["tools"], "deb")
    assert script
    assert run(script, status, dpkg_query=QUERY, dpkg=LOG)[0] == result


def test_rpm_erases_one_by_one_if_some_are_needed(
    run: Callable[..., tuple[int, list[str]]],
) -> None:
    script = removal.script(["tools-*"], "rpm")
    assert script
    lines = ["rpm -e tools-a tools-b", "rpm -e tools-a", "rpm -e tools-b"]
    assert run(script, rpm=RPM) == (0, lines)


def test_nothing_is_removed_by_what_solves_dependencies() -> None:
    """RHEL-233944: applications went with the tools."""
    assert removal.script(["open-vm-tools"], "apk") is None
    assert removal.script([], "deb") is None


def test_a_name_is_no_place_for_a_shell() -> None:
    assert removal.script(["x'; reboot; '", "$(reboot)"], "deb") is None


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_shellcheck_finds_nothing(kind: str, requires: Callable[..., None]) -> None:
    requires("shellcheck")
    script = removal.script(["a", "b*"], kind)
    # That $names is split, and $? is asked for by itself, is meant.
    command = ["shellcheck", "-e", "SC2086,SC2181", "-"]
    done = subprocess.run(
        command, input=script, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout
