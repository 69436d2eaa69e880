# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers end with the process that started them, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import wait_for
from v2v import layers, server
from v2v.document import Disk, Layer
from v2v.errors import SourceError
from v2v.servers import Graph

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


def test_a_server_that_cannot_open_its_disk_says_why(tmp_path: Path) -> None:
    """Not only that the connection was reset by the peer."""
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\0\0\0\x09")
    below = {"driver": "file", "filename": str(path), "read-only": True}
    graph = Graph(node={"driver": "qcow2", "file": below, "read-only": True})
    disk = Disk(id="sda", source=Layer(server="qemu", path=str(path), format="qcow2"))
    with (
        pytest.raises(SourceError, match="Unsupported qcow2 version 9") as e,
        layers.serving(graph) as uri,
    ):
        layers.size(uri, disk)
    assert e.value.message.startswith(f"disk sda ({path}) cannot be read: ")
    assert "json:" not in e.value.message


def test_what_another_server_says_is_not_ours(tmp_path: Path) -> None:
    uri = f"nbd+unix:///?socket={tmp_path / 'none'}"
    assert server.last_words(uri) == ""
    with pytest.raises(SourceError, match="disk sda cannot be opened"):
        layers.size(uri, Disk(id="sda"))
