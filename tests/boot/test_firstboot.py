# SPDX-License-Identifier: GPL-2.0-or-later
"""A real guest does at its first boot what was left to it, and is as customised."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conversions import MAC, five_stages
from guests import boot

Guest = Callable[[str], Path]
STATUS = "/var/lib/v2v/status.json"


@pytest.mark.smoke
def test_steps_are_done_in_order_at_the_first_boot(
    guest: Guest, tmp_path: Path
) -> None:
    job, vm = five_stages(
        ["--mac", MAC, "--name", "web", str(guest("debian12-bios"))],
        tmp_path / "out",
        tmp_path / "said",
        *("--agent", "no"),
        *("--hostname", "renamed", "--write", "/etc/v2v-test:no\n"),
        *("--run-command", "dpkg-query -W > /etc/v2v-list && id -un >> /etc/v2v-list"),
        *("--edit", "/etc/v2v-test:s/no/yes/"),
        *("--firstboot-command", "echo STEP $(cat /etc/v2v-test) > /dev/ttyS0"),
        *("--firstboot-command", "exit 3"),
        *("--firstboot-command", f"cat {STATUS} > /dev/ttyS0; echo END > /dev/ttyS0"),
        *("--root-password", "random", "--work", str(tmp_path / "work")),
    )
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()
    secrets = list((tmp_path / "work").rglob("root.password"))
    assert len(secrets) == 1
    assert secrets[0].read_text().strip() not in (tmp_path / "said").read_text()
    reasons = [change["reason"] for change in vm["changes"]]
    assert "asked for by --hostname" in reasons

    # In whichever order: nothing at boot waits for the steps.
    console = until(tmp_path / "out/web.xml", b"END\n", b"renamed login:")
    assert "STEP yes\n" in console
    assert '"name": "echo", "state": "ok", "boots": 1, "exit": 0}' in console
    assert '"name": "exit", "state": "pending", "boots": 1, "exit": 3}' in console


def test_the_tools_packages_are_gone_after_the_first_boot(
    guest: Guest, tmp_path: Path
) -> None:
    job, _ = five_stages(
        ["--mac", MAC, "--name", "web", str(guest("debian12-bios"))],
        tmp_path / "out",
        tmp_path / "said",
        *("--agent", "no", "--remove-tools"),
        *("--firstboot-command", "test -e /usr/bin/vmtoolsd; echo END $? > /dev/ttyS0"),
    )
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()

    until(tmp_path / "out/web.xml", b"END 1\n", b"login:")


def until(xml: Path, *words: bytes, seconds: float = 300) -> str:
    """Boot what *xml* describes until it has said all *words*; return its console."""
    with tempfile.TemporaryDirectory(prefix="v2v-boot-") as folder:
        command = boot._command(boot.domain(xml), Path(folder))
        end, console = time.monotonic() + seconds, b""
        with subprocess.Popen(
            ["timeout", str(seconds), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout
            while time.monotonic() < end and any(w not in console for w in words):
                piece = child.stdout.read1(65536)  # type: ignore[attr-defined]
                if not piece:
                    break
                console = boot.ANSI.sub(b"", console + piece).replace(b"\r", b"")
            child.terminate()
    text = console.decode("utf-8", "replace")
    assert all(word in console for word in words), text[-3000:]
    return text
