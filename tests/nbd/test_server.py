# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers end with the process that started them, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from pipelines import wait_for

# qemu-nbd is such a server for the first moments of its life.
DEAF = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
OWNER = """
import sys, time
from v2v import server
with server.serve(["sh", "-c", sys.argv[1]]):
    time.sleep(60)
"""


def test_a_server_deaf_to_sigterm_ends_with_its_killed_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, DEAF], cwd=tmp_path)
    pid = tmp_path / "pid"
    try:
        assert wait_for(lambda: pid.exists() and pid.read_text().strip())
    finally:
        owner.kill()
        owner.wait()
    number = int(pid.read_text())
    ended = wait_for(lambda: not running(number), 5)
    if not ended:
        os.kill(number, signal.SIGKILL)
    assert ended


def running(number: int) -> bool:
    """Return whether the process is there, and is no zombie."""
    try:
        return bool(Path(f"/proc/{number}/cmdline").read_bytes())
    except OSError:
        return False


MANY = """
import sys
from v2v import layers, server
from v2v.document import Disk
held = [open("/dev/null") for _ in range(20)]
with server.serve(["qemu-nbd", "--persistent", "-f", "raw", sys.argv[1]]) as uri:
    print(layers.size(uri, Disk(id="sda")))
"""


def test_a_process_with_many_files_open_can_serve(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(2**20))
    served = subprocess.check_output([sys.executable, "-c", MANY, str(disk)])
    assert served.split() == [b"1048576"]
