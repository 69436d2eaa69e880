# SPDX-License-Identifier: GPL-2.0-or-later
"""Deltas of an OVF (parentRef) are served with their parents, wherever both lie."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

import ovf_deltas
import ovf_package
from containers import served
from v2v import access, document, views
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request
from v2v.sources import ovf as source

MIB = 2**20
# Neither grains nor MiB.
SIZE = 33 * MIB + 1536
CHUNK = 1_000_003


def read(path: Path) -> VM:
    """Return the VM as v2v-inspect hands it on, to another process."""
    vm = next(iter(source.read(Request(location=str(path)))))
    vm = document.decode(document.encode(views.marked(vm)))
    views.leave()
    return vm


def bytes_of(vm: VM) -> bytes:
    assert document.blocking(vm) is None, vm.findings
    (disk,) = vm.disks
    assert disk.source and disk.size == SIZE
    return served(disk.source, access.of(vm))


def pieces(name: str, data: bytes) -> dict[str, bytes]:
    """Return *data* as the pieces of an OVF, the last one shorter."""
    starts = range(0, len(data), CHUNK)
    return {f"{name}.{n:09}": data[at : at + CHUNK] for n, at in enumerate(starts)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["sparse", "stream", "silent", "qcow2"])
def test_a_delta_lies_on_its_parent(tmp_path: Path, kind: str, packed: bool) -> None:
    format, base, delta = ovf_deltas.images(tmp_path / "made", kind, SIZE)
    members = {
        "a.txt": b"x" * 77,
        "web01.ovf": ovf_deltas.text(format).encode(),
        "base": base,
        "delta": delta,
    }
    vm = read(ovf_package.package(tmp_path, members, packed=packed))
    assert bytes_of(vm) == ovf_deltas.held(SIZE)


@pytest.mark.parametrize(
    ("kind", "packed", "cut"),
    [
        ("sparse", True, "base"),
        ("stream", False, "delta"),
        ("silent", True, "both"),
        ("qcow2", False, "both"),
    ],
)
def test_a_delta_in_pieces_or_on_pieces(
    tmp_path: Path, kind: str, packed: bool, cut: str
) -> None:
    format, *made = ovf_deltas.images(tmp_path / "made", kind, SIZE)
    chunked = {name: f"ovf:chunkSize='{CHUNK}'" for name in ("base", "delta")}
    if cut != "both":
        chunked = {cut: chunked[cut]}
    text = ovf_deltas.text(format, chunked.get("base", ""), chunked.get("delta", ""))
    members = {"web01.ovf": text.encode()}
    for name, data in zip(("base", "delta"), made, strict=True):
        members |= pieces(name, data) if name in chunked else {name: data}
    vm = read(ovf_package.package(tmp_path, members, packed=packed))
    assert bytes_of(vm) == ovf_deltas.held(SIZE)


@pytest.mark.parametrize("unpacked", ["base", "delta", ""])
def test_packed_ones_are_unpacked(tmp_path: Path, unpacked: str) -> None:
    format, base, delta = ovf_deltas.images(tmp_path / "made", "stream", SIZE)
    members = {"web01.ovf": ovf_deltas.text(format).encode()}
    for name, data in (("base", base), ("delta", delta)):
        members[name] = data if name == unpacked else gzip.compress(data, 1)
    vm = read(ovf_package.package(tmp_path, members, packed=True))
    assert bytes_of(vm) == ovf_deltas.held(SIZE)


def test_a_delta_on_a_delta(tmp_path: Path) -> None:
    """The one in the middle is in pieces, the uppermost says nothing of a parent."""
    _, base, middle = ovf_deltas.images(tmp_path / "1", "stream", SIZE)
    _, _, top = ovf_deltas.images(tmp_path / "2", "silent", SIZE)
    text = ovf_deltas.text("vmdk", of_delta=f"ovf:chunkSize='{CHUNK}'")
    third = ovf_package.disk_of(id="disk3", file="file3", more="ovf:parentRef='disk2'")
    text = (
        text.replace(
            "</References>", '<File ovf:id="file3" ovf:href="top"/></References>'
        )
        .replace("</DiskSection>", f"{third}</DiskSection>")
        .replace("/disk/disk2", "/disk/disk3")
    )
    members = {"web01.ovf": text.encode(), "base": base, "top": top}
    members |= pieces("delta", middle)
    vm = read(ovf_package.archive(tmp_path / "a.ova", members))
    layer = vm.disks[0].source
    assert layer and [bool(file.parts) for file in layer.backing] == [True, False]
    assert bytes_of(vm) == ovf_deltas.held(SIZE)


def test_a_delta_whose_parent_was_changed_is_refused(tmp_path: Path) -> None:
    _, base, delta = ovf_deltas.images(tmp_path / "made", "stream", SIZE)
    members: Mapping[str, bytes] = {
        "web01.ovf": ovf_deltas.text("vmdk").encode(),
        "base": base.replace(b"\nCID=", b"\nCID=1", 1),
        "delta": delta,
    }
    path = ovf_package.archive(tmp_path / "a.ova", members)
    with pytest.raises(SourceError, match="delta was made on a disk with CID") as e:
        read(path)
    assert e.value.remedy


def test_a_document_from_elsewhere_opens_no_parent(tmp_path: Path) -> None:
    """A chain's members are checked as its top is, with offset or in pieces."""
    format, base, delta = ovf_deltas.images(tmp_path / "made", "sparse", SIZE)
    members = {"web01.ovf": ovf_deltas.text(format).encode(), "delta": delta}
    members |= pieces("base", base)
    text = (
        members["web01.ovf"]
        .decode()
        .replace('ovf:href="base"', f'ovf:href="base" ovf:chunkSize="{CHUNK}"')
    )
    members["web01.ovf"] = text.encode()
    folder = tmp_path / "vm"
    folder.mkdir()
    vm = read(ovf_package.package(folder, members, packed=False))
    layer = vm.disks[0].source
    assert layer
    (below,) = layer.backing
    (tmp_path / "secret").write_bytes(below.parts[0].path.encode().ljust(CHUNK, b"\0"))
    parts = (below.parts[0].having(path=str(tmp_path / "secret")), *below.parts[1:])
    forged = layer.having(backing=(below.having(parts=parts),))
    with pytest.raises(SourceError, match="secret"):
        served(forged, access.of(vm))
