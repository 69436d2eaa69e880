# SPDX-License-Identifier: GPL-2.0-or-later
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import any_input
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, detect, proxmox, read
from v2v.sources.proxmox import storage as proxmoxstorage

MIB = 2**20
BASE = "name: web01\nostype: l26\nscsihw: virtio-scsi-pci\n"


def parse(text: str, base: str = BASE, known: str = "") -> VM:
    places = proxmoxstorage.parsed(known)
    return proxmox.parse((base + text).encode(), Path("/etc/pve/100.conf"), places)


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def described(folder: Path, text: str, **settings: Any) -> VM:
    (folder / "100.conf").write_text(BASE + text)
    (vm,) = read(Request(location=str(folder), **settings))
    return vm


def image(file: Path, *options: str) -> None:
    file.parent.mkdir(exist_ok=True, parents=True)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(file)]
    subprocess.run([*create, "8M"], check=True)


def test_a_file_that_says_little_has_the_defaults_of_qemu_server() -> None:
    vm = parse("scsi0: local-lvm:vm-100-disk-0\n", "ostype: l26\n")
    assert (vm.name, vm.memory, vm.vcpus, vm.firmware) == ("100", 512 * MIB, 1, "bios")
    assert (vm.disks[0].bus, vm.disks[0].model) == ("scsi", "lsi")


def test_the_machine_is_read_as_it_is_now() -> None:
    vm = parse(
        "memory: 2048\ncores: 2\nsockets: 2\nbios: ovmf\nlocaltime: 1\n"
        "smbios1: uuid=11111111-2222-4333-8444-555555555555,base64=1\n"
        "efidisk0: l:vm-100-disk-9,efitype=4m,pre-enrolled-keys=1\n"
        "tpmstate0: l:vm-100-disk-8,version=v2.0\nunused0: l:vm-100-disk-7\n"
        "[PENDING]\nmemory: 4096\n[before]\nmemory: 1024\nscsi0: l:old\n"
    )
    assert (vm.memory, vm.vcpus, vm.cpu.sockets, vm.firmware, vm.clock) == (
        *(2048 * MIB, 4, 2, "efi"),
        "localtime",
    )
    assert (vm.uuid, vm.secure_boot, vm.tpm, vm.disks) == (
        *("11111111-2222-4333-8444-555555555555", True, True),
        (),
    )
    assert codes(vm) == [
        *("tpm-state-lost", "nvram-lost", "volume-unused"),
        *("changes-pending", "snapshots-dropped"),
    ]
    assert vm.findings[-2].message.endswith(": memory")
    assert "before" in vm.findings[-1].message
    assert "PENDING" not in vm.findings[-1].message


def test_memory_has_a_newer_spelling_too() -> None:
    assert parse("memory: current=1024\n").memory == 1024 * MIB


@pytest.mark.report("https://github.com/fox-it/dissect.target/issues/1653")
def test_a_snapshot_says_nothing_of_the_machine_as_it_is_now() -> None:
    vm = parse(
        "agent: 1\nboot: order=virtio0;net0\nvirtio0: l:now\nparent: snapshot-name\n\n"
        "[snapshot-name]\n#its own description\nagent: 1\nvirtio0: l:then\n"
        "virtio1: l:more\nname: old\nvmstate: l:state\n"
    )
    assert (vm.name, vm.description) == ("web01", None)
    assert [d.source.path for d in vm.disks if d.source] == ["now"]
    assert codes(vm) == ["snapshots-dropped"]


def test_of_a_key_that_is_there_twice_the_last_one_holds() -> None:
    assert parse("memory: 512\nmemory: 1024\n").memory == 1024 * MIB


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\x0b", "\x0c", "\x1c"])
def test_only_a_newline_ends_a_line(mark: str) -> None:
    vm = parse(
        f"#a{mark}scsi0: /dev/sda\nname: x{mark}scsi0: /dev/sda\n", "ostype: w\n"
    )
    assert vm.disks == ()


@pytest.mark.report(
    "https://github.com/TheGrandWazoo/freenas-proxmox/issues/98",
)
def test_the_description_may_stand_anywhere_and_is_not_vzdumps() -> None:
    vm = parse("#NET0 %3A LAN\n#qmdump#map:scsi0:drive-scsi0:l:raw:\n\n#NET1%3A WAN\n")
    assert vm.description == "NET0 : LAN\nNET1: WAN"
    assert parse("description: a%0Ab\n").description == "a\nb"


