# SPDX-License-Identifier: GPL-2.0-or-later
"""Stages that are killed over a URL or a packed source leave nothing, and go on."""

import gzip
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbd_vm import digest, write_vmx
from pipelines import Pipeline, command, vms, wait_for
from url_server import WebServer, web

MIB = 2**20
SIZE = 40 * MIB


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    """A server of the VM vm01, which takes some seconds to fetch."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "vm01.img").write_bytes(os.urandom(SIZE))
    write_vmx(folder, "vm01", "vm01.img")
    with web(folder) as found:
        found.manners.delay = 0.05
        yield found


def pipeline(tmp_path: Path, *source: str) -> Pipeline:
    """Return the stages as v2v runs them, but for the one that needs an appliance."""
    out, state = tmp_path / "out", ["--state", str(tmp_path / "documents")]
    work = ["--work", str(tmp_path / "work")]
    return Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", *source, *state),
            command("v2v-export", "--overlay", *work, *state),
            command("v2v-convert", "-o", out, "--compress", *state),
            command("v2v-define", "-t", "null", "-o", out, *state),
        ]
    )


def source_of(kind: str, server: WebServer) -> list[str]:
    plain = server.folder / "vm01.img"
    if kind == "url":
        return [f"{server.url}/vm01.vmx"]
    packed = server.folder / "vm01.img.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    place = f"{server.url}/vm01.img.gz" if kind == "packed at a url" else str(packed)
    return ["--input-format", "raw", place]


def ended(job: Pipeline, who: str) -> None:
    """End *who* of *job* as a user, an OOM killer or a terminal does."""
    if who == "Ctrl-C":
        job.interrupt()
    elif who == "all killed":
        os.killpg(job.children[0].pid, signal.SIGKILL)
    else:
        names = {Path(c[0]).name: n for n, c in enumerate(job.commands)}
        job.signal(names[f"v2v-{who.split()[0]}"], signal.SIGKILL)
    job.finish(60)


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        *(("url", "Ctrl-C"), ("url", "all killed"), ("url", "export dies")),
        *(("url", "convert dies"), ("packed", "all killed"), ("packed", "Ctrl-C")),
        ("packed at a url", "convert dies"),
    ],
)
def test_nothing_is_left_and_the_same_command_goes_on(
    tmp_path: Path, own_state: Path, server: WebServer, kind: str, who: str
) -> None:
    source = source_of(kind, server)
    before = {file: digest(file) for file in server.folder.iterdir()}
    out = tmp_path / "out"
    job = pipeline(tmp_path, *source).start(tmp_path / "said")
    begun = wait_for(lambda: any(p.stat().st_size > MIB for p in out.glob("*.part")))
    assert begun, (tmp_path / "said").read_text()
    ended(job, who)
    assert job.left() == []
    assert not list(out.glob("*.qcow2"))
    mounts = Path("/proc/self/mountinfo")
    if who == "Ctrl-C":
        assert str(own_state) not in mounts.read_text()
    assert "Traceback" not in (tmp_path / "said").read_text()

    again = pipeline(tmp_path, *source).start(tmp_path / "said")
    [vm] = vms(again.finish())
    assert again.statuses == [0, 0, 0, 0], (tmp_path / "said").read_text()
    right(vm, server)
    assert again.left() == []
    assert {file: digest(file) for file in server.folder.iterdir()} == before
    assert not list(out.glob("*.part"))
    # A mount that a killed one left, too.
    assert str(own_state) not in mounts.read_text()
    assert not list((own_state / "v2v" / "views").glob("*"))
    # What killed processes left in /tmp the next one has swept.
    sockets = Path("/tmp").glob(f"v2v-{os.getuid()}-*/nbd*")
    assert not [p for p in sockets if str(p) in (tmp_path / "said").read_text()]


def right(vm: dict[str, Any], server: WebServer) -> None:
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2"]
    made = vm["disks"][0]["target"]["path"]
    subprocess.run([*compare, server.folder / "vm01.img", made], check=True)
    done = [e["stage"] for e in vm["log"]]
    assert done[0] == "inspect" and done[-2:] == ["convert", "define"]
    assert done.count("convert") == 1
