# SPDX-License-Identifier: GPL-2.0-or-later
"""What else a libvirt domain can have: kept, told as lost, or of no account."""

from pathlib import Path

import pytest

from v2v.document import VM, Source
from v2v.errors import SourceError
from v2v.sources import Request, libvirtxml, read

SOURCE = Source(kind="libvirtxml", location="web01.xml")
QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


def machine(inside: str = "", devices: str = "", kind: str = "kvm") -> VM:
    xml = (
        f"<domain type='{kind}' {QEMU}><name>web01</name><memory>524288</memory>"
        f"{inside}<devices>{devices}</devices></domain>"
    )
    (found,) = libvirtxml.domains(xml.encode(), "web01.xml")
    return libvirtxml.machine(found, SOURCE)


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


CARD = "<interface type='bridge'><mac address='52:54:00:11:22:33'/>{}</interface>"
DISK = (
    "<disk type='file'><driver type='raw'/><source file='/a'/>"
    "<target dev='vda' bus='virtio'/>{}</disk>"
)


@pytest.mark.parametrize(
    ("inside", "devices"),
    [
        ("<memoryBacking><hugepages/><locked/></memoryBacking>", ""),
        ("<maxMemory slots='16' unit='GiB'>64</maxMemory>", ""),
        ("<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>", ""),
        ("<features><acpi/><hyperv mode='custom'/><smm state='on'/></features>", ""),
        ("<sysinfo type='smbios'/><on_crash>destroy</on_crash>", ""),
        ("<cpu mode='host-passthrough' check='none' migratable='on'/>", ""),
        ("", "<iommu model='intel'/><memballoon model='virtio'/><panic model='isa'/>"),
        ("", "<rng model='virtio'/><watchdog model='itco'/><input type='tablet'/>"),
        ("", "<controller type='usb' model='qemu-xhci'/><redirdev bus='usb'/>"),
        ("", "<channel type='unix'><target type='virtio'/></channel>"),
        ("", CARD.format("<driver name='vhost' queues='8'/><mtu size='9000'/>"
                         "<virtualport type='openvswitch'/>")),
        ("", DISK.format("<iotune><total_iops_sec>9</total_iops_sec></iotune>"
                         "<address type='pci' bus='0x04'/><blockio/>")),
    ],
)  # fmt: skip
def test_what_a_new_home_decides_itself_needs_no_word(
    inside: str, devices: str
) -> None:
    assert codes(machine(inside, devices)) == []


@pytest.mark.parametrize(
    ("inside", "devices", "name"),
    [
        ("", "<filesystem type='mount'><driver type='virtiofs'/></filesystem>",
         "filesystem"),
        ("", "<shmem name='shm0'/>", "shmem shm0"),
        ("", "<vsock model='virtio'><cid auto='yes'/></vsock>", "vsock virtio"),
        ("", "<memory model='dimm'/>", "memory dimm"),
        ("<launchSecurity type='sev'/>", "", "launchSecurity"),
        ("<qemu:commandline><qemu:arg value='-s3cret'/></qemu:commandline>", "",
         "qemu:commandline"),
    ],
)  # fmt: skip
def test_what_is_of_the_old_host_is_told_as_lost(
    inside: str, devices: str, name: str
) -> None:
    vm = machine(inside, devices)
    assert (vm.passthrough, codes(vm)) == ((name,), ["device-lost"])
    assert "s3cret" not in vm.model_dump_json()


@pytest.mark.parametrize(
    "xml", ["<domain type='lxc'/>", "<domain><os><type>exe</type></os></domain>"]
)
def test_a_container_is_no_machine(tmp_path: Path, xml: str) -> None:
    (tmp_path / "a.xml").write_text(xml)
    with pytest.raises(SourceError, match="container"):
        list(read(Request(location=str(tmp_path / "a.xml"))))


@pytest.mark.parametrize("devices", ["<disk/>" * 600, "<interface/>" * 600])
def test_more_devices_than_any_machine_has_are_refused(devices: str) -> None:
    with pytest.raises(SourceError, match="600"):
        machine(devices=devices)


