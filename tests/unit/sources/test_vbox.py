# SPDX-License-Identifier: GPL-2.0-or-later
import json
import struct
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import any_input
from v2v import access, layers
from v2v.document import VM, decode, encode_vm
from v2v.errors import SourceError
from v2v.sources import Request, detect, read, vbox

MIB = 2**20
BASE = "11111111-1111-4111-8111-111111111111"
CHILD = "22222222-2222-4222-8222-222222222222"
LEAF = "33333333-3333-4333-8333-333333333333"


def hard_disk(name: str, location: str, more: str = "", *, format: str = "VDI") -> str:
    return (
        f'<HardDisk uuid="{{{name}}}" location="{location}" format="{format}" '
        f'type="Normal">{more}</HardDisk>'
    )


def attached(name: str, port: int = 0, type: str = "HardDisk") -> str:
    image = f'<Image uuid="{{{name}}}"/>' if name else ""
    place = f'type="{type}" port="{port}" device="0"'
    return f"<AttachedDevice {place}>{image}</AttachedDevice>"


def controller(devices: str, type: str = "AHCI") -> str:
    return f'<StorageController name="c" type="{type}">{devices}</StorageController>'


def written(
    registry: str = "", controllers: str = "", hardware: str = "", more: str = ""
) -> bytes:
    """Return a .vbox as VirtualBox 6 writes one."""
    return (
        '<?xml version="1.0"?><VirtualBox xmlns="http://www.virtualbox.org/" '
        f'version="1.16-linux"><Machine uuid="{{{BASE}}}" name="web01" {more}>'
        f"<MediaRegistry><HardDisks>{registry}</HardDisks></MediaRegistry>"
        f'<Hardware><Memory RAMSize="512"/>{hardware}</Hardware>'
        f"<StorageControllers>{controllers}</StorageControllers>"
        "</Machine></VirtualBox>"
    ).encode()


def parse(*parts: str, **more: str) -> VM:
    return vbox.parse(written(*parts, **more), Path("/vms/web01.vbox"))[0]


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def described(folder: Path, data: bytes, allow: tuple[Path, ...] = ()) -> VM:
    (folder / "web01.vbox").write_bytes(data)
    (vm,) = read(Request(location=str(folder), allow=allow))
    return vm


def qemu_img(folder: Path, arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments.split()], cwd=folder, check=True)


def differing(file: Path, parent: str) -> None:
    """Make the VDI *file* one that differs from *parent*, as VirtualBox does."""
    data = bytearray(file.read_bytes())
    struct.pack_into("<I", data, 76, 4)
    data[424:440] = uuid.UUID(parent).bytes_le
    file.write_bytes(data)


def test_a_machine_is_read_with_the_defaults_of_virtualbox() -> None:
    vm = parse()
    assert (vm.name, vm.uuid, vm.memory, vm.vcpus) == ("web01", BASE, 512 * MIB, 1)
    assert (vm.firmware, vm.clock, vm.tpm) == ("bios", "localtime", False)
    assert vm.source.hw_version == "virtualbox-1.16-linux"


def test_only_enabled_cards_count_and_only_their_active_mode() -> None:
    vm = parse(
        "",
        "",
        '<Network><Adapter slot="0" enabled="false" MACAddress="080027000001"/>'
        '<Adapter slot="1" enabled="true" MACAddress="080027000002" cable="false" '
        'type="virtio"><DisabledModes><NAT/></DisabledModes>'
        '<InternalNetwork name="lan"/></Adapter>'
        '<Adapter slot="2" enabled="true"/></Network>',
    )
    first, second = vm.nics
    assert (first.mac, first.model, first.type, first.network, first.connected) == (
        *("08:00:27:00:00:02", "virtio", "internal", "lan"),
        False,
    )
    assert (second.mac_source, second.model, second.type) == (
        "made",
        "Am79C973",
        "none",
    )
    assert codes(vm) == ["mac-made", "nic-unattached"]


