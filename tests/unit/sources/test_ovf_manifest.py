# SPDX-License-Identifier: GPL-2.0-or-later
import hashlib
from pathlib import Path
from typing import Any

import pytest

import ovf_package as build
from ovf_package import MIB, STREAM, one_disk, ovf
from v2v import digests
from v2v.document import VM, Finding
from v2v.errors import SourceError
from v2v.ovf import manifest
from v2v.sources import Request
from v2v.sources import ovf as source


def read(path: Path, **settings: Any) -> VM:
    return next(iter(source.read(Request(location=str(path), **settings))))


def finding(vm: VM, code: str) -> Finding:
    return next(f for f in vm.findings if f.code == code)


def put(folder: Path, text: str, name: str = "web01.ovf") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A streamOptimized VMDK."""
    path = tmp_path_factory.mktemp("stream") / "a.vmdk"
    build.image(path, *STREAM, size=MIB)
    return path.read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "SHA1(a b.vmdk)= {}",
        "SHA1 (a b.vmdk) = {}",
        "sha1(./a b.vmdk)={}\r",
        "SHA-1( a b.vmdk )= {}",
    ],
)
def test_a_manifest_is_read_in_every_spelling(line: str) -> None:
    digest = "0123456789abcdef" * 2 + "01234567"
    entries, odd = manifest.parse(line.format(digest.upper()).encode())
    assert not odd
    assert entries == [manifest.Entry(name="a b.vmdk", algorithm="sha1", digest=digest)]


@pytest.mark.parametrize("word", ["SHA256", "SHA-256", "SHA2-256", "sha256"])
def test_sha256_has_many_names(word: str) -> None:
    entries, _ = manifest.parse(f"{word}(x)= 00".encode())
    assert [e.algorithm for e in entries] == ["sha256"]


def package(stream: bytes, algorithm: str = "sha256") -> dict[str, bytes]:
    """Return the members of an OVA with a manifest."""
    members = {"web01.ovf": one_disk("a.vmdk").encode(), "a.vmdk": stream}
    lines = [
        f"{algorithm.upper()}({name})= {hashlib.new(algorithm, data).hexdigest()}\n"
        for name, data in members.items()
    ]
    members["web01.mf"] = "".join(lines).encode()
    return members


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_manifest_that_holds_leaves_nothing_to_say(
    tmp_path: Path, stream: bytes, algorithm: str, packed: bool
) -> None:
    members = package(stream, algorithm)
    path = build.package(tmp_path, members, packed=packed)
    assert not [f for f in read(path).findings if f.code.startswith("manifest")]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("name", ["a.vmdk", "web01.ovf"])
def test_a_file_that_the_manifest_was_not_made_of_is_refused(
    tmp_path: Path,
    stream: bytes,
    name: str,
    algorithm: str,
    packed: bool,
) -> None:
    members = package(stream, algorithm)
    wanted = hashlib.new(algorithm, members[name]).hexdigest()
    members[name] += b" \n" if name.endswith("ovf") else bytes(512)
    found = hashlib.new(algorithm, members[name]).hexdigest()
    path = build.package(tmp_path, members, packed=packed)
    with pytest.raises(SourceError, match=f"{name}.*{found}.*{wanted}") as e:
        read(path, digests_now=True)
    assert "--no-verify-manifest" in e.value.remedy


@pytest.mark.parametrize("packed", [False, True])
def test_a_disk_is_compared_with_the_manifest_when_it_is_copied(
    tmp_path: Path, stream: bytes, packed: bool
) -> None:
    members = package(stream)
    wanted = hashlib.sha256(members["a.vmdk"]).hexdigest()
    members["a.vmdk"] += bytes(512)
    path = build.package(tmp_path, members, packed=packed)
    [disk] = read(path).disks
    assert disk.source
    [digest] = disk.source.digests
    assert (digest.name, digest.value) == ("a.vmdk", wanted)
    assert digest.length == len(members["a.vmdk"])
    with (
        pytest.raises(SourceError, match=f"a.vmdk.*{wanted}"),
        digests.compared([digest], Path),
    ):
        pass


def test_a_file_that_is_no_disk_is_compared_at_once(
    tmp_path: Path, stream: bytes
) -> None:
    members = package(stream) | {"notes.iso": b"x"}
    digest = hashlib.sha256(b"other").hexdigest()
    members["web01.mf"] += f"SHA256(notes.iso)= {digest}\n".encode()
    path = build.archive(tmp_path / "a.ova", members)
    with pytest.raises(SourceError, match=r"notes\.iso"):
        read(path)


def test_a_broken_disk_is_told_by_its_digest_first(
    tmp_path: Path, stream: bytes
) -> None:
    members = package(stream)
    members["a.vmdk"] = bytes(len(stream))
    path = build.archive(tmp_path / "a.ova", members)
    with pytest.raises(SourceError, match="its SHA256 is"):
        read(path)


def test_a_manifest_that_does_not_hold_can_be_passed_over(
    tmp_path: Path, stream: bytes
) -> None:
    members = package(stream)
    members["web01.ovf"] += b"\n"
    path = build.archive(tmp_path / "a.ova", members)
    vm = read(path, verify_manifest=False)
    assert not [f for f in vm.findings if f.code.startswith("manifest")]


def test_a_package_without_a_manifest_is_described_and_that_is_said(
    tmp_path: Path,
) -> None:
    assert finding(read(put(tmp_path, ovf())), "manifest-missing").severity == "info"


def test_a_manifest_that_leaves_a_file_out_is_said(
    tmp_path: Path, stream: bytes
) -> None:
    members = package(stream)
    members["web01.mf"] = members["web01.mf"].splitlines(keepends=True)[0]
    vm = read(build.archive(tmp_path / "a.ova", members))
    assert "a.vmdk" in finding(vm, "manifest-incomplete").message


def test_a_manifest_with_a_file_that_is_not_there_is_described(tmp_path: Path) -> None:
    put(tmp_path, f"SHA1(gone.vmdk)= {'0' * 40}\n", "web01.mf")
    vm = read(put(tmp_path, one_disk("gone.vmdk")))
    assert finding(vm, "disk-missing") and finding(vm, "manifest-incomplete")


def test_a_manifest_that_is_not_understood_is_said(tmp_path: Path) -> None:
    put(tmp_path, "MD5(web01.ovf)= 00\nnonsense\n", "web01.mf")
    vm = read(put(tmp_path, ovf()))
    assert finding(vm, "manifest-unreadable").severity == "warn"
