# SPDX-License-Identifier: GPL-2.0-or-later
"""A signed URL lets in whoever knows it: nobody else on the host may see it."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import Pipeline, command
from url_server import WebServer, web

SECRET = "abcdef0123456789"


@pytest.fixture
def server(make_vm: Callable[..., Path]) -> Iterator[WebServer]:
    """A server that gives the VM web01 to the bearer of the signature, slowly."""
    with web(make_vm(size=8).parent) as found:
        found.manners.query = f"X-Amz-Signature={SECRET}"
        found.manners.head = 403
        found.manners.delay = 0.3
        yield found


@contextmanager
def watched() -> Iterator[dict[str, set[str]]]:
    """Yield who shows the secret in its command line: to all, or to its own user."""
    seen: dict[str, set[str]] = {"cmdline": set(), "environ": set()}
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for folder in os.scandir("/proc"):
                if folder.name.isdecimal():
                    for name, found in seen.items():
                        try:
                            data = Path(folder.path, name).read_bytes()
                        except OSError:
                            continue
                        if SECRET.encode() in data:
                            found.add(data.replace(b"\0", b" ").decode())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def same(server: WebServer, made: Path) -> None:
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2"]
    subprocess.run([*compare, server.folder / "raw", made], check=True)


def test_no_process_of_v2v_shows_it(tmp_path: Path, server: WebServer) -> None:
    """Not by its command line; to the same user not by its environment either."""
    url = f"{server.url}/web01.vmdk?{server.manners.query}"
    (tmp_path / "list").write_text(f"{url}\n")
    out = tmp_path / "out"
    run = command("v2v", "-vv", "-t", "null", "-o", out)
    job = Pipeline([[*run, "--sources-from", str(tmp_path / "list")]])
    with watched() as seen:
        text = job.start(tmp_path / "said").finish()
    text += (tmp_path / "said").read_text()
    assert job.statuses == [0], text
    assert seen == {"cmdline": set(), "environ": set()}
    # Each program that was run is in what was said.
    assert " curl -q --config -" in text
    for file in [*out.rglob("*.log"), *out.rglob("*.json")]:
        text += file.read_text()
    assert SECRET not in text
    assert job.left() == []


def test_v2v_hands_on_what_was_typed_unseen(tmp_path: Path, server: WebServer) -> None:
    url = f"{server.url}/web01.vmdk?{server.manners.query}"
    job = Pipeline([command("v2v", "-t", "null", "-o", tmp_path / "out", url)])
    with watched() as seen:
        job.start(tmp_path / "said").finish()
    assert job.statuses == [0], (tmp_path / "said").read_text()
    # The watch works: it sees what was typed here, and nothing else.
    assert {line.split()[1] for line in seen["cmdline"]} == {str(command("v2v")[0])}


def test_the_stages_take_it_from_stdin(tmp_path: Path, server: WebServer) -> None:
    (tmp_path / "list").write_text(f"{server.url}/web01.vmdk?{server.manners.query}")
    inspect = command("v2v-inspect", "--no-guest", "--json", "--sources-from", "-")
    convert = command("v2v-convert", "-o", tmp_path / "out")
    job = Pipeline([inspect, convert])
    with watched() as seen, (tmp_path / "list").open() as stdin:
        job.start(tmp_path / "said", stdin.fileno()).finish()
    assert job.statuses == [0, 0], (tmp_path / "said").read_text()
    assert seen == {"cmdline": set(), "environ": set()}
    same(server, tmp_path / "out" / "web01-sda.qcow2")


def test_a_dry_run_shows_the_file_and_not_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text(f"https://127.0.0.1/web01.vmdk?X-Amz-Signature={SECRET}\n")
    run = command("v2v", "--dry-run", "-t", "null", "-o", tmp_path / "out")
    done = subprocess.run(
        [*run, "--sources-from", file], check=True, capture_output=True, text=True
    )
    assert f"--sources-from {file}" in done.stdout
    assert SECRET not in done.stdout