def test_ports_are_numbers_and_controllers_keep_the_order_of_the_file() -> None:
    names = [str(uuid.UUID(int=n)) for n in range(1, 4)]
    vm = parse(
        "".join(hard_disk(name, f"{n}.vdi") for n, name in enumerate(names)),
        controller(attached(names[0], 10) + attached(names[1], 2))
        + controller(attached(names[2]), "PIIX4"),
    )
    assert [(d.slot, d.bus, d.boot) for d in vm.disks] == [
        ("AHCI:2:0", "sata", 3),
        ("AHCI:10:0", "sata", None),
        ("PIIX4:0:0", "ide", None),
    ]


def test_the_boot_order_ranks_the_disk_and_the_network() -> None:
    order = (
        '<Boot><Order position="2" device="HardDisk"/>'
        '<Order position="1" device="Network"/>'
        '<Order position="3" device="None"/></Boot>'
        '<Network><Adapter slot="0" enabled="true"><NAT/></Adapter></Network>'
    )
    vm = parse(hard_disk(BASE, "a.vdi"), controller(attached(BASE)), order)
    assert (vm.disks[0].boot, vm.nics[0].boot) == (2, 1)


def test_the_attached_leaf_and_its_parents_are_the_chain() -> None:
    tree = hard_disk(
        BASE,
        "base.vdi",
        hard_disk(CHILD, "Snapshots/b.vdi", hard_disk(LEAF, "Snapshots/c.vdi")),
    )
    (disk,) = parse(tree, controller(attached(LEAF))).disks
    assert disk.source and disk.source.path == "Snapshots/c.vdi"
    assert [f.path for f in disk.source.backing] == ["Snapshots/b.vdi", "base.vdi"]
    (disk,) = parse(tree, controller(attached(BASE))).disks
    assert disk.source and disk.source.backing == ()


def test_storage_within_hardware_is_found_and_that_of_snapshots_is_not() -> None:
    storage = f"<StorageControllers>{controller(attached(BASE))}</StorageControllers>"
    data = written(
        hard_disk(BASE, "a.vdi"),
        hardware=storage,
    ).replace(
        b"</Machine>",
        f'<Snapshot name="before"><Hardware/>{storage}</Snapshot></Machine>'.encode(),
    )
    vm, _ = vbox.parse(data, Path("/x.vbox"))
    assert len(vm.disks) == 1
    assert codes(vm) == ["snapshots-dropped"]
    assert "before" in vm.findings[0].message


@pytest.mark.parametrize(
    ("registry", "code", "said"),
    [
        ("", "disk-missing", "not in the file's registry"),
        (hard_disk(BASE, "a.hdd", format="HDD"), "disk-missing", "'HDD'"),
        (hard_disk(BASE, "x", format="iSCSI"), "disk-missing", "'iSCSI'"),
        (
            hard_disk(BASE, "a.vdi", '<Property name="CRYPT/KeyStore" value="x"/>'),
            "disk-encrypted",
            "a.vdi",
        ),
    ],
)
def test_a_disk_that_cannot_be_had_is_a_finding(
    registry: str, code: str, said: str
) -> None:
    vm = parse(registry, controller(attached(BASE)))
    (finding,) = vm.findings
    assert (finding.code, finding.severity, finding.disk) == (code, "block", "sda")
    assert said in finding.message
    assert finding.remedy


def test_what_stays_behind_is_told() -> None:
    vm = parse(
        "",
        "",
        '<TrustedPlatformModule type="v2_0"/><Firmware type="EFI32"/>'
        '<SharedFolders><SharedFolder name="work" hostPath="/w"/></SharedFolders>',
        more='stateFile="Snapshots/x.sav"',
    )
    assert (vm.firmware, vm.tpm, vm.passthrough) == (
        *("efi", True),
        ("shared folder work",),
    )
    assert codes(vm) == [
        "suspended",
        "tpm-state-lost",
        "firmware-unknown",
        "device-lost",
    ]


