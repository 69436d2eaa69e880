# SPDX-License-Identifier: GPL-2.0-or-later
"""The libvirt target on a real libvirtd (libvirt_daemon) and libvirt's test driver."""

import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from target_vm import ID, MIB, OTHER_ID, boot_sector, corpus, disk, make_vm
from v2v.document import VM, Devices, Removable
from v2v.errors import NoTargetError, TargetError
from v2v.targets import Wish
from v2v.targets import libvirt as target

libvirt = pytest.importorskip("libvirt")

_WITH_NVRAM = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
TEST = "test:///default"
MAC = "00:50:56:01:02:03"


@pytest.fixture
def test_driver() -> Iterator[Any]:
    """libvirt's test driver: what it holds lives as long as somebody is connected."""
    connection = libvirt.open(TEST)
    yield connection
    connection.close()


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    (tmp_path / "web01-sda.raw").write_bytes(boot_sector())
    return make_vm(disks=(disk(0, tmp_path),), devices=Devices(), memory=128 * MIB)


def names(connection: Any) -> list[str]:
    return sorted(known.name() for known in connection.listAllDomains())


def xml(connection: Any, name: str = "web01") -> etree._Element:
    return etree.fromstring(connection.lookupByName(name).XMLDesc())


def foreign(connection: Any, name: str = "web01", uuid: str = "") -> Any:
    """Define a domain that is not ours."""
    given = f"<uuid>{uuid}</uuid>" if uuid else ""
    kind = "test" if connection.getType() == "TEST" else "qemu"
    arch = "" if kind == "test" else " arch='x86_64'"
    return connection.defineXML(
        f"<domain type='{kind}'><name>{name}</name>{given}<memory>65536</memory>"
        f"<os><type{arch}>hvm</type></os></domain>"
    )


def test_virsh_shows_the_documents_mac(
    uri: str, vm: VM, requires: Callable[..., None]
) -> None:
    requires("virsh")
    target.check(Wish(uri=uri))
    target.preflight(vm, Wish(uri=uri))
    made = target.define(vm, Wish(uri=uri))
    command = ["virsh", "-c", uri, "dumpxml", made.name]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    assert MAC in shown.decode()
    assert made.uuid == ID
    assert made.location == f"{uri} web01"


@pytest.mark.parametrize(
    "devices",
    [
        {"block": "virtio", "net": "virtio", "rng": True, "balloon": True},
        {
            "block": "virtio",
            "net": "virtio",
            "transitional": True,
            "rng": True,
            "balloon": True,
        },
        {"block": "scsi", "net": "e1000e", "video": "virtio"},
        {"block": "scsi", "net": "virtio", "transitional": True},
        {"block": "sata", "net": "e1000", "video": "bochs"},
        {"block": "ide", "net": "rtl8139", "machine": "pc"},
        {"block": "scsi", "net": "e1000e", "machine": "pc"},
        {"block": "sata", "net": "virtio", "machine": "pc"},
    ],
    ids=lambda chosen: "-".join(map(str, chosen.values())),
)
def test_libvirt_finds_a_place_for_forty_disks_two_cds_and_the_rest(
    uri: str, connection: Any, tmp_path: Path, devices: dict[str, Any]
) -> None:
    disks = tuple(disk(i, tmp_path) for i in range(40))
    vm = make_vm(
        disks=disks,
        devices=Devices(**devices),
        removable=(Removable(type="cdrom"),) * 2,
        nics=tuple(make_vm().nics[0].having(mac=f"{MAC[:-1]}{i}") for i in range(4)),
        sound="hda",
        firmware="efi",
    )
    target.define(vm, Wish(uri=uri))
    made = xml(connection)
    assert len(made.findall("devices/disk/address")) == 42
    assert len(made.findall("devices/interface/address")) == 4
    models = set(made.xpath("devices/controller[@type='scsi']/@model"))  # type: ignore[arg-type]
    assert "lsilogic" not in models


