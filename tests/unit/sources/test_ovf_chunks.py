# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks of an OVF that are stored in pieces: joined without a copy, or told why not."""

import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import MIB, QCOW2, RAW, STREAM, VHD, VMDK, one_disk
from v2v import access, document, layers, process
from v2v.document import VM, Disk, Finding
from v2v.errors import SourceError
from v2v.sources import Request
from v2v.sources import ovf as source


def read(path: Path, **settings: Any) -> VM:
    return next(iter(source.read(Request(location=str(path), **settings))))


def content(vm: VM, disk: Disk, folder: Path) -> bytes:
    """Return what *disk* of *vm* holds, read as every later stage reads it."""
    vm = document.decode(document.encode(vm))
    made = layers.graph(vm.disks[0], access.of(vm))
    out = folder / "out.raw"
    command = ["qemu-img", "convert", "-O", "raw", layers.argument(made), str(out)]
    process.run(command, seconds=60)
    return out.read_bytes()


def finding(vm: VM, code: str) -> Finding:
    return next(f for f in vm.findings if f.code == code)


def cut(name: str, data: bytes, size: int, digits: int = 9) -> dict[str, bytes]:
    """Return the pieces of *data*, *size* bytes each but the last."""
    return {
        f"{name}.{number:0{digits}}": data[at : at + size]
        for number, at in enumerate(range(0, len(data), size))
    }


