# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest whose changes were being committed when fixup was killed boots in the end."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conversions import MAC, assert_runs_well
from pipelines import Pipeline, command, vms, wait_for

Guest = Callable[[str], Path]


def torn_commit(folder: Path) -> str:
    """Return a PATH on which qemu-img commits a part, and then waits to be killed."""
    folder.mkdir()
    real = shutil.which("qemu-img")
    # 4 KiB/s: some clusters are written, and never all.
    (folder / "qemu-img").write_text(
        f'#!/bin/sh\n[ "$1" = commit ] || exec {real} "$@"\n'
        f'shift; exec {real} commit -r 4096 "$@"\n'
    )
    (folder / "qemu-img").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_commit_that_was_torn_is_completed_and_boots(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    saved, said = tmp_path / "vm.json", tmp_path / "said"
    disk = str(guest("debian12-dep"))
    inspect = ("--no-guest", "--json", "--mac", MAC, "--name", "web", disk)
    converted = Pipeline(
        [
            command("v2v-inspect", *inspect),
            command("v2v-convert", "-o", tmp_path / "out"),
        ]
    ).start(said)
    saved.write_text(converted.finish(600))
    fixup = command("v2v-fixup", "-M", saved, "--agent", "no")
    job = Pipeline([fixup], env={"PATH": torn_commit(tmp_path / "bin")}).start(said)
    written = tmp_path / "out/web-sda.qcow2"
    before = written.stat().st_mtime_ns
    assert wait_for(lambda: list((tmp_path / "state").rglob("commit.json")), 300)
    assert wait_for(lambda: written.stat().st_mtime_ns != before, 60)
    job.signal(0, signal.SIGKILL)
    job.finish()
    assert job.statuses == [137]

    rest = [fixup, command("v2v-define", "-t", "local")]
    again = Pipeline(rest).start(said)
    [vm] = vms(again.finish(600))
    assert again.statuses == [0, 0], said.read_text()
    assert "completing the commit" in said.read_text()
    assert vm["devices"]["block"] == "virtio"
    assert_runs_well(tmp_path / "out/web.xml")