def test_libvirt_takes_every_machine_of_the_corpus(
    uri: str, connection: Any, shared: Path
) -> None:
    for vm in corpus(shared):
        made = target.define(vm, Wish(uri=uri, networks=("user",)))
        connection.lookupByName(made.name).undefineFlags(_WITH_NVRAM)


def test_the_vm_really_starts(uri: str, connection: Any, vm: VM) -> None:
    target.define(vm, Wish(uri=uri, networks=("user",), start=True))
    assert connection.lookupByName("web01").isActive()


def test_our_own_domain_is_replaced_in_place(uri: str, connection: Any, vm: VM) -> None:
    target.define(vm, Wish(uri=uri))
    connection.lookupByName("web01").setAutostart(1)
    target.preflight(vm, Wish(uri=uri))
    target.define(vm.having(vcpus=3), Wish(uri=uri))
    assert names(connection) == ["web01"]
    assert xml(connection).findtext("vcpu") == "3"
    assert connection.lookupByName("web01").autostart()


def test_a_copy_under_another_name_does_not_cost_the_first(
    uri: str, connection: Any, vm: VM
) -> None:
    target.define(vm, Wish(uri=uri))
    with pytest.raises(TargetError, match="web01 has the UUID of this VM"):
        target.define(vm.having(name="web02"), Wish(uri=uri))
    uuid = "4b3c2d1e-0000-4000-8000-0000000000ff"
    target.define(vm.having(name="web02", uuid=uuid), Wish(uri=uri))
    assert names(connection) == ["web01", "web02"]


def test_a_running_domain_is_never_replaced(uri: str, connection: Any, vm: VM) -> None:
    target.define(vm, Wish(uri=uri, networks=("user",), start=True))
    with pytest.raises(TargetError, match="is running"):
        target.preflight(vm, Wish(uri=uri, force=True))
    with pytest.raises(TargetError, match="is running"):
        target.define(vm, Wish(uri=uri, force=True))
    assert connection.lookupByName("web01").isActive()


def test_a_saved_domain_is_never_replaced(uri: str, connection: Any, vm: VM) -> None:
    target.define(vm, Wish(uri=uri, networks=("user",), start=True))
    connection.lookupByName("web01").managedSave()
    with pytest.raises(TargetError, match="is saved"):
        target.preflight(vm, Wish(uri=uri, force=True))
    connection.lookupByName("web01").managedSaveRemove()


def test_a_name_that_is_taken_is_refused(uri: str, connection: Any, vm: VM) -> None:
    before = foreign(connection).XMLDesc()
    for step in (target.preflight, target.define):
        with pytest.raises(TargetError, match="web01 exists already") as e:
            step(vm, Wish(uri=uri))
        assert "--name" in e.value.remedy
    assert connection.lookupByName("web01").XMLDesc() == before


def test_a_uuid_that_is_taken_is_refused(uri: str, connection: Any, vm: VM) -> None:
    foreign(connection, "other", ID)
    with pytest.raises(TargetError, match="other has the UUID of this VM"):
        target.preflight(vm, Wish(uri=uri))


def test_force_replaces_what_has_the_name_and_what_has_the_uuid(
    uri: str, connection: Any, vm: VM
) -> None:
    foreign(connection, "web01")
    foreign(connection, "other", ID)
    target.preflight(vm, Wish(uri=uri, force=True))
    target.define(vm, Wish(uri=uri, force=True))
    assert names(connection) == ["web01"]
    assert connection.lookupByName("web01").UUIDString() == ID


def test_a_domain_with_another_documents_id_is_foreign(uri: str, vm: VM) -> None:
    target.define(vm.having(id=OTHER_ID), Wish(uri=uri))
    with pytest.raises(TargetError, match="is not of this VM"):
        target.preflight(vm, Wish(uri=uri))