def test_a_machine_in_a_folder_is_served_from_its_snapshots(tmp_path: Path) -> None:
    """A chain of VMDKs, the newest found by its name in an absolute snapshot folder."""
    (tmp_path / "Snapshots").mkdir()
    qemu_img(tmp_path, "create -q -f vmdk base.vmdk 8M")
    qemu_img(tmp_path, "create -q -f vmdk -F vmdk -b ../base.vmdk Snapshots/b.vmdk")
    leaf = hard_disk(CHILD, "/home/user/VMs/web01/Snapshots/b.vmdk", format="vmdk")
    tree = hard_disk(BASE, "base.vmdk", leaf, format="VMDK")
    vm = described(tmp_path, written(tree, controller(attached(CHILD))))
    assert codes(vm) == []
    (disk,) = vm.disks
    assert (disk.size, disk.source and disk.source.path) == (
        8 * MIB,
        str(tmp_path / "Snapshots/b.vmdk"),
    )
    assert layers.measured(disk, access.of(vm)) == 8 * MIB
    assert decode(encode_vm(vm)).disks == vm.disks


def test_snapshots_that_were_copied_beside_the_machine_are_found(
    tmp_path: Path,
) -> None:
    qemu_img(tmp_path, "create -q -f vmdk base.vmdk 8M")
    qemu_img(tmp_path, "create -q -f vmdk -F vmdk -b base.vmdk b.vmdk")
    leaf = hard_disk(CHILD, "Snapshots/b.vmdk", format="VMDK")
    tree = hard_disk(BASE, "../disks/base.vmdk", leaf, format="VMDK")
    vm = described(tmp_path, written(tree, controller(attached(CHILD))))
    assert (codes(vm), vm.disks[0].size) == ([], 8 * MIB)


def test_a_chain_that_qemu_would_misread_is_blocked(tmp_path: Path) -> None:
    for name in ("base.vdi", "child.vdi"):
        qemu_img(tmp_path, f"create -q -f vdi {name} 8M")
    differing(tmp_path / "child.vdi", BASE)
    tree = hard_disk(BASE, "base.vdi", hard_disk(CHILD, "child.vdi"))
    vm = described(tmp_path, written(tree, controller(attached(CHILD))))
    layer = vm.disks[0].source
    assert layer and [f.path for f in layer.backing] == [str(tmp_path / "base.vdi")]
    assert [(f.code, f.severity) for f in vm.findings] == [("chain-unread", "block")]


