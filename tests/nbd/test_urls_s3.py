# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs in S3, of a server that looks at the signature as far as who made it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import Pipeline, command, vms
from url_server import WebServer, web

MakeVm = Callable[..., Path]
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def bucket(tmp_path: Path, make_vm: MakeVm) -> Iterator[WebServer]:
    """The folder of the VM is the bucket web01."""
    plugin = ["nbdkit", "python", "--version"]
    if subprocess.run(plugin, check=False, capture_output=True).returncode:
        pytest.skip("nbdkit-plugin-python is not installed")
    with web(make_vm(data=12).parents[1]) as server:
        server.manners.authorization = "AWS4-HMAC-SHA256 Credential=AKIDTEST/"
        yield server


def run(
    tmp_path: Path, server: WebServer, *commands: list[str], **env: str
) -> Pipeline:
    env = {**KEYS, "AWS_ENDPOINT_URL": server.url, **env}
    return Pipeline(commands, env=env).start(tmp_path / "said")


def inspect(url: str) -> list[str]:
    return command("v2v-inspect", "--no-guest", "--json", "-vv", url)


def test_a_vm_is_read_in_place(tmp_path: Path, bucket: WebServer) -> None:
    out = tmp_path / "out"
    job = run(
        tmp_path,
        bucket,
        inspect("s3://web01/web01.vmx"),
        command("v2v-convert", "-o", out, "-vv"),
    )
    text = job.finish()
    said = (tmp_path / "said").read_text()
    assert job.statuses == [0, 0], said
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2"]
    raw = bucket.folder / "web01" / "raw"
    subprocess.run([*compare, raw, out / "web01-sda.qcow2"], check=True)
    [vm] = vms(text)
    assert vm["disks"][0]["source"]["origin"] == "s3://web01/web01.vmdk"
    assert "findings" not in vm
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in text + said
    assert bucket.sent < 15 * 2**20
    assert job.left() == []


def refusal(tmp_path: Path, server: WebServer, url: str, **env: str) -> dict[str, Any]:
    job = run(tmp_path, server, inspect(url), **env)
    [vm] = vms(job.finish())
    assert job.statuses == [12]
    assert job.left() == []
    error: dict[str, Any] = vm["error"]
    return error


def test_what_goes_wrong_is_told(tmp_path: Path, bucket: WebServer) -> None:
    error = refusal(tmp_path, bucket, "s3://web01/none.vmx")
    assert "there is no such file" in error["message"]
    url = "s3://web01/web01.vmx"
    error = refusal(tmp_path, bucket, url, AWS_ACCESS_KEY_ID="AKIDOTHER")
    assert "the service refuses to give it" in error["message"]
    assert "AWS_PROFILE" in error["remedy"]
    error = refusal(tmp_path, bucket, url, AWS_ACCESS_KEY_ID="")
    assert "there are no credentials" in error["message"]
    error = refusal(tmp_path, bucket, url, AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert "the service cannot be reached" in error["message"]
