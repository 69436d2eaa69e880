# SPDX-License-Identifier: GPL-2.0-or-later
"""What an XVA's machine leaves behind, its devices, and hostile descriptions."""

import time
from pathlib import Path
from typing import Any

import pytest

import archives
from v2v import sources
from v2v.document import VM
from v2v.errors import SourceError
from v2v.mapping.xva import _MAX_DESCRIPTION
from v2v.sources import Request, xva
from writers.xva import NULL, Objects, document

MIB = 2**20
PATH = Path("/vms/a.xva")
MACHINE: dict[str, Any] = {
    "name_label": "web01",
    "memory_static_max": str(2048 * MIB),
    "memory_dynamic_min": str(2048 * MIB),
    "memory_dynamic_max": str(2048 * MIB),
    "VCPUs_at_startup": "4",
    "VCPUs_max": "4",
    "platform": {},
    "HVM_boot_policy": "BIOS order",
    "HVM_boot_params": {"firmware": "uefi", "order": "cdn"},
    "is_a_snapshot": False,
    "power_state": "Halted",
}


def parsed(objects: Objects | None = None, **changes: Any) -> VM:
    machine = ("VM", MACHINE | changes)
    (vm,) = xva.parse(document({"Ref:0": machine} | dict(objects or {})), PATH)
    return vm


def told(vm: VM) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in vm.findings]


def test_a_plain_machine_has_nothing_to_be_said_of() -> None:
    vm = parsed()
    assert told(vm) == []
    assert (vm.source.producer, vm.source.host) == ("XCP-ng 8.3.0", "xen01")
    assert vm.source.hw_version == "xva-2"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory_dynamic_min": str(512 * MIB)}, ("memory-dynamic", "warn")),
        ({"memory_static_max": "0"}, ("memory-unknown", "warn")),
        ({"VCPUs_at_startup": "no"}, ("vcpus-unknown", "warn")),
        ({"VCPUs_max": "8"}, ("vcpus-hotplug", "info")),
        ({"platform": {"cores-per-socket": "3"}}, ("topology-dropped", "warn")),
        ({"platform": {"vtpm": "true"}}, ("tpm-state-lost", "warn")),
        ({"VTPMs": ["Ref:9"]}, ("tpm-state-lost", "warn")),
        ({"platform": {"secureboot": "auto"}}, ("secure-boot-keys", "warn")),
        ({"NVRAM": {"EFI-variables": "VkFSUw=="}}, ("nvram-lost", "info")),
        ({"PV_kernel": "/boot/vmlinuz"}, ("direct-kernel", "warn")),
        ({"VGPUs": ["Ref:9"]}, ("device-lost", "warn")),
        ({"attached_PCIs": ["Ref:9"]}, ("device-lost", "warn")),
        ({"other_config": {"pci": "0/0000:04:00.0"}}, ("device-lost", "warn")),
        ({"power_state": "Suspended"}, ("suspended", "block")),
        ({"is_a_template": True}, ("vm-template", "info")),
        ({"snapshots": ["Ref:8"]}, ("snapshots-dropped", "warn")),
    ],
)
def test_what_stays_behind_is_told(
    changes: dict[str, Any], said: tuple[str, str]
) -> None:
    assert told(parsed(**changes)) == [said]


def test_a_bios_has_no_variables_to_lose() -> None:
    changes: dict[str, Any] = {"HVM_boot_params": {"order": "c"}}
    changes["NVRAM"] = {"EFI-variables": "VkE="}
    vm = parsed(**changes)
    assert (vm.firmware, told(vm)) == ("bios", [])


def test_snapshots_are_told_by_their_names_and_are_no_machines() -> None:
    old = MACHINE | {"name_label": "before the update", "is_a_snapshot": True}
    vm = parsed({"Ref:8": ("VM", old)}, snapshots=["Ref:8"])
    (finding,) = vm.findings
    assert "1 snapshots stay behind: before the update" in finding.message


def test_a_snapshot_exported_by_itself_is_a_machine() -> None:
    vm = parsed(is_a_snapshot=True)
    assert vm.name == "web01"
    assert told(vm) == [("snapshot-exported", "info")]


def test_the_host_itself_is_no_machine() -> None:
    host = MACHINE | {"name_label": "Control domain", "is_control_domain": True}
    assert parsed({"Ref:8": ("VM", host)}).name == "web01"


def test_the_generation_id_has_the_bytes_that_the_guest_saw() -> None:
    """Xen's firmware stores both words little-endian, the first one first."""
    low, high = 0x0807060504030201, -0x0F0E0D0C0B0A0908
    vm = parsed(generation_id=f"{low}:{high}")
    raw = low.to_bytes(8, "little") + (high % 2**64).to_bytes(8, "little")
    assert vm.genid == "04030201-0605-0807-f8f6-f5f4f3f2f1f0"
    assert raw.hex() == "0102030405060708f8f6f5f4f3f2f1f0"
    for none in ("0:0", "", "1", "x:y", "1:2:3"):
        assert parsed(generation_id=none).genid is None


