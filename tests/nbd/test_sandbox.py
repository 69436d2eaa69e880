# SPDX-License-Identifier: GPL-2.0-or-later
"""What a program of qemu can do that a hostile image has made its own: next to nothing.

The images here are given to qemu past our own checks of them.  Each attack is shown to
work without walls first: only then does it prove anything that it fails within them.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import Pipeline, command, wait_for
from v2v import layers, overlays, process, sandbox, server
from v2v.errors import HostError
from v2v.process import ToolError
from v2v.servers import Graph

MIB = 2**20
SECRET = b"root of all evil".ljust(512, b"!") * 128


@pytest.fixture(autouse=True)
def demanded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Demand the sandbox, so that no test passes for want of one.

    In a chroot there is none: bwrap needs a mount at / and namespaces of users.
    """
    sandbox.usable.cache_clear()
    monkeypatch.setenv("V2V_SANDBOX", "require")
    try:
        sandbox.usable()
    except HostError as e:
        pytest.skip(e.message)
    finally:
        sandbox.usable.cache_clear()  # a test may want another answer
    yield
    sandbox.usable.cache_clear()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the host, in a folder of its own."""
    path = tmp_path / "host" / "secret"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def image(path: Path, format_: str) -> Graph:
    """Return the graph of the image at *path*, as servers make it."""
    storage = {"driver": "file", "filename": str(path), "read-only": True}
    return Graph(node={"driver": format_, "file": storage, "read-only": True})


def info(graph: Graph, within: list[str]) -> None:
    process.run(["qemu-img", "info", layers.argument(graph)], within=within)


def vmdk_of(folder: Path, name: str) -> Path:
    """Write a VMDK whose data are the file *name*."""
    path = folder / "web01.vmdk"
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 128 FLAT "{name}" 0\n'
    )
    return path


def test_a_vmdk_cannot_have_another_file_of_the_host_opened(
    tmp_path: Path, secret: Path
) -> None:
    graph = image(vmdk_of(tmp_path, str(secret)), "vmdk")
    info(graph, [])
    with pytest.raises(ToolError, match="No such file or directory"):
        info(graph, sandbox.walls("qemu-img", graph))


def test_nor_can_it_by_a_way_up(tmp_path: Path, secret: Path) -> None:
    graph = image(vmdk_of(tmp_path, "host/secret"), "vmdk")
    info(graph, [])
    with pytest.raises(ToolError, match="No such file or directory"):
        info(graph, sandbox.walls("qemu-img", graph))


def test_its_parts_beside_it_are_served(tmp_path: Path, secret: Path) -> None:
    secret.rename(tmp_path / "web01-flat.vmdk")
    graph = image(vmdk_of(tmp_path, "web01-flat.vmdk"), "vmdk")
    with layers.serving(graph) as uri:
        assert read(uri, len(SECRET)) == SECRET


def test_and_if_they_are_links(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "web01-flat.vmdk").symlink_to(secret)
    graph = image(vmdk_of(tmp_path, "web01-flat.vmdk"), "vmdk")
    with layers.serving(graph) as uri:
        assert read(uri, len(SECRET)) == SECRET


def test_and_if_they_are_very_many(tmp_path: Path, secret: Path) -> None:
    """More than bwrap would take one by one."""
    lines = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
    lines += 'createType="twoGbMaxExtentFlat"\n'
    for number in range(800):
        (tmp_path / f"part-{number}").write_bytes(bytes([number % 256]) * 512)
        lines += f'RW 1 FLAT "part-{number}" 0\n'
    (tmp_path / "part-799").unlink()
    (tmp_path / "part-799").symlink_to(secret)
    (tmp_path / "web01.vmdk").write_text(lines)
    graph = image(tmp_path / "web01.vmdk", "vmdk")
    with layers.serving(graph) as uri:
        data = read(uri, 800 * 512)
    assert data[::512][:799] == bytes(number % 256 for number in range(799))
    assert data[-512:] == SECRET[:512]


def read(uri: str, count: int) -> bytes:
    import nbd

    connection = nbd.NBD()
    connection.connect_uri(uri)
    pieces = [connection.pread(min(MIB, count - at), at) for at in range(0, count, MIB)]
    connection.shutdown()
    return b"".join(map(bytes, pieces))


def test_a_qcow2_cannot_have_a_backing_file_opened(
    tmp_path: Path, secret: Path
) -> None:
    path = qcow2_over(tmp_path, str(secret).encode())
    graph = image(path, "qcow2")
    assert copied(graph, tmp_path, [])[:16] == SECRET[:16]
    with pytest.raises(ToolError, match="No such file or directory"):
        copied(graph, tmp_path, sandbox.walls("qemu-img", graph, files=[out(tmp_path)]))


def qcow2_over(folder: Path, name: bytes) -> Path:
    """Write what a guest can write: a qcow2 header with a backing file of any name."""
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", 2, 72, len(name), 16, MIB, 0, 1, 0x10000, 0x20000, 1, 0, 0),
    )
    path = folder / "web01.qcow2"
    path.write_bytes((head + name).ljust(3 * 65536, b"\0"))
    return path


def out(folder: Path) -> Path:
    path = folder / "out.raw"
    path.touch()
    os.truncate(path, MIB)
    return path


def copied(graph: Graph, folder: Path, within: list[str]) -> bytes:
    """Return what qemu-img copies of *graph*."""
    file = out(folder)
    convert = ["qemu-img", "convert", "-n", "-O", "raw", layers.argument(graph)]
    process.run([*convert, str(file)], within=within, seconds=60)
    return file.read_bytes()


def test_a_qcow2_cannot_have_a_connection_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = f"nbd://127.0.0.1:{server.getsockname()[1]}/x"
        graph = image(qcow2_over(tmp_path, name.encode()), "qcow2")
        greeter = threading.Thread(target=lambda: server.accept()[0].close())
        greeter.start()
        with pytest.raises(ToolError):
            copied(graph, tmp_path, [])
        greeter.join(30)
        assert not greeter.is_alive()

        within = sandbox.walls("qemu-img", graph, files=[out(tmp_path)])
        with pytest.raises(ToolError, match=r"refused|unreachable"):
            copied(graph, tmp_path, within)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_is_only_read_cannot_be_written(tmp_path: Path) -> None:
    """By root neither, who could write to a file of mode 0400."""
    path = tmp_path / "web01.raw"
    path.write_bytes(SECRET)
    graph = image(path, "raw")
    graph.node |= {"read-only": False}
    graph.node["file"] |= {"read-only": False}
    write = ["qemu-io", "-c", "write -P 7 0 512", layers.argument(graph)]
    with pytest.raises(ToolError, match="Read-only file system"):
        process.run(write, within=sandbox.walls("qemu-io", graph))
    assert path.read_bytes() == SECRET
    process.run(write, within=sandbox.walls("qemu-io", graph, write=True))
    assert path.read_bytes()[:512] == bytes([7]) * 512


def test_it_sees_nothing_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "web01.raw").write_bytes(SECRET)
    graph = image(tmp_path / "web01.raw", "raw")
    see = "cd /; ls -d * etc/* dev/* home/* root/* proc/* tmp/*"
    done = process.run(
        ["sh", "-c", see], within=sandbox.walls("sh", graph), ok=range(256)
    )
    seen = set(done.stdout.decode().split())
    own = {
        *(tmp_path.parts[1], "/".join(tmp_path.parts[1:3])),
        *["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"],
    }
    assert seen <= own | {
        *("etc", "etc/ld.so.cache", "etc/crypto-policies", "etc/gnutls"),
        *("dev", "dev/null", "dev/zero", "dev/random", "dev/urandom"),
    }


def test_an_image_that_eats_memory_is_one_clear_line(tmp_path: Path) -> None:
    """60 extents, each with 64 MiB of tables: 4 GiB, were they read."""
    head = struct.pack("<4sIIQQQQIQQQB", b"KDMV", 1, 3, 2**33, 1, 0, 0, 512, 0, 1, 1, 0)
    (tmp_path / "part").write_bytes(head.ljust(512, b"\0"))
    os.truncate(tmp_path / "part", 2**27)
    (tmp_path / "web01.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        'createType="twoGbMaxExtentSparse"\n' + f'RW {2**33} SPARSE "part"\n' * 60
    )
    graph = image(tmp_path / "web01.vmdk", "vmdk")
    with pytest.raises(ToolError, match=r"Cannot allocate memory$") as caught:
        info(graph, sandbox.walls("qemu-img", graph))
    assert "\n" not in caught.value.message


def test_time_that_is_used_up_is_one_clear_line(tmp_path: Path) -> None:
    within = sandbox.walls("sh", seconds=1)
    with pytest.raises(ToolError, match="more time than any disk needs"):
        process.run(["sh", "-c", "while :; do :; done"], within=within, seconds=60)


def test_what_a_client_wrote_and_never_flushed_is_there_after_the_end(
    tmp_path: Path,
) -> None:
    """qemu-nbd writes its tables when it ends; killed it would lose them."""
    import nbd

    base, over = tmp_path / "base.raw", tmp_path / "over.qcow2"
    base.write_bytes(SECRET.ljust(64 * MIB, b"\0"))
    overlays.create(over, 64 * MIB)
    places = range(MIB, 64 * MIB, 3 * MIB)
    connection = nbd.NBD()
    with layers.serving(layers.stacked(over, image(base, "raw")), write=True) as uri:
        connection.connect_uri(uri)
        for at in places:
            connection.pwrite(bytes([at // MIB]) * 4096, at)
    wanted = bytearray(base.read_bytes())
    for at in places:
        wanted[at : at + 4096] = bytes([at // MIB]) * 4096
    with layers.serving(layers.stacked(over, image(base, "raw"))) as uri:
        assert read(uri, 64 * MIB) == wanted
    assert base.read_bytes()[: len(SECRET)] == SECRET


OWNER = """
import sys, time
from pathlib import Path
from v2v import layers
from v2v.servers import Graph
node = {"driver": "file", "filename": sys.argv[1], "read-only": True}
with layers.serving(Graph(node={"driver": "raw", "file": node})) as uri:
    Path(sys.argv[1] + ".uri").write_text(uri)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_within_ends_with_its_owner(tmp_path: Path, number: int) -> None:
    disk = tmp_path / "web01.raw"
    disk.write_bytes(SECRET)
    job = Pipeline([[sys.executable, "-c", OWNER, str(disk)]]).start(tmp_path / "said")
    assert wait_for(lambda: Path(f"{disk}.uri").exists())
    read(Path(f"{disk}.uri").read_text(), 512)
    assert any("bwrap" in line for line in job.orphans())
    job.signal(0, number)
    job.finish()
    assert job.left() == []


