# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on LUKS, btrfs subvolumes and mdadm are converted, and boot from virtio."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conversions import ADDRESS, five_stages, validate
from guests import boot
from guests.containers import MAC
from nbd_vm import write_vmx
from pipelines import Pipeline, command, vms

Guest = Callable[[str], Path]
SEVERAL_MINUTES = 400  # s; an initramfs that unlocks takes its time in emulation
UNLOCK = {b"Please unlock disk sda2_crypt": b"fixture\n"}


def converted(
    arguments: list[str], tmp_path: Path, *fixup: str
) -> tuple[dict[str, Any], Path]:
    """Convert; return the document and the libvirt XML.

    A second fixup, of what came out, must have nothing to do.
    """
    out, said = tmp_path / "out", tmp_path / "said"
    job, vm = five_stages(arguments, out, said, *fixup)
    assert job.statuses == [0, 0, 0, 0, 0], said.read_text()
    xml = out / f"{vm['name']}.xml"
    validate(xml)
    assert vm["devices"]["block"] == "virtio"
    document = tmp_path / "again.json"
    document.write_text(json.dumps(vm))
    with document.open() as file:
        again = Pipeline([command("v2v-fixup", "--again", "--dry-run", *fixup)])
        [after] = vms(again.start(said, file.fileno()).finish(300))
    assert again.statuses == [0], said.read_text()
    assert after.get("changes", []) == []
    return vm, xml


def boots_twice(
    xml: Path, answers: Mapping[bytes, bytes] | None = None
) -> dict[str, str]:
    """Boot what *xml* describes two times; return the second one's report."""
    machine = boot.domain(xml)
    machine.keep = True
    assert machine.bus == "virtio"
    for _ in range(2):
        done = boot.boot(machine, SEVERAL_MINUTES, answers)
        assert not done.failure, f"{done.failure}\n{done.console[-3000:]}"
        [(name, driver, address)] = done.nics
        assert (name, driver, address) == ("ens192", "virtio_net", ADDRESS)
        assert done.report["failed"] == ""
    return done.report


def texts(vm: dict[str, Any]) -> dict[str, str]:
    """Return what each changed file of *vm* was given."""
    return {change["path"]: change.get("after") or "" for change in vm["changes"]}


def test_a_root_in_luks_is_opened_with_a_key_and_asks_for_it_at_boot(
    guest: Guest, tmp_path: Path
) -> None:
    key = tmp_path / "passphrase"
    key.write_text("fixture\n")
    arguments = ["--mac", MAC, "--name", "luks", str(guest("debian12-luks"))]
    vm, xml = converted(arguments, tmp_path, "--key", f"all:file:{key}")
    assert vm["guest"]["root"] == "/dev/mapper/sda2_crypt"
    places = {fs["device"]: fs for fs in vm["guest"]["filesystems"]}
    assert places["/dev/mapper/sda2_crypt"]["container"] == "/dev/sda2"
    assert places["/dev/sda1"]["mountpoint"] == "/boot"
    changed = texts(vm)
    assert changed["/etc/crypttab"].startswith("sda2_crypt UUID=d12b1045-")
    assert "fixture" not in json.dumps(vm["changes"])
    report = boots_twice(xml, UNLOCK)
    assert report["root"] == "/dev/mapper/sda2_crypt"


def test_btrfs_subvolumes_are_mounted_and_a_snapshot_is_no_system(
    guest: Guest, tmp_path: Path
) -> None:
    arguments = ["--mac", MAC, "--name", "btrfs", str(guest("debian12-btrfs"))]
    vm, xml = converted(arguments, tmp_path)
    assert vm["guest"]["roots"] == ["btrfsvol:/dev/sda1/@"]
    points = {fs.get("mountpoint") for fs in vm["guest"]["filesystems"]}
    assert points == {"/", "/home"}
    home = "UUID=d12b72f5-0000-4000-8000-000000000001 /home btrfs defaults,nofail,"
    assert texts(vm)["/etc/fstab"].startswith(home)
    report = boots_twice(xml)
    assert report["root"] == "/dev/vda1[/@]"


def test_a_root_on_a_mirror_of_two_disks_is_assembled_again(
    guest: Guest, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("debian12-raid", "debian12-raid-second"):
        os.link(guest(name), folder / f"{name}.img")
    vmx = write_vmx(folder, "raid", "debian12-raid.img")
    more = 'scsi0:1.present = "TRUE"\nscsi0:1.fileName = "debian12-raid-second.img"\n'
    vmx.write_text(vmx.read_text() + more)
    vm, xml = converted(["--mac", MAC, str(vmx)], tmp_path)
    assert vm["guest"]["root"].startswith("/dev/md")
    changed = texts(vm)
    assert changed["/etc/mdadm/mdadm.conf"] == "DEVICE partitions"
    assert "etc/mdadm/mdadm.conf" in json.dumps(vm["changes"])
    report = boots_twice(xml)
    assert report["root"].startswith("/dev/md")
