# SPDX-License-Identifier: GPL-2.0-or-later
"""OVF packages that are zip archives: read in place where members are only stored."""

import gzip
import hashlib
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import RAW, one_disk
from v2v import access, document, layers, process, sources, views
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request
from v2v.sources import ovf as source

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


pytestmark = pytest.mark.usefixtures("own_views")


def read(path: Path, **settings: Any) -> VM:
    """Return the VM as v2v-inspect hands it on."""
    vm = next(iter(sources.read(Request(location=str(path), **settings))))
    return document.decode(document.encode(views.marked(vm)))


def content(vm: VM, folder: Path) -> bytes:
    """Return what the disk of *vm* holds, read as another process reads it."""
    views.leave()
    made = layers.graph(vm.disks[0], access.of(vm))
    out = folder / "out.raw"
    command = ["qemu-img", "convert", "-O", "raw", layers.argument(made), str(out)]
    process.run(command, seconds=60)
    return out.read_bytes()


def refused(path: Path) -> SourceError:
    with pytest.raises(SourceError) as e:
        read(path)
    assert "\n" not in e.value.message and e.value.remedy
    return e.value


@pytest.mark.parametrize("name", ["a.ova", "a.zip", "A.OVA.ZIP"])
@pytest.mark.parametrize("folder", ["", "web01/"])
@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_zip_is_read(
    tmp_path: Path,
    own_views: Path,
    stream: tuple[bytes, bytes],
    name: str,
    folder: str,
    method: int,
) -> None:
    members = {
        f"{folder}web01.ovf": one_disk(f"{folder}a.vmdk").encode(),
        f"{folder}a.vmdk": stream[0],
    }
    vm = read(build.zipped(tmp_path / name, members, method))
    assert (vm.source.kind, vm.name) == ("ova", "web01")
    assert document.blocking(vm) is None
    codes = {finding.code for finding in vm.findings}
    assert ("unpacked" in codes) == (method == DEFLATED)
    layer = vm.disks[0].source
    assert layer and (layer.origin or layer.path) == str(tmp_path / name)
    assert content(vm, tmp_path) == stream[1]
    views.leave()
    assert not own_views.exists() or not list(own_views.iterdir())


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_what_follows_a_raw_disk_of_odd_size_is_not_read(
    tmp_path: Path, method: int
) -> None:
    held = b"x" * (2**20 + 77)
    members = {
        "web01.ovf": one_disk("a.img", RAW).encode(),
        "a.img": held,
        "b.txt": b"y" * 2000,
    }
    vm = read(build.zipped(tmp_path / "a.zip", members, method))
    assert content(vm, tmp_path) == held.ljust(2**20 + 512, b"\0")


def test_a_gzip_ped_disk_in_a_zip_is_unpacked(
    tmp_path: Path, stream: tuple[bytes, bytes]
) -> None:
    members = {
        "web01.ovf": one_disk("a.vmdk.gz").encode(),
        "a.vmdk.gz": gzip.compress(stream[0]),
    }
    vm = read(build.zipped(tmp_path / "a.zip", members, STORED))
    assert content(vm, tmp_path) == stream[1]
    twice = build.zipped(tmp_path / "b.zip", members, DEFLATED)
    assert "packed by gzip, and then by zip" in refused(twice).message


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_pieces_in_a_zip_are_joined(
    tmp_path: Path, stream: tuple[bytes, bytes], method: int
) -> None:
    data = stream[0]
    text = one_disk("a.vmdk", of_file="ovf:chunkSize='10001'")
    members = {"web01.ovf": text.encode()}
    for number, at in enumerate(range(0, len(data), 10_001)):
        members[f"a.vmdk.{number:09}"] = data[at : at + 10_001]
    vm = read(build.zipped(tmp_path / "a.zip", members, method))
    assert content(vm, tmp_path) == stream[1]


