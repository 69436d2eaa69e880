# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs at URLs, on real web servers: read in place, or downloaded once."""

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ovf_package as ovf
from pipelines import Pipeline, command, records, vms, wait_for
from url_server import WebServer, certificates, web

MakeVm = Callable[..., Path]
MIB = 2**20


@pytest.fixture
def server(tmp_path: Path, make_vm: MakeVm) -> Iterator[WebServer]:
    """A server of the folder of the VM web01, of which 12 of 64 MiB are noise."""
    with web(make_vm(data=12).parent) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_left(own_state: Path) -> Iterator[None]:
    """No test may leave a mount, or a view."""
    yield
    assert str(own_state) not in Path("/proc/self/mountinfo").read_text()
    assert not list((own_state / "v2v" / "views").glob("*"))


def inspect(*words: str | Path) -> list[str]:
    return command("v2v-inspect", "--no-guest", "--json", *words)


def convert(tmp_path: Path, *words: str | Path) -> list[str]:
    return command("v2v-convert", "-o", tmp_path / "out", *words)


def run(tmp_path: Path, *commands: list[str], **env: str) -> Pipeline:
    return Pipeline(commands, env=env).start(tmp_path / "said")


def said(tmp_path: Path) -> str:
    return (tmp_path / "said").read_text()


def same(raw: Path, target: Path) -> bool:
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(raw), str(target)]
    done = subprocess.run(compare, stdout=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def refusal(tmp_path: Path, *words: str | Path, **env: str) -> dict[str, Any]:
    """Return the error of a source that cannot be read."""
    job = run(tmp_path, inspect(*words), **env)
    [vm] = vms(job.finish())
    assert job.statuses == [12]
    assert job.left() == []
    error: dict[str, Any] = vm["error"]
    assert "Traceback" not in said(tmp_path)
    assert "nbdkit" not in error["message"]
    return error


def codes(vm: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in vm.get("findings", ())]


@pytest.mark.parametrize("name", ["web01.vmx", "web01.vmdk"])
def test_a_vm_is_read_in_place(tmp_path: Path, server: WebServer, name: str) -> None:
    raw = server.folder / "raw"
    job = run(tmp_path, inspect(f"{server.url}/{name}"), convert(tmp_path))
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0], said(tmp_path)
    assert same(raw, tmp_path / "out" / "web01-sda.qcow2")
    assert vm["disks"][0]["source"]["origin"] == f"{server.url}/web01.vmdk"
    assert vm["source"]["location"] == f"{server.url}/{name}"
    assert not {"downloaded", "unpacked"} & {*codes(vm)}
    assert job.left() == []
    # The data cross the network once, with some headers; nothing is fetched whole.
    assert 12 * MIB < server.sent < 15 * MIB


def test_a_vmdk_in_pieces_is_read_in_place(tmp_path: Path, server: WebServer) -> None:
    pieces = "qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat"
    raw = server.folder / "raw"
    split = server.folder / "web01.vmdk"
    subprocess.run([*pieces.split(), raw, split], check=True)
    assert (server.folder / "web01-flat.vmdk").exists()
    job = run(tmp_path, inspect(f"{server.url}/web01.vmx"), convert(tmp_path))
    job.finish()
    assert job.statuses == [0, 0], said(tmp_path)
    assert same(raw, tmp_path / "out" / "web01-sda.qcow2")
    assert job.left() == []


def test_an_ova_is_read_in_place(tmp_path: Path, server: WebServer) -> None:
    stream = "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized"
    raw, disk = server.folder / "raw", tmp_path / "disk1.vmdk"
    subprocess.run([*stream.split(), raw, disk], check=True)
    text = ovf.one_disk("disk1.vmdk", of_disk=f'ovf:capacity="{64 * MIB}"')
    files = {"vm.ovf": text.encode(), "disk1.vmdk": disk.read_bytes()}
    ovf.archive(server.folder / "a b.ova", files)
    job = run(tmp_path, inspect(f"{server.url}/a%20b.ova"), convert(tmp_path))
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0], said(tmp_path)
    assert same(raw, Path(vm["disks"][0]["target"]["path"]))
    assert server.sent < 17 * MIB