def test_a_missing_parent_is_a_finding(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f vdi child.vdi 8M")
    differing(tmp_path / "child.vdi", BASE)
    tree = hard_disk(BASE, "base.vdi", hard_disk(CHILD, "child.vdi"))
    vm = described(tmp_path, written(tree, controller(attached(CHILD))))
    assert codes(vm) == ["disk-missing"]
    assert "base.vdi" in vm.findings[0].message


@pytest.mark.report("https://github.com/fox-it/dissect.hypervisor")
def test_a_format_in_lower_case_is_known(tmp_path: Path) -> None:
    qemu_img(tmp_path, "create -q -f vdi a.vdi 8M")
    image = hard_disk(BASE, "a.vdi", format="vdi")
    vm = described(tmp_path, written(image, controller(attached(BASE))))
    assert (vm.disks[0].size, codes(vm)) == (8 * MIB, [])


GLOBAL = (
    '<VirtualBox version="1.9-linux"><Global><MediaRegistry><HardDisks>{}</HardDisks>'
    "</MediaRegistry></Global></VirtualBox>"
)


def test_an_image_that_only_the_users_registry_knows_is_found(tmp_path: Path) -> None:
    """VirtualBox 3 kept all images in VirtualBox.xml, two folders above the machine."""
    machine = tmp_path / "Machines/web01"
    machine.mkdir(parents=True)
    (tmp_path / "HardDisks").mkdir()
    qemu_img(tmp_path, "create -q -f vdi HardDisks/a.vdi 8M")
    image = hard_disk(BASE, "HardDisks/a.vdi")
    (tmp_path / "VirtualBox.xml").write_text(GLOBAL.format(image))
    vm = described(machine, written("", controller(attached(BASE))), (tmp_path,))
    assert codes(vm) == []
    source = vm.disks[0].source
    assert source and source.path == str(tmp_path / "HardDisks/a.vdi")


def test_the_users_registry_does_not_widen_what_is_opened(tmp_path: Path) -> None:
    image = hard_disk(BASE, "/etc/hostname", format="RAW")
    (tmp_path / "VirtualBox.xml").write_text(GLOBAL.format(image))
    with pytest.raises(SourceError, match="outside the folders"):
        described(tmp_path, written("", controller(attached(BASE))))


def test_the_users_registry_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text(GLOBAL.format(hard_disk(BASE, "a.vdi")))
    (tmp_path / "VirtualBox.xml").symlink_to("secret.xml")
    (finding,) = described(tmp_path, written("", controller(attached(BASE)))).findings
    assert "not in the file's registry" in finding.message


def test_the_machines_own_registry_goes_first_and_then_none_is_read(
    tmp_path: Path,
) -> None:
    qemu_img(tmp_path, "create -q -f vdi a.vdi 8M")
    (tmp_path / "VirtualBox.xml").write_text("broken")
    data = written(hard_disk(BASE, "a.vdi"), controller(attached(BASE)))
    assert codes(described(tmp_path, data)) == []


def test_the_users_registry_is_no_machine_and_names_those_there_are(
    tmp_path: Path,
) -> None:
    entry = '<MachineEntry uuid="{1}" src="/vms/web01/web01.vbox"/>'
    (tmp_path / "VirtualBox.xml").write_text(
        f"<VirtualBox><Global><MachineRegistry>{entry}</MachineRegistry></Global>"
        "</VirtualBox>"
    )
    with pytest.raises(SourceError, match="describes no machine") as e:
        list(read(Request(location=str(tmp_path / "VirtualBox.xml"))))
    assert "/vms/web01/web01.vbox" in e.value.remedy


def test_a_machine_of_virtualbox_2_is_refused() -> None:
    data = written().replace(
        b"<StorageControllers>", b"<HardDiskAttachments/><StorageControllers>"
    )
    with pytest.raises(SourceError, match=r"older than 3\.1"):
        vbox.parse(data, Path("/x.vbox"))


def test_a_folder_with_the_previous_copy_alone_is_no_plain_disk(tmp_path: Path) -> None:
    """Its disk would be the base, without what was written since the snapshot."""
    qemu_img(tmp_path, "create -q -f vdi a.vdi 8M")
    (tmp_path / "web01.vbox-prev").write_bytes(written())
    (vm,) = read(Request(location=str(tmp_path)))
    assert (vm.source.kind, vm.name) == ("vbox", "web01")


def test_the_bios_starts_from_a_bootable_controller() -> None:
    names = [str(uuid.UUID(int=n)) for n in (1, 2)]
    vm = parse(
        "".join(hard_disk(name, f"{n}.vdi") for n, name in enumerate(names)),
        controller(attached(names[0])).replace('"AHCI"', '"AHCI" Bootable="false"')
        + controller(attached(names[1]), "PIIX4"),
    )
    assert [(d.slot, d.boot) for d in vm.disks] == [
        ("AHCI:0:0", None),
        ("PIIX4:0:0", 3),
    ]


def test_the_card_of_the_first_priority_starts_the_machine() -> None:
    card = '<Adapter slot="{}" enabled="1" bootPriority="{}"><NAT/></Adapter>'
    boot = '<Boot><Order position="1" device="Network"/></Boot><Network>'
    cards = "".join(card.format(*pair) for pair in ((2, 1), (0, 0), (1, 2)))
    vm = parse("", "", f"{boot}{cards}</Network>")
    assert [(n.slot, n.boot) for n in vm.nics] == [("0", None), ("1", None), ("2", 1)]


def test_the_guest_sees_the_hardwares_uuid_if_that_is_another() -> None:
    data = written().replace(b"<Hardware>", f'<Hardware uuid="{{{LEAF}}}">'.encode())
    vm, _ = vbox.parse(data, Path("/x.vbox"))
    assert vm.uuid == LEAF


def test_settings_of_virtualbox_7_are_found_within_hardware() -> None:
    """1.20 moved firmware, TPM, secure boot, clock and storage."""
    storage = f"<StorageControllers>{controller(attached(BASE))}</StorageControllers>"
    hardware = (
        '<Platform architecture="x86"><Chipset type="ICH9"/>'
        '<RTC localOrUTC="UTC"/></Platform><CPU count="4"/>'
        '<Firmware type="EFI"><NVRAM path="web01.nvram"/><SecureBoot enabled="true"/>'
        '</Firmware><TrustedPlatformModule type="v2_0" location=""/>'
        '<Boot><Order position="1" device="HardDisk"/></Boot>'
    )
    vm = parse(hard_disk(BASE, "a.vdi"), "", hardware + storage)
    assert (vm.arch, vm.vcpus, vm.clock, vm.firmware, vm.secure_boot, vm.tpm) == (
        *("x86_64", 4, "utc", "efi"),
        *(True, True),
    )
    assert [(d.bus, d.boot) for d in vm.disks] == [("sata", 1)]
    assert codes(vm) == ["tpm-state-lost", "nvram-lost"]
    assert "web01.nvram" in vm.findings[1].message


def test_secure_boot_is_nothing_without_uefi() -> None:
    assert not parse("", "", '<BIOS><SecureBoot enabled="true"/></BIOS>').secure_boot


@pytest.mark.parametrize(
    ("hardware", "lost"),
    [
        (
            (
                '<USB><DeviceFilters><DeviceFilter name="key" active="true"/>'
                '<DeviceFilter name="old" active="false"/></DeviceFilters></USB>'
            ),
            "USB device key of the host",
        ),
        (
            (
                '<UART><Port slot="0" enabled="true" hostMode="HostDevice" '
                'path="/dev/ttyS0"/>'
                '<Port slot="1" enabled="true" hostMode="RawFile" path="/log"/></UART>'
            ),
            "serial port 0 (/dev/ttyS0)",
        ),
        (
            (
                '<LPT><Port slot="0" enabled="true" path="/dev/lp0"/>'
                '<Port slot="1" enabled="false"/></LPT>'
            ),
            "parallel port 0 (/dev/lp0)",
        ),
        (
            '<HostPci><Devices><Device host="7" guest="1"/></Devices></HostPci>',
            "host PCI device 7",
        ),
        (
            '<EmulatedUSB><CardReader enabled="true"/></EmulatedUSB>',
            "smart card reader of the host",
        ),
    ],
)
def test_what_is_the_hosts_is_lost(hardware: str, lost: str) -> None:
    vm = parse("", "", hardware)
    assert vm.passthrough == (lost,)
    assert [(f.code, f.severity) for f in vm.findings] == [("device-lost", "warn")]
    assert lost in vm.findings[0].message


def test_what_was_set_past_virtualbox_is_told_by_its_name() -> None:
    key = "VBoxInternal/Devices/pcbios/0/Config/DmiSystemSerial"
    item = f'<ExtraDataItem name="{key}" value="s3cret"/><ExtraDataItem name="GUI/x"/>'
    data = written().replace(
        b"<MediaRegistry>", f"<ExtraData>{item}</ExtraData><MediaRegistry>".encode()
    )
    vm, _ = vbox.parse(data, Path("/x.vbox"))
    assert codes(vm) == ["settings-lost"]
    assert "DmiSystemSerial" in vm.findings[0].message
    assert "s3cret" not in vm.model_dump_json()


def test_ways_to_reach_the_machine_are_told_as_lost() -> None:
    rule = '<Forwarding name="ssh" proto="1" hostport="2222" guestport="22"/>'
    cards = (
        '<Network><Adapter slot="0" enabled="true" MACAddress="080027000001"><NAT>'
        f"{rule}</NAT></Adapter><Adapter slot='1' enabled='false'><NAT>{rule}</NAT>"
        "</Adapter></Network>"
    )
    vm = parse("", "", f'<RemoteDisplay enabled="true"/>{cards}')
    assert codes(vm) == ["settings-lost"]
    assert vm.findings[0].message.endswith(": port forwarding ssh, RemoteDisplay")
    assert codes(parse("", "", '<RemoteDisplay enabled="false"/>')) == []


def test_the_current_snapshot_is_shown() -> None:
    tree = (
        f'<Snapshot uuid="{{{LEAF}}}" name="first"><Snapshots>'
        f'<Snapshot uuid="{{{CHILD}}}" name="second"/></Snapshots></Snapshot>'
    )
    data = written(more=f'currentSnapshot="{{{CHILD}}}"').replace(
        b"</Machine>", f"{tree}</Machine>".encode()
    )
    vm, _ = vbox.parse(data, Path("/x.vbox"))
    assert codes(vm) == ["snapshots-dropped"]
    assert vm.findings[0].message.endswith("first, second (current)")


def test_a_machine_that_was_killed_is_told() -> None:
    assert codes(parse(more='aborted="true"')) == ["source-crashed"]


def test_numbers_that_no_machine_has_are_told() -> None:
    vm = parse("", "", '<CPU count="0"/><Firmware type="Coreboot"/>')
    assert (vm.vcpus, codes(vm)) == (1, ["vcpus-unknown", "firmware-unknown"])


def test_a_disk_on_a_controller_that_is_not_known_is_told() -> None:
    vm = parse(hard_disk(BASE, "a.vdi"), controller(attached(BASE), "NewOne"))
    assert (vm.disks[0].bus, codes(vm)) == ("unknown", ["bus-unknown"])


def test_a_medium_in_a_drive_is_told_to_stay() -> None:
    images = f'<Image uuid="{{{LEAF}}}" location="/iso/a.iso"/>'
    drives = attached(LEAF, type="DVD") + attached("", 1, "DVD")
    floppy = controller(attached("", type="Floppy"), "I82078")
    vm = parse(images, controller(drives, "PIIX4") + floppy)
    assert [(r.type, r.bus, r.path) for r in vm.removable] == [
        ("cdrom", "ide", "/iso/a.iso"),
        ("cdrom", "ide", None),
        ("floppy", "unknown", None),
    ]
    assert codes(vm) == ["medium-lost"]


def test_a_medium_that_no_registry_knows_is_told_and_the_drive_is_empty() -> None:
    vm = parse("", controller(attached(LEAF, type="DVD"), "PIIX4"))
    assert ([r.path for r in vm.removable], codes(vm)) == ([None], ["medium-lost"])
    assert LEAF in vm.findings[0].message


@pytest.mark.parametrize("type", ["DVD", "HardDisk"])
def test_no_image_of_a_cd_is_a_disk_nor_the_other_way_round(type: str) -> None:
    image = f'<Image uuid="{{{BASE}}}" location="a.iso"/>'
    registry = hard_disk(BASE, "a.vdi") if type == "DVD" else image
    vm = parse(registry, controller(attached(BASE, type=type)))
    assert codes(vm) == ["medium-lost" if type == "DVD" else "disk-missing"]


@pytest.mark.report("https://github.com/hashicorp/vagrant/pull/4484")
def test_a_linked_clone_is_read_over_its_elders_disk(tmp_path: Path) -> None:
    """The base is in the folder of another machine, which the user has to name."""
    elder, clone = tmp_path / "base", tmp_path / "clone"
    (clone / "Snapshots").mkdir(parents=True)
    elder.mkdir()
    qemu_img(elder, "create -q -f vmdk base.vmdk 8M")
    qemu_img(
        clone, "create -q -f vmdk -F vmdk -b ../../base/base.vmdk Snapshots/b.vmdk"
    )
    leaf = hard_disk(CHILD, "Snapshots/b.vmdk", format="VMDK")
    tree = hard_disk(BASE, f"{elder}/base.vmdk", leaf, format="VMDK")
    data = written(tree, controller(attached(CHILD)))
    with pytest.raises(SourceError, match="outside the folders"):
        described(clone, data)
    vm = described(clone, data, (elder,))
    assert codes(vm) == []
    layer = vm.disks[0].source
    assert layer and [f.path for f in layer.backing] == [f"{elder}/base.vmdk"]


def test_an_iscsi_disk_names_its_target_and_keeps_its_secret() -> None:
    properties = (
        '<Property name="TargetName" value="iqn.2026-01.org.example:a"/>'
        '<Property name="TargetAddress" value="192.0.2.7"/>'
        '<Property name="InitiatorSecret" value="s3cret"/>'
    )
    image = hard_disk(BASE, "192.0.2.7|iqn", properties, format="iSCSI")
    (finding,) = parse(image, controller(attached(BASE))).findings
    assert "iqn.2026-01.org.example:a at 192.0.2.7" in finding.message
    assert "s3cret" not in finding.message


def test_an_immutable_disk_and_a_shared_one_are_told() -> None:
    image = hard_disk(BASE, "a.vdi", hard_disk(CHILD, "b.vdi")).replace(
        '"Normal"', '"Immutable"', 1
    )
    assert codes(parse(image, controller(attached(CHILD)))) == ["disk-mode"]
    shared = hard_disk(BASE, "a.vdi").replace('"Normal"', '"Shareable"')
    assert parse(shared, controller(attached(BASE))).disks[0].shared


# Hostile


@pytest.mark.parametrize("place", ["", ".", "Snapshots", "/"])
def test_a_folder_is_no_disk(tmp_path: Path, place: str) -> None:
    (tmp_path / "Snapshots").mkdir()
    data = written(hard_disk(BASE, place, format="RAW"), controller(attached(BASE)))
    try:
        vm = described(tmp_path, data)
    except SourceError as e:
        assert "\n" not in e.message
    else:
        assert codes(vm) == ["disk-missing"]


def test_more_cards_than_can_be_are_refused() -> None:
    with pytest.raises(SourceError, match="37 network cards"):
        parse("", "", '<Adapter slot="0" enabled="true"/>' * 37)


def test_a_thousand_devices_of_the_host_are_told_in_part() -> None:
    vm = parse("", "", '<SharedFolder name="a"/>' * 1000)
    assert (len(vm.passthrough), len(vm.findings)) == (64, 64)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../../../../../../../../../../../../etc/hostname"]
)
def test_a_disk_outside_the_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    data = written(hard_disk(BASE, name, format="RAW"), controller(attached(BASE)))
    with pytest.raises(SourceError, match="outside the folders") as e:
        described(tmp_path, data)
    assert "--allow-path" in e.value.remedy