def test_a_domain_that_does_not_start_is_undone(
    uri: str, connection: Any, vm: VM, tmp_path: Path
) -> None:
    (tmp_path / "web01-sda.raw").unlink()
    with pytest.raises(TargetError, match="libvirt refused domain web01"):
        target.define(vm, Wish(uri=uri, networks=("user",), start=True))
    assert names(connection) == []


def test_what_was_there_before_is_back_if_the_new_one_does_not_start(
    uri: str, connection: Any, vm: VM, tmp_path: Path
) -> None:
    foreign(connection, "web01").setAutostart(1)
    old = xml(connection).findtext("uuid")
    foreign(connection, "other", ID)
    (tmp_path / "web01-sda.raw").unlink()
    with pytest.raises(TargetError):
        target.define(vm, Wish(uri=uri, networks=("user",), start=True, force=True))
    assert names(connection) == ["other", "web01"]
    assert xml(connection).findtext("uuid") == old
    assert connection.lookupByName("web01").autostart()


def test_ours_of_before_is_back_if_the_new_one_does_not_start(
    uri: str, connection: Any, vm: VM, tmp_path: Path
) -> None:
    target.define(vm, Wish(uri=uri))
    (tmp_path / "web01-sda.raw").unlink()
    with pytest.raises(TargetError):
        wish = Wish(uri=uri, networks=("user",), start=True)
        target.define(vm.having(vcpus=7), wish)
    assert xml(connection).findtext("vcpu") == "1"


def test_the_uefi_variables_go_with_the_domain_that_had_them(
    daemon: tuple[str, int], uri: str, connection: Any, vm: VM
) -> None:
    efi = vm.having(firmware="efi", id=OTHER_ID)
    target.define(efi, Wish(uri=uri, networks=("user",), start=True))
    connection.lookupByName("web01").destroy()
    store = Path(f"/proc/{daemon[1]}/root/var/lib/libvirt/qemu/nvram/web01_VARS.fd")
    assert store.exists()
    target.define(efi.having(id=ID), Wish(uri=uri, force=True))
    assert not store.exists()


def test_our_own_uefi_variables_stay(
    daemon: tuple[str, int], uri: str, connection: Any, vm: VM
) -> None:
    efi = vm.having(firmware="efi")
    target.define(efi, Wish(uri=uri, networks=("user",), start=True))
    connection.lookupByName("web01").destroy()
    target.define(efi, Wish(uri=uri))
    store = Path(f"/proc/{daemon[1]}/root/var/lib/libvirt/qemu/nvram/web01_VARS.fd")
    assert store.exists()


def test_secure_boot_is_something_that_libvirt_can_start(
    uri: str, connection: Any, vm: VM
) -> None:
    vm = vm.having(firmware="efi", secure_boot=True)
    target.define(vm, Wish(uri=uri, networks=("user",), start=True))
    assert xml(connection).xpath("os/loader/@secure") == ["yes"]


def test_a_pool_sees_the_disks_that_were_put_into_it(
    uri: str, connection: Any, vm: VM, tmp_path: Path
) -> None:
    pool = connection.storagePoolDefineXML(
        "<pool type='dir'><name>p</name>"
        f"<target><path>{tmp_path}</path></target></pool>"
    )
    pool.create()
    (tmp_path / "web01-sdb.raw").touch()
    vm = vm.having(disks=(*vm.disks, disk(1, tmp_path)))
    target.define(vm, Wish(uri=uri))
    assert "web01-sdb.raw" in pool.listVolumes()


def test_a_network_that_is_not_there_is_refused_before_data_moves(
    uri: str, connection: Any, vm: VM
) -> None:
    connection.networkDefineXML("<network><name>lab</name></network>")
    with pytest.raises(TargetError, match="network=nosuch") as e:
        target.preflight(vm, Wish(uri=uri, networks=("network=nosuch",)))
    assert "network=lab" in e.value.remedy


