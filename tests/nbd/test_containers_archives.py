# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks in an XVA or a VMA are served where they lie, and hostile ones refused."""

import random
from pathlib import Path

import pytest

import archives
from archives import content
from containers import access, allocated, converted, node, served
from v2v.document import Layer
from v2v.errors import SourceError
from v2v.mapping import vma, xva
from v2v.views import store

MIB = 2**20


@pytest.mark.parametrize("keep_alive", [0, 3])
def test_the_disks_of_an_xva_are_served_in_place(
    tmp_path: Path, keep_alive: int
) -> None:
    disks = {"Ref:3": content(1, 40 * MIB), "Ref:12": content(2, 33 * MIB + 1024)}
    path = tmp_path / "a.xva"
    archives.xva(path, b"<value/>", disks, keep_alive=keep_alive)
    reach = access(tmp_path, tmp_path / "private")
    for name, data in disks.items():
        layer = Layer(server="xva", path=str(path), member=name, length=len(data))
        assert converted(node(layer, reach)) == data
        assert served(layer, reach) == data
    # Eight layers for each disk, with a header of 64 KiB each.
    assert allocated(store.root()) < 3 * MIB


def test_the_disks_of_a_vma_are_served_in_place(tmp_path: Path) -> None:
    disks = {
        "drive-scsi0": content(3, 40 * MIB),
        "drive-virtio1": content(4, 30 * MIB + 512),
    }
    order = list(range(40 * 16))
    random.Random(5).shuffle(order)
    path = tmp_path / "a.vma"
    archives.vma(path, {"qemu-server.conf": b"name: x\n"}, disks, order)
    found = vma.header(path)
    assert found.files == {"qemu-server.conf": b"name: x\n"}
    assert found.disks == {name: len(data) for name, data in disks.items()}
    reach = access(tmp_path, tmp_path / "private")
    for name, data in disks.items():
        layer = Layer(server="vma", path=str(path), member=name)
        assert converted(node(layer, reach)) == data
        assert served(layer, reach) == data


def test_an_archive_cut_off_anywhere_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    archives.xva(path, b"<value/>", {"Ref:1": content(1, 30 * MIB)})
    whole = path.read_bytes()
    short = tmp_path / "short"
    for length in range(0, len(whole) - 10240, len(whole) // 9):
        short.write_bytes(whole[:length])
        with pytest.raises(SourceError):
            xva.disks(short)
    archives.vma(path, {}, {"d": content(1, 30 * MIB)}, list(range(480)))
    whole = path.read_bytes()
    for length in [*range(0, len(whole) - 1, len(whole) // 9), len(whole) - 1]:
        short.write_bytes(whole[:length])
        with pytest.raises(SourceError):
            list(vma.mapped(short, "d").pieces())


def test_a_changed_byte_in_the_headers_of_a_vma_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    archives.vma(path, {"c": b"x"}, {"d": content(1, 30 * MIB)}, list(range(480)))
    whole = bytearray(path.read_bytes())
    (length,) = (int.from_bytes(whole[56:60], "big"),)
    for place in (5, 40, 50, 4130, 12300, length + 3, length + 10, length + 60):
        whole[place] ^= 1
        path.write_bytes(whole)
        whole[place] ^= 1
        with pytest.raises(SourceError):
            list(vma.mapped(path, "d").pieces())


def test_chunks_out_of_order_and_unknown_disks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    archives.xva(path, b"<value/>", {"Ref:1": bytes(3 * MIB)})
    with pytest.raises(SourceError, match="no data"):
        xva.mapped(path, "Ref:2", MIB)
    data = path.read_bytes()
    swapped = data.replace(b"Ref:1/00000002\0", b"Ref:1/00000000\0")
    first = data.index(b"Ref:1/00000000\0")
    last = swapped.rindex(b"Ref:1/00000000\0")
    # The same sum of the header's bytes: the first takes the number of the last.
    broken = bytearray(swapped)
    broken[last : last + 512] = data[first : first + 512]
    broken[first : first + 512] = data[last : last + 512]
    path.write_bytes(broken)
    with pytest.raises(SourceError, match="order"):
        list(xva.mapped(path, "Ref:1", 3 * MIB).pieces())
