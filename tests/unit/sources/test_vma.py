# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import archives
from v2v import sources
from v2v.errors import SourceError
from v2v.mapping.vma import Backup
from v2v.sources import Request, vma

MIB = 2**20
CONFIGURATION = """\
#a description
bios: ovmf
boot: order=scsi1;net0
cores: 2
sockets: 2
efidisk0: local-lvm:vm-100-disk-1,efitype=4m,pre-enrolled-keys=1,size=4M
memory: 2048
name: web01
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=7
net1: e1000=BC:24:11:00:00:02,bridge=vmbr1,link_down=1
ostype: l26
scsi0: local-lvm:vm-100-disk-0,serial=abc,size=2M
scsi1: local-lvm:vm-100-disk-2,size=3M
smbios1: uuid=0a1b2c3d-0000-4000-8000-000000000001
hostpci0: 0000:01:00.0
#qmdump#map:efidisk0:drive-efidisk0:local-lvm:raw:
#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:
#qmdump#map:scsi1:drive-scsi1:local-lvm:raw:
[before]
name: not-this
memory: 1
"""
DISKS = {
    "drive-efidisk0": bytes(4 * MIB),
    "drive-scsi0": bytes(2 * MIB),
    "drive-scsi1": bytes(3 * MIB),
}


def test_a_machine_is_read_as_its_configuration_says(tmp_path: Path) -> None:
    path = tmp_path / "vzdump-qemu-100.vma"
    archives.vma(path, {"qemu-server.conf": CONFIGURATION.encode()}, DISKS, [0])
    assert sources.detect(str(path)) == "vma"
    (vm,) = sources.read(Request(location=str(path)))
    assert (vm.name, vm.memory, vm.vcpus) == ("web01", 2**31, 4)
    assert (vm.firmware, vm.secure_boot, vm.tpm) == ("efi", True, False)
    assert vm.uuid == "0a1b2c3d-0000-4000-8000-000000000001"
    shown = [(d.id, d.slot, d.size, d.boot, d.serial) for d in vm.disks]
    assert shown == [
        ("sda", "scsi1", 3 * MIB, 1, None),
        ("sdb", "scsi0", 2 * MIB, None, "abc"),
    ]
    assert [d.source.member for d in vm.disks if d.source] == [
        "drive-scsi1",
        "drive-scsi0",
    ]
    assert [(n.mac, n.network, n.vlan, n.connected) for n in vm.nics] == [
        ("bc:24:11:00:00:01", "vmbr0", 7, True),
        ("bc:24:11:00:00:02", "vmbr1", None, False),
    ]
    assert not [f for f in vm.findings if f.disk]
    assert "device-lost" in {f.code for f in vm.findings}


def backup(text: bytes, name: str = "qemu-server.conf") -> Backup:
    sizes = {"drive-scsi0": MIB}
    return Backup(
        files={name: text}, disks=sizes, numbers={}, length=12288, uid=b"u" * 16
    )


def test_what_the_configuration_leaves_out_is_as_qemu_server_takes_it() -> None:
    vm = vma.parse(backup(b"scsihw: lsi\n"), Path("/x/a.vma"))
    assert (vm.name, vm.memory, vm.vcpus, vm.firmware) == ("a", 512 * MIB, 1, "bios")


def test_a_containers_backup_is_refused() -> None:
    with pytest.raises(SourceError, match="no backup of a VM"):
        vma.parse(backup(b"", "pct.conf"), Path("/x/a.vma"))


@given(
    text=st.lists(
        st.tuples(
            st.sampled_from(
                [*CONFIGURATION.split(), "net7:", "ide9:", "boot:", "cores:"]
            ),
            st.text("0123456789,=;:aé", max_size=12),
        ).map(" ".join),
    ).map("\n".join)
)
def test_any_configuration_gives_a_machine(text: str) -> None:
    whole = "scsihw: lsi\n" + text
    assert vma.parse(backup(whole.encode()), Path("/x/a.vma")).vcpus >= 1


def test_a_disk_that_was_left_out_of_the_backup_blocks() -> None:
    text = b"scsi0: a:b\nscsi1: a:c\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n"
    vm = vma.parse(backup(text), Path("/x/a.vma"))
    assert [(f.code, f.disk) for f in vm.findings] == [("disk-missing", "sdb")]


def test_a_disk_that_the_configuration_does_not_name_is_told() -> None:
    vm = vma.parse(backup(b"scsihw: lsi\nname: x\n"), Path("/x/a.vma"))
    assert [f.code for f in vm.findings] == ["disk-hidden"]
    assert "drive-scsi0" in vm.findings[0].message


def test_what_is_said_of_a_volume_does_not_matter_but_its_mode_does() -> None:
    text = b"scsi0: a:b.odd,snapshot=1\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n"
    vm = vma.parse(backup(text), Path("/x/a.vma"))
    assert [f.code for f in vm.findings] == ["disk-mode"]
    assert vm.description is None


@pytest.mark.report("https://github.com/nix-community/nixos-generators/issues/287")
def test_a_backup_that_vzdump_did_not_write_has_the_names_of_qemu() -> None:
    vm = vma.parse(backup(b"scsihw: lsi\nscsi0: local:image\n"), Path("/x/a.vma"))
    assert [d.source and d.source.member for d in vm.disks] == ["drive-scsi0"]
    assert vm.findings == ()
