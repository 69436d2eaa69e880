# SPDX-License-Identifier: GPL-2.0-or-later
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import any_input
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, detect, hyperv, read
from v2v.sources.hyperv import vmcx
from writers.hyperv_xml import FIRMWARE, FLOPPY, IDE, NIC, SCSI, Tree, xml
from writers.vmcx import store

MIB = 2**20
TPM = "736e6aa9-a3f8-49c0-9550-a963214d259a"


def plugged(kind: str, instance: str) -> Tree:
    return {"device": kind, "instance": instance, "name": "some device"}


def drive(path: str, type: str = "VHD") -> Tree:
    return {"type": type, "pathname": path}


def machine(generation: Any = 1, **more: Any) -> Tree:
    """Return the tree of a machine with a disk at IDE, or at SCSI if of the second."""
    tree: Tree = {
        "properties": {"name": "web01", "subtype": generation - 1, "version": 2304},
        "settings": {
            "memory": {"bank": {"size": 2048}},
            "processors": {"count": 2},
        },
        "manifest": {
            "vdev001": plugged(NIC, "AAAA-1"),
            "vdev002": plugged(SCSI, "BBBB-2"),
        },
        "_aaaa-1_": {
            "MacAddress": "00-15-5D-00-00-01",
            "MacAddressIsStatic": True,
            "SwitchName": "lan",
        },
    }
    if generation == 1:
        tree[IDE] = {"controller0": {"drive0": drive(r"C:\VMs\a.vhdx")}}
    else:
        tree["_bbbb-2_"] = {"controller0": {"drive0": drive(r"C:\VMs\a.vhdx")}}
    return tree | more


def parse(tree: Tree) -> VM:
    """Return the VM of *tree*, which must be the same in both spellings."""
    old = hyperv.parse(xml(tree), Path("/vms/A.xml"))
    new = hyperv.parse(store(tree), Path("/vms/A.xml"))
    assert described(new) == described(old)
    return new


def described(vm: VM) -> VM:
    """Return *vm* without what is made up."""
    nics = tuple(nic.having(mac="") for nic in vm.nics)
    return vm.having(id="x", nics=nics)


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def exported(folder: Path, tree: Tree, name: str = "A.vmcx") -> Path:
    """Write *tree* as an export of Hyper-V, and return its folder."""
    machines = folder / "Virtual Machines"
    machines.mkdir(exist_ok=True)
    (folder / "Virtual Hard Disks").mkdir(exist_ok=True)
    data = xml(tree) if name.endswith(".xml") else store(tree)
    (machines / name).write_bytes(data)
    return folder


def inspected(folder: Path) -> VM:
    (vm,) = read(Request(location=str(folder)))
    return vm


def image(file: Path, format: str = "vhdx") -> None:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", format, str(file), "8M"], check=True
    )


# The machine


def test_a_machine_of_generation_1_has_a_bios_and_ide() -> None:
    vm = parse(machine())
    assert (vm.name, vm.memory, vm.vcpus, vm.firmware) == (
        "web01",
        2048 * MIB,
        2,
        "bios",
    )
    assert vm.source.hw_version == "hyperv-9.0"
    assert [(d.slot, d.bus, d.boot) for d in vm.disks] == [("ide0:0", "ide", 1)]
    assert codes(vm) == []


@pytest.mark.report("https://github.com/fox-it/dissect.target")
def test_a_machine_of_generation_2_has_uefi_and_scsi() -> None:
    vm = parse(machine(2, **{FIRMWARE: {"secure_boot_enabled": True}}))
    assert (vm.firmware, vm.secure_boot) == ("efi", True)
    assert [(d.slot, d.bus, d.boot) for d in vm.disks] == [("scsi0.0:0", "scsi", 1)]


def test_ide_goes_before_scsi_and_units_are_numbers() -> None:
    units = {f"drive{n}": drive(f"{n}.vhdx") for n in (10, 2)}
    tree = machine(**{"_bbbb-2_": {"controller0": units}})
    assert [d.slot for d in parse(tree).disks] == ["ide0:0", "scsi0.0:2", "scsi0.0:10"]


def test_the_order_of_the_bios_ranks_disk_and_network() -> None:
    boot = {"device0": "Optical", "device1": "Network", "device2": "HardDrive"}
    vm = parse(machine(**{FIRMWARE: {"boot": boot}}))
    assert (vm.disks[0].boot, vm.nics[0].boot) == (3, 2)


