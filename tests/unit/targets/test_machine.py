# SPDX-License-Identifier: GPL-2.0-or-later
from typing import Any

import pytest

from target_vm import disk, domain_of, machine_of, make_vm
from v2v.document import Cpu, Devices, Disk, Guest, Layer, Nic, Removable
from v2v.errors import TargetError
from v2v.targets import machine
from v2v.targets.machine import Topology

CD = Removable(type="cdrom", path="/iso/tools.iso")
MAC = "00:50:56:01:02:03"
LARGE = disk(0, logical_block_size=4096)


def drives(count: int, cds: int = 0, **devices: Any) -> list[tuple[str, str]]:
    vm = make_vm(
        disks=tuple(disk(i) for i in range(count)),
        removable=(CD,) * cds,
        devices=Devices(**devices),
    )
    return [(drive.bus, drive.name) for drive in machine_of(vm).drives]


def test_a_cd_drive_never_has_the_name_of_a_scsi_disk() -> None:
    assert drives(2, 1, block="scsi") == [
        ("scsi", "sda"),
        ("scsi", "sdb"),
        ("sata", "sdc"),
    ]


def test_virtio_disks_and_cd_drives_are_counted_apart() -> None:
    assert drives(1, 1, block="virtio") == [("virtio", "vda"), ("sata", "sda")]


@pytest.mark.parametrize("block", ["sata", "ide"])
def test_no_ata_disk_has_large_sectors(block: Any) -> None:
    large = (disk(0), disk(1, logical_block_size=4096))
    vm = make_vm(disks=large, devices=Devices(block=block))
    for refused in (machine.refuse, machine_of):
        with pytest.raises(TargetError, match="sdb, whose sectors") as e:
            refused(vm)
    assert "virtio" in e.value.remedy
    with pytest.raises(TargetError, match="sdb, whose sectors"):
        machine_of(make_vm(disks=large))
    machine.refuse(make_vm(disks=large))  # fixup may yet find out


@pytest.mark.parametrize(
    ("disks", "firmware", "told"),
    [
        ((LARGE,), "bios", True),
        ((LARGE,), "efi", False),
        ((LARGE, disk(1, boot=1)), "bios", False),
    ],
)
def test_a_bios_that_is_to_start_from_large_sectors_is_told_of(
    disks: tuple[Disk, ...], firmware: str, told: bool
) -> None:
    vm = make_vm(disks=disks, devices=Devices(block="scsi"), firmware=firmware)
    assert any("BIOS" in line for line in machine_of(vm).warnings) == told


def test_q35_has_no_ide_so_its_drives_are_sata() -> None:
    assert drives(1, 1, block="ide") == [("sata", "sda"), ("sata", "sdb")]


def test_the_fifth_drive_of_an_ide_machine_is_sata() -> None:
    found = drives(4, 1, block="ide", machine="pc")
    assert found[3:] == [("ide", "hdd"), ("sata", "sda")]


def test_the_27th_disk_is_vdaa() -> None:
    assert drives(27, block="virtio")[26] == ("virtio", "vdaa")


def test_a_medium_is_not_left_in_the_cd_drive() -> None:
    (drive,) = machine_of(make_vm(disks=(), removable=(CD,))).drives
    assert drive.image is None


@pytest.mark.parametrize(
    ("cpu", "vcpus", "shape"),
    [
        (Cpu(), 4, Topology(cores=4)),
        (Cpu(sockets=2, cores=2), 4, Topology(sockets=2, cores=2)),
        (Cpu(cores=2), 8, Topology(sockets=4, cores=2)),
        (
            Cpu(sockets=2, dies=2, cores=1, threads=2),
            8,
            Topology(sockets=2, dies=2, cores=1, threads=2),
        ),
        (Cpu(sockets=2, cores=2), 5, Topology(cores=5)),
        (Cpu(cores=3), 4, Topology(cores=4)),
        (Cpu(sockets=-2, cores=-2), 4, Topology(cores=4)),
    ],
)
def test_the_topology_holds_exactly_the_vcpus(
    cpu: Cpu, vcpus: int, shape: Topology
) -> None:
    assert machine_of(make_vm(cpu=cpu, vcpus=vcpus)).topology == shape


