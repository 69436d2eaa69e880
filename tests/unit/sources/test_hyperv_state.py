# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Hyper-V machine leaves behind, where its disks are, and hostile stores."""

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import differencing
import plausible_vm
from v2v import maps
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, hyperv, read, resolve
from v2v.sources.hyperv import vmcx
from writers import hyperv_xml
from writers.hyperv_xml import FIRMWARE, NIC, Tree, xml
from writers.vmcx import store

MIB = 2**20
A = Path("/vms/A.vmcx")


def machine(generation: Any = 2, **more: Any) -> Tree:
    """Return the keys of a machine without devices, and *more* of them."""
    vm = plausible_vm.SAMPLE.having(
        firmware="efi" if generation == 2 else "bios",
        secure_boot=False,
        tpm=False,
        disks=(),
        removable=(),
        nics=(),
    )
    return hyperv_xml.tree(vm) | more


def told(tree: Tree) -> list[tuple[str, str]]:
    """Return code and severity of each finding: the same in both spellings."""
    both = [hyperv.parse(data, A).findings for data in (store(tree), xml(tree))]
    assert both[0] == both[1]
    return [(finding.code, finding.severity) for finding in both[0]]


def settings(**bank: Any) -> Tree:
    return {"memory": {"bank": {"size": 2048} | bank}, "processors": {"count": 4}}


def test_a_plain_machine_has_nothing_to_be_said_of() -> None:
    assert told(machine()) == []


def test_memory_that_came_and_went_is_told_with_its_bounds() -> None:
    """The guest may need more than what it starts with."""
    tree = machine(
        settings=settings(dynamic_memory_enabled=True, reservation=512, limit=16384)
    )
    assert told(tree) == [("memory-dynamic", "warn")]
    (finding,) = hyperv.parse(store(tree), A).findings
    assert "between 512 and 16384 MiB" in finding.message
    assert "2048 MiB" in finding.message


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("1734C6E8-3154-4DDA-BA5F-A874CC483422", []),
        ("{272e7447-90a4-4563-a4b9-8e4ab00526ce}", []),
        ("", []),
        ("4292ae2b-ee2c-42b5-a969-dd8f8689f6f3", [("secure-boot-keys", "warn")]),
    ],
)
@pytest.mark.report("https://github.com/hashicorp/vagrant/issues/5209")
def test_keys_of_secure_boot_are_told_if_they_are_not_microsofts(
    template: str, said: list[tuple[str, str]]
) -> None:
    firmware = {"secure_boot_enabled": True, "secure_boot_template_id": template}
    assert told(machine(**{FIRMWARE: firmware})) == said
    assert hyperv.parse(store(machine(**{FIRMWARE: firmware})), A).secure_boot


def test_what_only_the_old_firmware_knew_is_told() -> None:
    assert told(machine(**{FIRMWARE: {"nvram": "AAAA"}})) == [("nvram-lost", "info")]
    # A BIOS has none, whatever is there.
    assert told(machine(1, **{FIRMWARE: {"nvram": "AAAA"}})) == []


@pytest.mark.parametrize(
    ("security", "tpm", "said"),
    [
        ({"tpm_enabled": False}, False, []),
        ({"tpm_enabled": True}, True, [("tpm-state-lost", "warn")]),
        (
            {"tpm_enabled": True, "shielding_requested": True},
            True,
            [("tpm-state-lost", "warn"), ("vm-shielded", "warn")],
        ),
    ],
)
def test_a_tpm_and_a_shield_are_told(
    security: Tree, tpm: bool, said: list[tuple[str, str]]
) -> None:
    tree = machine(security={"settings": security})
    assert told(tree) == said
    assert hyperv.parse(store(tree), A).tpm is tpm


def plugged(kind: str, name: str, node: Tree) -> Tree:
    device = {"device": kind, "instance": "X-1", "name": name}
    return machine(manifest={"vdev001": device}, **{"_x-1_": node})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("2fcc454e-a36a-4c77-bb5e-a2d75a51f02c", "Virtual Pci Express Port"),
        ("99dcd00c-fbd6-42d3-9dfd-1b5ad7058f61", "GPU Partition"),
        ("11111111-0000-0000-0000-000000000000", "Synthetic FibreChannel Port"),
        ("11111111-0000-0000-0000-000000000000", "Synthetic 3D Video"),
    ],
)
def test_devices_of_the_host_are_told(kind: str, name: str) -> None:
    assert told(plugged(kind, name, {"VDEVVersion": 256})) == [("device-lost", "warn")]


def test_a_vlan_is_told_though_it_cannot_be_read() -> None:
    feature = "Feature_952C5004-4465-451C-8CB8-FA9AB382B773"
    node = {
        "MacAddress": "00-15-5D-00-00-01",
        "Connection": {feature: {"DisplayName": "Ethernet Switch Port VLAN Settings"}},
    }
    assert told(plugged(NIC, "Synthetic Ethernet Port", node)) == [
        ("vlan-unread", "warn")
    ]


def test_a_card_that_never_had_an_address_is_told() -> None:
    node = {"MacAddress": "00-00-00-00-00-00"}
    assert told(plugged(NIC, "Synthetic Ethernet Port", node)) == [("mac-made", "info")]


