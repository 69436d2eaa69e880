# SPDX-License-Identifier: GPL-2.0-or-later
"""A static address survives the move, whichever network stack it is kept by."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversions import ADDRESS, MAC, five_stages
from guests import boot
from guests.containers import write_vmx
from pipelines import Pipeline, command, vms

Guest = Callable[[str], Path]
SECOND = "00:50:56:01:02:04"
# At a slot that VMware gives names for, as containers.VMX gives the first one's.
ANOTHER_CARD = f"""\
ethernet1.present = "TRUE"
ethernet1.virtualDev = "vmxnet3"
ethernet1.addressType = "static"
ethernet1.address = "{SECOND}"
ethernet1.pciSlotNumber = "224"
"""


def converted(image: Path, folder: Path, more: str = "", *fixup: str) -> dict[str, Any]:
    """Convert *image*, a disk of a VMware VM; return the VM's document."""
    source = folder / "source"
    source.mkdir()
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", str(image)]
    subprocess.run([*convert, str(source / "net.vmdk")], check=True)
    vmx = source / "net.vmx"
    write_vmx(vmx, "net.vmdk")
    vmx.write_text(vmx.read_text() + more)
    job, vm = five_stages([str(vmx)], folder / "out", folder / "said", *fixup)
    assert job.statuses == [0, 0, 0, 0, 0], (folder / "said").read_text()
    return vm


def booted_twice(folder: Path) -> list[boot.Boot]:
    """Boot the result, and again as the first boot has left it."""
    machine = boot.domain(folder / "out" / "net.xml")
    machine.keep = True
    boots = []
    for _ in range(2):
        done = boot.boot(machine)
        assert not done.failure, f"{done.failure}\n{done.console[-3000:]}"
        assert done.report["failed"] == ""
        boots.append(done)
    return boots


def assert_nothing_is_left_to_do(vm: dict[str, Any], folder: Path) -> None:
    saved = folder / "vm.json"
    saved.write_text(json.dumps(vm))
    again = command("v2v-fixup", "-M", saved, "--again", "--dry-run")
    job = Pipeline([again]).start(folder / "said")
    [vm] = vms(job.finish(300))
    assert job.statuses == [0], (folder / "said").read_text()
    assert vm.get("changes", []) == []


@pytest.mark.parametrize(
    "stack",
    [
        pytest.param("netplan", marks=pytest.mark.smoke),
        *("networkmanager", "networkd"),
    ],
)
def test_a_static_address_is_up_at_both_boots(
    stack: str, guest: Guest, tmp_path: Path
) -> None:
    """virtio_net is in the initramfs: a name given there is not the last word.

    systemd 9807; and cloudstack 13704, a static address that was not there any more.
    """
    vm = converted(guest(f"debian12-{stack}"), tmp_path)
    assert "virtio_net" in vm["guest"]["kernels"][0]["initramfs_drivers"]
    assert_nothing_is_left_to_do(vm, tmp_path)
    for done in booted_twice(tmp_path):
        assert done.nics == [("ens192", "virtio_net", ADDRESS)]


def test_a_vlan_over_a_bond_comes_up_over_the_same_cards(
    guest: Guest, tmp_path: Path
) -> None:
    """Bond and VLAN have the MAC of a card, and must not take its name."""
    vm = converted(guest("debian12-bond"), tmp_path, ANOTHER_CARD)
    assert [nic["mac"] for nic in vm["nics"]] == [MAC, SECOND]
    assert_nothing_is_left_to_do(vm, tmp_path)
    for done in booted_twice(tmp_path):
        assert [nic[:2] for nic in done.nics] == [
            ("ens192", "virtio_net"),
            ("ens224", "virtio_net"),
        ]
        assert done.over["vlan100"] == ADDRESS
        assert done.over["bond0"] == "noaddr"


def test_a_card_has_the_address_that_mac_asked_for(
    guest: Guest, tmp_path: Path
) -> None:
    wanted = f"{MAC}:ip:192.0.2.99,192.0.2.1,25"
    vm = converted(guest("debian12-netplan"), tmp_path, "", "--mac", wanted)
    assert "/etc/netplan/01-netcfg.yaml" in {c["path"] for c in vm["changes"]}
    done = boot.boot(boot.domain(tmp_path / "out" / "net.xml"))
    assert not done.failure, f"{done.failure}\n{done.console[-3000:]}"
    assert done.nics == [("ens192", "virtio_net", "192.0.2.99/25")]