def test_what_is_packed_is_unpacked_once(tmp_path: Path, server: WebServer) -> None:
    packed = server.folder / "web01.vmdk.gz"
    packed.write_bytes(gzip.compress((server.folder / "web01.vmdk").read_bytes(), 1))
    job = run(
        tmp_path,
        inspect(f"{server.url}/web01.vmdk.gz"),
        command("v2v-export"),
        convert(tmp_path),
    )
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0, 0], said(tmp_path)
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")
    assert codes(vm) == ["unpacked"]
    assert f"{server.url}/web01.vmdk.gz is packed" in vm["findings"][0]["message"]
    # Once to look at it, in each stage, and once to unpack it.
    assert server.sent < 1.5 * packed.stat().st_size
    assert job.left() == []


@pytest.mark.report(
    "https://github.com/kubevirt/containerized-data-importer/issues/2737"
)
@pytest.mark.parametrize("head", [403, 405, 200])
def test_a_server_without_ranges_or_head_is_downloaded_from(
    tmp_path: Path, server: WebServer, head: int
) -> None:
    server.manners.head = head
    server.manners.ranges = head != 200
    url = f"{server.url}/web01.vmdk"
    job = run(tmp_path, inspect(url), command("v2v-export"), convert(tmp_path))
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0, 0], said(tmp_path)
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")
    assert codes(vm) == ["downloaded"]
    size = (server.folder / "web01.vmdk").stat().st_size
    assert size <= server.sent < size + 2**16
    assert job.left() == []


def test_a_download_that_breaks_off_goes_on(tmp_path: Path, server: WebServer) -> None:
    server.manners.head = 403
    server.manners.dies_after = MIB
    server.manners.deaths = 2
    url = f"{server.url}/web01.vmdk"
    job = run(tmp_path, inspect(url), convert(tmp_path))
    job.finish()
    assert job.statuses == [0, 0], said(tmp_path)
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")
    assert "broke off at 1048576 bytes, going on" in said(tmp_path)
    assert server.sent < (server.folder / "web01.vmdk").stat().st_size + 2**16


def test_a_server_that_always_dies_is_told(tmp_path: Path, server: WebServer) -> None:
    server.manners.ranges = False
    server.manners.dies_after = MIB
    server.manners.deaths = 10**6
    error = refusal(tmp_path, f"{server.url}/web01.vmdk")
    assert "web01.vmdk broke off at 1048576 bytes" in error["message"]


def test_max_size_bounds_a_download(tmp_path: Path, server: WebServer) -> None:
    server.manners.ranges = False
    error = refusal(tmp_path, "--max-size", "1M", f"{server.url}/web01.vmdk")
    assert "holds more than 1048576 bytes" in error["message"]
    assert server.sent == 0


@pytest.mark.parametrize(
    ("path", "message", "remedy"),
    [
        ("none.vmdk", "there is no such file", "check the URL"),
        ("", "names a folder", "name the description"),
    ],
)
def test_what_is_not_there(
    tmp_path: Path, server: WebServer, path: str, message: str, remedy: str
) -> None:
    error = refusal(tmp_path, f"{server.url}/{path}")
    assert message in error["message"]
    assert remedy in error["remedy"]


def test_a_disk_that_is_not_there_is_a_finding(
    tmp_path: Path, server: WebServer
) -> None:
    (server.folder / "web01.vmdk").unlink()
    job = run(tmp_path, inspect(f"{server.url}/web01.vmx"))
    [vm] = vms(job.finish())
    assert job.statuses == [0]
    [finding] = vm["findings"]
    assert finding["code"] == "disk-missing"
    assert f"{server.url}/web01.vmdk" in finding["message"]