@pytest.mark.parametrize(("most", "several"), [(1024, True), (4096, False)])
def test_several_numa_nodes_are_told(most: int, several: bool) -> None:
    keys = settings()
    keys["memory"]["vnuma"] = {"max_size_per_node": most}
    said = [("numa-lost", "info")] if several else []
    assert told(machine(settings=keys)) == said
    assert told(machine(settings=keys | {"vnuma": {"enabled": False}})) == []


@pytest.mark.parametrize(
    ("state", "saved"),
    [
        ({"type": "None"}, False),
        ({"type": ""}, False),
        ({"type": "Normal", "vsvlocation": r"C:\x.vsv"}, True),
        ({"type": "Fast"}, True),
        ({"in_progress": True}, True),
    ],
)
def test_a_saved_state_blocks_even_if_its_files_are_gone(
    state: Tree, saved: bool
) -> None:
    said = [("suspended", "block")] if saved else []
    assert told(machine(savedstate=state)) == said


def test_threads_of_a_core_are_kept() -> None:
    keys = settings()
    keys["processors"]["hwthreads"] = 2
    cpu = hyperv.parse(store(machine(settings=keys)), A).cpu
    assert (cpu.sockets, cpu.cores, cpu.threads) == (1, 2, 2)
    keys["processors"]["hwthreads"] = 3
    assert hyperv.parse(store(machine(settings=keys)), A).cpu.threads is None


def test_a_machine_for_arm_is_one() -> None:
    tree = machine(global_settings={"devices": {"cpu_architecture": 12}})
    assert hyperv.parse(store(tree), A).arch == "aarch64"


# Files


@pytest.fixture(autouse=True)
def unmapped() -> Iterator[None]:
    yield
    maps.use(())


def image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    command = ["qemu-img", "create", "-q", "-f", "vhdx", str(file), "8M"]
    subprocess.run(command, check=True)


def with_disk(name: str, **keys: Any) -> bytes:
    drive = {"type": "VHD", "pathname": name} | keys
    return store(machine(1, **{hyperv_xml.IDE: {"controller0": {"drive0": drive}}}))


def described(path: Path, *folders: str) -> VM:
    allow = maps.use(folders)
    (vm,) = read(Request(location=str(path), allow=allow))
    return vm


@pytest.mark.parametrize(
    "name",
    [
        r"C:\VMs\web\Virtual Hard Disks\a.vhdx",
        r"\\files\vms\a.vhdx",
        r"\\?\C:\VMs\a.vhdx",
        r"\\?\Volume{5d1f2e3c-0000-0000-0000-100000000000}\a.vhdx",
        r"C:\ClusterStorage\Volume1\web/A.VHDX",
        "a.vhdx",
    ],
)
@pytest.mark.parametrize(
    "place", ["Virtual Hard Disks", "Virtual Machines", ".", "Snapshots"]
)
def test_a_disk_is_found_wherever_an_export_has_it(
    tmp_path: Path, name: str, place: str
) -> None:
    image(tmp_path / place / "a.vhdx")
    (tmp_path / "Virtual Machines").mkdir(exist_ok=True)
    (tmp_path / "Virtual Machines" / "A.vmcx").write_bytes(with_disk(name))
    vm = described(tmp_path)
    assert [d.source and d.source.path for d in vm.disks] == [
        str((tmp_path / place / "a.vhdx").resolve())
    ]
    assert not vm.findings


def test_a_disk_knows_that_it_is_shared_or_read_only(tmp_path: Path) -> None:
    for name in ("persistent_reservations_supported", "read_only"):
        vm = hyperv.parse(with_disk("a.vhdx", **{name: True}), A)
        (disk,) = vm.disks
        assert disk.shared is (name != "read_only")
        assert disk.readonly is (name == "read_only")


def test_a_folder_with_several_machines_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "Virtual Machines").mkdir()
    for name in ("A.vmcx", "B.vmcx"):
        (tmp_path / "Virtual Machines" / name).write_bytes(with_disk("a.vhdx"))
    with pytest.raises(SourceError, match=r"several VMs: A\.vmcx, B\.vmcx"):
        resolve(str(tmp_path))


@pytest.mark.report("https://github.com/MicrosoftDocs/windowsserverdocs/issues/6020")
def test_a_parent_in_a_folder_of_its_own_is_found_by_the_map(tmp_path: Path) -> None:
    """A disk of a cluster on a base image that all machines share."""
    base = tmp_path / "bases" / "win.vhdx"
    base.parent.mkdir()
    content = os.urandom(MIB) * 8
    differencing.image(base, content, "vhdx")
    child = tmp_path / "vm" / "a.avhdx"
    child.parent.mkdir()
    differencing.vhdx(child, content, [1, 5], base, r"D:\Bases\win.vhdx")
    config = tmp_path / "vm" / "A.vmcx"
    config.write_bytes(with_disk(r"C:\VMs\a.avhdx"))
    assert [f.code for f in described(config).findings] == ["disk-missing"]
    vm = described(config, rf"D:\Bases={tmp_path}/bases")
    assert not vm.findings
    layer = vm.disks[0].source
    assert layer
    assert [file.path for file in layer.backing] == [str(base)]


