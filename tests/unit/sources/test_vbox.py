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
    assert codes(vm) == ["nic-unattached"]


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


# Hostile


@pytest.mark.parametrize("name", ["/etc/hostname", "../../../../../etc/hostname"])
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
