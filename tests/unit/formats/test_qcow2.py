# SPDX-License-Identifier: GPL-2.0-or-later
import os
import struct
import subprocess
from pathlib import Path

import pytest

from v2v.errors import SourceError
from v2v.formats import qcow2

MIB = 2**20
SIZE = 33 * MIB + 512
KINDS = {
    "plain": "",
    "v2": "-o compat=0.10",
    "zlib": "-c",
    "zstd": "-c -o compression_type=zstd",
    "wide": "-o extended_l2=on,cluster_size=128k",
    "small": "-o cluster_size=512",
    "large": "-o cluster_size=2M",
    "lazy": "-o lazy_refcounts=on",
    "fine": "-o refcount_bits=1",
    "reserved": "-o preallocation=metadata",
    "full": "-o preallocation=full",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One disk, with data at its end too, as each kind of qcow2."""
    folder = tmp_path_factory.mktemp("qcow2")
    with (folder / "raw").open("wb") as file:
        file.seek(5 * MIB)
        file.write(os.urandom(2 * MIB))
        file.seek(SIZE - 700)
        file.write(b"end" + bytes(696) + b"!")
    for kind, options in KINDS.items():
        run(folder, f"qemu-img convert -f raw -O qcow2 {options} raw {kind}")
    return folder


def run(folder: Path, command: str) -> None:
    subprocess.run(command.split(), cwd=folder, check=True, stdout=subprocess.DEVNULL)


def changed(image: Path, copy: Path, at: int, data: bytes) -> Path:
    """Return *copy*, made of *image* with *data* at *at*."""
    whole = bytearray(image.read_bytes())
    whole[at : at + len(data)] = data
    copy.write_bytes(whole)
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_accepted_with_its_size(images: Path, kind: str) -> None:
    found = qcow2.examine(images / kind, Path)
    assert (found.size, found.differencing) == (SIZE, False)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("reserved", "full")])
def test_a_file_cut_off_anywhere_is_refused(
    images: Path, kind: str, tmp_path: Path
) -> None:
    data = (images / kind).read_bytes()
    short = tmp_path / "short"
    # qemu-img pads compressed clusters to whole sectors.
    for length in [*range(0, len(data) - 512, len(data) // 40), len(data) - 512]:
        short.write_bytes(data[:length])
        with pytest.raises(SourceError):
            qcow2.examine(short, Path)


def test_a_leaked_cluster_behind_the_end_does_not_matter(
    images: Path, tmp_path: Path
) -> None:
    image = images / "plain"
    at, clusters = struct.unpack_from(">QI", image.read_bytes(), 48)
    (block,) = struct.unpack_from(">Q", image.read_bytes(), at)
    last = image.stat().st_size // 65536 + 3
    leaking = changed(image, tmp_path / "leak", block + 2 * last, b"\0\1")
    assert clusters == 1
    assert qcow2.examine(leaking, Path).size == SIZE


def test_a_member_of_an_archive_is_read_in_place(images: Path, tmp_path: Path) -> None:
    data = (images / "zlib").read_bytes()
    archive = tmp_path / "archive"
    archive.write_bytes(bytes(1536) + data + bytes(1024))
    assert qcow2.examine(archive, Path, 1536, len(data)).size == SIZE
    with pytest.raises(SourceError, match="truncated"):
        qcow2.examine(archive, Path, 1536, len(data) + 4096)


def test_a_backing_file_is_told_but_not_opened(tmp_path: Path) -> None:
    run(tmp_path, "qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw x.qcow2 1M")
    found = qcow2.examine(tmp_path / "x.qcow2", Path)
    assert (found.differencing, found.parent) == (True, "/etc/passwd")


def test_an_external_data_file_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "qemu-img create -q -f qcow2 -o data_file=other.raw x.qcow2 1M")
    with pytest.raises(SourceError, match="another file") as e:
        qcow2.examine(tmp_path / "x.qcow2", Path)
    assert "qemu-img convert" in e.value.remedy


@pytest.mark.parametrize("method", [1, 2])
def test_an_encrypted_image_is_refused(
    images: Path, tmp_path: Path, method: int
) -> None:
    copy = changed(images / "plain", tmp_path / "x", 32, struct.pack(">I", method))
    with pytest.raises(SourceError, match="encrypted"):
        qcow2.examine(copy, Path)


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (72, 1 << 40, "not known"),
        (72, 1 << 1, "corrupt"),
        (104, 9 << 56, "not known"),
        (24, 2**63, "is none"),
        (24, 0, "is none"),
        (36, 0, "too small"),
        (36, 0xFFFFFFFF << 32, "impossible"),
        (40, 65537, "impossible"),
        (20, 40 << 32, "2.40 bytes"),
        (4, 1 << 32, "version 1"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused(
    images: Path, tmp_path: Path, at: int, value: int, what: str
) -> None:
    bad = changed(images / "plain", tmp_path / "bad", at, struct.pack(">Q", value))
    with pytest.raises(SourceError, match=what):
        qcow2.examine(bad, Path)


def test_a_long_backing_name_is_refused(images: Path, tmp_path: Path) -> None:
    name = struct.pack(">QI", 1000, 2**31)
    with pytest.raises(SourceError, match="impossible"):
        qcow2.examine(changed(images / "plain", tmp_path / "bad", 8, name), Path)


def test_internal_snapshots_are_named(images: Path, tmp_path: Path) -> None:
    copy = changed(images / "plain", tmp_path / "x", 0, b"")
    run(tmp_path, "qemu-img snapshot -c before x")
    run(tmp_path, "qemu-img snapshot -c after-update x")
    assert qcow2.snapshots(copy) == ["before", "after-update"]
    assert qcow2.snapshots(images / "plain") == []