def test_checkpoints_are_told_by_their_names_and_one_that_is_broken_too(
    tmp_path: Path,
) -> None:
    image(tmp_path / "a.vhdx")
    (tmp_path / "A.vmcx").write_bytes(with_disk("a.vhdx"))
    (tmp_path / "Snapshots").mkdir()
    named = store(machine(properties={"name": "before the update", "subtype": 1}))
    (tmp_path / "Snapshots" / "11.vmcx").write_bytes(named)
    (tmp_path / "Snapshots" / "22.vmcx").write_bytes(named[:0x10000])
    (finding,) = described(tmp_path / "A.vmcx").findings
    assert finding.code == "snapshots-dropped"
    assert "2 snapshots stay behind: before the update, 22" in finding.message


def test_checkpoints_whose_files_are_elsewhere_are_told_by_their_number() -> None:
    for size, said in ((0, []), (3, [("snapshots-dropped", "warn")])):
        keys = {"snapshots": {"list": {"size": size}}}
        assert told(machine(global_settings=keys)) == said


def test_a_checkpoint_can_be_named_itself(tmp_path: Path) -> None:
    """Its own disks are taken: those of the moment when it was made."""
    image(tmp_path / "Virtual Hard Disks" / "a.vhdx")
    (tmp_path / "Snapshots").mkdir()
    for name in ("11.vmcx", "22.vmcx"):
        (tmp_path / "Snapshots" / name).write_bytes(with_disk(r"C:\old\a.vhdx"))
    vm = described(tmp_path / "Snapshots" / "11.vmcx")
    assert [d.source and d.source.path for d in vm.disks] == [
        str(tmp_path / "Virtual Hard Disks" / "a.vhdx")
    ]
    (finding,) = vm.findings
    assert "1 snapshots stay behind" in finding.message


def test_a_file_of_the_firmwares_state_is_told(tmp_path: Path) -> None:
    image(tmp_path / "a.vhdx")
    (tmp_path / "A.vmcx").write_bytes(with_disk("a.vhdx"))
    (tmp_path / "A.VMGS").write_bytes(bytes(4 * MIB))
    (finding,) = described(tmp_path / "A.vmcx").findings
    assert (finding.code, finding.severity) == ("nvram-lost", "info")
    assert "A.VMGS" in finding.message


# Hostile stores


def refused_soon(data: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(SourceError, match="is broken"):
        vmcx.parse(data, "f")
    assert time.monotonic() - start < 10


def entry(kind: int, flags: int, name: bytes, data: bytes) -> bytes:
    size = 21 + len(name) + len(data)
    head = struct.pack("<BBIHIIIB", kind, flags, size, 0, 0, 0, 0, len(name))
    return head + name + data


def crafted(body: bytes, tables: list[tuple[int, int]]) -> bytes:
    """Return a store with *body*, in which there are *tables* of keys: the place and
    the size of each.  At 0x10000 there is text."""
    objects = struct.pack("<II", 0x1110001, len(tables))
    for at, size in tables:
        objects += struct.pack("<BIQIB", 2, 0, 0x200000 + at, size, 1)
    header = struct.pack("<IIHIQIQQI", 0x1282014, 0, 3, 0x400, 0, 1, 0x1800, 0, 0)
    data = bytearray(0x200000)
    data[: len(header)] = header
    data[0x2000 : 0x2000 + len(objects)] = objects
    data[0x10000:0x20000] = b"A\0" * 0x8000
    return bytes(data) + body


def test_tables_that_overlap_do_not_multiply_their_keys() -> None:
    # The head of each table lies in a free entry of the one before.
    heads = (struct.pack("<HHHI", 2, n, 1, 0) for n in range(2000))
    pieces = [entry(1, 0, b"", head) for head in heads]
    keys = entry(9, 0, b"k\0", b"") * 20_000
    body = b"".join(pieces) + keys
    places = [len(pieces[0]) * n + 21 for n in range(len(pieces))]
    refused_soon(crafted(body, [(at, len(body) - at) for at in places]))


def test_many_keys_with_one_long_value_do_not_multiply_it() -> None:
    shared = entry(6, 1, b"k\0", struct.pack("<IQ", 2**16, 0x10000))
    table = struct.pack("<HHHI", 2, 1, 1, 0) + shared * 50_000
    refused_soon(crafted(table, [(0, len(table))]))


def test_more_keys_than_any_machine_has_are_refused() -> None:
    table = struct.pack("<HHHI", 2, 1, 1, 0) + entry(9, 0, b"k\0", b"") * (2**17 + 1)
    refused_soon(crafted(table, [(0, len(table))]))


def test_keys_deeper_than_any_are_refused() -> None:
    tree: Tree = {}
    for _ in range(400):
        tree = {"k": tree}
    refused_soon(store(tree))


def test_a_table_of_objects_that_is_too_long_is_refused() -> None:
    data = bytearray(store(machine()))
    struct.pack_into("<I", data, 0x2004, 2**32 - 1)
    refused_soon(bytes(data))
