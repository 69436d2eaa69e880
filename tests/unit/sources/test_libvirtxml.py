# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libvirt_machine import (
    MIB,
    codes,
    described,
    domain,
    file_disk,
    machine,
)
from v2v.document import VM, Layer, Source
from v2v.errors import SourceError
from v2v.sources import Request, libvirtxml, read

# What the machine is


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("<memory>4194304</memory>", 4 * 2**30),
        ("<memory unit='GiB'>4</memory>", 4 * 2**30),
        ("<memory unit='G'>4</memory>", 4 * 2**30),
        ("<memory unit='GB'>4</memory>", 4 * 10**9),
        ("<memory unit='k'>1024</memory>", MIB),
        ("<memory unit='KB'>1024</memory>", 1024000),
        ("<memory unit='bytes'>1048576</memory>", MIB),
        ("<memory unit='b'> 1048576 </memory>", MIB),
        ("<memory unit='TiB'>1</memory>", 2**40),
    ],
)
def test_memory_is_read_in_libvirts_units(memory: str, size: int) -> None:
    xml = f"<domain><name>a</name>{memory}</domain>".encode()
    (found,) = libvirtxml.domains(xml, "a.xml")
    assert libvirtxml.machine(found, Source(kind="x", location="a")).memory == size


@pytest.mark.parametrize(
    "memory", ["", "<memory unit='parsec'>1</memory>", "<memory/>"]
)
def test_a_memory_size_that_is_not_known_is_told(memory: str) -> None:
    xml = f"<domain><name>a</name>{memory}</domain>".encode()
    (found,) = libvirtxml.domains(xml, "a.xml")
    vm = libvirtxml.machine(found, Source(kind="x", location="a"))
    assert (vm.memory, codes(vm)) == (2**30, ["memory-unknown"])


def test_the_maximum_of_processors_is_taken() -> None:
    assert machine("<vcpu current='2'>8</vcpu>").vcpus == 8


def test_a_topology_that_does_not_fit_is_dropped_with_a_warning() -> None:
    topology = "<cpu><topology sockets='2' dies='1' cores='2' threads='1'/></cpu>"
    fits = machine(f"<vcpu>4</vcpu>{topology}")
    assert (fits.cpu.sockets, fits.cpu.cores, codes(fits)) == (2, 2, [])
    vm = machine(f"<vcpu>3</vcpu>{topology}")
    assert (vm.cpu.sockets, codes(vm)) == (None, ["topology-dropped"])


@pytest.mark.parametrize(
    ("os", "firmware"),
    [
        ("<os><type>hvm</type></os>", "bios"),
        ("<os firmware='efi'><type>hvm</type></os>", "efi"),
        ("<os firmware='bios'><type>hvm</type></os>", "bios"),
        ("<os><loader type='pflash'>/x/code.fd</loader></os>", "efi"),
        ("<os><loader type='rom'>/usr/share/OVMF/OVMF.fd</loader></os>", "efi"),
        ("<os><loader>/usr/lib/xen/boot/hvmloader</loader></os>", "bios"),
        ("<os><nvram>/x/vars.fd</nvram></os>", "efi"),
    ],
)
def test_firmware_is_told_by_any_of_its_marks(os: str, firmware: str) -> None:
    vm = machine(os)
    assert (vm.firmware, vm.firmware_known) == (firmware, True)


def test_the_disks_decide_on_the_firmware_of_a_paravirtual_guest() -> None:
    assert not machine("<os><type>linux</type></os>", kind="xen").firmware_known


@pytest.mark.parametrize(
    ("os", "secure"),
    [
        ("<os firmware='efi'/>", False),
        ("<os><loader secure='yes' type='pflash'>/x.fd</loader></os>", True),
        (
            (
                "<os firmware='efi'><firmware>"
                "<feature enabled='yes' name='secure-boot'/>"
                "</firmware></os>"
            ),
            True,
        ),
        (
            (
                "<os firmware='efi'><firmware>"
                "<feature enabled='yes' name='secure-boot'/>"
                "<feature enabled='no' name='enrolled-keys'/></firmware></os>"
            ),
            False,
        ),
    ],
)
def test_secure_boot_needs_code_and_keys(os: str, secure: bool) -> None:
    assert machine(os).secure_boot is secure


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("<clock offset='utc'/>", "utc"),
        ("<clock offset='localtime'/>", "localtime"),
        ("<clock offset='timezone' timezone='Europe/Berlin'/>", "localtime"),
        ("<clock offset='variable' adjustment='0' basis='localtime'/>", "localtime"),
        ("", "utc"),
    ],
)
def test_the_clock_is_kept(clock: str, expected: str) -> None:
    assert machine(clock).clock == expected


