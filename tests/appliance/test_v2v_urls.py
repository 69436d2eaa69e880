# SPDX-License-Identifier: GPL-2.0-or-later
"""``v2v`` and its five stages with a real guest at a URL, or packed, or both."""

import gzip
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbd_vm import digest, write_vmx
from pipelines import Pipeline, command, vms, wait_for
from plain_user import plain_user
from url_server import WebServer, web

Guest = Callable[[str], Path]
MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "web").mkdir()
    with web(tmp_path / "web") as found:
        yield found


def state(folder: Path) -> list[Path]:
    """Return what is left of views in the state of the test."""
    return list((folder / "state" / "v2v" / "views").glob("*"))


def nothing_is_left(folder: Path) -> None:
    assert str(folder / "state") not in Path("/proc/self/mountinfo").read_text()
    assert state(folder) == []


def documents(out: Path) -> dict[str, Any]:
    [file] = (out / ".v2v").glob("*.json")
    [vm] = vms(file.read_text())
    return vm


def fixed(vm: dict[str, Any]) -> None:
    """The guest inside was found, and changed, and its disk copied."""
    assert vm["guest"]["distro"] == "debian"
    assert vm["changes"]
    stages = [entry["stage"] for entry in vm["log"]]
    assert stages == ["inspect", "export", "fixup", "convert", "define"]
    path = vm["disks"][0]["target"]["path"]
    subprocess.run(["qemu-img", "check", "-q", path], check=True)


def in_reach(guest: Guest, server: WebServer) -> str:
    """Serve the guest; return the name of its description."""
    for file in guest("vmx-hosted").iterdir():
        (server.folder / file.name).symlink_to(file)
    return "web01.vmx"


def test_a_guest_at_a_url(tmp_path: Path, guest: Guest, server: WebServer) -> None:
    name = in_reach(guest, server)
    out = tmp_path / "out"
    argv = command("v2v", "-o", out, "-t", "local", f"{server.url}/{name}")
    job = Pipeline([argv]).start(tmp_path / "said")
    table = job.finish(500)
    assert job.statuses == [0], table + (tmp_path / "said").read_text()
    assert job.left() == []
    vm = documents(out)
    fixed(vm)
    assert vm["disks"][0]["source"]["origin"].startswith(server.url)
    assert "downloaded" not in str(vm.get("findings"))
    nothing_is_left(tmp_path)


def test_the_five_stages_in_a_pipe(
    tmp_path: Path, guest: Guest, server: WebServer
) -> None:
    """What a dry run shows, by a shell; with a look inside by v2v-inspect too."""
    name = in_reach(guest, server)
    out = tmp_path / "out"
    argv = command("v2v", "--dry-run", "-o", out, "-t", "local", f"{server.url}/{name}")
    shown = Pipeline([argv]).start(tmp_path / "said").finish(60)
    shown = shown.replace(" --no-guest", "")
    job = Pipeline([["bash", "-c", f"set -eo pipefail; {shown}"]])
    job.start(tmp_path / "said").finish(500)
    assert job.statuses == [0], (tmp_path / "said").read_text()
    assert job.left() == []
    fixed(documents(out))
    nothing_is_left(tmp_path)


def test_a_packed_guest_at_a_url(
    tmp_path: Path, guest: Guest, server: WebServer
) -> None:
    disk = guest("vmdk-sparse") / "web01.vmdk"
    with gzip.open(server.folder / "web01.vmdk.gz", "wb", compresslevel=1) as file:
        file.write(disk.read_bytes())
    out = tmp_path / "out"
    url = f"{server.url}/web01.vmdk.gz"
    argv = command("v2v", "-o", out, "-t", "local", url)
    job = Pipeline([argv]).start(tmp_path / "said")
    table = job.finish(500)
    said = table + (tmp_path / "said").read_text()
    assert job.statuses == [0], said
    vm = documents(out)
    fixed(vm)
    assert [f["code"] for f in vm["findings"]].count("unpacked") == 1
    log = "".join(file.read_text() for file in (out / ".v2v").glob("*.log"))
    assert log.count("unpacking") == 1
    assert job.left() == []
    nothing_is_left(tmp_path)


def slow(tmp_path: Path) -> Path:
    """Return the folder of a VM that takes some time to copy."""
    folder = tmp_path / "web"
    with (folder / "vm01.img").open("wb") as file:
        for _ in range(200):
            file.write(os.urandom(MIB))
    write_vmx(folder, "vm01", "vm01.img")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["url", "packed"])
def test_one_that_is_ended_leaves_nothing_and_is_resumed(
    tmp_path: Path, server: WebServer, kind: str, number: int
) -> None:
    folder = slow(tmp_path)
    source = f"{server.url}/vm01.vmx"
    if kind == "packed":
        subprocess.run(["gzip", "-1", "-k", str(folder / "vm01.img")], check=True)
        (folder / "vm01.vmx").unlink()
        source = str(folder / "vm01.img.gz")
    before = {file: digest(file) for file in folder.iterdir()}
    out = tmp_path / "out"
    options = ["--input-format", "raw"] if kind == "packed" else []
    argv = command("v2v", "-o", out, "-t", "null", "--compress", *options, source)
    job = Pipeline([argv]).start(tmp_path / "said")
    assert wait_for(
        lambda: any(p.stat().st_size > MIB for p in out.glob("*.part")), 120
    ), (tmp_path / "said").read_text()
    if number == signal.SIGINT:
        job.interrupt()
    else:
        job.signal(0, number)
    job.finish(60)
    assert job.statuses == [128 + number]
    assert job.left(20) == []
    assert not list(out.glob("*.qcow2"))
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert str(tmp_path / "state") not in Path("/proc/self/mountinfo").read_text()
    if number != signal.SIGKILL:
        assert state(tmp_path) == []

    again = Pipeline([argv]).start(tmp_path / "said")
    again.finish(200)
    assert again.statuses == [0], (tmp_path / "said").read_text()
    assert {file: digest(file) for file in folder.iterdir()} == before
    stages = [entry["stage"] for entry in documents(out)["log"]]
    assert stages == ["inspect", "export", "fixup", "export", "convert", "define"]
    made = out / "vm01-sda.qcow2"
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2"]
    subprocess.run([*compare, folder / "vm01.img", made], check=True)
    nothing_is_left(tmp_path)


def test_a_user_without_rights_converts_a_guest_at_a_url(
    guest: Guest, as_root: None
) -> None:
    with plain_user() as user:
        user.owns(user.home)
        # libguestfs keeps an appliance for each user, where there is room.
        cache = user.home / "cache"
        cache.mkdir()
        user.owns(cache)
        with web(guest("vmx-hosted")) as server:
            url = f"{server.url}/web01.vmx"
            out = user.home / "out"
            argv = command("v2v", "-o", out, "-t", "local", url)
            job = user.run(argv, LIBGUESTFS_CACHEDIR=str(cache), V2V_SANDBOX="require")
            job.finish(800)
        assert job.statuses == [0], user.said
        fixed(documents(out))
        assert job.left() == []
        assert user.left() == []
