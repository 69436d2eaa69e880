# SPDX-License-Identifier: GPL-2.0-or-later
"""What is amiss with a VM whatever its source is."""

from typing import Any

import pytest

from v2v.document import VM, Disk, Filesystem, Firmware, Guest, Layer, Nic, Source
from v2v.steps import preflight

MAC = "52:54:00:00:00:01"


def machine(name: str = "web01", location: str = "", **fields: Any) -> VM:
    source = Source(kind="vmx", location=location or f"/vms/{name}.vmx")
    return VM(id="x", name=name, memory=2**30, source=source, **fields)


def disk(number: int = 0, path: str = "/vms/a.vmdk", **fields: Any) -> Disk:
    layer = Layer(server="qemu", path=path, format="vmdk")
    return Disk(id=f"sd{'abc'[number]}", size=2**20, source=layer).having(**fields)


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def both(first: VM, second: VM) -> VM:
    """Return *second* as it is judged after *first*, which has no findings."""
    seen = preflight.Seen()
    assert not preflight.compared(first, seen).findings
    return preflight.compared(second, seen)


def test_an_ordinary_machine_has_no_finding() -> None:
    vm = machine(disks=(disk(),), nics=(Nic(mac=MAC),))
    assert not preflight.judged(preflight.compared(vm, preflight.Seen())).findings


def test_two_vms_with_one_mac_are_told_of() -> None:
    second = both(
        machine("a", nics=(Nic(mac=MAC),)), machine("b", nics=(Nic(mac=MAC),))
    )
    [finding] = second.findings
    assert (finding.code, finding.severity) == ("mac-duplicate", "warn")
    assert "one of a" in finding.message


def test_a_vm_with_one_mac_twice_is_told_of() -> None:
    vm = machine(nics=(Nic(mac=MAC), Nic(mac=MAC)))
    assert codes(preflight.compared(vm, preflight.Seen())) == ["mac-duplicate"]


def test_a_disk_of_two_vms_is_told_of() -> None:
    second = both(machine("a", disks=(disk(),)), machine("b", disks=(disk(),)))
    [finding] = second.findings
    assert (finding.code, finding.disk) == ("disk-shared", "sda")
    assert "a disk of a as well" in finding.message


def test_two_members_of_one_archive_are_two_disks() -> None:
    def member(offset: int) -> Disk:
        found = disk()
        assert found.source
        return found.having(source=found.source.having(offset=offset, length=512))

    first = machine("a", disks=(member(512),))
    assert not both(first, machine("b", disks=(member(4096),))).findings


def test_a_disk_shared_on_the_source_is_told_of_once() -> None:
    vm = machine(disks=(disk(shared=True),))
    assert codes(preflight.judged(preflight.compared(vm, preflight.Seen()))) == [
        "disk-shared"
    ]


def test_an_empty_disk_blocks() -> None:
    [finding] = preflight.judged(machine(disks=(disk(size=0),))).findings
    assert (finding.code, finding.severity) == ("disk-empty", "block")


def test_a_name_that_targets_refuse_is_told_of() -> None:
    vm = preflight.compared(machine("a/b"), preflight.Seen())
    [finding] = vm.findings
    assert (finding.code, finding.severity) == ("name-changed", "info")
    assert "a_b" in finding.message


def test_two_vms_whose_files_would_have_one_name_are_told_of() -> None:
    second = both(machine("a_b"), machine("a/b", "/vms/other.vmx"))
    assert codes(second) == ["name-changed", "name-duplicate"]


@pytest.mark.parametrize(
    ("firmware", "guest", "types", "told"),
    [
        ("bios", "efi", ["vfat", "ext4"], True),
        ("efi", None, ["ext4"], True),
        ("efi", "efi", ["vfat"], False),
        # A FAT file system may be an ESP by its content alone.
        ("efi", None, ["vfat"], False),
        ("bios", None, ["ext4"], False),
        ("bios", "bios", ["vfat"], False),
    ],
)
def test_firmware_that_disagrees_with_the_disks_is_told_of(
    firmware: Firmware, guest: Firmware | None, types: list[str], told: bool
) -> None:
    found = Guest(
        firmware=guest,
        filesystems=tuple(Filesystem(device="/dev/sda1", type=t) for t in types),
    )
    vm = machine(firmware=firmware)
    assert bool(list(preflight.of_guest(vm, found))) == told
    unsaid = vm.having(firmware_known=False)
    assert not list(preflight.of_guest(unsaid, found))


def test_two_files_that_were_not_found_are_not_the_same() -> None:
    """Their names are those of the descriptions, each in its own folder."""
    first = machine("a", disks=(disk(path="disk.vmdk"),))
    assert not both(first, machine("b", disks=(disk(path="disk.vmdk"),))).findings


def test_a_vm_that_is_taken_up_again_is_not_judged_twice() -> None:
    vm = preflight.judged(machine(disks=(disk(size=0),)))
    assert preflight.judged(vm) == vm
