# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever is in a file, a header reader says Image or SourceError, and soon."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v import formats
from v2v.errors import SourceError
from v2v.formats import Image

KINDS = {
    "qcow2": "",
    "qcow2-wide": "-o extended_l2=on",
    "vpc": "",
    "vpc-fixed": "-o subformat=fixed",
    "vhdx": "-o block_size=1M",
    "vdi": "",
    "parallels": "",
}
# Where headers, tables and footers are; bytes from the start.
PLACES = {
    "qcow2": [(0, 1024), (0x10000, 0x60000)],
    "qcow2-wide": [(0, 1024), (0x10000, 0x60000)],
    "vpc": [(0, 4096)],
    "vpc-fixed": [(0, 64)],
    "vhdx": [(0, 64), (0x10000, 0x10060), (0x30000, 0x30060), (0x200000, 0x300200)],
    "vdi": [(0, 1024)],
    "parallels": [(0, 128)],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "raw").write_bytes(bytes(2**20) + os.urandom(2**16) + bytes(2**19))
    found = {}
    for kind, options in KINDS.items():
        name = kind.partition("-")[0]
        command = f"qemu-img convert -f raw -O {name} {options} raw {kind}"
        subprocess.run(command.split(), cwd=folder, check=True)
        found[kind] = (folder / kind).read_bytes()
    return found


def examined(kind: str, path: Path) -> object:
    try:
        return formats.load(kind.partition("-")[0]).examine(path, Path)
    except SourceError as e:
        return e


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_changed_header_gives_an_image_or_a_source_error(
    images: dict[str, bytes], tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    whole = bytearray(images[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        first, last = data.draw(st.sampled_from(PLACES[kind]))
        at = data.draw(st.integers(first, last))
        size = data.draw(st.sampled_from([1, 4, 8]))
        what = data.draw(
            st.one_of(
                st.binary(min_size=size, max_size=size),
                st.sampled_from([b"\xff" * size, bytes(size), b"\x7f" + b"\xff" * 7]),
            )
        )
        whole[at : at + len(what)] = what
    if kind == "vpc-fixed" and data.draw(st.booleans()):
        at = len(whole) - 512 + data.draw(st.integers(0, 511))
        whole[at] ^= data.draw(st.integers(1, 255))
    del whole[data.draw(st.one_of(st.none(), st.integers(0, len(whole)))) :]
    path = tmp_path / "image"
    path.write_bytes(whole)
    assert isinstance(examined(kind, path), Image | SourceError)
    formats.recognise(path)


@pytest.mark.parametrize("kind", ["qcow2", "vpc", "vhdx", "vdi", "vmdk"])
@given(noise=st.binary(max_size=2000), repeat=st.integers(1, 200))
def test_noise_behind_a_magic_gives_an_image_or_a_source_error(
    tmp_path: Path, kind: str, noise: bytes, repeat: int
) -> None:
    magic = {
        "qcow2": b"QFI\xfb\0\0\0\3",
        "vpc": b"conectix",
        "vhdx": b"vhdxfile",
        "vdi": bytes(64) + b"\x7f\x10\xda\xbe\1\0\1\0",
        "vmdk": b"KDMV",
    }[kind]
    path = tmp_path / "image"
    path.write_bytes(magic + noise * repeat + magic + noise)
    assert isinstance(examined(kind, path), Image | SourceError)


@pytest.mark.parametrize("kind", ["qcow2", "vpc", "vhdx", "vdi"])
def test_what_is_no_such_image_is_refused_with_what_to_do(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "image"
    for data in (b"", b"x", bytes(70000), os.urandom(4096)):
        path.write_bytes(data)
        found = examined(kind, path)
        assert isinstance(found, SourceError)
        assert found.remedy