def test_passwords_of_graphics_stay_behind() -> None:
    vnc = "<graphics type='vnc' keymap='de' passwd='s3cret' port='-1'/>"
    vm = machine(devices=vnc)
    assert (vm.display.type, vm.display.keymap) == ("vnc", "de")
    assert "s3cret" not in vm.model_dump_json()


def test_a_headless_machine_stays_so_if_it_has_a_console() -> None:
    assert machine(devices="<serial type='pty'/>").display.type == "none"
    assert machine().display.type == "vnc"


def test_the_generation_id_of_a_vmware_dump_is_kept_with_a_warning() -> None:
    genid = "<genid>13c67c91-9f47-526f-b0d6-e4dd2e4bb4f9</genid>"
    assert codes(machine(genid)) == []
    vm = machine(genid, kind="vmware")
    assert vm.genid == "13c67c91-9f47-526f-b0d6-e4dd2e4bb4f9"
    assert codes(vm) == ["genid-order"]


def test_what_only_the_host_has_is_told_as_lost() -> None:
    vm = machine(
        devices="<hostdev type='pci'><source><address domain='0x0000' bus='0x06' "
        "slot='0x12' function='0x5'/></source></hostdev>"
        "<hostdev type='usb'><source><vendor id='0x046d'/><product id='0xc077'/>"
        "</source></hostdev>"
    )
    assert vm.passthrough == ("hostdev pci 0000:06:12.5", "hostdev usb 046d:c077")
    assert codes(vm) == ["device-lost"] * 2


def test_a_tpm_is_kept_but_not_its_secrets() -> None:
    vm = machine(devices="<tpm model='tpm-crb'><backend type='emulator'/></tpm>")
    assert vm.tpm
    assert codes(vm) == ["tpm-state-lost"]


def test_the_hint_of_libosinfo_is_kept() -> None:
    vm = machine(
        "<metadata><l:libosinfo xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
        "<l:os id='http://debian.org/debian/12'/></l:libosinfo></metadata>"
    )
    assert vm.source.os_hint == "http://debian.org/debian/12"


# Network cards


@pytest.mark.parametrize(
    ("element", "type", "network"),
    [
        ("<interface type='bridge'><source bridge='br0'/>", "bridge", "br0"),
        ("<interface type='network'><source network='lan'/>", "network", "lan"),
        ("<interface type='direct'><source dev='eth0' mode='x'/>", "direct", "eth0"),
        ("<interface type='internal'><source name='in'/>", "internal", "in"),
        ("<interface type='user'>", "user", None),
        ("<interface type='ethernet'>", "bridge", None),
        ("<interface type='vhostuser'><source type='unix'/>", "none", None),
        ("<interface type='hostdev'>", "none", None),
    ],
)
def test_every_type_of_network_card_is_kept(
    element: str, type: str, network: str | None
) -> None:
    vm = machine(devices=f"{element}<mac address='52:54:00:11:22:33'/></interface>")
    (nic,) = vm.nics
    assert (nic.type, nic.network) == (type, network)
    assert (nic.mac, nic.mac_source) == ("52:54:00:11:22:33", "static")
    assert codes(vm) == (["nic-unattached"] if type == "none" else [])


def test_a_card_without_an_address_gets_one() -> None:
    (nic,) = machine(devices="<interface type='user'/>").nics
    assert nic.mac_source == "made"
    assert nic.mac.startswith("52:54:00:")


def test_vlan_link_model_and_boot_order_of_a_card_are_kept() -> None:
    (nic,) = machine(
        devices="<interface type='bridge'><source bridge='b'/><model type='e1000e'/>"
        "<vlan><tag id='42'/></vlan><link state='down'/><boot order='2'/></interface>"
    ).nics
    assert (nic.vlan, nic.connected, nic.model, nic.boot) == (42, False, "e1000e", 2)