@pytest.mark.parametrize("method", [STORED, DEFLATED])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_the_manifest_of_a_zip_is_compared(
    tmp_path: Path, stream: tuple[bytes, bytes], method: int, algorithm: str
) -> None:
    text = one_disk("a.vmdk").encode()
    files = {"web01.ovf": text, "a.vmdk": stream[0]}
    sums = "".join(
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, data).hexdigest()}\n"
        for name, data in files.items()
    )
    members = {**files, "web01.mf": sums.encode()}
    good = build.zipped(tmp_path / "a.zip", members, method)
    vm = read(good)
    assert not [f for f in vm.findings if f.code.startswith("manifest")]
    layer = vm.disks[0].source
    assert layer and [d.algorithm for d in layer.digests] == [algorithm]
    now = read(good, digests_now=True).disks[0].source
    assert now and not now.digests
    members["a.vmdk"] = stream[0][:-1] + b"\1"
    bad = build.zipped(tmp_path / "b.zip", members, method)
    with pytest.raises(SourceError, match=f"a.vmdk: its {algorithm.upper()} is"):
        read(bad, digests_now=True)


def test_a_member_that_holds_more_than_is_allowed_is_refused(
    tmp_path: Path, own_views: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.limits, "most", 2**20)
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": bytes(2**26)}
    path = build.zipped(tmp_path / "a.zip", members, DEFLATED)
    assert path.stat().st_size < 2**17
    assert "more than 1048576 bytes" in refused(path).message
    # And if it does not say so.
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(magic, data.index(magic) + 4) + offset
        assert data[at : at + 4] == struct.pack("<I", 2**26)
        data[at : at + 4] = struct.pack("<I", 512)
    path.write_bytes(data)
    assert "more than 1048576 bytes" in refused(path).message
    monkeypatch.setattr(views.limits, "most", None)
    assert "holds 67108864 bytes, and its directory says 512" in refused(path).message
    views.leave()
    assert not [f for f in own_views.rglob("*") if f.is_file() and f.stat().st_size > 0]


def test_a_deflated_member_that_is_damaged_is_refused(tmp_path: Path) -> None:
    noise = bytes(range(256)) * 4000
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": noise}
    path = build.zipped(tmp_path / "a.zip", members, DEFLATED)
    whole = path.read_bytes()
    at = whole.index(b"a.img", whole.index(b"PK\3\4", 4)) + 5
    for place in (at + 2, at + 40, at + 1000):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        )
        assert "is damaged" in refused(path).message


def test_an_encrypted_member_is_said(tmp_path: Path) -> None:
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": b"x" * 512}
    path = build.zipped(tmp_path / "a.zip", members, STORED)
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(magic, data.index(magic) + 4) + offset] |= 1
    path.write_bytes(data)
    found = refused(path)
    assert "'a.img' is encrypted" in found.message and "7z" in found.remedy


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_way_to_pack_is_said(tmp_path: Path, method: int) -> None:
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": b"x" * 512}
    path = build.zipped(tmp_path / "a.zip", members, method)
    found = refused(path)
    assert "in a way that is not known" in found.message and "7z" in found.remedy


def test_a_zip_without_an_ovf_or_with_two_is_refused(tmp_path: Path) -> None:
    two = {"a.ovf": b"<Envelope/>", "b.ovf": b"<Envelope/>"}
    found = refused(build.zipped(tmp_path / "a.zip", two, STORED))
    assert "several OVFs: a.ovf, b.ovf" in found.message and "unzip" in found.remedy


def test_what_a_guest_wrote_into_its_raw_disk_is_no_archive(tmp_path: Path) -> None:
    members = {"web01.ovf": one_disk("a.img", RAW).encode(), "a.img": b"x" * 512}
    data = build.zipped(tmp_path / "a.zip", members, STORED).read_bytes()
    disk = tmp_path / "disk.img"
    disk.write_bytes(data.ljust(2**20, b"\0"))
    assert not source.claims(str(disk))
    members = {"web01.ovf": one_disk("d.img", RAW).encode(), "d.img": data + bytes(9)}
    held = content(read(build.archive(tmp_path / "b.ova", members)), tmp_path)
    assert held[: len(data)] == data