def test_a_card_is_started_from_if_the_class_of_cards_is() -> None:
    two = CARD.format("") + CARD.format("")
    classes = "<os><boot dev='network'/><boot dev='hd'/></os>"
    vm = machine(classes, two + DISK.format(""))
    assert ([n.boot for n in vm.nics], vm.disks[0].boot) == ([1, None], 2)
    ordered = CARD.format("<boot order='3'/>") + DISK.format("<boot order='1'/>")
    assert machine(classes, ordered).nics[0].boot == 3


def test_one_vlan_is_kept_and_several_are_told() -> None:
    one = machine(devices=CARD.format("<vlan><tag id='7'/></vlan>"))
    assert (one.nics[0].vlan, codes(one)) == (7, [])
    trunk = "<vlan trunk='yes'><tag id='7'/><tag id='8'/></vlan>"
    assert codes(machine(devices=CARD.format(trunk))) == ["vlan-trunk"]


def test_a_card_without_an_address_is_told() -> None:
    assert codes(machine(devices="<interface type='user'/>")) == ["mac-made"]


def test_a_transient_disk_is_told_as_vmwares_are() -> None:
    assert codes(machine(devices=DISK.format("<transient/>"))) == ["disk-mode"]


@pytest.mark.parametrize(
    ("topology", "vcpus", "shape"),
    [
        ("sockets='1' dies='2' cores='2' threads='2'", 8, (1, 2, 2, 2)),
        ("sockets='2' cores='4' threads='1'", 8, (2, None, 4, 1)),
        ("sockets='1' clusters='1' cores='8' threads='1'", 8, (1, None, 8, 1)),
        ("sockets='1' clusters='2' cores='4' threads='1'", 8, (None,) * 4),
        ("sockets='0' cores='-1' threads='x'", 8, (None,) * 4),
    ],
)
def test_the_shape_of_the_processor_is_kept_if_it_adds_up(
    topology: str, vcpus: int, shape: tuple[int | None, ...]
) -> None:
    vm = machine(f"<vcpu>{vcpus}</vcpu><cpu><topology {topology}/></cpu>")
    cpu = vm.cpu
    assert (cpu.sockets, cpu.dies, cpu.cores, cpu.threads) == shape
    assert codes(vm) == ([] if shape[0] else ["topology-dropped"])


def test_numa_cells_are_told() -> None:
    cells = "<cpu><numa><cell id='0' cpus='0' memory='524288'/></numa></cpu>"
    assert codes(machine(cells)) == ["numa-lost"]


@pytest.mark.parametrize("vcpus", ["0", "-2", "many", "9" * 400, "5000"])
def test_a_number_of_processors_that_cannot_be_is_told(vcpus: str) -> None:
    vm = machine(f"<vcpu>{vcpus}</vcpu>")
    assert (vm.vcpus, codes(vm)) == (1, ["vcpus-unknown"])


def test_the_title_stands_in_for_a_description() -> None:
    assert machine("<title>t</title>").description == "t"
    assert machine("<title>t</title><description>d</description>").description == "d"


def test_a_name_of_any_length_gives_a_document() -> None:
    xml = f"<domain><name>{'x' * 5000}</name><memory>1024</memory></domain>"
    (found,) = libvirtxml.domains(xml.encode(), "a.xml")
    assert libvirtxml.machine(found, SOURCE).name == "x" * 255


@pytest.mark.parametrize(
    ("driver", "format"),
    [
        ("name='tap2' type='aio'", "raw"),
        ("name='tapdisk' type='vhd'", "vpc"),
        ("name='file'", "raw"),
        ("name='phy'", "raw"),
        ("name='qemu' type='qcow2'", "qcow2"),
    ],
)
def test_xen_has_its_own_words_for_formats(driver: str, format: str) -> None:
    disk = f"<disk type='file'><driver {driver}/><source file='/a'/></disk>"
    vm = machine("<os><type>linux</type></os>", disk, kind="xen")
    assert vm.disks[0].source
    assert (vm.disks[0].source.format, codes(vm)) == (format, [])