@pytest.mark.parametrize(
    ("sockets", "most", "shape"),
    [
        (4, 2, Topology(cores=4)),
        (2, 2, Topology(sockets=2, cores=2)),
        (2, 1, Topology(cores=4)),
        (4, None, Topology(sockets=4)),
    ],
)
def test_sockets_that_the_guest_would_not_use_become_cores(
    sockets: int, most: int | None, shape: Topology
) -> None:
    cpu = Cpu(sockets=sockets, cores=4 // sockets)
    vm = make_vm(cpu=cpu, vcpus=4, devices=Devices(sockets=most))
    assert machine_of(vm).topology == shape


def test_the_disk_that_the_source_booted_from_is_first() -> None:
    vm = make_vm(disks=(disk(0), disk(1, boot=1), disk(2)))
    assert [d.boot for d in machine_of(vm).drives] == [2, 1, 3]


def test_a_card_is_booted_from_only_if_the_source_did() -> None:
    cards = (Nic(mac=MAC, boot=1), Nic(mac="00:50:56:01:02:04"))
    assert machine_of(make_vm(nics=cards)).boots == {MAC: 1, "sda": 2}


def test_boot_places_are_distinct_though_the_source_repeats_one() -> None:
    vm = make_vm(disks=(disk(0, boot=1), disk(1, boot=1)), nics=(Nic(mac=MAC, boot=1),))
    assert sorted(machine_of(vm).boots.values()) == [1, 2, 3]


def test_the_sources_uuid_is_kept() -> None:
    uuid = "564DBA11-0000-4000-8000-0123456789AB"
    assert machine.chosen_uuid(make_vm(uuid=uuid)) == uuid.lower()


def test_without_a_uuid_the_documents_id_is_one() -> None:
    assert machine.chosen_uuid(make_vm(uuid="not one")) == make_vm().id


def test_an_id_that_is_no_uuid_gives_none() -> None:
    assert machine.chosen_uuid(make_vm(id="web01")) is None


def test_the_disks_decide_the_firmware_where_the_source_did_not_say() -> None:
    vm = make_vm(firmware_known=False, guest=Guest(firmware="efi"))
    assert machine_of(vm).efi


def test_the_source_decides_the_firmware_where_it_did_say() -> None:
    assert not machine_of(make_vm(guest=Guest(firmware="efi"))).efi


def test_secure_boot_gets_a_machine_that_can_protect_it() -> None:
    vm = make_vm(firmware="efi", secure_boot=True, devices=Devices(machine="pc"))
    assert machine_of(vm).kind == "q35"


def test_an_unknown_guest_gets_safe_hardware_and_a_warning() -> None:
    made = machine_of(make_vm())
    assert (made.drives[0].bus, made.devices.net) == ("sata", "e1000e")
    assert "v2v-fixup" in made.warnings[0]


def test_the_guests_clock_is_what_fixup_found() -> None:
    vm = make_vm(clock="localtime", devices=Devices(clock="utc"))
    assert machine_of(vm).clock == "utc"


def test_before_fixup_the_sources_clock_holds() -> None:
    assert machine_of(make_vm(clock="localtime")).clock == "localtime"


def test_a_fully_allocated_disk_stays_so() -> None:
    layer = Layer(server="file", path="/images/a.raw", allocated=2**20)
    (drive,) = machine_of(make_vm(disks=(disk(0, target=layer),))).drives
    assert not drive.sparse


def test_a_serial_number_is_cut_to_what_the_bus_shows() -> None:
    serial = 'WD-"<0123456789>"-0123456789'
    vm = make_vm(disks=(disk(0, serial=serial),), devices=Devices(block="virtio"))
    assert machine_of(vm).drives[0].serial == "WD-0123456789-012345"


def test_a_qcow2_disk_is_never_shared() -> None:
    layer = Layer(server="qemu", path="/images/a.qcow2", format="qcow2")
    made = machine_of(make_vm(disks=(disk(0, target=layer, shared=True),)))
    assert not made.drives[0].shared
    assert any("was shared" in text for text in made.warnings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "aarch64"}, "aarch64"),
        ({"memory": 0}, "memory"),
        ({"disks": (disk(0, target=None),)}, "sda has not been copied"),
        (
            {"disks": (disk(0, target=Layer(server="nbd", uri="nbd://h")),)},
            "sda is not",
        ),
        (
            {"disks": (disk(0, target=Layer(server="file", path="a.raw")),)},
            "sda is not",
        ),
        ({"disks": (disk(0, "/a\nb"),)}, "sda is not"),
        ({"disks": (disk(0, "/a\udc80b"),)}, "sda is not"),
    ],
)
def test_what_no_machine_can_run_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TargetError, match=message) as e:
        machine_of(make_vm(**changes))
    assert e.value.remedy


def test_a_lost_vlan_is_said() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, vlan=12),))
    assert any("VLAN 12" in text for text in machine_of(vm).warnings)


def test_a_floppy_drive_is_left_out_and_said() -> None:
    vm = make_vm(removable=(Removable(type="floppy"),))
    assert len(machine_of(vm).drives) == 1
    assert any("floppy" in text for text in machine_of(vm).warnings)


def test_a_name_of_control_characters_does_no_harm() -> None:
    domain_of(make_vm(name="\x00\x1b[31m\n"))
