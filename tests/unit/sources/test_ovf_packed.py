# SPDX-License-Identifier: GPL-2.0-or-later
"""Packed disks of an OVF: unpacked once, whatever the attributes and names say."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

import ovf_package as build
from ovf_package import RAW, VMDK, disk_item, disk_of, file_of, one_disk, ovf
from v2v import access, document, layers, process, views
from v2v.document import VM, Finding
from v2v.errors import SourceError
from v2v.sources import Request
from v2v.sources import ovf as source

pytestmark = pytest.mark.usefixtures("own_views")


def read(path: Path) -> VM:
    """Return the VM as v2v-inspect hands it on."""
    vm = next(iter(source.read(Request(location=str(path)))))
    return document.decode(document.encode(views.marked(vm)))


def content(vm: VM, folder: Path) -> bytes:
    """Return what the disk of *vm* holds, read as another process reads it."""
    views.leave()
    made = layers.graph(vm.disks[0], access.of(vm))
    out = folder / "out.raw"
    command = ["qemu-img", "convert", "-O", "raw", layers.argument(made), str(out)]
    process.run(command, seconds=60)
    return out.read_bytes()


def finding(vm: VM, code: str) -> Finding:
    return next(f for f in vm.findings if f.code == code)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("pack", "name", "attribute"),
    [
        (gzip.compress, "a.vmdk.gz", "ovf:compression='gzip'"),
        (gzip.compress, "a.vmdk", "ovf:compression='gzip'"),
        (gzip.compress, "a.vmdk", ""),
        (gzip.compress, "a.vmdk", "ovf:compression='identity'"),
        (bz2.compress, "a.vmdk.bz2", "ovf:compression='bzip2'"),
        (lzma.compress, "a.vmdk.xz", ""),
    ],
)
def test_a_packed_disk_is_read(
    tmp_path: Path,
    own_views: Path,
    stream: tuple[bytes, bytes],
    pack: Callable[[bytes], bytes],
    name: str,
    attribute: str,
    packed: bool,
) -> None:
    data = pack(stream[0])
    text = one_disk(name, of_file=f"{attribute} ovf:size='{len(data)}'")
    members = {"web01.ovf": text.encode(), name: data}
    vm = read(build.package(tmp_path, members, packed=packed))
    assert document.blocking(vm) is None
    assert not [f for f in vm.findings if f.code == "size-differs"]
    assert finding(vm, "unpacked").severity == "info"
    assert content(vm, tmp_path) == stream[1]
    views.leave()
    assert not list(own_views.iterdir())


@pytest.mark.parametrize(
    ("name", "attribute"), [("a.img", "ovf:compression='gzip'"), ("a.img.gz", "")]
)
def test_a_raw_disk_is_unpacked_if_its_name_or_the_ovf_says_so(
    tmp_path: Path, name: str, attribute: str
) -> None:
    held = build.image(tmp_path / "x", "-O", "raw")
    text = one_disk(name, RAW, attribute)
    members = {"web01.ovf": text.encode(), name: gzip.compress(held)}
    assert (
        content(read(build.package(tmp_path, members, packed=True)), tmp_path) == held
    )


def test_what_a_guest_wrote_into_its_raw_disk_is_not_unpacked(tmp_path: Path) -> None:
    held = gzip.compress(bytes(2**20)).ljust(4096, b"\0")
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": held}
    vm = read(build.package(tmp_path, members, packed=False))
    assert vm.disks[0].size == 4096 and content(vm, tmp_path) == held


def test_a_disk_that_only_claims_to_be_packed_is_read(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    text = one_disk("a.vmdk", of_file="ovf:compression='gzip'")
    members = {"web01.ovf": text.encode(), "a.vmdk": stream[0]}
    vm = read(build.package(tmp_path, members, packed=False))
    assert content(vm, tmp_path) == stream[1]


def test_a_packed_disk_that_is_cut_off_is_refused(
    tmp_path: Path, own_views: Path, stream: tuple[bytes, bytes]
) -> None:
    data = gzip.compress(stream[0])[:-20]
    members = {"web01.ovf": one_disk("a.vmdk").encode(), "a.vmdk": data}
    path = build.package(tmp_path, members, packed=True)
    with pytest.raises(SourceError, match="cut off") as e:
        read(path)
    assert e.value.remedy and "\n" not in e.value.message


def test_a_disk_that_holds_more_than_is_allowed_is_refused(
    tmp_path: Path, own_views: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.limits, "most", 2**20)
    data = gzip.compress(bytes(2**26))
    assert len(data) < 2**17
    text = one_disk("a.img", RAW, "ovf:compression='gzip'")
    members = {"web01.ovf": text.encode(), "a.img": data}
    with pytest.raises(SourceError, match="more than 1048576 bytes"):
        read(build.package(tmp_path, members, packed=True))
    views.leave()
    assert not [f for f in own_views.rglob("*") if f.is_file() and f.stat().st_size > 0]


def test_packed_disks_of_a_packed_package_are_read(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    members = {
        "web01.ovf": one_disk("a.vmdk").encode(),
        "a.vmdk": gzip.compress(stream[0]),
    }
    path = build.package(tmp_path, members, packed=True)
    (tmp_path / "b.ova.gz").write_bytes(gzip.compress(path.read_bytes()))
    inner = views.source(str(tmp_path / "b.ova.gz"))
    vm = read(Path(inner))
    layer = vm.disks[0].source
    assert layer and layer.origin == str(tmp_path / "b.ova.gz")
    assert content(vm, tmp_path) == stream[1]


@pytest.mark.parametrize("packed", [False, True])
def test_pieces_of_a_packed_disk_block_and_the_remedy_unpacks_them(
    tmp_path: Path, stream: tuple[bytes, bytes], packed: bool
) -> None:
    import subprocess

    data = gzip.compress(stream[0])
    middle = len(data) // 2 + 1
    text = one_disk(
        "a.vmdk", of_file=f"ovf:compression='gzip' ovf:chunkSize='{middle}'"
    )
    pieces = {"a.vmdk.000000000": data[:middle], "a.vmdk.000000001": data[middle:]}
    members = {"web01.ovf": text.encode(), **pieces}
    vm = read(build.package(tmp_path, members, packed=packed))
    found = finding(vm, "disk-compressed")
    assert (found.severity, found.disk) == ("block", "sda")
    if not packed:
        unpack = found.remedy.partition("unpack the disk: ")[2].partition(";")[0]
        subprocess.run(["sh", "-c", unpack], cwd=tmp_path, check=True)
        assert (tmp_path / "DISK").read_bytes() == stream[0]


def test_a_packed_delta_lies_on_its_packed_parent(tmp_path: Path) -> None:
    import subprocess

    base, delta = tmp_path / "base.vmdk", tmp_path / "delta.vmdk"
    held = bytearray(build.image(base, "-O", "vmdk"))
    create = "qemu-img create -q -f vmdk -F vmdk -b base.vmdk delta.vmdk"
    subprocess.run(create.split(), cwd=tmp_path, check=True)
    write = ["qemu-io", "-f", "vmdk", "delta.vmdk", "-c", "write -P 7 1M 64k"]
    subprocess.run(write, cwd=tmp_path, check=True, stdout=subprocess.PIPE)
    held[2**20 : 2**20 + 65536] = b"\7" * 65536
    files = file_of("base.vmdk") + file_of("delta.vmdk", "file2")
    lies_on = disk_of(VMDK, "disk2", "file2", "ovf:parentRef='disk1'")
    text = ovf(files, disk_of() + lies_on, build.system(disk_item(4, "disk2")))
    members = {"web01.ovf": text.encode()}
    for file in (base, delta):
        members[file.name] = gzip.compress(file.read_bytes())
        file.unlink()
    assert (
        content(read(build.package(tmp_path, members, packed=True)), tmp_path) == held
    )