def test_what_the_guest_reads_as_a_serial_number_is_decoded() -> None:
    (disk,) = parse("scsi0: l:a,serial=a%20b%2Fc\n").disks
    assert disk.serial == "a b/c"


def test_a_volume_that_all_hosts_have_is_not_shared_by_vms() -> None:
    assert not parse("scsi0: l:a,shared=1\n").disks[0].shared


def test_the_description_is_decoded() -> None:
    vm = parse("", "#caf%C3%A9%0A\n#two\nostype: l26\n")
    assert vm.description == "café\n\ntwo"


@pytest.mark.parametrize(
    ("boot", "ranks"),
    [
        ("boot: order=net0;virtio1;scsi0\n", {"virtio1": 2, "scsi0": 3, "ide0": None}),
        ("boot: cn\nbootdisk: ide0\n", {"ide0": 1, "virtio1": None, "scsi0": None}),
        ("boot: legacy=nc\n", {"virtio1": 2, "scsi0": None, "ide0": None}),
        ("", {"virtio1": 1, "scsi0": None, "ide0": None}),
    ],
)
def test_disks_are_in_the_order_of_starting(
    boot: str, ranks: dict[str, int | None]
) -> None:
    vm = parse(
        "scsi0: l:a\nide0: l:b\nvirtio1: l:c\nnet0: virtio=BC:24:11:00:00:01\n" + boot
    )
    assert {d.slot: d.boot for d in vm.disks} == ranks
    assert [d.slot for d in vm.disks] == list(ranks)


def test_numbers_of_disks_are_numbers() -> None:
    vm = parse("scsi10: l:a\nscsi2: l:b,serial=x,ro=1\n")
    assert [(d.slot, d.serial, d.readonly) for d in vm.disks] == [
        ("scsi2", "x", True),
        ("scsi10", None, False),
    ]


@pytest.mark.parametrize(
    ("line", "card"),
    [
        (
            "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5,link_down=1",
            ("virtio", "bc:24:11:00:00:01", "bridge", "vmbr0", 5, False),
        ),
        ("e1000,bridge=vmbr0", ("e1000", None, "bridge", "vmbr0", None, True)),
        (
            "model=rtl8139,macaddr=BC:24:11:00:00:01",
            ("rtl8139", "bc:24:11:00:00:01", "user", None, None, True),
        ),
    ],
)
def test_cards_are_read(line: str, card: tuple[Any, ...]) -> None:
    (nic,) = parse(f"net0: {line}\n").nics
    mac = None if nic.mac_source == "made" else nic.mac
    got = (nic.model, mac, nic.type, nic.network, nic.vlan, nic.connected)
    assert got == card


def test_every_model_of_a_card_keeps_its_address() -> None:
    models = (
        *("e1000-82540em", "e1000-82544gc", "e1000-82545em", "i82559er", "ne2k_isa"),
        *("ne2k_pci", "pcnet", "vmxnet3", "e1000e"),
    )
    text = "".join(
        f"net{n}: {model}=BC:24:11:00:00:{n:02x},bridge=vmbr0\n"
        for n, model in enumerate(models)
    )
    vm = parse(text)
    assert [nic.model for nic in vm.nics] == list(models)
    assert {nic.mac_source for nic in vm.nics} == {"static"}


