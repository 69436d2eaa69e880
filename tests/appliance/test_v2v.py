# SPDX-License-Identifier: GPL-2.0-or-later
"""``v2v`` as its users type it, with a real libvirt."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guests.containers import MAC
from pipelines import Pipeline, command

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