def test_no_server(tmp_path: Path) -> None:
    error = refusal(tmp_path, "http://127.0.0.1:1/vm.ova")
    assert "refuses the connection" in error["message"]
    error = refusal(tmp_path, "http://no-such-host.invalid/vm.ova")
    assert "no host of this name" in error["message"]


def test_a_forbidden_file(tmp_path: Path, server: WebServer) -> None:
    server.manners.query = "right"
    error = refusal(tmp_path, f"{server.url}/web01.vmdk")
    assert "the server refuses to give it" in error["message"]


def test_the_secret_of_a_signed_url_is_shown_nowhere(
    tmp_path: Path, server: WebServer
) -> None:
    server.manners.query = "X-Amz-Signature=abcdef0123"
    server.manners.head = 403
    url = f"{server.url}/web01.vmdk?X-Amz-Signature=abcdef0123"
    job = run(
        tmp_path, [*inspect(url), "-vv"], command("v2v-export", "-vv"),
        convert(tmp_path, "-vv"),
    )  # fmt: skip
    text = job.finish()
    assert job.statuses == [0, 0, 0], said(tmp_path)
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")
    assert "abcdef0123" not in text + said(tmp_path)
    assert "?" not in vms(text)[0]["disks"][0]["source"]["origin"]
    error = refusal(tmp_path, f"{server.url}/web01.vmdk?X-Amz-Signature=wrong42")
    assert "refuses to give it" in error["message"]
    assert "wrong42" not in json.dumps(error) + said(tmp_path)


@pytest.mark.parametrize(
    "url", ["http://me:geheim@127.0.0.1/vm.ova", "ssh://a:geheim@b/c"]
)
def test_a_password_in_a_url_is_refused(tmp_path: Path, url: str) -> None:
    job = run(tmp_path, inspect(url))
    text = job.finish()
    assert job.statuses == [12]
    assert "--url-password" in text
    assert "geheim" not in text + said(tmp_path)


def test_a_password_comes_from_a_file(
    tmp_path: Path, server: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tls = certificates(tmp_path / "tls")
    password = tmp_path / "password"
    password.write_text('ge"h\\eim\n')
    with web(server.folder, tls) as safe:
        safe.manners.login = 'me:ge"h\\eim'
        url = safe.url.replace("://", "://me@") + "/web01.vmx"
        error = refusal(tmp_path, "--tls-dir", tls, url)
        assert "wants a user and a password" in error["message"]
        with_both: list[str | Path] = ["--tls-dir", tls, "--url-password", password]
        job = run(
            tmp_path, [*inspect(*with_both, url), "-vv"], convert(tmp_path, *with_both)
        )
        text = job.finish()
    assert job.statuses == [0, 0], said(tmp_path)
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")
    assert "h\\eim" not in text + said(tmp_path)


def test_a_password_is_not_sent_for_all_to_see(
    tmp_path: Path, server: WebServer
) -> None:
    password = tmp_path / "password"
    password.write_text("geheim\n")
    url = server.url.replace("://", "://me@") + "/web01.vmx"
    error = refusal(tmp_path, "--url-password", password, url)
    assert "everybody on the way could read the password" in error["message"]
    assert server.requests == []


def test_certificates_are_checked(tmp_path: Path, server: WebServer) -> None:
    tls, other = certificates(tmp_path / "tls"), certificates(tmp_path / "other")
    with web(server.folder, tls) as safe:
        url = f"{safe.url}/web01.vmdk"
        wrong: list[list[str | Path]] = [[], ["--tls-dir", other]]
        for words in wrong:
            error = refusal(tmp_path, *words, url)
            assert "certificate is not trusted" in error["message"]
        assert safe.requests == []
        for trust, env in (
            (["--tls-dir", tls], {}),
            (["-x"], {}),
            ([], {"SSL_CERT_FILE": str(tls / "ca-cert.pem")}),
        ):
            job = run(tmp_path, inspect(*trust, url), **env)
            [vm] = vms(job.finish())
            assert job.statuses == [0], said(tmp_path)
            assert vm["disks"][0]["size"] == 64 * MIB


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/x.vmdk", "scp://127.0.0.1/x.vmdk"],
)
def test_redirects_lead_to_the_web_only(
    tmp_path: Path, server: WebServer, target: str
) -> None:
    server.manners.moved = {"/moved.vmdk": target}
    error = refusal(tmp_path, f"{server.url}/moved.vmdk")
    assert "redirected" in error["message"] or "no server" in error["message"]


