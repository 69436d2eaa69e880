# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptions at a URL, and all that they name beside themselves: read in place."""

import gzip
import hashlib
import os
import random
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import differencing
import ovf_package as ovf
from nbd_vm import write_vmx
from pipelines import Pipeline, command, vms
from url_server import WebServer, web
from v2v.views import urls
from v2v.views.means import Means
from v2v.views.transports import web as transport
from v2v.views.transports.found import Found

MIB = 2**20
SIZE = 8 * MIB
Build = Callable[[Path], tuple[str, bytes]]


@pytest.fixture(autouse=True)
def nothing_is_left(own_state: Path) -> Iterator[None]:
    """No test may leave a mount, or a view."""
    yield
    assert str(own_state) not in Path("/proc/self/mountinfo").read_text()
    assert not list((own_state / "v2v" / "views").glob("*"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "web").mkdir()
    with web(tmp_path / "web") as found:
        yield found


def data(seed: int, size: int = SIZE) -> bytes:
    """Return a disk of which every other MiB is noise."""
    dice = random.Random(seed)
    noise = (dice.randbytes(MIB) if n % 2 else bytes(MIB) for n in range(size // MIB))
    return b"".join(noise)


def qemu(folder: Path, words: str) -> None:
    subprocess.run(words.split(), check=True, cwd=folder, stdout=subprocess.DEVNULL)


def image(folder: Path, name: str, content: bytes, *options: str) -> None:
    (folder / "raw").write_bytes(content)
    convert = ["qemu-img", "convert", "-f", "raw", *options, "raw", name]
    subprocess.run(convert, check=True, cwd=folder)
    (folder / "raw").unlink()


def with_manifest(folder: Path) -> None:
    lines = [
        f"SHA256({file.name})= {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
        for file in sorted(folder.iterdir())
    ]
    (folder / "vm.mf").write_text("".join(lines))


def lone_ovf(folder: Path) -> tuple[str, bytes]:
    image(folder, "disk 1.vmdk", data(1), *ovf.STREAM)
    (folder / "vm.ovf").write_text(ovf.one_disk("disk%201.vmdk"))
    with_manifest(folder)
    return "vm.ovf", data(1)


def ovf_with_a_packed_disk(folder: Path) -> tuple[str, bytes]:
    image(folder, "disk1.vmdk", data(1), *ovf.STREAM)
    packed = gzip.compress((folder / "disk1.vmdk").read_bytes(), 1)
    (folder / "disk1.vmdk").write_bytes(packed)
    text = ovf.one_disk("disk1.vmdk", of_file='ovf:compression="gzip"')
    (folder / "vm.ovf").write_text(text)
    with_manifest(folder)
    return "vm.ovf", data(1)


def pieces(folder: Path, size: int, digits: int = 9) -> int:
    """Cut disk1.vmdk into pieces; return the size that it had."""
    whole = (folder / "disk1.vmdk").read_bytes()
    for number, at in enumerate(range(0, len(whole), size)):
        piece = folder / f"disk1.vmdk.{number:0{digits}}"
        piece.write_bytes(whole[at : at + size])
    (folder / "disk1.vmdk").unlink()
    return len(whole)


def ovf_in_large_pieces(folder: Path) -> tuple[str, bytes]:
    """Each is shown by nbdfuse."""
    image(folder, "disk1.vmdk", data(1), *ovf.STREAM)
    size = pieces(folder, 3 * MIB // 2)
    more = f'ovf:chunkSize="{3 * MIB // 2}" ovf:size="{size}"'
    (folder / "vm.ovf").write_text(ovf.one_disk("disk1.vmdk", of_file=more))
    with_manifest(folder)
    return "vm.ovf", data(1)


def ovf_in_small_pieces_of_three_digits(folder: Path) -> tuple[str, bytes]:
    """Each is fetched as it is; nothing says that the file is in pieces."""
    image(folder, "disk1.vmdk", data(1), *ovf.STREAM)
    pieces(folder, 700_001, 3)
    (folder / "vm.ovf").write_text(ovf.one_disk("disk1.vmdk"))
    return "vm.ovf", data(1)


def snapshots(folder: Path, subformat: str, size: int = SIZE) -> tuple[str, bytes]:
    """A VM of VMware with two snapshots, in extents of *subformat*."""
    base = bytearray(data(1, size))
    image(
        folder,
        "web01.vmdk",
        data(1, size),
        "-O",
        "vmdk",
        "-o",
        f"subformat={subformat}",
    )
    below = "web01"
    for number in (1, 2):
        above = f"web01-{number:06}"
        make = "qemu-img create -q -f vmdk -F vmdk"
        qemu(folder, f"{make} -b {below}.vmdk {above}.vmdk")
        piece = random.Random(number).randbytes(MIB)
        (folder / "piece").write_bytes(piece)
        at = number * 3 * MIB - 512
        write = ["qemu-io", "-f", "vmdk", "-c", f"write -s piece {at} {MIB}"]
        quiet = subprocess.DEVNULL
        subprocess.run([*write, f"{above}.vmdk"], check=True, cwd=folder, stdout=quiet)
        base[at : at + MIB] = piece
        below = above
    (folder / "piece").unlink()
    write_vmx(folder, "web01", f"{below}.vmdk")
    return "web01.vmx", bytes(base)


def vmx_with_snapshots(folder: Path) -> tuple[str, bytes]:
    return snapshots(folder, "monolithicSparse")


def vmx_with_snapshots_of_a_flat_disk(folder: Path) -> tuple[str, bytes]:
    return snapshots(folder, "monolithicFlat")


def vmx_with_a_disk_in_extents(folder: Path) -> tuple[str, bytes]:
    return snapshots(folder, "twoGbMaxExtentSparse")


def qcow2_with_backing(folder: Path) -> tuple[str, bytes]:
    image(folder, "base.qcow2", data(1), "-O", "qcow2")
    make = "qemu-img create -q -f qcow2 -F qcow2 -b"
    qemu(folder, f"{make} base.qcow2 middle.qcow2")
    qemu(folder, f"{make} middle.qcow2 web01.qcow2")
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 100k", "web01.qcow2"]
    subprocess.run(write, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    content = bytearray(data(1))
    content[MIB : MIB + 102400] = bytes([7]) * 102400
    chain = "<backingStore/>"
    for name in ("base", "middle"):
        chain = (
            "<backingStore type='file'><format type='qcow2'/>"
            f"<source file='/images/{name}.qcow2'/>{chain}</backingStore>"
        )
    (folder / "web01.xml").write_text(
        "<domain type='kvm'><name>web01</name><memory>524288</memory>"
        "<os><type>hvm</type></os><devices><disk type='file' device='disk'>"
        "<driver name='qemu' type='qcow2'/><source file='/images/web01.qcow2'/>"
        f"{chain}<target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    return "web01.xml", bytes(content)


def vbox_with_a_snapshot(folder: Path) -> tuple[str, bytes]:
    base, leaf = folder / "base.vdi", folder / "Snapshots" / "leaf.vdi"
    leaf.parent.mkdir()
    image(folder, base.name, data(1), "-O", "vdi")
    top = bytes(3 * MIB) + os.urandom(MIB) + bytes(SIZE - 4 * MIB)
    differencing.vdi(leaf, top, base)
    ids = {p: _vdi_id(p) for p in (base, leaf)}
    (folder / "web01.vbox").write_text(
        '<?xml version="1.0"?><VirtualBox xmlns="http://www.virtualbox.org/" '
        'version="1.16-linux"><Machine uuid="{11111111-1111-4111-8111-111111111111}" '
        'name="web01"><MediaRegistry><HardDisks>'
        f'<HardDisk uuid="{{{ids[base]}}}" location="base.vdi" format="VDI" '
        f'type="Normal"><HardDisk uuid="{{{ids[leaf]}}}" '
        'location="Snapshots/leaf.vdi" format="VDI"/></HardDisk></HardDisks>'
        '</MediaRegistry><Hardware><Memory RAMSize="512"/></Hardware>'
        '<StorageControllers><StorageController name="c" type="AHCI">'
        '<AttachedDevice type="HardDisk" port="0" device="0">'
        f'<Image uuid="{{{ids[leaf]}}}"/></AttachedDevice>'
        "</StorageController></StorageControllers></Machine></VirtualBox>"
    )
    content = bytearray(data(1))
    content[3 * MIB : 4 * MIB] = top[3 * MIB : 4 * MIB]
    return "web01.vbox", bytes(content)


def _vdi_id(path: Path) -> str:
    return str(uuid.UUID(bytes_le=path.read_bytes()[392:408]))


def vhdx_with_a_parent(folder: Path) -> tuple[str, bytes]:
    base, leaf = folder / "base.vhdx", folder / "web01.avhdx"
    image(folder, base.name, data(1), "-O", "vhdx", "-o", "block_size=1M")
    top = random.Random(5).randbytes(SIZE)
    changed = [*range(3000, 3100), 16000]
    differencing.vhdx(leaf, top, changed, base, ".\\base.vhdx")
    content = bytearray(data(1))
    for at in (sector * 512 for sector in changed):
        content[at : at + 512] = top[at : at + 512]
    return "web01.avhdx", bytes(content)


@pytest.mark.parametrize(
    "build",
    [
        *(lone_ovf, ovf_with_a_packed_disk, ovf_in_large_pieces),
        *(ovf_in_small_pieces_of_three_digits, vmx_with_snapshots),
        *(vmx_with_snapshots_of_a_flat_disk, vmx_with_a_disk_in_extents),
        *(qcow2_with_backing, vbox_with_a_snapshot, vhdx_with_a_parent),
    ],
    ids=lambda build: build.__name__,
)
def test_all_of_it_is_read(tmp_path: Path, server: WebServer, build: Build) -> None:
    name, content = build(server.folder)
    vm, said = converted(tmp_path, f"{server.url}/{name}")
    assert "error" not in vm, (vm, said)
    made = Path(vm["disks"][0]["target"]["path"]).read_bytes()
    assert made == content
    layer = vm["disks"][0]["source"]
    beside = [layer, *layer.get("backing", ()), *layer.get("parts", ())]
    for part in beside:
        assert part["origin"].startswith(f"{server.url}/")
    codes = {f["code"] for f in vm.get("findings", ())}
    assert "downloaded" not in codes


def converted(tmp_path: Path, url: str) -> tuple[dict[str, Any], str]:
    inspect = command("v2v-inspect", "--no-guest", "--json", url)
    convert = command("v2v-convert", "-f", "raw", "-o", tmp_path / "out")
    job = Pipeline([inspect, convert]).start(tmp_path / "said")
    [vm] = vms(job.finish())
    assert job.left() == []
    return vm, (tmp_path / "said").read_text()


def test_a_piece_that_is_not_there_is_named(tmp_path: Path, server: WebServer) -> None:
    name, _ = ovf_in_large_pieces(server.folder)
    (server.folder / "disk1.vmdk.000000001").unlink()
    vm, _ = converted(tmp_path, f"{server.url}/{name}")
    messages = " ".join(f["message"] for f in vm["findings"])
    assert vm["error"]["code"] == 10
    assert "disk1.vmdk.000000001" in messages


def test_pieces_without_end_are_refused(tmp_path: Path, server: WebServer) -> None:
    for number in range(300):
        (server.folder / f"disk1.vmdk.{number:09}").write_bytes(b"x" * 512)
    (server.folder / "vm.ovf").write_text(ovf.one_disk("disk1.vmdk"))
    vm, said = converted(tmp_path, f"{server.url}/vm.ovf")
    assert vm["error"]
    assert "more than 256 pieces" in str(vm)
    assert "Traceback" not in said
    assert len(server.requests) < 800


@pytest.mark.parametrize("name", ["web01.vmdk", "web01-000001.vmdk"])
def test_a_parent_that_is_not_there_is_named(
    tmp_path: Path, server: WebServer, name: str
) -> None:
    vmx_with_snapshots(server.folder)
    (server.folder / name).unlink()
    vm, said = converted(tmp_path, f"{server.url}/web01.vmx")
    assert vm["error"]["code"] in (10, 12)
    assert name in str(vm["error"]) + str(vm.get("findings"))
    assert "Traceback" not in said


def test_a_backing_file_that_only_the_image_names_is_refused(
    tmp_path: Path, server: WebServer
) -> None:
    """As on this host: whoever wrote the image could name any file."""
    qcow2_with_backing(server.folder)
    vm, _ = converted(tmp_path, f"{server.url}/web01.qcow2")
    assert vm["error"]["code"] == 12
    assert f"{server.url}/web01.qcow2" in vm["error"]["message"]
    assert "libvirt XML with <backingStore>" in vm["error"]["remedy"]


def test_a_file_that_changes_meanwhile_is_an_error_and_no_mixture(
    tmp_path: Path, server: WebServer
) -> None:
    """While it is downloaded; its first part has come by then."""
    image(server.folder, "web01.vmdk", data(1), "-O", "vmdk")
    server.manners.head = 403
    server.manners.dies_after = MIB
    server.manners.deaths = 1
    server.manners.after_death = lambda: os.utime(server.folder / "web01.vmdk")
    vm, said = converted(tmp_path, f"{server.url}/web01.vmdk")
    assert "it has changed on the server meanwhile" in vm["error"]["message"]
    assert "Traceback" not in said


def test_and_while_it_is_read_in_place(server: WebServer) -> None:
    (server.folder / "web01.raw").write_bytes(data(1))
    found = transport.look(urls.parse(f"{server.url}/web01.raw"), Means())
    assert found
    asked = [w for w in transport.server(found, Means()) if "cache" not in w]
    # The filter would try again for a minute.
    asked = [w for w in asked if w not in ("-f", "--filter=retry")]
    size = [*asked, "-U", "-", "--run", 'nbdinfo --size "$uri"']
    done = subprocess.run(size, capture_output=True, check=True, text=True)
    assert int(done.stdout) == SIZE
    os.utime(server.folder / "web01.raw")
    done = subprocess.run(size, capture_output=True, check=False, text=True)
    assert done.returncode
    assert "412" in done.stderr


@pytest.mark.parametrize(
    ("mark", "condition"),
    [
        ('"abc-1"', 'If-Match: "abc-1"'),
        ('W/"abc"', ""),
        ("Fri, 27 Nov 2026 09:00:00 GMT", ""),
        ('"a\r\nHost: x"', ""),
        ("", ""),
    ],
)
def test_only_a_strong_mark_is_a_condition(mark: str, condition: str) -> None:
    url = urls.parse("https://host/x.raw")
    words = transport.server(Found(url=url, size=1, mark=mark), Means())
    assert [w for w in words if "header" in w] == (
        [f"header={condition}"] * bool(condition)
    )
