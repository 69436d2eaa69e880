# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs on a host that is reached by SSH, such as an ESXi: a real server."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import Pipeline, command, vms
from ssh_server import SshServer, ssh

MakeVm = Callable[..., Path]


@pytest.fixture
def host(
    tmp_path: Path, as_root: None, requires: Callable[..., None]
) -> Iterator[SshServer]:
    requires("dropbear", "ssh-keygen")
    with ssh(tmp_path / "ssh") as server:
        yield server


def run(tmp_path: Path, config: str, *commands: list[str]) -> Pipeline:
    env = {"V2V_SSH_CONFIG": config, "SSH_AUTH_SOCK": ""}
    return Pipeline(commands, env=env).start(tmp_path / "said")


def inspect(url: str) -> list[str]:
    return command("v2v-inspect", "--no-guest", "--json", url)


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/29")
@pytest.mark.parametrize(
    "subformat", ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse"]
)
def test_a_vm_of_an_esxi_is_read_in_place(
    tmp_path: Path, host: SshServer, make_vm: MakeVm, subformat: str
) -> None:
    vmx = make_vm()
    raw, disk = vmx.parent / "raw", vmx.parent / "web01.vmdk"
    made = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk"]
    subprocess.run(
        [*made, "-o", f"subformat={subformat}", str(raw), str(disk)], check=True
    )
    out = tmp_path / "out"
    job = run(
        tmp_path,
        host.config(),
        inspect(host.url(vmx)),
        command("v2v-export"),
        command("v2v-convert", "-o", out),
    )
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0, 0], (tmp_path / "said").read_text()
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(raw)]
    subprocess.run([*compare, str(out / "web01-sda.qcow2")], check=True)
    assert vm["disks"][0]["source"]["origin"] == host.url(disk)
    assert "findings" not in vm
    assert job.left() == []


def refusal(tmp_path: Path, config: str, url: str) -> dict[str, Any]:
    job = run(tmp_path, config, inspect(url))
    [vm] = vms(job.finish())
    assert job.statuses == [12]
    assert job.left() == []
    error: dict[str, Any] = vm["error"]
    assert "nbdkit" not in error["message"]
    return error


@pytest.mark.parametrize(
    ("known", "key", "message", "remedy"),
    [
        ("", "user", "the host key is not known", "connect once by ssh"),
        ("other", "user", "the host key is another", "ssh-keygen -R"),
        ("host", "stranger", "lets nobody in", "--url-password"),
    ],
)
def test_who_is_not_known_is_told(
    tmp_path: Path, host: SshServer, known: str, key: str, message: str, remedy: str
) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(bytes(4096))
    config = host.config(host=known, key=key)
    error = refusal(tmp_path, config, host.url(disk))
    assert message in error["message"]
    assert remedy in error["remedy"]


def test_what_is_not_there(tmp_path: Path, host: SshServer) -> None:
    error = refusal(tmp_path, host.config(), host.url(tmp_path / "none.vmx"))
    assert "there is no such file" in error["message"]
    error = refusal(tmp_path, host.config(), "ssh://root@127.0.0.1:1/vm.vmx")
    assert "refuses the connection" in error["message"]