def test_an_endpoint_of_another_process_can_be_reached(tmp_path: Path) -> None:
    """By its socket alone: that needs no network."""
    (tmp_path / "web01.raw").write_bytes(SECRET)
    with layers.serving(image(tmp_path / "web01.raw", "raw")) as uri:
        for path in (uri.partition("=")[2], os.path.relpath(uri.partition("=")[2])):
            place = {"type": "unix", "path": path}
            node = {"driver": "nbd", "server": place, "export": ""}
            graph = Graph(node={"driver": "raw", "file": node})
            within = sandbox.walls("qemu-img", graph)
            assert "--unshare-net" in within
            info(graph, within)


def test_a_host_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "web01.raw").write_bytes(SECRET)
    serving = layers.command(image(tmp_path / "web01.raw", "raw"))
    with server.serve_tcp(serving, "127.0.0.1", 0) as port:
        place = {"type": "inet", "host": "localhost", "port": str(port)}
        node = {"driver": "nbd", "server": place, "export": ""}
        graph = Graph(node={"driver": "raw", "file": node})
        info(graph, sandbox.walls("qemu-img", graph))


def test_a_fuse_file_system_can_be_read(tmp_path: Path) -> None:
    """It shows its files to the very user only that mounted it."""
    if not shutil.which("nbdfuse") or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs nbdfuse and /dev/fuse")
    (tmp_path / "web01.raw").write_bytes(SECRET)
    (tmp_path / "view").mkdir()
    view = tmp_path / "view" / "web01"
    with layers.serving(image(tmp_path / "web01.raw", "raw")) as uri:
        fuse = subprocess.Popen(["nbdfuse", str(view), uri])
        try:
            if not wait_for(lambda: view.exists() or fuse.poll() is not None):
                pytest.fail("nbdfuse does not mount")
            with layers.serving(image(view, "raw")) as again:
                assert read(again, len(SECRET)) == SECRET
        finally:
            fuse.terminate()
            fuse.wait(30)


