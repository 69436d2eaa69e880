# SPDX-License-Identifier: GPL-2.0-or-later
"""What is plugged into a machine of VMware, and what is only written down."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, read, vmx

BASE = 'displayName = "web01"\nmemsize = "1024"\n'
SCSI = 'scsi0.present = "TRUE"\n'


def parse(text: str) -> VM:
    return vmx.parse((BASE + text).encode(), Path("/vms/web01.vmx"))


def disk(slot: str, name: str, **more: str) -> str:
    keys = {"present": "TRUE", "fileName": name, **more}
    return "".join(f'{slot}.{key} = "{value}"\n' for key, value in keys.items())


def card(number: int, **more: str) -> str:
    keys = {"present": "TRUE", "generatedAddress": "00:0c:29:00:00:02", **more}
    return "".join(f'ethernet{number}.{k} = "{v}"\n' for k, v in keys.items())


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def read_in(folder: Path, text: str, **settings: Any) -> VM:
    (folder / "web01.vmx").write_text(BASE + text)
    (vm,) = read(Request(location=str(folder / "web01.vmx"), **settings))
    return vm


def image(path: Path, *options: str) -> None:
    size = ["-o", "size=8M"] if "-b" not in options else []
    command = ["qemu-img", "create", "-q", "-f", "vmdk", *size, *options, path.name]
    subprocess.run(command, check=True, cwd=path.parent)


# Disks


@pytest.mark.parametrize("bus", ["scsi", "sata", "nvme", "ide"])
@pytest.mark.parametrize("kind", ["", "disk", "scsi-hardDisk", "ata-hardDisk"])
def test_a_disk_needs_no_type_on_any_bus(bus: str, kind: str) -> None:
    more = {"deviceType": kind} if kind else {}
    vm = parse(f'{bus}0.present = "TRUE"\n' + disk(f"{bus}0:1", "a.vmdk", **more))
    assert [(d.bus, d.slot) for d in vm.disks] == [(bus, f"{bus}0:1")]
    assert codes(vm) == []


@pytest.mark.parametrize(
    "text",
    [
        disk("scsi0:0", "a.vmdk"),
        'scsi0.present = "FALSE"\n' + disk("scsi0:0", "a.vmdk"),
        SCSI + 'scsi0:0.fileName = "a.vmdk"\n',
        SCSI + disk("scsi0:0", "a.vmdk", present="maybe"),
    ],
)
def test_a_disk_that_vmware_does_not_see_is_left_out_and_told(text: str) -> None:
    vm = parse(text)
    assert (vm.disks, codes(vm)) == ((), ["disk-hidden"])
    assert "scsi0:0" in vm.findings[0].message


def test_a_disk_that_was_taken_out_needs_no_word() -> None:
    vm = parse(SCSI + disk("scsi0:0", "a.vmdk", present="FALSE"))
    assert (vm.disks, codes(vm)) == ((), [])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", [1, None]),
        ('bios.hddOrder = "scsi0:1,scsi0:0"\n', [None, 1]),
        ('bios.hddOrder = "scsi0:9"\n', [1, None]),
        ('bios.bootOrder = "cdrom,HDD"\n', [2, None]),
        ('bios.bootOrder = "cdrom, floppy"\n', [3, None]),
        ('bios.bootOrder = "ethernet0,hdd"\nbios.hddOrder = "SCSI0:1"\n', [None, 2]),
        ('firmware = "efi"\nbios.hddOrder = "scsi0:1"\n', [1, None]),
    ],
)
def test_the_bios_has_an_order_and_uefi_its_own(
    text: str, places: list[int | None]
) -> None:
    two = disk("scsi0:0", "a.vmdk") + disk("scsi0:1", "b.vmdk")
    assert [d.boot for d in parse(SCSI + two + text).disks] == places


def test_a_card_that_is_started_from_is_in_the_order() -> None:
    vm = parse(card(0) + card(1) + 'bios.bootOrder = "ethernet1,hdd"\n')
    assert [n.boot for n in vm.nics] == [None, 1]


@pytest.mark.parametrize(
    "text",
    [
        disk("scsi0:0", "a.vmdk", sharing="multi-writer"),
        disk("scsi0:0", "a.vmdk", shared="TRUE"),
        disk("scsi0:0", "a.vmdk") + 'scsi0.sharedBus = "physical"\n',
        disk("scsi0:0", "a.vmdk") + 'scsi0.sharedBus = "Virtual"\n',
    ],
)
def test_a_disk_of_a_cluster_is_shared(text: str) -> None:
    assert [d.shared for d in parse(SCSI + text).disks] == [True]


def test_a_bus_that_is_not_shared_is_so() -> None:
    text = disk("scsi0:0", "a.vmdk") + 'scsi0.sharedBus = "none"\n'
    assert [d.shared for d in parse(SCSI + text).disks] == [False]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"mode": "persistent"}, []),
        ({"mode": "independent-persistent"}, []),
        ({"mode": "independent-nonpersistent", "redo": "a.REDO_1"}, ["disk-mode"]),
        ({"mode": "undoable", "redo": ""}, ["disk-mode"]),
        ({"mode": "Undoable", "redo": "a.vmdk.REDO"}, ["disk-redo"]),
        ({"mode": "append", "redo": "a.vmdk.REDO"}, ["disk-redo"]),
    ],
)
def test_a_mode_tells_where_what_was_written_is(
    more: dict[str, str], found: list[str]
) -> None:
    vm = parse(SCSI + disk("scsi0:0", "a.vmdk", **more))
    assert codes(vm) == found
    severities = {f.code: f.severity for f in vm.findings}
    assert severities.get("disk-redo", "block") == "block"


def test_more_disks_than_any_machine_has_are_refused() -> None:
    text = "".join(disk(f"scsi0:{n}", "a") for n in range(600))
    with pytest.raises(SourceError, match="600 disks"):
        parse(SCSI + text)


# Drives


@pytest.mark.parametrize(
    ("text", "type", "path", "connected"),
    [
        ('sata0:1.deviceType = "cdrom-image"\n', "cdrom", "t.iso", True),
        ('sata0:1.deviceType = "cdrom-raw"\n', "cdrom", None, True),
        ('sata0:1.deviceType = "atapi-cdrom"\n', "cdrom", "t.iso", True),
        (
            'sata0:1.deviceType = "CDROM-image"\nsata0:1.startConnected = "FALSE"\n',
            "cdrom",
            "t.iso",
            False,
        ),
        (
            'sata0:1.deviceType = "cdrom-image"\nsata0:1.clientDevice = "TRUE"\n',
            "cdrom",
            None,
            True,
        ),
        ("", "cdrom", "t.iso", True),
    ],
)
def test_a_cd_drive_is_kept_on_any_bus(
    text: str, type: str, path: str | None, connected: bool
) -> None:
    vm = parse('sata0.present = "TRUE"\n' + disk("sata0:1", "t.iso") + text)
    assert vm.disks == ()
    (drive,) = vm.removable
    assert (drive.type, drive.path, drive.connected) == (type, path, connected)


@pytest.mark.parametrize(
    "name", ["", "auto detect", "emptyBackingString", "vmware-null-remote-cdrom", "-1"]
)
def test_a_drive_without_a_medium_is_empty(name: str) -> None:
    text = disk("ide1:0", name, deviceType="cdrom-image")
    assert [r.path for r in parse(text).removable] == [None]


def test_a_floppy_drive_is_there_until_it_is_taken_out() -> None:
    assert [r.type for r in parse('floppy0.fileType = "device"\n').removable] == [
        "floppy"
    ]
    assert parse('floppy0.present = "FALSE"\n').removable == ()
    assert parse("").removable == ()


# Network cards


@pytest.mark.parametrize(
    ("more", "mac", "source"),
    [
        ({"addressType": "generated"}, "00:0c:29:00:00:02", "generated"),
        (
            {"addressType": "static", "address": "00:50:56:00:00:01"},
            "00:50:56:00:00:01",
            "static",
        ),
        (
            {"addressType": "Manual", "address": "00-50-56-00-00-01"},
            "00:50:56:00:00:01",
            "static",
        ),
        (
            {"addressType": "vpx", "address": "00:50:56:00:00:01"},
            "00:0c:29:00:00:02",
            "generated",
        ),
        # The chosen key is missing: the other one.
        ({"addressType": "static"}, "00:0c:29:00:00:02", "static"),
    ],
)
def test_the_address_is_the_one_that_its_type_chooses(
    more: dict[str, str], mac: str, source: str
) -> None:
    (nic,) = parse(card(0, **more)).nics
    assert (nic.mac, nic.mac_source) == (mac, source)


def test_a_template_that_never_ran_has_no_address_and_that_is_told() -> None:
    vm = parse(card(0, generatedAddress="00:00:00:00:00:00"))
    assert vm.nics[0].mac_source == "made"
    assert [(f.code, f.severity) for f in vm.findings] == [("mac-made", "info")]


@pytest.mark.parametrize(
    ("more", "type", "network"),
    [
        ({"networkName": "VM Network"}, "bridge", "VM Network"),
        ({"networkName": "a |22b|22"}, "bridge", 'a "b"'),
        ({"connectionType": "bridged"}, "bridge", None),
        ({"connectionType": "nat"}, "network", None),
        ({"connectionType": "HostOnly"}, "internal", None),
        ({"connectionType": "custom", "vnet": "/dev/vmnet2"}, "bridge", "/dev/vmnet2"),
        ({"dvs.portgroupId": "dvportgroup-7"}, "bridge", "dvportgroup-7"),
        ({"opaqueNetwork.id": "ls-1"}, "bridge", "ls-1"),
    ],
)
def test_a_card_says_how_and_where_it_is_attached(
    more: dict[str, str], type: str, network: str | None
) -> None:
    (nic,) = parse(card(0, **more)).nics
    assert (nic.type, nic.network) == (type, network)


def test_a_vmxnet_with_features_is_another_model() -> None:
    vm = parse(
        card(0, virtualDev="vmxnet", features="15") + card(1, virtualDev="E1000")
    )
    assert [n.model for n in vm.nics] == ["vmxnet2", "e1000"]


def test_a_card_that_is_not_present_is_none() -> None:
    assert (
        parse(card(0, present="FALSE") + 'ethernet1.virtualDev = "e1000"\n').nics == ()
    )


# What stays behind


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('pciPassthru0.present = "TRUE"\n', "pcipassthru0"),
        ('nvdimm0.present = "TRUE"\n', "nvdimm0"),
        ('sgx.present = "TRUE"\n', "sgx"),
        ('parallel0.present = "TRUE"\n', "parallel0"),
        ('sharedFolder0.present = "TRUE"\n', "sharedfolder0"),
        (
            'serial0.present = "TRUE"\nserial0.fileType = "device"\n',
            "serial0 (a port of the host)",
        ),
        (
            SCSI + disk("scsi0:1", "/vmfs/x", deviceType="scsi-passthru"),
            "scsi0:1 (scsi-passthru)",
        ),
    ],
)
def test_what_no_other_host_has_is_told_as_lost(text: str, name: str) -> None:
    vm = parse(text)
    assert (vm.passthrough, codes(vm), vm.disks) == ((name,), ["device-lost"], ())


def test_a_serial_port_that_is_a_file_or_a_printer_is_no_loss() -> None:
    for kind in ("file", "thinprint", "pipe"):
        text = f'serial0.present = "TRUE"\nserial0.fileType = "{kind}"\n'
        assert codes(parse(text)) == []


# Beside the file


def test_the_folder_of_the_snapshots_may_be_another(tmp_path: Path) -> None:
    folder, apart = tmp_path / "vm", tmp_path / "snap"
    folder.mkdir()
    apart.mkdir()
    image(apart / "a-000001.vmdk")
    text = f'workingDir = "{apart}"\n' + SCSI + disk("scsi0:0", "a-000001.vmdk")
    vm = read_in(folder, text, allow=(tmp_path,))
    assert vm.disks[0].source
    assert vm.disks[0].source.path == str(apart / "a-000001.vmdk")
    assert vm.disks[0].size == 8 * 2**20
    refused = read_in(folder, text)
    assert [(f.code, f.severity) for f in refused.findings] == [
        ("disk-missing", "block")
    ]


@pytest.mark.parametrize("enabled", ["TRUE", "FALSE"])
def test_the_serial_number_is_that_of_the_base_if_the_guest_saw_it(
    tmp_path: Path, enabled: str
) -> None:
    image(tmp_path / "base.vmdk")
    image(tmp_path / "top.vmdk", "-b", "base.vmdk", "-F", "vmdk")
    # qemu's own descriptor has no uuid; VMware's has.
    add = b'ddb.uuid = "60 00 C2 9f 51 aa 17 8d-0f 21 35 5c 09 84 b1 e2"\n'
    data = (tmp_path / "base.vmdk").read_bytes()
    place = data.index(b"# The Disk Data Base")
    assert not data[place + 300 : place + 300 + len(add)].strip(b"\0")
    end = data.index(b"\0", place)
    data = data[:end] + add + data[end + len(add) :]
    (tmp_path / "base.vmdk").write_bytes(data)
    text = f'disk.EnableUUID = "{enabled}"\n' + SCSI + disk("scsi0:0", "top.vmdk")
    vm = read_in(tmp_path, text)
    wanted = "6000c29f51aa178d0f21355c0984b1e2" if enabled == "TRUE" else None
    assert [d.serial for d in vm.disks] == [wanted]


def test_a_lock_and_snapshots_beside_the_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "web01.vmx.lck").mkdir()
    (tmp_path / "web01.vmsd").write_text(
        'snapshot0.uid = "1"\nsnapshot0.displayName = "before|22x|22"\n'
        'snapshot1.uid = "2"\nsnapshot9.displayName = "of no snapshot"\n'
    )
    vm = read_in(tmp_path, "")
    assert codes(vm) == ["source-locked", "snapshots-dropped"]
    assert '2 snapshots stay behind: before"x", snapshot1' in vm.findings[1].message


def test_a_list_of_snapshots_that_leads_elsewhere_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('snapshot0.uid = "1"\nsnapshot0.displayName = "s3cret"\n')
    (tmp_path / "web01.vmsd").symlink_to(secret)
    assert codes(read_in(tmp_path, "")) == []


# The machine


@pytest.mark.parametrize(
    ("text", "firmware", "known", "found"),
    [
        ("", "bios", True, []),
        ('firmware = "EFI"\n', "efi", True, []),
        ('firmware = "Bios"\n', "bios", True, []),
        ('firmware = "coreboot"\n', "bios", False, ["firmware-unknown"]),
        ('firmware = "efi"\nnvram = "web01.nvram"\n', "efi", True, ["nvram-lost"]),
        ('nvram = "web01.nvram"\n', "bios", True, []),
    ],
)
def test_firmware_has_no_case(
    text: str, firmware: str, known: bool, found: list[str]
) -> None:
    vm = parse(text)
    assert (vm.firmware, vm.firmware_known, codes(vm)) == (firmware, known, found)


@pytest.mark.parametrize(
    ("text", "shape", "found"),
    [
        ("", (1, 1), []),
        ('numvcpus = "8"\ncpuid.coresPerSocket = "4"\n', (2, 4), []),
        ('numvcpus = "8"\ncpuid.coresPerSocket = "0"\n', (8, 1), []),
        (
            'numvcpus = "6"\ncpuid.coresPerSocket = "4"\n',
            (None, None),
            ["topology-dropped"],
        ),
        ('numvcpus = "0"\n', (1, 1), ["vcpus-unknown"]),
        (f'numvcpus = "{"9" * 5000}"\n', (1, 1), ["vcpus-unknown"]),
    ],
)
def test_sockets_and_cores_give_the_processors_or_are_dropped(
    text: str, shape: tuple[int | None, int | None], found: list[str]
) -> None:
    vm = parse(text)
    assert ((vm.cpu.sockets, vm.cpu.cores), codes(vm)) == (shape, found)


@pytest.mark.parametrize("memory", ["", "0", "-4", "x", "9" * 18, "9" * 5000])
def test_a_memory_that_cannot_be_is_vmwares_default(memory: str) -> None:
    vm = vmx.parse(
        f'displayName = "a"\nmemsize = "{memory}"\n'.encode(), Path("/a.vmx")
    )
    assert (vm.memory, codes(vm)) == (32 * 2**20, ["memory-unknown"])


@pytest.mark.parametrize(
    "text", ['vtpm.present = "TRUE"\n', 'managedvm.autoAddVTPM = "software"\n']
)
def test_a_tpm_is_told_however_it_came(text: str) -> None:
    vm = parse(text)
    assert (vm.tpm, codes(vm)) == (True, ["tpm-state-lost"])


@pytest.mark.parametrize("key", ["vhv.enable", "windows.vbs.enabled"])
def test_what_needs_nested_virtualisation_gets_it(key: str) -> None:
    assert parse(f'{key} = "TRUE"\n').cpu.nested


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        (
            "56 4d 1f 2e 3c 4b 5a 69-78 87 96 a5 b4 c3 d2 e1",
            "564d1f2e-3c4b-5a69-7887-96a5b4c3d2e1",
        ),
        (
            "564D1F2E3C4B5A69788796A5B4C3D2E1",
            "564d1f2e-3c4b-5a69-7887-96a5b4c3d2e1",
        ),
        ("56 4d", None),
        ("", None),
    ],
)
def test_the_uuid_of_the_bios_is_kept_as_printed(text: str, uuid: str | None) -> None:
    assert parse(f'uuid.bios = "{text}"\nuuid.location = "00"\n').uuid == uuid


@pytest.mark.parametrize("word", ["", "x", "1.5", "9" * 5000, "٣"])
def test_a_generation_id_needs_both_its_numbers(word: str) -> None:
    assert parse(f'vm.genid = "{word}"\nvm.genidX = "1"\n').genid is None
    assert parse('vm.genid = "1"\n').genid is None


def test_a_raw_device_mapping_blocks_its_disk_and_the_rest_is_described(
    tmp_path: Path,
) -> None:
    (tmp_path / "rdm.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        'createType="vmfsRawDeviceMap"\nRW 8192 VMFSRDM "rdm-rdm.vmdk"\n'
    )
    image(tmp_path / "b.vmdk")
    both = disk("scsi0:0", "rdm.vmdk") + disk("scsi0:1", "b.vmdk")
    vm = read_in(tmp_path, 'scsi0.present = "TRUE"\n' + both)
    [finding] = [f for f in vm.findings if f.severity == "block"]
    assert (finding.code, finding.disk) == ("disk-raw-device", "sda")
    assert "convert the raw device mapping" in finding.remedy
    assert vm.disks[1].size == 8 * 2**20