def stored(text: str, pieces: dict[str, bytes]) -> dict[str, bytes]:
    return {"web01.ovf": text.encode(), **pieces}


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A streamOptimized VMDK, and what the disk holds."""
    path = tmp_path_factory.mktemp("stream") / "a.vmdk"
    held = build.image(path, *STREAM)
    return path.read_bytes(), held


def chunked(size: int, more: str = "") -> str:
    return f"ovf:chunkSize='{size}' {more}"


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/189")
@pytest.mark.parametrize("packed", [False, True])
# A border in the header, in the descriptor within it, in a sector; and none at all.
@pytest.mark.parametrize("size", [100, 700, 65536, 2**30])
def test_a_disk_in_pieces_is_read_as_one_without_a_copy(
    tmp_path: Path, stream: tuple[bytes, bytes], size: int, packed: bool
) -> None:
    data = stream[0]
    text = one_disk("a.vmdk", of_file=chunked(size, f"ovf:size='{len(data)}'"))
    path = build.package(
        tmp_path, stored(text, cut("a.vmdk", data, size)), packed=packed
    )
    if -(-len(data) // size) > 2000:
        pytest.skip("that many are refused, see below")
    before = {p.name for p in tmp_path.iterdir()}
    vm = read(path)
    assert document.blocking(vm) is None and vm.disks[0].size == 4 * MIB
    assert not [f for f in vm.findings if f.code == "size-differs"]
    assert content(vm, vm.disks[0], tmp_path) == stream[1]
    assert {p.name for p in tmp_path.iterdir()} - before == {"out.raw"}


@pytest.mark.parametrize(
    ("name", "format", "options"),
    [
        ("a.vmdk", VMDK, ("-O", "vmdk")),
        ("a.img", RAW, ("-O", "raw")),
        ("a.qcow2", QCOW2, ("-O", "qcow2")),
        ("a.vhd", VHD, ("-O", "vpc", "-o", "force_size")),
        ("a.vhd", VHD, ("-O", "vpc", "-o", "subformat=fixed,force_size")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_images_of_every_format_are_read_in_pieces(
    tmp_path: Path, name: str, format: str, options: tuple[str, ...], packed: bool
) -> None:
    held = build.image(tmp_path / name, *options)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    text = one_disk(name, format, chunked(100_000))
    path = build.package(
        tmp_path, stored(text, cut(name, data, 100_000)), packed=packed
    )
    vm = read(path)
    assert content(vm, vm.disks[0], tmp_path) == held


def test_what_is_no_whole_sector_at_the_end_of_a_raw_disk_is_read(
    tmp_path: Path,
) -> None:
    data = bytes(range(256)) * 5
    pieces = cut("a.img", data[:1201], 601)
    text = one_disk("a.img", RAW, chunked(601))
    vm = read(build.package(tmp_path, stored(text, pieces), packed=False))
    assert content(vm, vm.disks[0], tmp_path).rstrip(b"\0") == data[:1201].rstrip(b"\0")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("gone", "said"), [(0, 0), (3, 3), (-1, 8)])
def test_a_missing_piece_is_named(
    tmp_path: Path, stream: tuple[bytes, bytes], gone: int, said: int, packed: bool
) -> None:
    data = stream[0][: 8 * 8192 + 8192]
    pieces = cut("a.vmdk", data, 8192)
    pieces.pop(list(pieces)[gone])
    text = one_disk("a.vmdk", of_file=chunked(8192, f"ovf:size='{len(data)}'"))
    vm = read(build.package(tmp_path, stored(text, pieces), packed=packed))
    found = finding(vm, "disk-missing")
    assert found.severity == "block" and f"a.vmdk.{said:09}" in found.message


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("number", [1, 3])
def test_a_piece_that_is_not_whole_is_named(
    tmp_path: Path, stream: tuple[bytes, bytes], number: int, change: int
) -> None:
    pieces = cut("a.vmdk", stream[0], 8192)
    name = f"a.vmdk.{number:09}"
    pieces[name] = pieces[name][:-1] if change < 0 else pieces[name] + b"x"
    text = one_disk("a.vmdk", of_file=chunked(8192))
    with pytest.raises(SourceError, match=f"its piece {number}") as e:
        read(build.package(tmp_path, stored(text, pieces), packed=False))
    assert e.value.remedy and "\n" not in e.value.message


def test_a_last_piece_that_is_cut_off_is_found_by_the_format(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    pieces = cut("a.vmdk", stream[0][: len(stream[0]) // 2], 8192)
    text = one_disk("a.vmdk", of_file=chunked(8192))
    with pytest.raises(SourceError, match="truncated"):
        read(build.package(tmp_path, stored(text, pieces), packed=False))


@pytest.mark.parametrize("word", ["1", "0", "-5", "many", "9" * 400])
def test_a_chunk_size_that_is_wrong_is_told_and_the_pieces_count(
    tmp_path: Path, stream: tuple[bytes, bytes], word: str
) -> None:
    pieces = cut("a.vmdk", stream[0], 65536, digits=4)
    text = one_disk("a.vmdk", of_file=f"ovf:chunkSize='{word}'")
    vm = read(build.package(tmp_path, stored(text, pieces), packed=False))
    assert ("size-differs" in {f.code for f in vm.findings}) is (word == "1")
    assert content(vm, vm.disks[0], tmp_path) == stream[1]


def test_two_pieces_of_one_number_are_not_joined(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    pieces = cut("a.vmdk", stream[0], 65536)
    pieces["a.vmdk.1"] = pieces["a.vmdk.000000001"]
    text = one_disk("a.vmdk", of_file=chunked(65536))
    vm = read(build.package(tmp_path, stored(text, pieces), packed=False))
    assert finding(vm, "disk-chunked").severity == "block"


def test_pieces_that_nothing_announces_are_joined_if_only_the_first_is_an_image(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    pieces = cut("a.vmdk", stream[0], 65536)
    vm = read(build.package(tmp_path, stored(one_disk("a.vmdk"), pieces), packed=True))
    assert finding(vm, "disk-joined").severity == "info"
    assert content(vm, vm.disks[0], tmp_path) == stream[1]


def test_of_numbered_whole_images_the_last_is_taken(tmp_path: Path) -> None:
    for number in (9, 10):
        build.image(tmp_path / f"a.vmdk.{number}", *STREAM, size=number * MIB)
    vm = read(build.package(tmp_path, stored(one_disk("a.vmdk"), {}), packed=False))
    assert vm.disks[0].size == 10 * MIB
    assert finding(vm, "disk-snapshots").severity == "warn"


def test_numbered_files_that_nothing_explains_block_and_the_remedy_works(
    tmp_path: Path,
) -> None:
    data = build.image(tmp_path / "x", "-O", "raw")
    pieces = cut("a.img", data, MIB)
    vm = read(
        build.package(tmp_path, stored(one_disk("a.img", RAW), pieces), packed=False)
    )
    found = finding(vm, "disk-chunked")
    assert (found.severity, vm.disks[0].source) == ("block", None)
    join = found.remedy.partition("join them: ")[2].partition(";")[0]
    subprocess.run(["sh", "-c", join], cwd=tmp_path, check=True)
    assert (tmp_path / "a.img").read_bytes() == data


def test_a_piece_that_is_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    pieces = cut("a.vmdk", stream[0], 65536)
    (tmp_path / "secret").write_bytes(pieces.pop("a.vmdk.000000001"))
    text = one_disk("a.vmdk", of_file=chunked(65536))
    path = build.package(folder, stored(text, pieces), packed=False)
    (folder / "a.vmdk.000000001").symlink_to("../secret")
    vm = read(path)
    assert finding(vm, "path-refused").severity == "block"


def test_a_document_cannot_name_a_piece_elsewhere(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    (tmp_path / "secret").write_bytes(bytes(65536))
    (tmp_path / "vm").mkdir()
    text = one_disk("a.vmdk", of_file=chunked(65536))
    pieces = cut("a.vmdk", stream[0], 65536)
    vm = read(build.package(tmp_path / "vm", stored(text, pieces), packed=False))
    layer = vm.disks[0].source
    assert layer
    evil = layer.parts[1].having(path=str(tmp_path / "secret"))
    parts = (layer.parts[0], evil, *layer.parts[2:])
    disk = vm.disks[0].having(source=layer.having(parts=parts))
    with pytest.raises(SourceError, match="outside the folders"):
        layers.graph(disk, access.of(vm))


def test_a_hundred_thousand_pieces_are_one_clear_line_at_once(tmp_path: Path) -> None:
    for number in range(100_000):
        (tmp_path / f"a.vmdk.{number:09}").touch()
    path = build.package(
        tmp_path, stored(one_disk("a.vmdk", of_file=chunked(1)), {}), packed=False
    )
    start = time.process_time()
    found = finding(read(path), "disk-chunked")
    assert time.process_time() - start < 20
    assert "100000 pieces" in found.message and len(found.message) < 300


def test_more_pieces_than_files_may_be_open_are_read(tmp_path: Path) -> None:
    data = bytes(range(1, 201)) * 2048
    pieces = cut("a.img", data, 512)
    text = one_disk("a.img", RAW, chunked(512))
    path = build.package(tmp_path, stored(text, pieces), packed=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        vm = read(path)
        assert content(vm, vm.disks[0], tmp_path) == data
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