def as_nobody(folder: Path, script: str, *arguments: Path) -> str:
    """Run *script* as a user without rights, who owns *folder*; return its output."""
    if os.getuid():
        pytest.skip("needs root")
    shutil.chown(folder, 65534, 65534)
    done = subprocess.run(
        [
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *(sys.executable, "-c", script, *map(str, arguments)),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can get at."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


READ = """
import sys, nbd
from v2v import layers
from v2v.servers import Graph
node = {"driver": "file", "filename": sys.argv[1], "read-only": True}
with layers.serving(Graph(node={"driver": "raw", "file": node})) as uri:
    connection = nbd.NBD()
    connection.connect_uri(uri)
    print(bytes(connection.pread(16, 0)).decode())
"""


def test_a_user_without_rights_has_a_sandbox(public: Path) -> None:
    (public / "web01.raw").write_bytes(SECRET)
    shown = as_nobody(public, READ, public / "web01.raw")
    assert shown.strip() == SECRET[:16].decode()


def test_root_can_read_what_is_anothers(public: Path) -> None:
    if os.getuid():
        pytest.skip("needs root")
    path = public / "web01.raw"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    shutil.chown(path, 65534, 65534)
    shutil.chown(public, 65534, 65534)
    public.chmod(0o700)
    with layers.serving(image(path, "raw")) as uri:
        assert read(uri, 16) == SECRET[:16]


def refusing(folder: Path) -> str:
    """Return a PATH whose bwrap is refused its namespaces, as in a container."""
    folder.mkdir()
    (folder / "bwrap").write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    (folder / "bwrap").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_where_it_is_refused_that_is_said_once_and_all_goes_on(
    tmp_path: Path, make_vm: Callable[..., Path]
) -> None:
    env = {"PATH": refusing(tmp_path / "bin"), "V2V_SANDBOX": ""}
    job = convert(tmp_path, make_vm(), env)
    said = (tmp_path / "said").read_text()
    assert job.statuses == [0, 0], said
    lines = [line for line in said.splitlines() if "without a sandbox" in line]
    stages = sorted(line.partition(":")[0] for line in lines)
    assert stages == ["v2v-convert", "v2v-inspect"]
    assert all("No permissions to create new namespace" in line for line in lines)


def test_v2v_says_it_for_all_its_stages(
    tmp_path: Path, make_vm: Callable[..., Path]
) -> None:
    """Fixup has no appliance here, but export and measuring come before it."""
    env = {"PATH": refusing(tmp_path / "bin"), "V2V_SANDBOX": ""}
    env["LIBGUESTFS_PATH"] = str(tmp_path / "none")
    run = command("v2v", "-t", "null", "-o", tmp_path / "out", make_vm())
    job = Pipeline([run], env=env).start(tmp_path / "said")
    job.finish()
    said = (tmp_path / "said").read_text()
    assert job.statuses == [4], said
    assert said.count("without a sandbox") == 1


def test_where_it_is_not_wanted_nothing_is_said(
    tmp_path: Path, make_vm: Callable[..., Path]
) -> None:
    env = {"PATH": refusing(tmp_path / "bin"), "V2V_SANDBOX": "off"}
    job = convert(tmp_path, make_vm(), env)
    assert job.statuses == [0, 0]
    assert "sandbox" not in (tmp_path / "said").read_text()


def test_where_it_is_demanded_and_refused_nothing_is_opened(
    tmp_path: Path, make_vm: Callable[..., Path]
) -> None:
    env = {"PATH": refusing(tmp_path / "bin"), "V2V_SANDBOX": "require"}
    job = convert(tmp_path, make_vm(), env)
    said = (tmp_path / "said").read_text()
    assert job.statuses[-1] == 4, said
    [line] = [line for line in said.splitlines() if ": error: " in line]
    assert "V2V_SANDBOX=require" in line
    assert "Traceback" not in said


def convert(folder: Path, vmx: Path, env: dict[str, str]) -> Pipeline:
    inspect = command("v2v-inspect", "--no-guest", vmx)
    job = Pipeline([inspect, command("v2v-convert", "-o", folder / "out")], env=env)
    job.start(folder / "said").finish()
    return job


def test_without_bwrap_the_limits_remain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for program in ("prlimit", "qemu-img", "setpriv", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("V2V_SANDBOX", "")
    for _ in range(3):
        within = sandbox.walls("qemu-img", image(tmp_path / "web01.raw", "raw"))
        assert within[0] == "prlimit" and "bwrap" not in within
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "bwrap is not installed" in caplog.text
    process.run(["qemu-img", "--version"], within=within)
