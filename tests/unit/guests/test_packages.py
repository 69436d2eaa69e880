# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts by which a guest installs and updates packages itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from v2v.guests.linux import packages


def ran(script: str, folder: Path, **programs: str) -> list[str]:
    """Run *script* where only *programs* are (name, shell text); return its words."""
    folder.mkdir()
    for name in ("sed", "cat", "printf", "echo"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/false")
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        noted = f"echo {path.name} $* >> {folder}/log"
        path.write_text(f"#!/bin/sh\n{text or noted}\n")
        path.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={**os.environ, "PATH": str(folder)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    log = folder / "log"
    return [
        *(log.read_text().splitlines() if log.exists() else []),
        str(done.returncode),
    ]


@pytest.mark.parametrize(
    ("tools", "log"),
    [
        (
            {"apt_get": "", "dpkg": ""},
            [
                "dpkg --force-confdef --force-confold --configure -a",
                "apt-get -q update",
                (
                    "apt-get -q -y -o DPkg::Lock::Timeout=300 "
                    "-o Dpkg::Options::=--force-confdef "
                    "-o Dpkg::Options::=--force-confold install a b"
                ),
            ],
        ),
        ({"dnf": "", "yum": ""}, ["dnf -q -y install a b"]),
        ({"yum": ""}, ["yum -q -y install a b"]),
        ({"zypper": ""}, ["zypper -n install a b"]),
        ({"apk": ""}, ["apk add a b"]),
        ({"pacman": ""}, ["pacman -S --noconfirm a b"]),
    ],
)
def test_the_tool_that_is_there_installs(
    tmp_path: Path, tools: dict[str, str], log: list[str]
) -> None:
    script = packages.installing(["a", "b"])
    assert ran(script, tmp_path / "bin", **tools) == [*log, "0"]


def test_a_failure_is_one(tmp_path: Path) -> None:
    script = packages.installing(["a"])
    assert ran(script, tmp_path / "none") == ["1"]
    assert ran(script, tmp_path / "bad", dnf="exit 3") == ["3"]
    assert ran(packages.updating(), tmp_path / "apt", apt_get="exit 100") == ["100"]


@pytest.mark.parametrize(
    "script",
    [packages.installing(["a"]), packages.updating()],
)
def test_shellcheck_finds_nothing(script: str) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    command = ["shellcheck", "-s", "sh", "-"]
    done = subprocess.run(
        command, input=script, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