# Disks, as the XML has them


def test_disks_are_in_the_order_of_the_xml_with_drives_apart() -> None:
    vm = machine(
        devices="<disk type='file' device='cdrom'><source file='/iso/a.iso'/>"
        "<target dev='sda' bus='sata'/></disk>"
        "<disk><source file='/d/b.img'/><target dev='sda' bus='scsi'/></disk>"
        "<disk device='floppy'><target dev='fda' bus='fdc'/></disk>"
        "<disk device='lun' type='block'><source dev='/dev/a'/><target dev='hdb'/>"
        "</disk>"
    )
    assert [(d.id, d.bus, d.slot) for d in vm.disks] == [
        ("sda", "scsi", "sda"),
        ("sdb", "ide", "hdb"),
    ]
    assert [(r.type, r.bus, r.path) for r in vm.removable] == [
        ("cdrom", "sata", "/iso/a.iso"),
        ("floppy", "unknown", None),
    ]


def test_a_missing_driver_type_means_raw() -> None:
    (disk,) = machine(devices="<disk><source file='/d/a.qcow2'/></disk>").disks
    assert disk.source == Layer(server="file", path="/d/a.qcow2", format="raw")


def test_a_vmware_dump_has_vmdks() -> None:
    devices = "<disk type='file'><source file='[ds] vm/a.vmdk'/></disk>"
    (disk,) = machine(devices=devices, kind="vmware").disks
    assert disk.source
    assert (disk.source.server, disk.source.format) == ("qemu", "vmdk")


def test_boot_order_is_that_of_the_devices_or_else_of_the_classes() -> None:
    orders = machine(
        devices=file_disk("/a", more="<boot order='2'/>")
        + file_disk("/b", more="<boot order='1'/>")
    )
    assert [d.boot for d in orders.disks] == [2, 1]
    two = file_disk("/a") + file_disk("/b")
    classes = machine("<os><boot dev='network'/><boot dev='hd'/></os>", two)
    assert [d.boot for d in classes.disks] == [2, None]
    assert [d.boot for d in machine(devices=two).disks] == [1, None]


def test_serial_readonly_shared_and_controller_are_kept() -> None:
    vm = machine(
        devices="<controller type='scsi' index='1' model='lsilogic'/><disk type='file'>"
        "<driver type='raw'/><source file='/a'/><target dev='sdb' bus='scsi'/>"
        "<serial>WD-1</serial><readonly/><shareable/>"
        "<address type='drive' controller='1' unit='0'/></disk>"
    )
    (disk,) = vm.disks
    assert (disk.serial, disk.readonly, disk.shared) == ("WD-1", True, True)
    assert disk.model == "lsilogic"


@pytest.mark.parametrize(
    ("size", "kept", "codes"),
    [
        ("512", 512, []),
        ("4096", 4096, []),
        ("0", 512, []),
        ("2048", 512, ["disk-sectors"]),
        ("x", 512, []),
    ],
)
def test_the_size_of_the_sectors_is_kept(
    size: str, kept: int, codes: list[str]
) -> None:
    vm = machine(
        devices=file_disk("/a", more=f"<blockio logical_block_size='{size}'/>")
    )
    assert vm.disks[0].logical_block_size == kept
    assert [f.code for f in vm.findings if f.code != "disk-missing"] == codes


@pytest.mark.parametrize(
    ("source", "uri", "tls"),
    [
        (
            "<source protocol='nbd' name='a b'><host name='h' port='99'/></source>",
            "nbd://h:99/a%20b",
            None,
        ),
        (
            "<source protocol='nbd' tls='yes'><host name='fe80::1'/></source>",
            "nbds://[fe80::1]:10809/",
            "x509",
        ),
        (
            (
                "<source protocol='nbd' name='x'><host transport='unix' socket='/s'/>"
                "</source>"
            ),
            "nbd+unix:///x?socket=/s",
            None,
        ),
    ],
)
def test_a_disk_on_an_nbd_server_is_an_endpoint(
    source: str, uri: str, tls: str | None
) -> None:
    vm = machine(devices=f"<disk type='network'><driver type='raw'/>{source}</disk>")
    layer = vm.disks[0].source
    assert layer
    assert (layer.server, layer.uri, layer.tls) == ("nbd", uri, tls)
    assert codes(vm) == []