def test_cards_are_in_the_order_of_their_numbers() -> None:
    vm = parse("net10: virtio,bridge=a\nnet2: virtio,bridge=b\nboot: n\n")
    assert [(n.slot, n.boot) for n in vm.nics] == [("net2", 1), ("net10", None)]
    assert codes(vm) == ["mac-made", "mac-made"]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("net0: virtio=BC:24:11:00:00:01,trunks=2;3", "vlan-trunk", "several VLANs"),
        ("net0: virtio=BC:24:11:00:00:01,firewall=1", "settings-lost", "net0 firewall"),
        ("hookscript: local:snippets/a.pl", "settings-lost", ": hookscript"),
        ("balloon: 256", "settings-lost", ": balloon"),
        ("smbios1: serial=QQ==,base64=1", "settings-lost", ": smbios1 serial"),
        ("cipassword: s3cret", "settings-lost", ": cipassword"),
        ("ipconfig0: ip=dhcp", "settings-lost", ": ipconfig0"),
        ("scsi0: l:a,mbps_rd=10,ssd=1", "settings-lost", ": scsi0 mbps_rd"),
        ("scsi0: l:a,wwn=0x5000c500a0b1c2d3", "settings-lost", ": scsi0 wwn"),
        ("numa: 1", "numa-lost", "NUMA"),
        ("numa0: cpus=0-1,memory=512", "numa-lost", "NUMA"),
        ("cores: 0", "vcpus-unknown", "processors"),
        ("sockets: 99999", "vcpus-unknown", "processors"),
        ("cores: many", "vcpus-unknown", "processors"),
        ("lock: create", "source-locked", "create"),
        ("lock: suspended", "suspended", "suspended"),
        ("usb0: host=046d:c077", "device-lost", "usb0 host=046d:c077"),
        ("virtiofs0: dirid=a", "device-lost", "virtiofs0"),
        ("serial1: /dev/ttyS0", "device-lost", "serial1 /dev/ttyS0"),
        ("ivshmem: size=32", "device-lost", "ivshmem"),
        ("amd-sev: type=std", "device-lost", "amd-sev"),
        ("scsi0: l:a,snapshot=1", "disk-mode", "scsi0 discards"),
        ("unused3: l:vm-100-disk-7", "volume-unused", "unused3 (l:vm-100-disk-7)"),
        ("ide2: local:iso/a.iso,media=cdrom", "medium-lost", "ide2"),
        ("[PENDING]\ndelete: scsi1\nmemory: 1", "changes-pending", ": delete, memory"),
    ],
)
def test_what_is_not_taken_over_is_told(line: str, code: str, said: str) -> None:
    vm = parse(f"{line}\n")
    assert codes(vm) == [code]
    assert said in vm.findings[0].message
    assert "s3cret" not in vm.model_dump_json()


@pytest.mark.parametrize(
    "line",
    ["balloon: 0", "numa: 0", "serial0: socket", "usb1: host=spice", "onboot: 0"],
)
def test_what_means_nothing_is_not_told(line: str) -> None:
    assert codes(parse(f"{line}\n")) == []


def test_a_thousand_devices_of_the_host_are_told_in_part() -> None:
    vm = parse("".join(f"usb{n}: host=1:1\n" for n in range(1000)))
    assert (len(vm.passthrough), len(vm.findings)) == (64, 64)


@pytest.mark.report("https://github.com/apprell/proxmox-autosnap/pull/19")
@pytest.mark.parametrize("value", ["none,media=cdrom", "none", "cdrom"])
def test_a_drive_without_a_medium_is_no_disk(value: str) -> None:
    vm = parse(f"ide2: {value}\n")
    assert vm.disks == ()
    assert [(r.slot, r.path) for r in vm.removable] == [("ide2", None)]


def test_a_disk_that_is_to_be_made_is_told() -> None:
    vm = parse("scsi0: local-lvm:32,import-from=/a.qcow2\n")
    assert codes(vm) == ["disk-missing"]
    assert "how large" in vm.findings[0].message


def test_drives_are_kept_with_their_media() -> None:
    vm = parse(
        "ide0: local:iso/a.iso,media=cdrom,size=1M\nide1: none,media=cdrom\n"
        "ide2: cdrom,media=cdrom\nide3: l:vm-100-cloudinit,media=cdrom\n",
        known="dir: local\n\tpath /var/lib/vz\n",
    )
    assert [(r.slot, r.path) for r in vm.removable] == [
        ("ide0", "/var/lib/vz/template/iso/a.iso"),
        *(("ide1", None), ("ide2", None), ("ide3", "vm-100-cloudinit")),
    ]


KNOWN = (
    "dir: local\n\tpath /var/lib/vz\n\tcontent images\n\n"
    "lvmthin: lvm\n\tvgname pve\n\tthinpool data\n\nzfspool: tank\n\tpool rpool/data\n"
)


MORE = (
    "\nbtrfs: fast\n\tpath /b\n\nnfs: nas\n\tpath /mnt/pve/nas\n\texport /x\n"
    "\tcontent-dirs images=disks, iso=cds\n\nrbd: ceph\n\tpool vms\n\tnamespace a\n"
    "\nlvm: san\n\tvgname vg1\n"
)


