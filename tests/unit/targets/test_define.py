# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import pytest
from lxml import etree

from target_vm import corpus, disk, domain_of, make_vm
from v2v import kvm, paths, targets
from v2v.document import VM, Devices, Guest, Layer, Verdict
from v2v.errors import BlockedError, TargetError, UsageError
from v2v.steps import define
from v2v.targets import Wish


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "usable", lambda: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the VM's disk in it."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "web01-sda.raw").touch()
    return folder


@pytest.fixture
def vm(folder: Path) -> VM:
    """A VM as convert leaves it: with leave to open its folder."""
    vm = make_vm(disks=(disk(0, folder),), devices=Devices())
    return paths.granted(vm, folder)


def test_the_targets_are_those_that_are_offered() -> None:
    assert sorted(targets.names()) == ["libvirt", "local", "null", "qemu"]


def test_define_adds_its_own_section_and_no_other(vm: VM) -> None:
    made = define.define(vm, "local", Wish())
    assert made.target
    assert made.having(target=None) == vm


def test_a_target_that_there_is_not_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as e:
        define.check("vsphere", Wish())
    assert "libvirt" in e.value.remedy


def test_a_helper_is_no_target() -> None:
    with pytest.raises(UsageError):
        define.check("domain", Wish())


def test_a_disk_that_was_not_copied_is_refused(vm: VM) -> None:
    bare = vm.having(disks=(vm.disks[0].having(target=None),))
    with pytest.raises(TargetError) as e:
        define.define(bare, "local", Wish())
    assert "v2v-convert" in e.value.remedy


def test_a_disk_that_is_gone_is_refused(vm: VM, folder: Path) -> None:
    (folder / "web01-sda.raw").unlink()
    with pytest.raises(TargetError, match="sda"):
        define.define(vm, "local", Wish())


def test_a_document_from_elsewhere_opens_no_file_of_this_host(
    vm: VM, folder: Path
) -> None:
    hostile = Layer(server="file", path="/etc/shadow")
    sent = vm.having(disks=(vm.disks[0].having(target=hostile),))
    with pytest.raises(TargetError, match="outside the folders"):
        define.define(sent, "local", Wish(output=folder))
    assert not list(folder.glob("*.xml"))


def test_a_link_to_elsewhere_opens_no_file_of_this_host(vm: VM, folder: Path) -> None:
    (folder / "web01-sda.raw").unlink()
    (folder / "web01-sda.raw").symlink_to("/etc/shadow")
    with pytest.raises(TargetError, match="outside the folders"):
        define.define(vm, "local", Wish())


def test_the_user_vouches_for_the_folder_that_he_names(vm: VM, folder: Path) -> None:
    sent = vm.having(grants=())
    with pytest.raises(TargetError) as e:
        define.define(sent, "local", Wish())
    assert "-o" in e.value.remedy
    assert define.define(sent, "local", Wish(output=folder)).target


def test_a_disk_is_named_by_its_true_path(vm: VM, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    linked = vm.having(disks=(disk(0, tmp_path / "link"),))
    made = define.define(linked, "local", Wish())
    assert made.target
    source = etree.parse(made.target.location).find("devices/disk/source")
    assert source is not None
    assert source.get("file") == str(folder / "web01-sda.raw")


def test_a_guest_prepared_for_other_devices_is_blocked(vm: VM) -> None:
    other = vm.having(devices=Devices(made_for="vsphere"))
    with pytest.raises(BlockedError) as e:
        define.define(other, "local", Wish())
    assert e.value.remedy.endswith("v2v-fixup --for local")


@pytest.mark.parametrize("kind", ["libvirt", "local", "qemu", "null"])
def test_all_local_targets_have_the_same_devices(vm: VM, kind: str) -> None:
    prepared = vm.having(devices=Devices(made_for=kind))
    assert define.define(prepared, "local", Wish()).target


def _windows(vm: VM, block: str = "virtio", *, boots: bool = False) -> VM:
    verdicts = (
        Verdict(bus="virtio", boots=boots, reason="viostor is overridden"),
        Verdict(bus="sata", boots=True, reason="storahci started at boot"),
    )
    guest = Guest(type="windows", verdicts=verdicts)
    return vm.having(guest=guest, devices=Devices().having(block=block))


@pytest.mark.report("https://github.com/kubev2v/forklift/issues/1029")
def test_a_bus_that_windows_does_not_boot_from_is_refused(vm: VM) -> None:
    # INACCESSIBLE BOOT DEVICE, after a migration that said it had succeeded.
    with pytest.raises(BlockedError) as e:
        define.define(_windows(vm), "local", Wish())
    assert e.value.message == (
        "Windows would not find its disk on virtio: viostor is overridden"
    )
    assert "sata" in e.value.remedy
    assert "--allow boot-verdict" in e.value.remedy


def test_a_bus_that_windows_does_not_boot_from_may_be_accepted(vm: VM) -> None:
    wish = Wish(allow=("boot-verdict",))
    assert define.define(_windows(vm), "local", wish).target


@pytest.mark.parametrize("block", ["sata", "ide"])
def test_a_bus_that_windows_boots_from_is_taken(vm: VM, block: str) -> None:
    # What would be on IDE is on SATA, since q35 has none.
    assert define.define(_windows(vm, block), "local", Wish()).target
    assert define.define(_windows(vm, boots=True), "local", Wish()).target


def test_the_disks_alone_go_anywhere(vm: VM) -> None:
    assert define.define(_windows(vm), "null", Wish()).target


def test_null_takes_what_no_other_does_and_makes_nothing(folder: Path) -> None:
    vm = make_vm(disks=(disk(0, target=None),), arch="ppc64")
    made = define.define(vm, "null", Wish()).target
    assert made
    assert made.kind == "null"
    assert [file.name for file in folder.iterdir()] == ["web01-sda.raw"]


def test_every_machine_of_the_corpus_makes_a_valid_domain(shared: Path) -> None:
    made = [domain_of(vm) for vm in corpus(shared)]
    assert len(made) > 20