@pytest.mark.parametrize("kind", ["pv", "pvh", "pv_in_pvh"])
def test_a_paravirtual_machine_leaves_its_firmware_to_the_disks(kind: str) -> None:
    vm = parsed(HVM_boot_policy="", HVM_boot_params={}, domain_type=kind)
    assert not vm.firmware_known


DEVICES: Objects = {
    "Ref:1": ("VBD", {"userdevice": "xvdb", "type": "Disk", "VDI": "Ref:11"}),
    "Ref:2": ("VBD", {"userdevice": "0", "type": "Disk", "VDI": "Ref:12"}),
    "Ref:3": ("VBD", {"userdevice": "3", "type": "CD", "VDI": "Ref:13"}),
    "Ref:4": ("VBD", {"userdevice": "4", "type": "CD", "VDI": NULL, "empty": True}),
    "Ref:5": ("VBD", {"userdevice": "5", "type": "Floppy", "VDI": NULL}),
    "Ref:11": ("VDI", {"virtual_size": str(MIB), "sharable": True}),
    "Ref:12": ("VDI", {"virtual_size": str(2 * MIB), "read_only": True}),
    "Ref:13": ("VDI", {"name_label": "debian.iso"}),
}


def test_devices_are_kept_with_all_that_is_said_of_them() -> None:
    names = [f"Ref:{n}" for n in range(1, 6)]
    params = {"firmware": "bios", "order": "dc"}
    vm = parsed(DEVICES, VBDs=names, HVM_boot_params=params)
    assert [(d.slot, d.size, d.shared, d.readonly, d.boot) for d in vm.disks] == [
        ("xvda", 2 * MIB, False, True, 2),
        ("xvdb", MIB, True, False, None),
    ]
    assert [(r.type, r.slot, r.path) for r in vm.removable] == [
        ("cdrom", "xvdd", "debian.iso"),
        ("cdrom", "xvde", None),
        ("floppy", "xvdf", None),
    ]


@pytest.mark.parametrize(
    ("words", "source", "codes"),
    [
        ({"MAC": "00:16:3e:00:00:01"}, "static", []),
        ({"MAC": "00:16:3e:00:00:01", "MAC_autogenerated": True}, "generated", []),
        ({"MAC": "00:00:00:00:00:00"}, "made", [("mac-made", "info")]),
        ({}, "made", [("mac-made", "info")]),
    ],
)
def test_an_address_is_told_by_where_it_comes_from(
    words: dict[str, Any], source: str, codes: list[tuple[str, str]]
) -> None:
    vif = {"device": "0", "network": NULL} | words
    vm = parsed({"Ref:1": ("VIF", vif)}, VIFs=["Ref:1"])
    assert [nic.mac_source for nic in vm.nics] == [source]
    assert told(vm) == codes


# Hostile descriptions


def test_a_disk_larger_than_any_is_refused_and_not_cut() -> None:
    vdi = ("VDI", {"virtual_size": str(2**50)})
    vbd = ("VBD", {"userdevice": "0", "type": "Disk", "VDI": "Ref:2"})
    with pytest.raises(SourceError, match="larger than any"):
        parsed({"Ref:1": vbd, "Ref:2": vdi}, VBDs=["Ref:1"])


def test_references_in_a_circle_or_of_another_class_end() -> None:
    vbd = ("VBD", {"userdevice": "0", "type": "Disk", "VDI": "Ref:0", "VM": "Ref:1"})
    vm = parsed({"Ref:1": vbd}, VBDs=["Ref:1", "Ref:0", "Ref:1"], VIFs=["Ref:0"])
    assert {disk.size for disk in vm.disks} == {0}


def test_more_devices_and_machines_than_any_are_bounded_soon() -> None:
    start = time.monotonic()
    vm = parsed(DEVICES, VBDs=["Ref:2"] * 100_000, snapshots=["x"] * 100_000)
    assert len(vm.disks) == 1
    many = {f"Ref:{n}": ("VM", MACHINE) for n in range(3000)}
    with pytest.raises(SourceError, match="3000 machines"):
        xva.parse(document(many), PATH)
    assert time.monotonic() - start < 20


def test_a_description_larger_than_any_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.xva"
    archives.xva(path, b"<value>".ljust(_MAX_DESCRIPTION + 1), {})
    with pytest.raises(SourceError, match="bytes is none"):
        list(sources.read(Request(location=str(path))))
