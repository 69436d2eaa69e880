# SPDX-License-Identifier: GPL-2.0-or-later
"""``v2v`` as its users type it, with a real libvirt."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guests.containers import MAC
from nbd_vm import digest, write_vmx
from pipelines import Pipeline, command, vms, wait_for

Guest = Callable[[str], Path]
BRIDGE = "v2v-test0"


@pytest.fixture
def v2v(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run v2v -o OUT -t libvirt with these arguments; return its status and table."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", uri)

    def run(*arguments: str | Path) -> tuple[int, str]:
        images = tmp_path / "images"
        argv = command("v2v", "-o", images, "-t", "libvirt", *arguments)
        job = Pipeline([argv]).start(tmp_path / "said")
        table = job.finish(500)
        assert job.left() == []
        return job.statuses[0], table + (tmp_path / "said").read_text()

    return run


@pytest.fixture
def bridge(as_root: None) -> Iterator[str]:
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    yield BRIDGE
    subprocess.run(["ip", "link", "del", BRIDGE], check=True)


def cards(connection: Any, name: str) -> str:
    xml: str = connection.lookupByName(name).XMLDesc(0)
    return xml


@pytest.mark.smoke
def test_a_vmware_vm_on_a_bridge_becomes_a_domain(
    v2v: Any, guest: Guest, bridge: str, connection: Any
) -> None:
    source = guest("vmx-hosted") / "web01.vmx"
    status, said = v2v("--network", f"bridge={bridge}", source)
    assert status == 0, said
    xml = cards(connection, "web01")
    assert f"bridge='{bridge}'" in xml and MAC in xml
    assert "bus='virtio'" in xml


def test_a_vhdx_a_folder_and_a_raw_image_one_after_another(
    v2v: Any, guest: Guest, connection: Any
) -> None:
    """-v, a SOURCE that is a folder, -p with several: as the issue has them."""
    status, said = v2v("-v", "--name", "hyperv-vm", guest("vhdx") / "web01.vhdx")
    assert status == 0, said
    status, said = v2v("--name", "xen-vm", guest("raw") / "web01.img")
    assert status == 0, said
    status, said = v2v("-p", "2", guest("vmx-hosted"))
    assert status == 0, said
    names = {known.name() for known in connection.listAllDomains()}
    assert names == {"hyperv-vm", "xen-vm", "web01"}


def test_without_a_libvirt_it_is_said_before_any_data_moves(
    tmp_path: Path, guest: Guest
) -> None:
    for argv in (
        command("v2v", "-o", tmp_path / "out", "-t", "libvirt"),
        command("v2v", "-o", tmp_path / "out", "-t", "libvirt", "-c", "qemu+unix:///x"),
    ):
        nowhere = {"LIBVIRT_DEFAULT_URI": f"qemu:///system?socket={tmp_path}/none"}
        job = Pipeline([[*argv, str(guest("vmx-hosted"))]], env=nowhere)
        job.start(tmp_path / "said").finish(60)
        assert job.statuses == [13]
        assert "-t local" in (tmp_path / "said").read_text()
        assert not (tmp_path / "out").exists()


def test_a_domain_of_that_name_is_found_before_any_data_moves(
    v2v: Any, guest: Guest, connection: Any, tmp_path: Path
) -> None:
    connection.defineXML(
        "<domain type='qemu'><name>web01</name><memory>1024</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    status, said = v2v(guest("vmx-hosted"))
    assert status == 13
    assert "--name" in said
    assert not list((tmp_path / "images").glob("*.qcow2*"))


def test_dry_run_prints_a_pipeline_that_a_shell_can_run(
    tmp_path: Path, guest: Guest
) -> None:
    source = str(guest("vmx-hosted") / "web01.vmx")
    argv = command("v2v", "--dry-run", "-o", tmp_path / "o u t", "-t", "local", source)
    shown = Pipeline([argv]).start(tmp_path / "said").finish(60)
    assert not (tmp_path / "o u t").exists()
    job = Pipeline([["sh", "-c", f"set -e; {shown}"]]).start(tmp_path / "said")
    job.finish(300)
    assert job.statuses == [0], (tmp_path / "said").read_text()
    assert (tmp_path / "o u t" / "web01.xml").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_v2v_that_is_ended_leaves_nobody_behind_and_is_resumed(
    tmp_path: Path, number: int
) -> None:
    """The second run does not fix the guest again: that is in its state."""
    folder = tmp_path / "source"
    folder.mkdir()
    with (folder / "vm01.img").open("wb") as file:
        for _ in range(200):
            file.write(os.urandom(2**20))
    source = write_vmx(folder, "vm01", "vm01.img")
    before = digest(folder / "vm01.img")
    out = tmp_path / "out"
    argv = command("v2v", "-o", out, "-t", "null", "--compress", source)
    job = Pipeline([argv]).start(tmp_path / "said")
    assert wait_for(
        lambda: any(p.stat().st_size > 2**20 for p in out.glob("*.part")), 90
    )
    if number == signal.SIGINT:
        job.interrupt()
    else:
        job.signal(0, number)
    job.finish(60)
    assert job.statuses == [128 + number]
    assert job.left(20) == []
    assert not list(out.glob("*.qcow2"))
    assert "Traceback" not in (tmp_path / "said").read_text()
    [state] = (out / ".v2v").glob("*.json")
    stages = [e["stage"] for e in json.loads(state.read_text().splitlines()[0])["log"]]
    assert stages == ["inspect", "export", "fixup"]

    again = Pipeline([argv]).start(tmp_path / "said")
    again.finish(120)
    assert again.statuses == [0], (tmp_path / "said").read_text()
    assert digest(folder / "vm01.img") == before
    [vm] = vms(state.read_text())
    stages = [e["stage"] for e in vm["log"]]
    assert stages == ["inspect", "export", "fixup", "export", "convert", "define"]
    assert not list(out.glob("*.part"))


def test_two_at_once_do_not_get_in_each_others_way(
    tmp_path: Path, guest: Guest
) -> None:
    argv = command("v2v", "-o", tmp_path / "out", "-t", "null", guest("vmx-hosted"))
    first = Pipeline([argv]).start(tmp_path / "first")
    assert wait_for(lambda: list((tmp_path / "out/.v2v").glob("*.lock")), 30)
    second = Pipeline([argv]).start(tmp_path / "second")
    assert "another v2v" in second.finish(60)
    assert second.statuses == [75]
    first.finish(300)
    assert first.statuses == [0]