def test_drives_are_kept_with_their_media() -> None:
    ide = {
        "controller1": {
            "drive0": drive(r"C:\i\a.iso", "ISO"),
            "drive1": drive("", "NONE"),
        }
    }
    floppy = {"controller0": {"drive0": drive(r"C:\a.vfd", "VFD")}}
    tree = machine(**{IDE: ide, FLOPPY: floppy})
    assert [(r.type, r.slot, r.path) for r in parse(tree).removable] == [
        ("cdrom", "ide1:0", r"C:\i\a.iso"),
        ("cdrom", "ide1:1", None),
        ("floppy", "floppy0:0", r"C:\a.vfd"),
    ]


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ({"MacAddress": "00-15-5D-00-00-01", "MacAddressIsStatic": True}, "static"),
        ({"MacAddress": "00-15-5D-00-00-01"}, "generated"),
        ({"MacAddress": "00-00-00-00-00-00"}, "made"),
    ],
)
def test_an_address_that_was_never_given_is_made(keys: Tree, source: str) -> None:
    (nic,) = parse(machine(**{"_aaaa-1_": keys})).nics
    assert nic.mac_source == source
    assert (nic.mac == "00:15:5d:00:00:01") is (source != "made")


def test_a_legacy_card_is_told_by_its_address() -> None:
    tree = machine(**{"_cccc-3_": {"MacAddress": "00-15-5D-00-00-02"}})
    tree["manifest"]["vdev003"] = plugged(
        "11111111-1111-1111-1111-111111111111", "CCCC-3"
    )
    assert [(n.model, n.network) for n in parse(tree).nics] == [
        ("netvsc", "lan"),
        ("tulip", None),
    ]


def test_the_generation_id_has_the_bytes_that_the_guest_saw() -> None:
    devices = {"generation_id": "0123456789abcdeffedcba9876543210"}
    vm = parse(machine(global_settings={"devices": devices}))
    assert vm.genid == "76543210-ba98-fedc-efcd-ab8967452301"


@pytest.mark.parametrize(("keys", "there"), [(["VDEVVersion"], False), (["x"], True)])
def test_a_tpm_that_is_off_is_none(keys: list[str], there: bool) -> None:
    tree = machine(2, **{"_dddd-4_": dict.fromkeys(keys, 256)})
    tree["manifest"]["vdev003"] = plugged(TPM, "DDDD-4")
    vm = parse(tree)
    assert vm.tpm is there
    assert codes(vm) == (["tpm-state-lost"] if there else [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (drive("2", "PHD"), "disk of the host"),
        (drive(r"C:\a.vhds"), "no VHD or VHDX"),
    ],
)
def test_a_disk_that_cannot_be_had_is_a_finding(given: Tree, said: str) -> None:
    vm = parse(machine(**{IDE: {"controller0": {"drive0": given}}}))
    (finding,) = vm.findings
    assert (finding.code, finding.severity) == ("disk-missing", "block")
    assert said in finding.message


def test_a_pending_merge_is_refused() -> None:
    tree = machine(settings={"storage": {"disk_merge_pending": True}})
    with pytest.raises(SourceError, match="merge of checkpoints is pending"):
        hyperv.parse(store(tree), Path("/x.vmcx"))


# Exports


@pytest.mark.parametrize("name", ["A.vmcx", "A.xml"])
def test_an_export_is_found_with_its_disks(tmp_path: Path, name: str) -> None:
    folder = exported(tmp_path, machine(), name)
    image(folder / "Virtual Hard Disks" / "A.VHDX")
    vm = inspected(folder)
    (disk,) = vm.disks
    assert disk.size == 8 * MIB
    assert disk.source
    assert disk.source.path == str(folder / "Virtual Hard Disks" / "A.VHDX")
    assert codes(vm) == []


def vhd_child(file: Path, parent: str) -> None:
    """Make the VHD *file* one that differs from *parent*: as [MS-VHD] has it."""
    data = bytearray(file.read_bytes())
    for at in (0, len(data) - 512):
        struct.pack_into(">I", data, at + 60, 4)
        struct.pack_into(">I", data, at + 64, 0)
        total = ~sum(data[at : at + 512]) & 0xFFFFFFFF
        struct.pack_into(">I", data, at + 64, total)
    data[512 + 64 : 512 + 576] = parent.encode("utf-16-be").ljust(512, b"\0")
    struct.pack_into(">I", data, 512 + 36, 0)
    total = ~sum(data[512:1536]) & 0xFFFFFFFF
    struct.pack_into(">I", data, 512 + 36, total)
    file.write_bytes(data)


def checkpointed(folder: Path, parent: str) -> Path:
    tree = machine(**{IDE: {"controller0": {"drive0": drive(r"D:\x\c.avhd")}}})
    exported(folder, tree)
    for name in ("b.vhd", "c.avhd"):
        image(folder / "Virtual Hard Disks" / name, "vpc")
    vhd_child(folder / "Virtual Hard Disks" / "c.avhd", parent)
    return folder


def test_a_chain_of_checkpoints_is_followed_and_blocked(tmp_path: Path) -> None:
    """qemu would read zeroes for all that is the parent's."""
    vm = inspected(checkpointed(tmp_path, r"D:\old\b.vhd"))
    layer = vm.disks[0].source
    assert layer
    assert [(Path(f.path).name, f.format) for f in layer.backing] == [("b.vhd", "vpc")]
    assert codes(vm) == ["chain-unread"]


def test_a_missing_parent_is_a_finding(tmp_path: Path) -> None:
    vm = inspected(checkpointed(tmp_path, r"D:\old\gone.vhd"))
    assert codes(vm) == ["disk-missing"]
    assert "gone.vhd" in vm.findings[0].message


