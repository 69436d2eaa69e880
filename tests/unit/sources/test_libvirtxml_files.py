# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of a domain XML: where they are found, and what is refused."""

from pathlib import Path

import pytest

from libvirt_machine import (
    MIB,
    codes,
    described,
    domain,
    file_disk,
    qemu_img,
    vm_or_refusal,
)
from v2v import access, layers, paths
from v2v.document import File, Layer
from v2v.errors import SourceError


def test_files_are_found_beside_the_xml_and_measured(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 web01.qcow2 3M")
    vm = described(tmp_path, domain(devices=file_disk("/srv/old/web01.qcow2", "qcow2")))
    (disk,) = vm.disks
    path = str(tmp_path.resolve() / "web01.qcow2")
    assert disk.source == Layer(server="qemu", path=path, format="qcow2")
    assert disk.size == 3 * MIB
    assert paths.roots(vm)[0] == tmp_path.resolve()


def test_a_name_on_a_datastore_lies_beside_the_xml(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f vmdk web01.vmdk 3M")
    devices = "<disk type='file'><source file='[nas 1] web01/web01.vmdk'/></disk>"
    vm = described(tmp_path, domain(devices=devices, kind="vmware"))
    layer = vm.disks[0].source
    assert layer
    assert layer.path == str(tmp_path.resolve() / "web01.vmdk")


def test_a_missing_file_leaves_the_rest_described(tmp_path: Path) -> None:
    (tmp_path / "b.img").write_bytes(bytes(MIB))
    xml = domain(devices=file_disk("/no/a.img") + file_disk("b.img"))
    vm = described(tmp_path, xml)
    assert [(d.id, d.size) for d in vm.disks] == [("sda", None), ("sdb", MIB)]
    assert [(f.code, f.disk) for f in vm.findings] == [("disk-missing", "sda")]


def test_a_declared_chain_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "base.img").write_bytes(bytes(MIB))
    qemu_img(tmp_path, "create -q -f qcow2 -b base.img -F raw mid.qcow2")
    qemu_img(tmp_path, "create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2")
    chain = (
        "<backingStore type='file'><format type='qcow2'/><source file='mid.qcow2'/>"
        "<backingStore type='file'><format type='raw'/><source file='base.img'/>"
        "<backingStore/></backingStore></backingStore>"
    )
    vm = described(tmp_path, domain(devices=file_disk("top.qcow2", "qcow2", chain)))
    folder = tmp_path.resolve()
    layer = vm.disks[0].source
    assert layer
    assert layer.backing == (
        File(path=str(folder / "mid.qcow2"), format="qcow2"),
        File(path=str(folder / "base.img"), format="raw"),
    )


def test_qemu_reads_a_declared_chain_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "right.img").write_bytes(b"right".ljust(MIB, b"\0"))
    (tmp_path / "wrong.img").write_bytes(b"wrong".ljust(MIB, b"\0"))
    qemu_img(tmp_path, "create -q -f qcow2 -b wrong.img -F raw top.qcow2")
    chain = (
        "<backingStore type='file'><format type='raw'/><source file='right.img'/>"
        "<backingStore/></backingStore>"
    )
    vm = described(tmp_path, domain(devices=file_disk("top.qcow2", "qcow2", chain)))
    graph = layers.graph(vm.disks[0], access.of(vm))
    qemu_img(tmp_path, f"compare -F raw {layers.argument(graph)!r} right.img")


def test_a_chain_that_only_a_header_names_is_refused(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 -u -b /etc/passwd -F raw a.qcow2 1M")
    for chain in ("", "<backingStore/>"):
        with pytest.raises(SourceError, match="not followed"):
            xml = domain(devices=file_disk("a.qcow2", "qcow2", chain))
            described(tmp_path, xml)


def test_a_chain_in_a_network_is_described_only(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 -u -b x -F raw a.qcow2 1M")
    chain = (
        "<backingStore type='network'><format type='raw'/><source protocol='nbd'/>"
        "</backingStore>"
    )
    vm = described(tmp_path, domain(devices=file_disk("a.qcow2", "qcow2", chain)))
    assert codes(vm) == ["disk-missing"]


def test_a_slice_is_a_part_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(bytes(4 * MIB))
    devices = (
        "<disk type='file'><driver type='raw'/><source file='a.img'><slices>"
        "<slice type='storage' offset='1048576' size='2097152'/></slices></source>"
        "</disk>"
    )
    (disk,) = described(tmp_path, domain(devices=devices)).disks
    assert disk.source
    assert (disk.source.offset, disk.source.length) == (MIB, 2 * MIB)
    assert disk.size == 2 * MIB


def test_a_file_outside_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    outside = tmp_path / "other"
    inside = tmp_path / "vm"
    outside.mkdir()
    inside.mkdir()
    (outside / "a.img").write_bytes(bytes(MIB))
    xml = domain(devices=file_disk(str(outside / "a.img")))
    with pytest.raises(SourceError, match="outside") as e:
        described(inside, xml)
    assert f"--allow-path {outside.resolve()}" in e.value.remedy
    assert described(inside, xml, (outside,)).disks[0].size == MIB


def test_a_disk_that_says_raw_is_raw_whatever_is_in_it(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 -u -b /etc/passwd -F raw a.img 1M")
    vm = described(tmp_path, domain(devices=file_disk("a.img", "raw")))
    assert vm.disks[0].source
    assert vm.disks[0].source.format == "raw"
    assert codes(vm) == []


def test_a_disk_that_says_nothing_but_is_an_image_blocks(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 a.img 1M")
    vm = described(tmp_path, domain(devices="<disk><source file='a.img'/></disk>"))
    (finding,) = vm.findings
    assert (finding.code, finding.severity) == ("format-doubtful", "block")
    assert "type='qcow2'" in finding.remedy


def test_internal_snapshots_are_told_by_name(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f qcow2 a.qcow2 1M")
    qemu_img(tmp_path, "snapshot -c before-update a.qcow2")
    vm = described(tmp_path, domain(devices=file_disk("a.qcow2", "qcow2")))
    (finding,) = vm.findings
    assert finding.code == "snapshots-dropped"
    assert "before-update" in finding.message


def test_an_endless_file_name_is_a_missing_file(tmp_path: Path) -> None:
    for name in ("a" * 5000, "/" + "a/" * 5000, "../" * 2000, "."):
        vm_or_refusal(tmp_path, domain(devices=file_disk(name)))
