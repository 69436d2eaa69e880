# SPDX-License-Identifier: GPL-2.0-or-later
import io
import json
import tarfile
from pathlib import Path
from xmlrpc.client import dumps

import pytest
from hypothesis import given
from hypothesis import strategies as st

import archives
from v2v import sources
from v2v.errors import SourceError
from v2v.sources import Request, xva

MIB = 2**20
VM = {
    "name_label": "web01",
    "uuid": "0a1b2c3d-0000-4000-8000-000000000001",
    "memory_static_max": "2147483648",
    "VCPUs_at_startup": "4",
    "platform": {"cores-per-socket": "2", "secureboot": "true"},
    "HVM_boot_policy": "BIOS order",
    "HVM_boot_params": {"firmware": "uefi", "order": "cdn"},
    "VBDs": ["Ref:8", "Ref:1", "Ref:2", "Ref:9"],
    "VIFs": ["Ref:5"],
    "power_state": "Halted",
    "is_a_snapshot": False,
}


def description(**changes: object) -> bytes:
    objects = {
        "Ref:0": ("VM", VM | changes),
        "Ref:1": ("VBD", {"userdevice": "10", "type": "Disk", "VDI": "Ref:4"}),
        "Ref:2": (
            "VBD",
            {"userdevice": "2", "type": "Disk", "VDI": "Ref:3", "bootable": True},
        ),
        "Ref:8": ("VBD", {"userdevice": "3", "type": "CD", "VDI": "OpaqueRef:NULL"}),
        "Ref:9": ("VBD", {"userdevice": "4", "type": "Disk", "VDI": "OpaqueRef:NULL"}),
        "Ref:3": ("VDI", {"virtual_size": str(3 * MIB)}),
        "Ref:4": ("VDI", {"virtual_size": str(2 * MIB)}),
        "Ref:5": (
            "VIF",
            {"device": "0", "MAC": "00:16:3E:AA:BB:CC", "network": "Ref:6"},
        ),
        "Ref:6": ("network", {"name_label": "Pool-wide network"}),
        "Ref:7": ("VM", VM | {"is_a_snapshot": True}),
    }
    listed = [{"id": k, "class": c, "snapshot": s} for k, (c, s) in objects.items()]
    text = dumps(({"version": {}, "objects": listed},))
    start = text.index("<value>")
    return text[start : text.rindex("</param>")].encode()


def test_a_machine_is_read_with_its_devices_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.xva"
    archives.xva(
        path, description(), {"Ref:3": bytes(3 * MIB), "Ref:4": bytes(2 * MIB)}
    )
    assert sources.detect(str(path)) == "xva"
    assert sources.resolve(str(tmp_path)) == str(path)
    (vm,) = sources.read(Request(location=str(path)))
    assert (vm.name, vm.memory, vm.vcpus, vm.firmware) == ("web01", 2**31, 4, "efi")
    assert (vm.cpu.sockets, vm.cpu.cores, vm.secure_boot) == (2, 2, True)
    assert vm.uuid == VM["uuid"]
    shown = [(d.id, d.slot, d.size, d.source and d.source.member) for d in vm.disks]
    assert shown == [
        ("sda", "xvdc", 3 * MIB, "Ref:3"),
        ("sdb", "xvdk", 2 * MIB, "Ref:4"),
    ]
    assert [d.boot for d in vm.disks] == [1, None]
    assert [(n.mac, n.network) for n in vm.nics] == [
        ("00:16:3e:aa:bb:cc", "Pool-wide network")
    ]
    assert [r.slot for r in vm.removable] == ["xvdd"]
    assert not vm.findings


def test_a_disk_that_was_not_exported_blocks_and_the_rest_is_described(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.xva"
    archives.xva(path, description(snapshots=["Ref:7"]), {"Ref:3": bytes(3 * MIB)})
    (vm,) = sources.read(Request(location=str(path)))
    found = {(f.code, f.disk) for f in vm.findings}
    assert found == {("snapshots-dropped", None), ("disk-missing", "sdb")}


def test_a_paravirtual_machine_leaves_its_firmware_to_the_disks() -> None:
    (vm,) = xva.parse(description(HVM_boot_policy="", domain_type="pv"), Path("a"))
    assert not vm.firmware_known


def test_the_corpus_is_read_as_expected(shared: Path) -> None:
    name = "xva/001-xenserver55-ova.xml"
    facts = json.loads((shared / "corpus/expected.json").read_text())[name]["facts"]
    (vm,) = xva.parse((shared / "corpus" / name).read_bytes(), Path("a.xva"))
    assert vm.name == facts["name"]
    assert (vm.memory, vm.vcpus) == (facts["memory_bytes"], facts["vcpus"])
    assert (vm.firmware, vm.firmware_known) == (facts["firmware"], facts["hvm"])
    assert [d.source.member for d in vm.disks if d.source] == [
        disk["vdi"] for disk in facts["disks"]
    ]
    assert [r.type for r in vm.removable] == [r["type"] for r in facts["removable"]]
    assert [n.mac_source for n in vm.nics] == ["made"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<value/>",
        b"<value><struct/></value>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><value>&a;</value>',
        b"<value>" * 5000,
        b"<value>\0</value>",
        b"<value><struct><member><name>objects</name><value>x</value></member></struct></value>",
    ],
)
def test_what_is_no_description_is_refused(text: bytes) -> None:
    with pytest.raises(SourceError) as e:
        xva.parse(text, Path("a.xva"))
    assert "\n" not in e.value.message


@given(
    key=st.sampled_from(sorted(VM)),
    value=st.recursive(
        st.text("0123456789-x/é", max_size=30),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner)
        ),
        max_leaves=5,
    ),
)
def test_any_value_in_any_place_is_read_or_refused(key: str, value: object) -> None:
    try:
        xva.parse(description(**{key: value}), Path("a.xva"))
    except SourceError:
        assert key == "is_a_snapshot"


@given(data=st.binary(max_size=3000))
def test_any_archive_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.xva"
    head = tarfile.TarInfo("ova.xml")
    head.size = len(data) // 2
    with tarfile.open(path, "w") as tar:
        tar.addfile(head, io.BytesIO(data))
    path.write_bytes(path.read_bytes()[: 512 + len(data) // 2] + data)
    with pytest.raises(SourceError):
        list(sources.read(Request(location=str(path)), "xva"))


def test_thirty_disks_keep_their_order(tmp_path: Path) -> None:
    names = [f"Ref:{n}" for n in range(100, 130)]
    objects: list[dict[str, object]] = [
        {"id": "Ref:0", "class": "VM", "snapshot": VM | {"VBDs": names[::-1]}}
    ]
    for n, name in enumerate(names):
        vbd = {"userdevice": str(n), "type": "Disk", "VDI": f"Ref:{n + 500}"}
        objects.append({"id": name, "class": "VBD", "snapshot": vbd})
    text = dumps(({"version": {}, "objects": objects},))
    data = text[text.index("<value>") : text.rindex("</param>")].encode()
    (vm,) = xva.parse(data, Path("a.xva"))
    assert [d.source.member for d in vm.disks if d.source] == [
        f"Ref:{n + 500}" for n in range(30)
    ]
    assert (vm.disks[25].id, vm.disks[26].id, vm.disks[26].slot) == (
        "sdz",
        "sdaa",
        "xvdaa",
    )
