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
from v2v.sources import Request, detect, proxmox, proxmoxdisks, read

MIB = 2**20
BASE = "name: web01\nostype: l26\nscsihw: virtio-scsi-pci\n"


def parse(text: str, base: str = BASE, known: str = "") -> VM:
    places = proxmoxdisks._parsed(known)
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
    assert codes(vm) == ["tpm-state-lost", "snapshots-dropped"]
    assert "before" in vm.findings[-1].message
    assert "PENDING" not in vm.findings[-1].message


def test_memory_has_a_newer_spelling_too() -> None:
    assert parse("memory: current=1024\n").memory == 1024 * MIB


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


@pytest.mark.parametrize(
    ("volume", "path", "format"),
    [
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
    (disk,) = parse(f"scsi0: {volume},size=8M\n", known=KNOWN).disks
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


def test_a_missing_volume_is_a_finding(tmp_path: Path) -> None:
    vm = described(tmp_path, "scsi0: ceph:vm-100-disk-0\n")
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