def test_a_bridge_that_is_not_there_is_refused_before_data_moves(
    uri: str, vm: VM
) -> None:
    with pytest.raises(TargetError, match="bridge=nosuch0"):
        target.preflight(vm, Wish(uri=uri, networks=("bridge=nosuch0",)))


def test_a_port_group_goes_to_the_default_network(
    uri: str, connection: Any, vm: VM, caplog: pytest.LogCaptureFixture
) -> None:
    connection.networkDefineXML("<network><name>default</name></network>")
    with caplog.at_level(logging.WARNING):
        target.define(vm, Wish(uri=uri))
    assert xml(connection).xpath("//interface/source/@network") == ["default"]
    said = "\n".join(caplog.messages)
    assert "'VM Network'" in said
    assert "virsh net-start default" in said


def test_without_a_default_network_the_card_still_has_a_way_out(
    uri: str, connection: Any, vm: VM
) -> None:
    target.define(vm, Wish(uri=uri))
    assert xml(connection).xpath("//interface/@type") == ["user"]


def test_a_network_of_the_source_that_is_here_too_is_kept(
    uri: str, connection: Any, vm: VM
) -> None:
    connection.networkDefineXML("<network><name>lab</name></network>")
    nic = vm.nics[0].having(type="network", network="lab")
    target.define(vm.having(nics=(nic,)), Wish(uri=uri))
    assert xml(connection).xpath("//interface/source/@network") == ["lab"]


def test_a_vm_is_not_started_on_a_network_that_is_not(
    uri: str, connection: Any, vm: VM
) -> None:
    connection.networkDefineXML("<network><name>lab</name></network>")
    with pytest.raises(TargetError, match="virsh net-start lab"):
        wish = Wish(uri=uri, networks=("network=lab",), start=True)
        target.preflight(vm, wish)


def test_what_the_schema_refuses_changes_nothing(
    uri: str, connection: Any, vm: VM
) -> None:
    target.define(vm, Wish(uri=uri))
    bad = vm.having(nics=(vm.nics[0].having(mac="01:00:5e:00:00:01"),))
    with pytest.raises(TargetError, match="schema"):
        target.define(bad, Wish(uri=uri))
    assert xml(connection).xpath("//mac/@address") == [MAC]


def test_no_libvirt_is_one_clear_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"qemu:///system?socket={tmp_path}/nothing"
    with pytest.raises(NoTargetError, match="no libvirt answers") as e:
        target.check(Wish(uri=uri))
    assert "-t local" in e.value.remedy
    assert not target.answers(uri)
    assert capfd.readouterr().err == ""


def test_a_uri_that_is_none_is_no_libvirt() -> None:
    assert not target.answers("nonsense://")


def test_libvirt_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_MISSING", "No module named 'libvirt'")
    with pytest.raises(NoTargetError) as e:
        target.check(Wish(uri=TEST))
    assert "python3-libvirt" in e.value.remedy


def test_the_users_own_choice_of_libvirt_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", TEST)
    assert target.default_uri() == TEST
    assert target.answers()


def test_the_test_driver_takes_replaces_and_gives_back(
    test_driver: Any, vm: VM
) -> None:
    target.check(Wish(uri=TEST))
    target.preflight(vm, Wish(uri=TEST))
    target.define(vm, Wish(uri=TEST))
    target.define(vm.having(vcpus=2), Wish(uri=TEST))
    assert xml(test_driver).findtext("vcpu") == "2"
    target.define(vm.having(name="web02"), Wish(uri=TEST, force=True))
    assert names(test_driver) == ["test", "web02"]
    with pytest.raises(TargetError):
        target.preflight(vm.having(name="test"), Wish(uri=TEST))


def test_the_test_drivers_default_network_takes_a_port_group(
    test_driver: Any, vm: VM
) -> None:
    target.define(vm, Wish(uri=TEST))
    assert xml(test_driver).xpath("//interface/source/@network") == ["default"]
