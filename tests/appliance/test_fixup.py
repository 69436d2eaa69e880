# SPDX-License-Identifier: GPL-2.0-or-later
"""All or nothing: what v2v-fixup does to real guests, and when it must not."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversions import MIB
from nbd_vm import digest
from pipelines import Pipeline, command, vms, wait_for

Copy = Callable[[str], Path]
Vmx = Callable[..., Path]
SWAP = 965 * MIB  # where the swap partition of debian12-bios lies


def inspect(source: Path) -> list[str]:
    return command("v2v-inspect", "--no-guest", "--json", source)


def run(log: Path, *commands: list[str], **env: str) -> tuple[list[int], list[Any]]:
    job = Pipeline(commands, env=env).start(log)
    found = vms(job.finish(400))
    assert job.left() == []
    return job.statuses, found


@pytest.mark.smoke
def test_inspect_says_what_is_installed(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    source = vmx_of(copy_of("debian12-dep"))
    statuses, [vm] = run(tmp_path / "said", command("v2v-inspect", "--json", source))
    assert statuses == [0]
    guest = vm["guest"]
    facts = ("type", "distro", "version", "arch", "hostname", "package_format", "init")
    assert [guest[key] for key in facts] == [
        *("linux", "debian", "12", "x86_64", "debian12-dep", "deb", "systemd")
    ]
    assert guest["bootloader"] == "grub2" and guest["serial_console"] is True
    mounts = {fs["mountpoint"] for fs in guest["filesystems"] if "mountpoint" in fs}
    assert mounts == {"/", "/data"}
    [kernel] = guest["kernels"]
    assert "virtio_blk" in kernel["drivers"]
    assert "virtio_blk" not in kernel["initramfs_drivers"]
    assert guest["tools"] == ["open-vm-tools"]
    [interface] = guest["interfaces"]
    assert interface["name"] == "ens192"
    assert interface["addresses"] == ["192.0.2.20/24"]
    codes = {finding["code"] for finding in vm["findings"]}
    assert codes == {"initramfs-without-virtio", "fstab-device-name"}


@pytest.mark.smoke
def test_an_empty_disk_gets_safe_hardware_and_a_warning(
    tmp_path: Path, vmx_of: Vmx
) -> None:
    disk = tmp_path / "empty.img"
    disk.touch()
    os.truncate(disk, 64 * MIB)
    statuses, [vm] = run(
        tmp_path / "said",
        inspect(vmx_of(disk)),
        command("v2v-fixup"),
        command("v2v-convert", "-o", tmp_path / "out"),
        command("v2v-define", "-t", "local", "-n", "user"),
    )
    assert statuses == [0, 0, 0, 0]
    assert [f["code"] for f in vm["findings"]] == ["guest-unknown"]
    xml = (tmp_path / "out" / "vm01.xml").read_text()
    assert 'bus="sata"' in xml and 'type="e1000e"' in xml


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/90")
def test_a_host_without_room_is_not_taken_for_a_broken_guest(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    disk = copy_of("debian12-dep")
    before = digest(disk)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
    subprocess.run(mount, check=True)
    try:
        statuses, _ = run(
            tmp_path / "said",
            inspect(vmx_of(disk)),
            command("v2v-fixup", "--work", small),
        )
        left = list(small.rglob("*.qcow2"))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert statuses == [0, 4]
    assert "no room is left" in (tmp_path / "said").read_text()
    assert left == []
    assert digest(disk) == before


def test_a_hibernated_guest_is_refused_and_unchanged(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    disk = copy_of("debian12-bios")
    with disk.open("r+b") as file:
        file.seek(SWAP + 4086)
        file.write(b"S1SUSPEND\0")
    before = digest(disk)
    statuses, [vm] = run(tmp_path / "said", inspect(vmx_of(disk)), command("v2v-fixup"))
    assert statuses == [0, 11]
    assert "hibernated" in vm["error"]["message"]
    assert "shut it down" in vm["error"]["remedy"]
    assert digest(disk) == before


def test_two_systems_are_refused_unless_one_is_named(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    source = vmx_of(copy_of("debian12-bios"), copy_of("debian12-dep"))
    statuses, [vm] = run(tmp_path / "said", inspect(source), command("v2v-fixup"))
    assert statuses == [0, 11]
    assert "/dev/sda1, /dev/sdb1" in vm["error"]["message"]
    chosen = command("v2v-fixup", "--root", "/dev/sdb1", "--dry-run")
    statuses, [vm] = run(tmp_path / "said", inspect(source), chosen)
    assert statuses == [0, 0]
    assert vm["guest"]["hostname"] == "debian12-dep"


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    disk = copy_of("debian12-bios")
    before = digest(disk)
    statuses, [vm] = run(
        tmp_path / "said", inspect(vmx_of(disk)), command("v2v-fixup", "--dry-run")
    )
    assert statuses == [0, 0]
    said = (tmp_path / "said").read_text()
    assert "would edit /etc/fstab" in said
    assert "disks have other kernel names on KVM" in said
    assert "  - /dev/sda2" in said and "  + UUID=" in said
    assert re.search(r"would need \d+ KiB on /, where [\d.]+ MiB are free$", said, re.M)
    [change] = [c for c in vm["changes"] if c["path"] == "/etc/fstab"]
    assert change["before"].startswith("/dev/sda2") and "UUID=" in change["after"]
    [root] = [fs for fs in vm["guest"]["filesystems"] if fs.get("mountpoint") == "/"]
    assert 0 < root["needed"] < root["free"]
    assert "overlay" not in vm["disks"][0]
    assert [entry["stage"] for entry in vm["log"]] == ["inspect"]
    assert digest(disk) == before
    assert not list((tmp_path / "state").rglob("*.qcow2"))


@pytest.mark.usefixtures("as_root")
def test_a_guest_without_room_is_refused_before_anything_is_written(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    disk = copy_of("debian12-dep")
    place = tmp_path / "mnt"
    place.mkdir()
    options = f"loop,offset={MIB}"
    subprocess.run(["mount", "-o", options, str(disk), str(place)], check=True)
    fill = f"dd if=/dev/zero of={place}/fill bs=1M 2>/dev/null; sync -f {place}"
    subprocess.run(["sh", "-c", fill], check=True)
    subprocess.run(["umount", str(place)], check=True)
    before = digest(disk)
    statuses, [vm] = run(tmp_path / "said", inspect(vmx_of(disk)), command("v2v-fixup"))
    assert statuses == [0, 11]
    assert "MiB free" in vm["error"]["message"]
    assert digest(disk) == before
    assert not list((tmp_path / "state").rglob("*.qcow2"))


def slow_commit(folder: Path) -> str:
    """Return a PATH on which qemu-img waits before it commits."""
    folder.mkdir()
    real = shutil.which("qemu-img")
    (folder / "qemu-img").write_text(
        f'#!/bin/sh\n[ "$1" != commit ] || sleep 3\nexec {real} "$@"\n'
    )
    (folder / "qemu-img").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.smoke
def test_a_commit_that_was_killed_is_completed_by_the_same_command(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    """Fixup over a target: the disk is the only one, and may not be lost."""
    saved = tmp_path / "vm.json"
    converted = Pipeline(
        [
            inspect(vmx_of(copy_of("debian12-bios"))),
            command("v2v-convert", "-o", tmp_path / "out"),
        ]
    ).start(tmp_path / "said")
    saved.write_text(converted.finish())
    fixup = command("v2v-fixup", "-M", saved)
    job = Pipeline([fixup], env={"PATH": slow_commit(tmp_path / "bin")})
    job.start(tmp_path / "said")
    assert wait_for(lambda: list((tmp_path / "state").rglob("commit.json")), 120), (
        tmp_path / "said"
    ).read_text()
    job.signal(0, signal.SIGKILL)
    job.finish()
    assert job.statuses == [137]
    assert job.left() == []

    statuses, [vm] = run(tmp_path / "said", fixup)
    assert statuses == [0]
    assert "completing the commit" in (tmp_path / "said").read_text()
    assert [entry["stage"] for entry in vm["log"]][-1] == "fixup"
    assert vm["devices"]["block"] == "virtio"
    assert not list((tmp_path / "state").rglob("*.qcow2"))
    # What was committed is what fixup wanted: a second look finds nothing to do.
    statuses, [vm] = run(
        tmp_path / "said", command("v2v-fixup", "-M", saved, "--again", "--dry-run")
    )
    assert statuses == [0]
    assert vm.get("changes", []) == []


@pytest.mark.smoke
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fixup_that_dies_leaves_the_source_as_it_was(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path, number: int
) -> None:
    disk = copy_of("debian12-bios")
    before = digest(disk)
    job = Pipeline(
        [
            inspect(vmx_of(disk)),
            command("v2v-export", "--overlay"),
            command("v2v-fixup"),
            command("v2v-convert", "-o", tmp_path / "out"),
            command("v2v-define", "-t", "null"),
        ]
    ).start(tmp_path / "said")
    assert wait_for(lambda: any("guestfs" in line for line in job.orphans()), 60)
    job.signal(2, number)
    job.finish(60)
    assert job.statuses == [0, 0, 128 + number, 3, 3]
    assert job.left(20) == []
    assert digest(disk) == before
    assert not list(tmp_path.glob("out/*.qcow2"))


def test_an_inspect_that_dies_cuts_the_stream_off(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    job = Pipeline(
        [
            command("v2v-inspect", "--json", vmx_of(copy_of("debian12-bios"))),
            command("v2v-export"),
            command("v2v-convert", "-o", tmp_path / "out"),
        ]
    ).start(tmp_path / "said")
    assert wait_for(lambda: any("guestfs" in line for line in job.orphans()), 60)
    job.signal(0, signal.SIGKILL)
    job.finish(30)
    assert job.statuses == [137, 3, 3]
    assert job.left(20) == []


def test_the_agent_is_installed_offline_from_given_packages(
    copy_of: Copy, vmx_of: Vmx, tmp_path: Path
) -> None:
    """A package that says in the guest that it was installed there."""
    packages = tmp_path / "packages"
    package(packages, "qemu-guest-agent")
    statuses, [vm] = run(
        tmp_path / "said",
        inspect(vmx_of(copy_of("debian12-bios"))),
        command("v2v-fixup", "--agent-packages", packages),
        command("v2v-convert", "-o", tmp_path / "out"),
    )
    assert statuses == [0, 0, 0], (tmp_path / "said").read_text()
    [change] = [c for c in vm["changes"] if c["kind"] == "run"]
    assert "qemu-guest-agent" in change["after"]
    again = command("v2v-fixup", "--dry-run")
    document = tmp_path / "doc.json"
    document.write_text(json.dumps(vm))
    with document.open() as file:
        job = Pipeline([again]).start(tmp_path / "said", file.fileno())
        [vm] = vms(job.finish(200))
    # It is there: nothing is left to be done for it.
    assert not [c for c in vm.get("changes", []) if "agent" in c["path"]]


def package(folder: Path, name: str) -> None:
    """Make a small .deb with the agent's unit in it."""
    root = folder / "root"
    unit = root / "lib/systemd/system" / f"{name}.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    control = root / "DEBIAN" / "control"
    control.parent.mkdir()
    control.write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: v2v <v2v@example.org>\nDescription: test\n"
    )
    build = ["dpkg-deb", "-b", str(root), str(folder / f"{name}_1_all.deb")]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
