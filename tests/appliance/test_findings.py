# SPDX-License-Identifier: GPL-2.0-or-later
"""What v2v-inspect finds in a guest that stands in the way of its move."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luks_image
from conversions import MIB
from nbd_vm import digest
from pipelines import Pipeline, command, vms

Copy = Callable[[str], Path]
Vmx = Callable[..., Path]
SWAP = 965 * MIB  # where the swap partition of debian12-bios lies


def run(log: Path, *commands: list[str]) -> tuple[list[int], dict[str, Any]]:
    job = Pipeline(commands).start(log)
    [vm] = vms(job.finish(900))
    return job.statuses, vm


def codes(vm: dict[str, Any]) -> dict[str, str]:
    return {finding["code"]: finding["severity"] for finding in vm["findings"]}


def test_a_hibernated_guest_is_described_and_blocked(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    disk = copy_of("debian12-bios")
    with disk.open("r+b") as file:
        file.seek(SWAP + 4086)
        file.write(b"S1SUSPEND\0")
    inspect = command("v2v-inspect", "--json", vmx_of(disk))
    statuses, vm = run(tmp_path / "said", inspect, command("v2v-fixup"))
    assert statuses == [0, 10]
    assert codes(vm)["guest-hibernated"] == "block"
    assert vm["guest"]["hostname"] == "debian12-bios"
    assert vm["error"]["code"] == 10


def test_of_several_systems_none_is_described_but_all_are_named(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    source = vmx_of(copy_of("debian12-bios"), copy_of("debian12-dep"))
    inspect = command("v2v-inspect", "--json", source)
    statuses, vm = run(tmp_path / "said", inspect)
    assert statuses == [0]
    assert codes(vm) == {"guest-several-systems": "warn"}
    assert vm["guest"]["roots"] == ["/dev/sda1", "/dev/sdb1"]
    # And nothing of that stops a fixup which is told the system.
    saved = tmp_path / "vm.json"
    saved.write_text(json.dumps(vm))
    chosen = command("v2v-fixup", "--dry-run", "--root", "/dev/sdb1", "-M", saved)
    statuses, vm = run(tmp_path / "said", chosen)
    assert statuses == [0]
    assert vm["guest"]["hostname"] == "debian12-dep"
    assert "guest-several-systems" not in codes(vm)


@pytest.mark.smoke
def test_an_encrypted_disk_is_said_to_be_one_and_gets_safe_hardware(
    tmp_path: Path, vmx_of: Vmx
) -> None:
    disk = luks_image.made(tmp_path / "locked.img", "fixture", 16)
    before = digest(disk)
    inspect = command("v2v-inspect", "--no-guest", "--json", vmx_of(disk))
    statuses, vm = run(tmp_path / "said", inspect, command("v2v-fixup"))
    assert statuses == [0, 0]
    assert codes(vm) == {"guest-encrypted": "warn"}
    assert "devices" in vm and vm["devices"].get("block", "sata") == "sata"
    # Nothing was changed: no new generation, and no overlay to copy.
    assert "overlay" not in vm["disks"][0]
    assert vm.get("generation", 0) == 0
    assert not list((tmp_path / "state").rglob("*.qcow2"))
    assert digest(disk) == before


@pytest.mark.usefixtures("as_root")
def test_an_initramfs_that_cannot_be_read_is_made_anew_by_the_guests_own_tool(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    """With all drivers, and not those of the appliance that it is made in."""
    disk = copy_of("debian12-dep")
    place = tmp_path / "mnt"
    place.mkdir()
    options = f"loop,offset={MIB}"
    subprocess.run(["mount", "-o", options, str(disk), str(place)], check=True)
    [image] = (place / "boot").glob("initrd.img-*")
    image.write_bytes(b"\x89LZO" + bytes(4096))
    subprocess.run(["umount", str(place)], check=True)
    inspect = command("v2v-inspect", "--no-guest", "--json", vmx_of(disk))
    statuses, vm = run(tmp_path / "said", inspect, command("v2v-fixup"))
    assert statuses == [0, 0], (tmp_path / "said").read_text()
    [change] = [c for c in vm["changes"] if c["kind"] == "run"]
    assert change["path"] == f"/boot/{image.name}"
    assert "/mkinitramfs -o /boot/initrd.img-" in change["after"]
    early = vm["guest"]["kernels"][0]["initramfs_drivers"]
    assert {"virtio_blk", "virtio_pci", "nvme"} <= set(early)