@pytest.mark.parametrize("folder", ["/etc", "../../../../../../../../etc", "link"])
def test_a_snapshot_folder_does_not_widen_what_is_opened(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "link").symlink_to("/etc")
    data = written(
        hard_disk(BASE, "C:\\vms\\hostname", format="RAW"),
        controller(attached(BASE)),
        more=f'snapshotFolder="{folder}"',
    )
    (finding,) = described(tmp_path, data).findings
    assert finding.code == "disk-missing"
    assert "outside the folders" in finding.message


BOMB = (
    '<!DOCTYPE v [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    "<VirtualBox>&b;</VirtualBox>"
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\0" * 100, "no XML"),
        (BOMB.encode(), "document type"),
        (BOMB.encode("utf-16"), "document type"),
        (written()[:-30], "broken XML"),
        (b"<VirtualBox>" + b"<a>" * 5000, "broken XML"),
        (b"<Other/>", "no VirtualBox machine"),
        (b"<VirtualBox><Global/></VirtualBox>", "describes no machine"),
        (b"<VirtualBox><MachineEncrypted/></VirtualBox>", "is encrypted"),
        (b"<html><body>log in</body></html>", "web page"),
        (b" " * (9 * MIB), "too large"),
        (written("", controller(attached(BASE) * 600)), "600 disks"),
    ],
)
def test_what_is_no_machine_is_said_in_one_line(
    tmp_path: Path, data: bytes, said: str
) -> None:
    with pytest.raises(SourceError, match=said) as e:
        described(tmp_path, data)
    assert "\n" not in e.value.message
    assert e.value.remedy


