# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of an OVF that are at URLs elsewhere: fetched if the user has said so."""

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ovf_package as ovf
from pipelines import Pipeline, command, vms
from url_server import WebServer, web

MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    """A server of disk.vmdk, and of it packed."""
    folder = tmp_path / "web"
    folder.mkdir()
    held = ovf.image(folder / "disk.vmdk", *ovf.STREAM, size=20 * MIB)
    (tmp_path / "held").write_bytes(held)
    data = (folder / "disk.vmdk").read_bytes()
    (folder / "disk.vmdk.gz").write_bytes(gzip.compress(data))
    with web(folder) as found:
        yield found


def package(tmp_path: Path, href: str, *, packed: bool = False) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    members = {"web01.ovf": ovf.one_disk(href).encode()}
    return ovf.package(folder, members, packed=packed)


def inspect(tmp_path: Path, *words: str | Path) -> dict[str, Any]:
    job = Pipeline([command("v2v-inspect", "--no-guest", "--json", *words)])
    [vm] = vms(job.start(tmp_path / "said").finish())
    return vm


def codes(vm: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for finding in vm.get("findings", [])}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["disk.vmdk", "disk.vmdk.gz"])
def test_a_disk_at_a_url_is_read_if_that_is_allowed(
    tmp_path: Path, server: WebServer, own_state: Path, name: str, packed: bool
) -> None:
    path = package(tmp_path, f"{server.url}/{name}", packed=packed)
    refused = codes(inspect(tmp_path, path))["path-refused"]
    assert refused["severity"] == "block"
    assert f"--allow-url {server.url}/" in refused["remedy"]
    assert server.requests == []
    allowed = ["--allow-url", f"{server.url}/"]
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", *allowed, path),
            command("v2v-convert", "-o", tmp_path / "out", "--format", "raw"),
        ]
    ).start(tmp_path / "said")
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0], (tmp_path / "said").read_text()
    assert vm["disks"][0]["source"]["origin"] == f"{server.url}/{name}"
    [made] = (tmp_path / "out").glob("*sda*")
    assert made.read_bytes() == (tmp_path / "held").read_bytes()
    assert not list((own_state / "v2v" / "views").glob("*"))


def test_another_folder_of_that_server_is_not_allowed(
    tmp_path: Path, server: WebServer
) -> None:
    path = package(tmp_path, f"{server.url}/disk.vmdk")
    vm = inspect(tmp_path, "--allow-url", f"{server.url}/other/", path)
    assert "path-refused" in codes(vm) and server.requests == []


def test_a_disk_that_is_not_at_its_url_is_missing(
    tmp_path: Path, server: WebServer
) -> None:
    path = package(tmp_path, f"{server.url}/gone.vmdk")
    vm = inspect(tmp_path, "--allow-url", f"{server.url}/", path)
    assert codes(vm)["disk-missing"]["severity"] == "block"
    assert "error" not in vm


def test_a_secret_in_an_href_is_not_shown(tmp_path: Path, server: WebServer) -> None:
    path = package(tmp_path, f"{server.url}/disk.vmdk?X-Amz-Signature=hush")
    assert "hush" not in json.dumps(inspect(tmp_path, path))
    assert "hush" not in (tmp_path / "said").read_text()


def test_an_ovf_at_a_url_names_its_disk_by_that(
    tmp_path: Path, server: WebServer
) -> None:
    text = ovf.one_disk(f"{server.url}/disk.vmdk")
    (server.folder / "web01.ovf").write_text(text)
    vm = inspect(tmp_path, f"{server.url}/web01.ovf")
    assert not [f for f in vm["findings"] if f["severity"] == "block"]
    assert vm["disks"][0]["size"] == 20 * MIB


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ["ova", "disk"])
def test_a_zip_at_a_url_is_read(
    tmp_path: Path, server: WebServer, own_state: Path, kind: str, method: int
) -> None:
    data = (server.folder / "disk.vmdk").read_bytes()
    members = {"web01/web01.ovf": ovf.one_disk("web01/disk.vmdk").encode()}
    members = {**(members if kind == "ova" else {}), "web01/disk.vmdk": data}
    ovf.zipped(server.folder / "vm.zip", members, method)
    url = f"{server.url}/vm.zip"
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", url),
            command("v2v-convert", "-o", tmp_path / "out", "--format", "raw"),
        ]
    ).start(tmp_path / "said")
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0], (tmp_path / "said").read_text()
    assert (vm["source"]["kind"], vm["source"]["location"]) == (kind, url)
    assert vm["disks"][0]["source"]["origin"] == url
    [made] = (tmp_path / "out").glob("*sda*")
    assert made.read_bytes() == (tmp_path / "held").read_bytes()
    assert not list((own_state / "v2v" / "views").glob("*"))