def test_a_chain_in_a_circle_is_refused(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path, "b.vhd")
    vhd_child(folder / "Virtual Hard Disks" / "b.vhd", "c.avhd")
    with pytest.raises(SourceError, match="in a circle"):
        inspected(folder)


def test_a_parent_outside_the_export_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    image(tmp_path / "b.vhd", "vpc")
    folder = checkpointed(tmp_path / "export", str(tmp_path / "b.vhd"))
    (folder / "Virtual Hard Disks" / "b.vhd").unlink()
    with pytest.raises(SourceError, match="outside the folders"):
        inspected(folder)


def test_checkpoints_and_saved_states_are_told(tmp_path: Path) -> None:
    folder = exported(tmp_path, machine())
    image(folder / "Virtual Hard Disks" / "a.vhdx")
    (folder / "Snapshots").mkdir()
    (folder / "Snapshots" / "B.vmcx").write_bytes(store(machine()))
    state = folder / "Virtual Machines" / "A.VMRS"
    state.write_bytes(bytes(4096))
    assert codes(inspected(folder)) == ["snapshots-dropped"]
    with state.open("wb") as file:
        file.truncate(64 * MIB)
    assert codes(inspected(folder)) == ["snapshots-dropped", "suspended"]


@pytest.mark.parametrize(
    "name", ["/etc/hostname.vhdx", "../../../../etc/hostname.vhdx"]
)
def test_a_disk_elsewhere_is_a_finding(tmp_path: Path, name: str) -> None:
    tree = machine(**{IDE: {"controller0": {"drive0": drive(name)}}})
    assert codes(inspected(exported(tmp_path, tree))) == ["disk-missing"]


def test_a_disk_outside_the_export_is_not_opened(tmp_path: Path) -> None:
    image(tmp_path / "a.vhdx")
    (tmp_path / "export").mkdir()
    name = str(tmp_path / "a.vhdx")
    tree = machine(**{IDE: {"controller0": {"drive0": drive(name)}}})
    with pytest.raises(SourceError, match="outside the folders"):
        inspected(exported(tmp_path / "export", tree))


# The store


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(xml(machine()))
    (tmp_path / "b.xml").write_text("<domain type='kvm'/>")
    (tmp_path / "c").write_bytes(store(machine()))
    kinds = [detect(str(tmp_path / name)) for name in ("a.xml", "b.xml", "c")]
    assert kinds == ["hyperv", "libvirtxml", "hyperv"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no XML"),
        (store(machine(), log=1), "was not closed"),
        (store(machine(), version=0x500), "of version 0x500"),
        (store(machine())[:0x10080], "is broken"),
        (store(machine())[:0x1800], "is broken"),
        (store({})[:0x10000], "is broken"),
        (xml(machine())[:-40], "broken XML"),
        (b"<!DOCTYPE c><configuration/>", "document type"),
        (b"<other/>", "no Hyper-V configuration"),
    ],
)
def test_what_is_no_configuration_is_said_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said) as e:
        hyperv.parse(data, Path("/x/A.vmcx"))
    assert "\n" not in e.value.message
    assert e.value.remedy


def test_tables_that_name_each_other_are_read_once() -> None:
    data = bytearray(store(machine()))
    struct.pack_into("<BIQIB", data, 0x2008 + 18, 1, 0, 0x2000, 64, 1)
    assert vmcx.parse(bytes(data), "f")["configuration"]


def test_keys_in_a_circle_belong_to_no_tree() -> None:
    data = bytearray(store(machine()))
    # The first key, of the configuration itself, becomes a child of itself.
    struct.pack_into("<HI", data, 0x10000 + 10 + 6, 1, 10)
    with pytest.raises(SourceError, match="broken"):
        vmcx.parse(bytes(data), "f")


SAMPLE = store(machine())
PLACES = st.one_of(
    *(st.integers(0, 46), st.integers(0x1000, 0x102E), st.integers(0x2000, 0x2040)),
    st.integers(0x10000, len(SAMPLE) - 1),
)


@given(st.dictionaries(PLACES, st.integers(0, 255), max_size=12))
def test_any_bytes_give_a_document_or_one_line(changes: dict[int, int]) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes.items():
        data[place] = value
    any_input.gives_a_document_or_one_line(
        lambda: hyperv.parse(bytes(data), Path("/x/A.vmcx"))
    )


VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=30),
    st.booleans(),
    st.just({"controller0": {"drive0": {"type": "VHD", "pathname": "\ud800/.vhd"}}}),
)


@given(
    st.dictionaries(
        st.sampled_from(
            [IDE, FIRMWARE, "manifest", "properties", "settings", "_aaaa-1_"]
        ),
        VALUES,
    )
)
def test_any_tree_gives_a_document_or_one_line(changes: Tree) -> None:
    any_input.gives_a_document_or_one_line(
        lambda: hyperv.parse(store(machine() | changes), Path("/x/A.vmcx"))
    )
