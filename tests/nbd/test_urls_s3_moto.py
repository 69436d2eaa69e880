# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs in S3, of a simulator that many others test with, too: moto."""

import importlib.util
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbd_vm import write_vmx
from pipelines import Pipeline, command, vms
from s3_service import Service, service

MIB = 2**20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw disk of a VM, beside a folder with the VM."""
    folder = tmp_path_factory.mktemp("s3")
    raw = folder / "raw"
    with raw.open("wb") as file:
        file.seek(MIB)
        for number in range(12):
            file.write(bytes([number + 1]) * (MIB - 1) + b"x")
        file.truncate(20 * MIB)
    (folder / "bucket").mkdir()
    make = f"qemu-img convert -f raw -O vmdk {raw} {folder}/bucket/web01.vmdk"
    subprocess.run(make.split(), check=True)
    write_vmx(folder / "bucket", "web01", "web01.vmdk")
    return raw


@pytest.fixture(scope="module")
def s3(disk: Path) -> Iterator[Service]:
    plugin = ["nbdkit", "python", "--version"]
    if subprocess.run(plugin, check=False, capture_output=True).returncode:
        pytest.skip("nbdkit-plugin-python is not installed")
    if not importlib.util.find_spec("moto"):
        pytest.skip("moto is not installed")
    with service(disk.with_name("bucket"), "vms") as found:
        yield found


@pytest.fixture
def run(s3: Service, tmp_path: Path) -> Callable[..., tuple[list[int], dict[str, Any]]]:
    """Describe and convert a URL with this environment; return statuses and VM."""

    def run(url: str, **env: str) -> tuple[list[int], dict[str, Any]]:
        job = Pipeline(
            [
                command("v2v-inspect", "--no-guest", "--json", "-vv", url),
                command("v2v-convert", "-o", tmp_path / "out", "-vv"),
            ],
            env={**s3.environment(tmp_path), **env},
        )
        text = job.start(tmp_path / "said").finish()
        [vm] = vms(text)
        assert job.left() == []
        said = text + (tmp_path / "said").read_text()
        assert "Traceback" not in said
        assert s3.keys[1] not in said and s3.others[1] not in said
        return job.statuses, vm

    return run


def keys(pair: tuple[str, str]) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": pair[0], "AWS_SECRET_ACCESS_KEY": pair[1]}


def converted(run: Any, disk: Path, tmp_path: Path, **env: str) -> None:
    statuses, vm = run("s3://vms/web01.vmx", **env)
    assert statuses == [0, 0], (tmp_path / "said").read_text()
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2"]
    subprocess.run([*compare, disk, tmp_path / "out" / "web01-sda.qcow2"], check=True)
    assert vm["disks"][0]["source"]["origin"] == "s3://vms/web01.vmdk"
    assert "findings" not in vm


def test_keys_of_the_environment(
    run: Any, s3: Service, disk: Path, tmp_path: Path
) -> None:
    converted(run, disk, tmp_path, **keys(s3.keys))


def test_an_endpoint_for_s3_alone(
    run: Any, s3: Service, disk: Path, tmp_path: Path
) -> None:
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": s3.url}
    converted(run, disk, tmp_path, **keys(s3.keys), **env)


@pytest.mark.parametrize("place", [".aws/credentials", "elsewhere"])
def test_keys_of_a_profile(
    run: Any, s3: Service, disk: Path, tmp_path: Path, place: str
) -> None:
    """In the home; and elsewhere, as AWS_SHARED_CREDENTIALS_FILE says."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    access, secret = s3.keys
    file.write_text(
        f"[backup]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    )
    env = {"AWS_PROFILE": "backup"}
    if place == "elsewhere":
        env["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    converted(run, disk, tmp_path, **env)


def refused(run: Any, url: str, **env: str) -> str:
    """Return the error for *url*: one line."""
    statuses, vm = run(url, **env)
    assert statuses[0] == 12
    message = str(vm["error"]["message"])
    assert "\n" not in message and url in message
    return message


def test_what_is_not_there(run: Any, s3: Service) -> None:
    message = refused(run, "s3://vms/none.vmx", **keys(s3.keys))
    assert "there is no such file" in message
    message = refused(run, "s3://none/web01.vmx", **keys(s3.keys))
    assert "there is no such bucket" in message


def test_who_is_not_let_in(run: Any, s3: Service) -> None:
    url = "s3://vms/web01.vmx"
    assert "there are no credentials" in refused(run, url)
    message = refused(run, url, **keys(s3.others))
    assert "the service refuses to give it" in message
    message = refused(run, url, **keys((s3.keys[0], "wrong")))
    assert "the service does not know the secret key" in message
    message = refused(run, url, **keys(("AKIAUNKNOWN", "wrong")))
    assert "the service does not know the access key" in message


def test_a_profile_that_there_is_not(run: Any) -> None:
    message = refused(run, "s3://vms/web01.vmx", AWS_PROFILE="none")
    assert "there is no such profile" in message