def test_a_broken_file_has_its_previous_copy_named(tmp_path: Path) -> None:
    (tmp_path / "web01.vbox-prev").write_bytes(written())
    with pytest.raises(SourceError, match="broken XML") as e:
        described(tmp_path, written()[:-30])
    assert "web01.vbox-prev" in e.value.remedy
    assert detect(str(tmp_path / "web01.vbox-prev")) == "vbox"


WORDS = st.one_of(
    st.sampled_from(
        ["", "-1", "0", "1" * 40, "true", "None", "EFI", "\x00x", "𝛑" * 300]
    ),
    st.text(max_size=30),
)


@given(st.dictionaries(st.integers(0, 60), WORDS, max_size=8), st.data())
def test_any_value_gives_a_document_or_one_line(
    values: dict[int, str], data: st.DataObject
) -> None:
    sample = written(
        hard_disk(BASE, "a.vdi", hard_disk(CHILD, "b.vdi")),
        controller(attached(CHILD)) + controller(attached("", type="DVD"), "PIIX4"),
        '<CPU count="2"/><Network><Adapter slot="0" enabled="true" '
        'MACAddress="080027000001"><BridgedInterface name="eno1"/></Adapter></Network>',
    ).decode()
    pieces = sample.split('"')
    for place, word in values.items():
        at = (2 * place + 1) % (len(pieces) // 2 * 2)
        pieces[at] = word.replace("&", "").replace("<", "").replace('"', "")
    changed = '"'.join(pieces).encode("utf-8", "replace")
    if data.draw(st.booleans()):
        changed = changed[: data.draw(st.integers(0, len(changed)))]
    any_input.gives_a_document_or_one_line(
        lambda: vbox.parse(changed, Path("/x.vbox"))[0]
    )


# Real machines

CORPUS = Path(__file__).parents[4] / "shared" / "corpus" / "expected.json"


def test_the_corpus_is_read_as_expected(shared: Path) -> None:
    known = json.loads(CORPUS.read_text())
    names = [name for name in known if name.startswith("vbox/")]
    for name in names:
        path = shared / "corpus" / name
        vm, _ = vbox.parse(path.read_bytes(), path)
        assert facts(vm) == wanted(known[name]["facts"]), name
    assert len(names) >= 4


def facts(vm: VM) -> dict[str, Any]:
    return {
        "name": vm.name,
        "memory": vm.memory,
        "vcpus": vm.vcpus,
        "firmware": vm.firmware,
        "secure_boot": vm.secure_boot,
        "tpm": vm.tpm,
        "os_type": vm.source.os_hint,
        "disks": [
            (d.slot, [d.source.path, *(f.path for f in d.source.backing)])
            for d in vm.disks
            if d.source
        ],
        "removable": [(r.slot, r.path) for r in vm.removable],
        "nics": [(n.mac, n.model, n.network, n.slot) for n in vm.nics],
    }


def wanted(known: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": known["name"],
        "memory": known["memory_bytes"],
        "vcpus": known["vcpus"],
        "firmware": known["firmware"],
        "secure_boot": known["secure_boot"],
        "tpm": known["tpm"],
        "os_type": known["os_type"],
        "disks": [(d["slot"], d["chain"]) for d in known["disks"]],
        "removable": [(r["slot"], r["file"]) for r in known["removable"]],
        "nics": [
            (n["mac"], n["model"], n["network"], str(n["slot"])) for n in known["nics"]
        ],
    }