@pytest.mark.parametrize(
    "disk",
    [
        "<disk type='network'><source protocol='rbd' name='p/i'/></disk>",
        "<disk type='network'><source protocol='nbd' name='x'/></disk>",
        "<disk type='volume'><source pool='default' volume='a.qcow2'/></disk>",
        "<disk type='nvme'><source type='pci' namespace='1'/></disk>",
        "<disk type='vhostuser'><source type='unix' path='/tmp/s'/></disk>",
        "<disk type='dir'><source dir='/var/lib'/></disk>",
        "<disk type='file'><driver type='qed'/><source file='/a'/></disk>",
        "<disk type='file'><driver type='raw'/></disk>",
    ],
)
def test_a_disk_that_cannot_be_reached_is_described_with_what_to_do(disk: str) -> None:
    vm = machine(devices=disk)
    assert [d.id for d in vm.disks] == ["sda"]
    (finding,) = vm.findings
    assert (finding.code, finding.severity) == ("disk-missing", "block")
    assert finding.remedy


@pytest.mark.parametrize(
    "disk",
    [
        file_disk("/a", more="<encryption format='luks'/>"),
        "<disk><source file='/a'><encryption format='luks'/></source></disk>",
    ],
)
def test_encryption_by_the_host_blocks(disk: str) -> None:
    vm = machine(devices=disk)
    assert [(f.code, f.severity) for f in vm.findings] == [("disk-encrypted", "block")]
    assert vm.disks[0].source


# The XML itself


@pytest.mark.parametrize("tag", ["node", "domains", "domstatus", "domainsnapshot"])
def test_a_domain_is_found_in_what_wraps_it(tag: str) -> None:
    xml = f"<!-- written by x --><{tag}>{domain()}</{tag}>".encode()
    (found,) = libvirtxml.domains(xml, "a")
    assert found.findtext("name") == "web01"


def test_each_domain_of_several_is_a_vm(tmp_path: Path) -> None:
    (tmp_path / "all.xml").write_text(f"<domains>{domain()}{domain()}</domains>")
    found = list(read(Request(location=str(tmp_path / "all.xml"))))
    assert len({vm.id for vm in found}) == 2


def test_a_running_vm_blocks(tmp_path: Path) -> None:
    xml = f"<domstatus state='running'>{domain()}</domstatus>"
    assert codes(described(tmp_path, xml)) == ["running"]


