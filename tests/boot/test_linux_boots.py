# SPDX-License-Identifier: GPL-2.0-or-later
"""Other loaders and initramfs tools than Debian usually has: booted twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversions import ADDRESS, five_stages, validate
from guests import boot
from guests.containers import MAC, write_vmx
from pipelines import Pipeline, command, vms

Guest = Callable[[str], Path]


def converted(guest: Guest, name: str, tmp_path: Path, firmware: str) -> dict[str, Any]:
    """Convert test guest *name* into tmp_path/out; return its document."""
    folder = tmp_path / "source"
    folder.mkdir()
    disk = folder / "disk.vmdk"
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", str(guest(name))]
    subprocess.run([*convert, str(disk)], check=True)
    write_vmx(folder / f"{name}.vmx", disk.name, firmware=firmware)
    arguments = [str(folder / f"{name}.vmx")]
    job, vm = five_stages(arguments, tmp_path / "out", tmp_path / "said")
    assert job.statuses == [0, 0, 0, 0, 0], (tmp_path / "said").read_text()
    validate(tmp_path / "out" / f"{name}.xml")
    return vm


def booted_twice(xml: Path, folder: Path) -> list[boot.Boot]:
    """Boot what *xml* describes, pull the plug, and boot it again."""
    machine = boot.domain(xml)
    assert machine.bus == "virtio"
    command = boot._command(machine, folder)
    found = []
    for _ in range(2):
        done = boot.watch(command, 300)
        assert not done.failure, f"{done.failure}\n{done.console[-3000:]}"
        assert done.nics == [("ens192", "virtio_net", ADDRESS)]
        found.append(done)
    return found


def changes_of_another_run(disk: Path, log: Path) -> list[dict[str, Any]]:
    """Return what fixup does to a disk that it has fixed."""
    look = command("v2v-inspect", "--no-guest", "--json", "--mac", MAC, disk)
    job = Pipeline([look, command("v2v-fixup")]).start(log)
    [vm] = vms(job.finish(400))
    assert job.statuses == [0, 0], log.read_text()
    return vm.get("changes") or []


def by_path(vm: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {change["path"]: change for change in vm["changes"]}


@pytest.mark.smoke
def test_a_host_only_initramfs_and_entries_by_the_specification(
    guest: Guest, tmp_path: Path
) -> None:
    """As RHEL 8 and its kin: kernelopts in grubenv, dracut made on VMware."""
    vm = converted(guest, "bls-dracut", tmp_path, "bios")
    assert vm["guest"]["bootloader"] == "grub2"
    changes = by_path(vm)
    [kernel] = vm["guest"]["kernels"]
    assert kernel["default"] and kernel["offered"]
    assert changes[kernel["initramfs"]]["kind"] == "edit"
    assert "virtio_blk.ko" in changes[kernel["initramfs"]]["after"]
    for path in ("/boot/grub2/grubenv", "/etc/kernel/cmdline", "/boot/grub2/grub.cfg"):
        assert "resume=UUID=" in changes[path]["after"]
        assert "clocksource" not in changes[path]["after"]
    assert "add_drivers" in changes["/etc/dracut.conf.d/50-v2v-virtio.conf"]["after"]
    for done in booted_twice(tmp_path / "out" / "bls-dracut.xml", tmp_path):
        assert done.report["swap"] == "/dev/vda3"
        assert done.report["root"] == "/dev/vda2"
    disk = tmp_path / "out" / "bls-dracut-sda.qcow2"
    assert changes_of_another_run(disk, tmp_path / "said") == []


def test_an_initramfs_that_is_broken_is_made_anew_by_dracut(
    guest: Guest, tmp_path: Path
) -> None:
    vm = converted(guest, "bls-dracut-cut", tmp_path, "bios")
    [kernel] = vm["guest"]["kernels"]
    change = by_path(vm)[kernel["initramfs"]]
    assert change["kind"] == "run" and "dracut --force" in change["after"]
    booted_twice(tmp_path / "out" / "bls-dracut-cut.xml", tmp_path)
    disk = tmp_path / "out" / "bls-dracut-cut-sda.qcow2"
    assert changes_of_another_run(disk, tmp_path / "said") == []


@pytest.mark.smoke
def test_systemd_boot_with_kernel_and_entries_on_the_esp(
    guest: Guest, tmp_path: Path
) -> None:
    vm = converted(guest, "systemd-boot", tmp_path, "efi")
    assert vm["guest"]["bootloader"] == "systemd-boot"
    [kernel] = vm["guest"]["kernels"]
    assert kernel["path"].startswith("/boot/efi/") and kernel["default"]
    changes = by_path(vm)
    [entry] = [change for path, change in changes.items() if "/entries/" in path]
    assert "root=UUID=" in entry["after"]
    fallback = changes["/boot/efi/EFI/BOOT/BOOTX64.EFI"]
    assert "systemd-bootx64.efi" in fallback["after"]
    for done in booted_twice(tmp_path / "out" / "systemd-boot.xml", tmp_path):
        assert done.report["root"] == "/dev/vda2"
    disk = tmp_path / "out" / "systemd-boot-sda.qcow2"
    assert changes_of_another_run(disk, tmp_path / "said") == []


@pytest.mark.parametrize(
    ("loader", "path"),
    [
        ("grub-legacy", "/boot/grub/menu.lst"),
        ("extlinux", "/boot/extlinux/extlinux.conf"),
    ],
)
def test_loaders_of_before_and_beside_grub_2(
    loader: str, path: str, guest: Guest, tmp_path: Path
) -> None:
    name = f"loader-{loader}"
    vm = converted(guest, name, tmp_path, "bios")
    assert vm["guest"]["bootloader"] == loader
    change = by_path(vm)[path]
    assert "/dev/sda2" not in change["after"] and "root=UUID=" in change["after"]
    for done in booted_twice(tmp_path / "out" / f"{name}.xml", tmp_path):
        assert done.report["root"] == "/dev/vda2"
    disk = tmp_path / "out" / f"{name}-sda.qcow2"
    assert changes_of_another_run(disk, tmp_path / "said") == []


def test_a_unified_kernel_image_is_only_copied(guest: Guest, tmp_path: Path) -> None:
    vm = converted(guest, "loader-uki", tmp_path, "efi")
    assert vm["guest"]["bootloader"] == "uki"
    [kernel] = vm["guest"]["kernels"]
    assert kernel["path"] == kernel["initramfs"] and kernel["path"].endswith(".efi")
    changes = by_path(vm)
    assert kernel["path"] not in changes
    assert kernel["path"] in changes["/boot/efi/EFI/BOOT/BOOTX64.EFI"]["after"]
    for done in booted_twice(tmp_path / "out" / "loader-uki.xml", tmp_path):
        assert done.report["root"] == "/dev/vda2"
