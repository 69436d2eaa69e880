# SPDX-License-Identifier: GPL-2.0-or-later
import logging
import os
from pathlib import Path

import pytest
from lxml import etree

from target_vm import ID, OTHER_ID, disk, make_vm
from v2v import kvm
from v2v.document import VM, Source
from v2v.errors import TargetError, UsageError
from v2v.targets import Wish, domain, local

if not Path("/usr/share/libvirt/schemas/domain.rng").exists():
    pytest.skip("libvirt's schemas are not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "usable", lambda: False)


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    return make_vm(disks=(disk(0, tmp_path),))


def test_the_xml_lies_beside_the_first_disk(vm: VM, tmp_path: Path) -> None:
    made = local.define(vm, Wish())
    assert Path(made.location) == tmp_path / "web01.xml"
    domain.validate(etree.parse(made.location).getroot())


def test_the_xml_lies_in_the_folder_that_is_wished(vm: VM, tmp_path: Path) -> None:
    made = local.define(vm, Wish(output=tmp_path / "new" / "deep"))
    assert Path(made.location).parent == tmp_path / "new" / "deep"


def test_a_name_with_a_slash_stays_in_the_folder(vm: VM, tmp_path: Path) -> None:
    made = local.define(vm.having(name="../../web01"), Wish())
    assert Path(made.location).parent == tmp_path


def test_our_own_file_is_replaced(vm: VM, tmp_path: Path) -> None:
    local.define(vm, Wish())
    local.preflight(vm, Wish())
    local.define(vm.having(vcpus=3), Wish())
    assert etree.parse(tmp_path / "web01.xml").findtext("vcpu") == "3"


@pytest.mark.parametrize("content", ["<domain/>", f"<!-- {ID} -->", "", "\0\0"])
def test_a_file_of_somebody_else_is_refused_early_and_kept(
    vm: VM, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "web01.xml"
    path.write_text(content)
    for step in (local.preflight, local.define):
        with pytest.raises(TargetError, match="is not of this VM") as e:
            step(vm, Wish())
        assert "--name" in e.value.remedy
    assert path.read_text() == content


def test_the_xml_of_another_vm_of_this_name_is_refused(vm: VM) -> None:
    local.define(vm.having(id=OTHER_ID), Wish())
    with pytest.raises(TargetError):
        local.preflight(vm, Wish())


def test_force_replaces_a_file_of_somebody_else(vm: VM, tmp_path: Path) -> None:
    path = tmp_path / "web01.xml"
    path.write_text("theirs")
    local.preflight(vm, Wish(force=True))
    local.define(vm, Wish(force=True))
    assert domain.owner(path.read_bytes()) == ID


def test_a_fifo_in_the_way_does_not_stop_us_for_ever(vm: VM, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "web01.xml")
    with pytest.raises(TargetError):
        local.preflight(vm, Wish())


def test_a_link_laid_for_the_unfinished_file_is_not_followed(
    vm: VM, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "web01.xml.part").symlink_to(victim)
    local.define(vm, Wish())
    assert victim.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(
    vm: VM, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TargetError) as e:
        local.define(vm, Wish(output=tmp_path / "file"))
    assert "-o" in e.value.remedy


def test_what_fails_leaves_no_file(vm: VM, tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        local.define(vm.having(arch="aarch64"), Wish())
    assert not list(tmp_path.iterdir())


def test_networks_that_a_libvirt_described_are_kept(vm: VM, tmp_path: Path) -> None:
    nic = vm.nics[0].having(type="network", network="lab")
    source = Source(kind="libvirtxml", location="x")
    local.define(vm.having(nics=(nic,), source=source), Wish())
    element = etree.parse(tmp_path / "web01.xml").find("devices/interface/source")
    assert element is not None
    assert element.get("network") == "lab"


def test_what_differs_is_said_with_the_vms_name(
    vm: VM, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        local.define(vm, Wish())
    assert all(text.startswith("web01: warning: ") for text in caplog.messages)
    assert any("KVM" in text for text in caplog.messages)


def test_a_bad_network_word_is_found_before_any_vm() -> None:
    with pytest.raises(UsageError):
        local.check(Wish(networks=("bridge=",)))


def test_an_unreadable_vm_is_refused_before_its_data_moves(vm: VM) -> None:
    with pytest.raises(TargetError):
        local.preflight(vm.having(disks=(), arch="ppc64"), Wish())