@pytest.mark.parametrize(
    ("volume", "path", "format"),
    [
        ("fast:100/vm-100-disk-0.raw", "/b/images/100/vm-100-disk-0/disk.raw", "raw"),
        ("fast:100/a.qcow2", "/b/images/100/a.qcow2", "qcow2"),
        ("nas:100/a.qcow2", "/mnt/pve/nas/disks/100/a.qcow2", "qcow2"),
        ("local:import/a.vmdk", "/var/lib/vz/import/a.vmdk", "vmdk"),
        ("san:vm-100-disk-0.qcow2", "/dev/vg1/vm-100-disk-0.qcow2", "qcow2"),
        ("local:100/a.qcow2", "/var/lib/vz/images/100/a.qcow2", "qcow2"),
        ("local:100/a.raw", "/var/lib/vz/images/100/a.raw", "raw"),
        ("lvm:vm-100-disk-0", "/dev/pve/vm-100-disk-0", "raw"),
        ("tank:vm-100-disk-0", "/dev/zvol/rpool/data/vm-100-disk-0", "raw"),
        (
            "tank:base-9-disk-0/vm-100-disk-0",
            "/dev/zvol/rpool/data/vm-100-disk-0",
            "raw",
        ),
        ("ceph:vm-100-disk-0", "vm-100-disk-0", "raw"),
        ("/dev/disk/by-id/x", "/dev/disk/by-id/x", "raw"),
    ],
)
def test_storages_say_where_volumes_are(volume: str, path: str, format: str) -> None:
    (disk,) = parse(f"scsi0: {volume},size=8M\n", known=KNOWN + MORE).disks
    assert disk.source
    assert (disk.source.path, disk.source.format) == (path, format)
    assert disk.source.backing == ()


def test_a_linked_clone_has_its_base_below(tmp_path: Path) -> None:
    base = tmp_path / "images/9/base-9-disk-0.qcow2"
    image(base)
    image(tmp_path / "images/100/c.qcow2", "-F", "qcow2", "-b", str(base))
    (tmp_path / "storage.cfg").write_text(f"dir: local\n\tpath {tmp_path}\n")
    vm = described(tmp_path, "scsi0: local:9/base-9-disk-0.qcow2/100/c.qcow2\n")
    layer = vm.disks[0].source
    assert layer
    assert [f.path for f in layer.backing] == [str(base)]
    assert codes(vm) == []


def test_volumes_are_found_beside_the_file(tmp_path: Path) -> None:
    image(tmp_path / "images/100/a.qcow2")
    (tmp_path / "vm-100-disk-1").write_bytes(bytes(MIB))
    vm = described(
        tmp_path, "scsi0: local:100/a.qcow2\nscsi1: local-lvm:vm-100-disk-1\n"
    )
    assert [d.size for d in vm.disks] == [8 * MIB, MIB]
    assert codes(vm) == []


@pytest.mark.parametrize(
    "place", ["", "100", "images", "images/100", "elsewhere", "images/deeper/100"]
)
def test_a_volume_of_files_is_found_where_people_copy_it(
    tmp_path: Path, place: str
) -> None:
    image(tmp_path / place / "a.qcow2")
    vm = described(tmp_path, "scsi0: local:100/a.qcow2\n")
    lost = place in ("elsewhere", "images/deeper/100")
    assert codes(vm) == ["disk-missing"] * lost


def test_a_missing_volume_is_a_finding(tmp_path: Path) -> None:
    vm = described(tmp_path, "scsi0: ceph:vm-100-disk-0\n")
    assert codes(vm) == ["disk-missing"]


