# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing takes root: a user who owns nothing but a home converts what there is."""

import gzip
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ovf_package as ovf
from nbd_vm import write_vmx
from pipelines import command, vms, wait_for
from plain_user import PlainUser, plain_user
from url_server import web

MIB = 2**20
SIZE = 8 * MIB
DATA = random.Random(1).randbytes(3 * MIB) + bytes(SIZE - 3 * MIB)


@pytest.fixture
def user(as_root: None) -> Iterator[PlainUser]:
    with plain_user() as found:
        yield found
        assert found.left() == []


def image(folder: Path, name: str, *options: str) -> Path:
    (folder / "raw").write_bytes(DATA)
    convert = ["qemu-img", "convert", "-f", "raw", *options, "raw", name]
    subprocess.run(convert, check=True, cwd=folder)
    (folder / "raw").unlink()
    return folder / name


def qcow2(folder: Path) -> Path:
    return image(folder, "web01.qcow2", "-O", "qcow2")


def vmx(folder: Path) -> Path:
    image(folder, "web01.vmdk", "-O", "vmdk")
    return write_vmx(folder, "web01", "web01.vmdk")


def ova(folder: Path) -> Path:
    disk = image(folder, "disk1.vmdk", *ovf.STREAM).read_bytes()
    text = ovf.one_disk("disk1.vmdk").encode()
    return ovf.archive(folder / "web01.ova", {"vm.ovf": text, "disk1.vmdk": disk})


def packed(folder: Path) -> Path:
    plain = qcow2(folder)
    (folder / "web01.qcow2.gz").write_bytes(gzip.compress(plain.read_bytes(), 1))
    return folder / "web01.qcow2.gz"


def by_a_program(folder: Path) -> Path:
    subprocess.run(["zstd", "-q", qcow2(folder)], check=True)
    return folder / "web01.qcow2.zst"


def in_blocks(folder: Path) -> Path:
    """Read in place, by nbdkit and nbdfuse."""
    xz = ["xz", "-0", "-T2", "--block-size=1MiB", str(qcow2(folder))]
    subprocess.run(xz, check=True)
    return folder / "web01.qcow2.xz"


BUILDS = [qcow2, vmx, ova, packed, by_a_program, in_blocks]


def stages(user: PlainUser, source: str | Path) -> list[list[str]]:
    out = user.home / "out"
    return [
        command("v2v-inspect", "--no-guest", "--json", source),
        command("v2v-export", "--overlay"),
        command("v2v-convert", "-f", "raw", "-o", out),
        command("v2v-define", "-t", "local", "-o", out),
    ]


@pytest.mark.parametrize("at", ["file", "url"])
@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_a_source_is_converted(
    user: PlainUser, build: Callable[[Path], Path], at: str
) -> None:
    folder = user.folder / "source"
    folder.mkdir()
    source = build(folder)
    user.owns(user.home)
    with web(folder) as server:
        place = source if at == "file" else f"{server.url}/{source.name}"
        job = user.run(*stages(user, place), V2V_SANDBOX="require")
        [vm] = vms(job.finish())
    if "No permissions to create new namespace" in str(vm.get("error")):
        pytest.skip("users may have no namespaces here")
    assert job.statuses == [0, 0, 0, 0], user.said
    made = Path(vm["disks"][0]["target"]["path"])
    assert made.read_bytes() == DATA
    assert made.stat().st_uid == user.home.stat().st_uid
    assert "downloaded" not in str(vm.get("findings"))
    assert "without a sandbox" not in user.said
    assert job.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_killed_one_leaves_the_next_one_removes(
    user: PlainUser, number: int
) -> None:
    """Its mounts too, which root would not see into."""
    folder = user.folder / "source"
    folder.mkdir()
    vmx(folder)
    user.owns(user.home)
    with web(folder) as server:
        server.manners.delay = 0.05
        url = f"{server.url}/web01.vmx"
        run = "read -r line; touch $HOME/ready; exec sleep 100"
        job = user.run(command("v2v-inspect", "--no-guest", "--run", run, url))
        assert wait_for((user.home / "ready").exists), user.said
        assert any("fuse" in line for line in user.left())
        # setpriv and env have become the command itself.
        job.signal(0, number)
        job.finish()
        assert job.left() == []
        again = user.run(*stages(user, url))
        [vm] = vms(again.finish())
    assert again.statuses == [0, 0, 0, 0], user.said
    assert Path(vm["disks"][0]["target"]["path"]).read_bytes() == DATA


def test_a_source_that_the_user_may_not_read_is_one_clear_line(
    user: PlainUser,
) -> None:
    folder = user.folder / "source"
    folder.mkdir()
    source = packed(folder)
    source.chmod(0o600)
    user.owns(user.home)
    job = user.run(*stages(user, source))
    [vm] = vms(job.finish())
    assert vm["error"]["code"] == 12
    assert str(source) in vm["error"]["message"]
    assert "ermission denied" in vm["error"]["message"]
    assert "Traceback" not in user.said


def test_a_home_that_cannot_be_written_is_one_clear_line(user: PlainUser) -> None:
    folder = user.folder / "source"
    folder.mkdir()
    source = packed(folder)
    job = user.run(*stages(user, source))
    job.finish()
    assert job.statuses[0] == 4, user.said
    assert "set XDG_STATE_HOME to a folder of your own" in user.said
    assert "Traceback" not in user.said


def test_a_user_without_a_name_has_what_is_at_a_url_downloaded(
    user: PlainUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in many containers: fusermount3(1) mounts for nobody whom it cannot name."""
    monkeypatch.setattr("plain_user.UID", 64321)
    folder = user.folder / "source"
    folder.mkdir()
    vmx(folder)
    user.owns(user.home)
    with web(folder) as server:
        job = user.run(*stages(user, f"{server.url}/web01.vmx"))
        [vm] = vms(job.finish())
    assert job.statuses == [0, 0, 0, 0], user.said
    assert Path(vm["disks"][0]["target"]["path"]).read_bytes() == DATA
    assert "downloaded" in str(vm["findings"])
