# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest made by hand is looked into and changed, in one appliance."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

import made_guest
from served_image import served
from v2v.document import (
    VM,
    Disk,
    Filesystem,
    Guest,
    Nic,
    Source,
    encode_vm,
)
from v2v.errors import GuestError
from v2v.guests import appliance, gates, inspection
from v2v.guests.appliance import Appliance
from v2v.guests.linux import efi, fixes, kernels, system, virtual
from v2v.guests.plan import Action, create
from v2v.guests.wanted import Wanted

pytestmark = pytest.mark.smoke


@dataclass(kw_only=True)
class Opened:
    running: Appliance
    guest: Guest
    vm: VM

    def plan(self) -> list[Action]:
        devices = virtual.devices(self.guest, "local", agent=False)
        return fixes.plan(self.running, self.vm, self.guest, devices, Wanted())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("made")
    blank = folder / "blank.img"
    blank.touch()
    os.truncate(blank, 64 * 2**20)
    images = (made_guest.build(folder), blank)
    vm = VM(
        id="made",
        name="made",
        memory=1,
        disks=(Disk(id="sda"), Disk(id="sdb")),
        nics=(Nic(mac=made_guest.MAC, pci_slot=192), Nic(mac="00:50:56:01:02:04")),
        source=Source(kind="disk", location="/made"),
    )
    with ExitStack() as stack:
        uris = [
            stack.enter_context(served(image, image.with_suffix(".sock")))
            for image in images
        ]
        running = stack.enter_context(appliance.opened(uris, write=True))
        yield Opened(running=running, guest=inspection.inspect(running), vm=vm)


def test_a_kernel_is_known_by_its_header_and_what_grub_loads_with_it(
    opened: Opened,
) -> None:
    [kernel] = opened.guest.kernels
    assert kernel.version == made_guest.VERSION
    assert kernel.path == "/boot/vmlinuz-custom"  # and not the link to it again
    assert kernel.initramfs == "/boot/custom.img"
    assert kernel.default
    assert "virtio_blk" in kernel.drivers
    assert kernel.initramfs_drivers == ()


def test_mount_points_do_not_lead_out_of_the_guest(opened: Opened) -> None:
    points = [fs.mountpoint for fs in opened.guest.filesystems if fs.mountpoint]
    assert points == ["/"]


def test_links_devices_and_pipes_of_the_guest_are_not_read(opened: Opened) -> None:
    assert opened.running.read("/etc/crypttab") is None
    assert opened.running.read("/etc/network/interfaces") is None
    assert opened.running.read("/etc/netplan/02.yaml") is None


def test_one_name_that_is_not_utf8_does_not_hide_the_others(opened: Opened) -> None:
    found = {i.name: i for i in opened.guest.interfaces}
    assert set(found) == {"ens192", "ens224"}
    assert found["ens192"].addresses == ("192.0.2.20/24",)


def test_what_a_guest_says_of_itself_fits_into_a_document(opened: Opened) -> None:
    assert opened.guest.hostname == "made?01"
    assert len(opened.guest.product or "") == 200
    assert opened.guest.tools == ("vmware-tools",)
    json.dumps(encode_vm(opened.vm.having(guest=opened.guest))).encode()


def test_the_hardware_clock_is_what_the_guest_takes_it_for(opened: Opened) -> None:
    assert system.clock(opened.running) == "localtime"


def test_a_file_that_is_too_large_is_not_read(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appliance, "MAX_TEXT", 500)
    with pytest.raises(GuestError, match="too large"):
        opened.running.read("/etc/os-release")


def test_the_changes_are_done_and_proved_and_not_wanted_again(opened: Opened) -> None:
    actions = opened.plan()
    paths = [action.change.path for action in actions]
    assert len(paths) == len(set(paths))
    gates.gate(opened.guest, actions)
    fixes.apply(opened.running, opened.guest, actions)
    devices = virtual.devices(opened.guest, "local", agent=False)
    after = fixes.verify(opened.running, opened.guest, devices)
    assert "virtio_blk" in after.kernels[0].initramfs_drivers

    read = opened.running.read
    uuid = f"UUID={made_guest.UUID}"
    fstab = (read("/etc/fstab") or "").splitlines()
    assert fstab[:2] == [
        made_guest.FSTAB.splitlines()[0],
        f"{uuid} / ext4 defaults 0 1",
    ]
    assert fstab[4].startswith("/dev/sdz1 /srv ext4 defaults,nofail,x-systemd.")
    assert f"root={uuid} ro resume={uuid}" in (read("/boot/grub/grub.cfg") or "")
    assert f"resume={uuid}" in (read("/etc/default/grub") or "")
    assert opened.running.g.readlink("/etc/systemd/system/vmware-tools.service") == (
        "/dev/null"
    )
    # Of a systemd whose version is not known a .link might match a VLAN as well.
    assert read("/etc/systemd/network/10-v2v-ens192.link") is None
    assert 'NAME="ens192"' in (read("/etc/udev/rules.d/70-v2v-names.rules") or "")
    image = kernels.parsed(opened.running, "/boot/custom.img")
    assert image.texts["conf/conf.d/resume"] == f"RESUME={uuid}\n".encode()
    assert image.links["lib"] == "usr/lib"
    assert "virtio_net" in image.modules(made_guest.VERSION)

    opened.guest = inspection_again(opened)
    assert [action.change.path for action in opened.plan()] == []


def inspection_again(opened: Opened) -> Guest:
    opened.running.g.umount_all()
    opened.running.known.clear()
    return inspection.inspect(opened.running)


def test_a_file_system_that_cannot_be_written_is_refused(opened: Opened) -> None:
    g: Any = opened.running.g
    plan = [action for action in opened.plan() or [marker()]]
    g.remount("/", rw=False)
    try:
        with pytest.raises(GuestError, match="cannot be written"):
            fixes.apply(opened.running, opened.guest, plan)
    finally:
        g.remount("/", rw=True)


def marker() -> Action:
    return create("/etc/marker", "x", "test")


def test_a_uefi_system_gets_its_fallback_and_a_list_for_it(opened: Opened) -> None:
    """As Debian has it, but for the list that shim's fallback reads."""
    g: Any = opened.running.g
    g.mkfs("vfat", "/dev/sdb")
    g.mkdir_p("/boot/efi")
    g.mount("/dev/sdb", "/boot/efi")
    g.mkdir_p("/boot/efi/EFI/debian")
    for name in ("shimx64.efi", "grubx64.efi", "fbx64.efi", "grub.cfg"):
        g.write(f"/boot/efi/EFI/debian/{name}", f"this is {name}".encode())
    guest = opened.guest.having(
        arch="x86_64",
        filesystems=(
            *opened.guest.filesystems,
            Filesystem(device="/dev/sdb", type="vfat", mountpoint="/boot/efi"),
        ),
    )
    for action in list(efi.plan(opened.running, guest)):
        action.apply(opened.running)
    boot = "/boot/efi/EFI/BOOT"
    assert opened.running.read(f"{boot}/BOOTX64.EFI") == "this is shimx64.efi"
    assert opened.running.read(f"{boot}/grubx64.efi") == "this is grubx64.efi"
    csv = opened.running.bytes("/boot/efi/EFI/debian/BOOTX64.CSV") or b""
    assert csv.decode("utf-16").startswith("shimx64.efi,debian,,")
    assert list(efi.plan(opened.running, guest)) == []