@pytest.mark.parametrize(
    ("volume", "reason", "how"),
    [
        ("ceph:vm-1-disk-0", "type rbd", "rbd export vms/a/vm-1-disk-0 FILE"),
        ("san:vm-1-disk-0", "type lvm", "dd if=/dev/vg1/vm-1-disk-0 of=FILE"),
        ("tank:vm-1-disk-0", "type zfspool", "dd if=/dev/zvol/rpool/data/vm-1-disk-0"),
        ("lun:0.0.1.scsi-3", "type iscsi", "pvesm path lun:0.0.1.scsi-3"),
        ("gone:vm-1-disk-0", "no storage.cfg says", "pvesm path gone:vm-1-disk-0"),
    ],
)
def test_a_volume_that_is_no_file_has_a_way_to_become_one(
    tmp_path: Path, volume: str, reason: str, how: str
) -> None:
    text = f"{KNOWN}{MORE}\niscsi: lun\n\tportal 192.0.2.1\n\ttarget iqn.x\n"
    (tmp_path / "storage.cfg").write_text(text)
    (finding,) = described(tmp_path, f"scsi0: {volume}\n").findings
    assert (finding.code, finding.disk) == ("disk-missing", "sda")
    assert reason in finding.message
    assert how in finding.remedy
    file = volume.partition(":")[2]
    assert f"as {file} beside the .conf" in finding.remedy
    (tmp_path / file).write_bytes(bytes(MIB))
    assert codes(described(tmp_path, f"scsi0: {volume}\n")) == []


@pytest.mark.parametrize("place", [".", "sub", "l:sub", "/"])
def test_a_folder_is_no_disk(tmp_path: Path, place: str) -> None:
    (tmp_path / "sub").mkdir()
    try:
        vm = described(tmp_path, f"scsi0: {place},format=raw\n")
    except SourceError as e:
        assert "\n" not in e.message
    else:
        assert codes(vm) == ["disk-missing"]


def test_what_only_the_host_has_is_told_and_never_obeyed() -> None:
    vm = parse("args: -device x\nhostpci0: 01:00.0\nusb0: spice\nlock: backup\n")
    assert vm.passthrough == ("hostpci0 01:00.0", "args, for qemu itself")
    assert codes(vm) == ["source-locked", "device-lost", "device-lost"]
    assert codes(parse("vmstate: l:state\n")) == ["suspended"]


@pytest.mark.parametrize("name", ["/etc/hostname", "local:../../../../etc/hostname"])
def test_a_disk_outside_the_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    try:
        vm = described(tmp_path, f"scsi0: {name}\n")
    except SourceError as e:
        assert "outside the folders" in e.message
    else:
        assert codes(vm) == ["disk-missing"]
        assert vm.disks[0].size is None


def test_a_storage_file_does_not_widen_what_is_opened(tmp_path: Path) -> None:
    (tmp_path / "storage.cfg").write_text("dir: local\n\tpath /etc\n")
    vm = described(tmp_path, "scsi0: local:iso/../../hostname\n")
    assert codes(vm) == ["disk-missing"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"hello: world\n", "no configuration of a VM"),
        (b"rootfs: local-lvm:vm-1-disk-0\nmemory: 1\n", "container"),
        (
            b"ostype: l26\n" + b"".join(b"x%d: y\n" % n for n in range(3)) * 999999,
            "large",
        ),
    ],
)
def test_what_is_no_configuration_is_said(
    tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "1.conf").write_bytes(data)
    with pytest.raises(SourceError) as e:
        list(read(Request(location=str(tmp_path / "1.conf")), "proxmox"))
    assert said in f"{e.value.message} {e.value.remedy}"


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "1.conf").write_text(BASE)
    (tmp_path / "2.conf").write_text("disk = ['/a,raw,xvda']\n")
    (tmp_path / "3.conf").write_text("a: b\n")
    kinds = [detect(str(tmp_path / f"{n}.conf")) for n in (1, 2, 3)]
    assert kinds == ["proxmox", "xl", "disk"]


LINES = st.lists(
    st.tuples(
        st.sampled_from(
            *[
                [
                    "scsi0",
                    "ide2",
                    "net0",
                    "memory",
                    "cores",
                    "boot",
                    "name",
                    "vga",
                    "cpu",
                ]
            ]
        ),
        st.one_of(
            st.text(max_size=40),
            st.text("l:/,=0v;.cdrom media", max_size=30),
            st.integers(-5, 10**22).map(str),
        ),
    )
)


@given(LINES)
def test_any_lines_give_a_document_or_one_line(lines: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in lines)
    any_input.gives_a_document_or_one_line(
        lambda: proxmox.parse(
            (BASE + text).encode("utf-8", "replace"), Path("/x/1.conf")
        )
    )