def test_redirects_to_another_server_need_a_word(
    tmp_path: Path, server: WebServer
) -> None:
    with web(server.folder) as other:
        server.manners.moved = {
            "/moved.vmdk": f"{other.url}/web01.vmdk",
            "/near.vmdk": "/web01.vmdk",
            "/round.vmdk": "/round.vmdk",
        }
        error = refusal(tmp_path, f"{server.url}/moved.vmdk")
        assert "redirected to another server" in error["message"]
        assert f"--allow-url {other.url}/" in error["remedy"]
        assert other.requests == []
        error = refusal(tmp_path, f"{server.url}/round.vmdk")
        assert "redirected without end" in error["message"]
        for words in (
            ["--allow-url", f"{other.url}/", f"{server.url}/moved.vmdk"],
            [f"{server.url}/near.vmdk"],
        ):
            job = run(tmp_path, inspect(*words))
            [vm] = vms(job.finish())
            assert job.statuses == [0], said(tmp_path)
            assert vm["disks"][0]["size"] == 64 * MIB


def test_a_document_from_elsewhere_makes_us_fetch_nothing(
    tmp_path: Path, server: WebServer
) -> None:
    job = run(tmp_path, inspect(f"{server.url}/web01.vmdk"))
    text = job.finish()
    found = records(text)
    found[0]["grants"] = []
    asked = len(server.requests)
    (tmp_path / "foreign").write_text("".join(json.dumps(r) + "\n" for r in found))
    with (tmp_path / "foreign").open() as stdin:
        hostile = Pipeline([convert(tmp_path)]).start(tmp_path / "said", stdin.fileno())
        [vm] = vms(hostile.finish())
    assert hostile.statuses == [12]
    assert "nothing shows that you have named it yourself" in vm["error"]["message"]
    assert f"--allow-url {server.url}/" in vm["error"]["remedy"]
    assert len(server.requests) == asked
    with (tmp_path / "foreign").open() as stdin:
        allowed = convert(tmp_path, "--allow-url", f"{server.url}/")
        job = Pipeline([allowed]).start(tmp_path / "said", stdin.fileno())
        job.finish()
    assert job.statuses == [0], said(tmp_path)
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_all_goes_with_us(
    tmp_path: Path, own_state: Path, server: WebServer, number: int
) -> None:
    job = run(tmp_path, inspect(f"{server.url}/web01.vmdk"), command("v2v-export"))
    stream = job.children[-1].stdout
    assert stream and stream.readline()
    mounts = Path("/proc/self/mountinfo")
    assert str(own_state) in mounts.read_text()
    job.signal(-1, number)
    job.finish()
    assert job.left() == []
    assert wait_for(lambda: str(own_state) not in mounts.read_text(), 5)
    if number == signal.SIGKILL:
        # What it could not remove, the next one does.
        run(tmp_path, inspect(server.folder / "web01.vmx")).finish()


def test_without_fuse_it_is_downloaded(tmp_path: Path, server: WebServer) -> None:
    # A search path in which there is no nbdfuse.
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*") if Path(folder).is_dir() else ():
            if program.name != "nbdfuse" and not (tools / program.name).exists():
                (tools / program.name).symlink_to(program)
    job = run(
        tmp_path,
        inspect(f"{server.url}/web01.vmx"),
        convert(tmp_path),
        PATH=str(tools),
    )
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0], said(tmp_path)
    assert codes(vm) == ["downloaded"]
    assert same(server.folder / "raw", tmp_path / "out" / "web01-sda.qcow2")