@pytest.mark.parametrize(
    "xml",
    [
        (
            "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
            "<domain><name>&e;</name></domain>"
        ),
        "<!DOCTYPE x SYSTEM 'http://example.org/x.dtd'><domain><name>a</name></domain>",
        (
            "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;'>]>"
            "<domain><name>&b;</name></domain>"
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused(tmp_path: Path, xml: str, encoding: str) -> None:
    (tmp_path / "a.xml").write_bytes(xml.encode(encoding))
    with pytest.raises(SourceError, match="document type") as e:
        list(read(Request(location=str(tmp_path / "a.xml"))))
    assert e.value.status == 12


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<domain>",
        b"not xml",
        b"<html/>",
        b"<node/>",
        b"\xff\xfe<",
        b"<domain><name>&undefined;</name></domain>",
        b"<domain>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</domain>",
        b"<?xml version='1.0' encoding='klingon'?><domain/>",
    ],
)
def test_what_is_no_domain_xml_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(data)
    with pytest.raises(SourceError):
        list(read(Request(location=str(tmp_path / "a.xml"))))


def test_an_enormous_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(17 * MIB)
    with pytest.raises(SourceError, match="too large"):
        list(read(Request(location=str(tmp_path / "a.xml"))))


WORDS = st.sampled_from(
    ["", "-1", "0", "x" * 300, "9" * 400, "0x", "²", "\n", "file", "raw", "qcow2", "é"]
)
SAMPLE = domain(
    "<uuid>U</uuid><genid>G</genid><vcpu current='1'>2</vcpu><os firmware='efi'>"
    "<type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>"
    "<cpu><topology sockets='1' cores='2' threads='1'/></cpu><clock offset='utc'/>",
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='a.qcow2'>"
    "<slices><slice type='storage' offset='0' size='512'/></slices></source>"
    "<target dev='vda' bus='virtio'/><boot order='1'/><serial>S</serial></disk>"
    "<disk type='network'><driver type='raw'/><source protocol='nbd' name='x'>"
    "<host name='h' port='1'/></source></disk>"
    "<interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='b'/>"
    "<vlan><tag id='1'/></vlan></interface><graphics type='vnc'/>"
    "<hostdev type='pci'><source><address bus='1'/></source></hostdev>",
)


@given(data=st.data())
def test_odd_values_give_a_vm_or_a_source_error(data: st.DataObject) -> None:
    """Whatever stands in an attribute or a text, it never ends in a traceback."""
    from lxml import etree

    root = etree.fromstring(SAMPLE.encode())
    elements = list(root.iter())
    for _ in range(data.draw(st.integers(1, 5))):
        element = data.draw(st.sampled_from(elements))
        word = data.draw(WORDS)
        if element.attrib and data.draw(st.booleans()):
            element.set(data.draw(st.sampled_from(sorted(element.attrib))), word)
        elif not len(element):
            element.text = word
        elif (parent := element.getparent()) is not None:
            parent.remove(element)
    try:
        (found,) = libvirtxml.domains(etree.tostring(root), "a")
        vm = libvirtxml.machine(found, Source(kind="x", location="a"))
    except SourceError:
        return
    VM.model_validate_json(vm.model_dump_json())


# Real ones


def corpus(shared: Path) -> list[tuple[Path, dict[str, Any]]]:
    expected = json.loads((shared / "corpus/expected.json").read_text())
    return [
        (shared / "corpus" / name, entry["facts"])
        for name, entry in expected.items()
        if name.startswith("libvirt/")
    ]


@pytest.fixture
def real(shared: Path) -> list[tuple[Path, dict[str, Any], VM]]:
    found = []
    for path, facts in corpus(shared):
        (vm,) = read(Request(location=str(path)))
        found.append((path, facts, vm))
    assert len(found) >= 10
    return found


Real = list[tuple[Path, dict[str, Any], VM]]


def test_real_machines_are_read_as_expected(real: Real) -> None:
    for path, facts, vm in real:
        got = (vm.name, vm.memory, vm.vcpus, vm.firmware, vm.secure_boot, vm.tpm)
        words = ("name", "memory_bytes", "vcpus", "firmware", "secure_boot", "tpm")
        assert got == tuple(facts[word] for word in words), path.name
        assert vm.genid == facts.get("genid"), path.name


def test_disks_of_real_machines_are_read_as_expected(real: Real) -> None:
    for path, facts, vm in real:
        got = [(d.slot, d.bus) for d in vm.disks]
        assert got == [(d["target"], d["bus"]) for d in facts["disks"]], path.name
        for disk, expected in zip(vm.disks, facts["disks"], strict=True):
            if expected["type"] in ("file", "block"):
                assert disk.source
                assert disk.source.path == expected["file"], path.name
                given_format = expected["format"] or disk.source.format
                assert disk.source.format == given_format, path.name


def test_drives_and_cards_of_real_machines_are_read_as_expected(real: Real) -> None:
    for path, facts, vm in real:
        drives = [(r.type, r.slot, r.path) for r in vm.removable]
        expected = [(r["type"], r["target"], r["file"]) for r in facts["removable"]]
        assert drives == expected, path.name
        cards = [(n.mac, n.model, n.network) for n in vm.nics]
        keys = ("mac", "model", "network")
        assert cards == [tuple(n[k] for k in keys) for n in facts["nics"]], path.name


def test_every_missing_disk_of_a_real_machine_has_its_finding(real: Real) -> None:
    for path, _, vm in real:
        told = {f.disk for f in vm.findings if f.code == "disk-missing"}
        local = {d.id for d in vm.disks if not d.source or d.source.server != "nbd"}
        if not any(os.path.exists(d.source.path or "") for d in vm.disks if d.source):  # noqa: PTH110
            assert local <= told, path.name
