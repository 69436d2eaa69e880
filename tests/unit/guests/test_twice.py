# SPDX-License-Identifier: GPL-2.0-or-later
"""One file under two names, which two planners may find: it is changed once."""

from pathlib import Path

import pytest

from guest_folder import applied, guest, image, modules, vmlinuz
from v2v.document import VM, Devices, Disk, Filesystem, Guest, Nic, Source
from v2v.errors import GuestError
from v2v.guests.linux import fixes, interfaces, kernels, leftovers, tools
from v2v.guests.plan import edit
from v2v.guests.wanted import Wanted


def test_debians_link_to_the_list_of_modules_is_no_second_file(tmp_path: Path) -> None:
    """/etc/modules-load.d/modules.conf leads to ../modules on every Debian."""
    there = guest(tmp_path, {"/etc/modules": "loop\nvmhgfs\n"}, {})
    link = tmp_path / "etc/modules-load.d/modules.conf"
    link.parent.mkdir()
    link.symlink_to("../modules")
    found = Guest(type="linux", init="systemd")
    applied(there, leftovers.plan(there, found))
    assert (tmp_path / "etc/modules").read_text() == "loop\n# not on KVM: vmhgfs\n"
    assert link.is_symlink()
    assert list(leftovers.plan(there, found)) == []


def test_two_different_changes_of_one_file_are_still_refused(tmp_path: Path) -> None:
    there = guest(tmp_path, {"/etc/a": "x\n"}, {})
    both = [*edit("/etc/a", "x\n", "y\n", "one"), *edit("/etc/a", "x\n", "z\n", "two")]
    with pytest.raises(GuestError, match="changed for two reasons"):
        applied(there, both)


VERSION = "5.14.0-1.x86_64"
IMAGE = f"/boot/initrd.img-{VERSION}"
MAC = "00:50:56:01:02:03"
LINES = "root=/dev/sda2 resume=/dev/sda3 console=hvc0 clocksource=xen"
FILES: dict[str, str | bytes] = {
    "/etc/fstab": "/dev/sda2 / ext4 defaults 0 1\n/dev/sdq1 /x ext4 defaults 0 2\n",
    "/etc/os-release": "ID=debian\n",
    "/etc/default/grub": f'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="{LINES}"\n',
    "/boot/grub2/grub.cfg": (
        'set default="0"\nmenuentry a {\nlinux /boot/vmlinuz-old ' + LINES + "\n}\n"
        f"menuentry b {{\nlinux /boot/vmlinuz-{VERSION} {LINES}\n"
        f"initrd {IMAGE}\n}}\n"
    ),
    "/boot/grub2/device.map": "(hd0) /dev/sda\n",
    "/boot/vmlinuz-old": b"\0" * 0x210,
    "/lib/modules/old/modules.dep": "kernel/ext4.ko:\n",
    f"/boot/vmlinuz-{VERSION}": vmlinuz(VERSION),
    IMAGE: image({"init": "", "sbin/udevd": "", "conf/conf.d/resume": "/dev/sda3\n"}),
    **modules(VERSION),
    "/var/lib/initramfs-tools/" + VERSION: f"{'0' * 40}  {IMAGE}\n",
    "/etc/initramfs-tools/modules": "# none\n",
    "/etc/initramfs-tools/conf.d/resume": "RESUME=/dev/sda3\n",
    "/etc/dracut.conf.d/x.conf": "",
    "/etc/mkinitcpio.conf": "MODULES=()\n",
    "/etc/sysconfig/kernel": 'INITRD_MODULES="ext4"\n',
    "/etc/crypttab": "swap /dev/sda3 /dev/urandom swap\n",
    "/etc/mdadm/mdadm.conf": "DEVICE /dev/sda1\n",
    "/etc/kdump.conf": "ext4 /dev/sda2\n",
    "/etc/lvm/lvm.conf": 'filter = [ "a|^/dev/sda3$|", "r|.*|" ]\n',
    "/etc/systemd/system/srv.mount": "[Mount]\nWhat=/dev/sda2\nWhere=/srv\n",
    "/etc/modules": "loop\nvmhgfs\n",
    "/etc/modprobe.conf": "alias scsi_hostadapter mptspi\nalias eth0 vmxnet\n",
    "/etc/inittab": "co:2345:respawn:/sbin/getty xvc0\n",
    "/etc/securetty": "hvc0\n",
    "/etc/X11/xorg.conf": 'Section "Device"\n Driver "vmware"\nEndSection\n',
    "/etc/netplan/01.yaml": (
        "network:\n  ethernets:\n    ens192:\n      dhcp4: true\n"
        "      match:\n        driver: vmxnet3\n"
    ),
    "/etc/udev/rules.d/70-persistent-net.rules": (
        f'SUBSYSTEM=="net", DRIVERS=="vmxnet3", ATTR{{address}}=="{MAC}", NAME="eth0"\n'
    ),
    "/var/cache/debconf/config.dat": (
        "Name: grub-pc/install_devices\nTemplate: x\nValue: /dev/sda\n\n"
        "Name: grub2/force_efi_extra_removable\nTemplate: y\n"
    ),
    "/boot/efi/EFI/debian/shimx64.efi": "s",
    "/boot/efi/EFI/debian/grubx64.efi": "g",
    "/boot/efi/EFI/debian/grub.cfg": "configfile /boot/grub/grub.cfg\n",
    "/lib/systemd/system/open-vm-tools.service": "[Unit]\n",
    "/usr/bin/vmtoolsd": "",
    "/var/lib/systemd/random-seed": "0" * 512,
}
LINKS = {
    "/boot/grub": "grub2",
    "/boot/initrd.img": IMAGE.rpartition("/")[2],
    "/etc/grub2.cfg": "../boot/grub2/grub.cfg",
    "/etc/sysconfig/grub": "../default/grub",
    "/etc/mdadm.conf": "mdadm/mdadm.conf",
    "/etc/modules-load.d/modules.conf": "../modules",
    "/etc/X11/XF86Config": "xorg.conf",
}


def test_all_that_is_planned_at_once_fits_together_and_is_done_once(
    tmp_path: Path,
) -> None:
    there = guest(tmp_path, FILES, {})
    for path, target in LINKS.items():
        link = tmp_path / path[1:]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def look() -> Guest:
        there.known.clear()
        return Guest(
            type="linux",
            arch="x86_64",
            init="systemd",
            root="/dev/sda2",
            filesystems=(
                Filesystem(device="/dev/sda1", type="vfat", mountpoint="/boot/efi"),
                Filesystem(
                    device="/dev/sda2",
                    type="ext4",
                    uuid="a",
                    partuuid="p-2",
                    mountpoint="/",
                ),
                Filesystem(device="/dev/sda3", type="swap", uuid="b", partuuid="p-3"),
            ),
            kernels=kernels.found(there),
            tools=tools.found(there),
            interfaces=interfaces.found(there),
        )

    vm = VM(
        id="x",
        name="x",
        memory=1,
        source=Source(kind="vmx", location="/x"),
        disks=(Disk(id="sda", bus="scsi"),),
        nics=(Nic(mac=MAC),),
    )
    devices = Devices(made_for="libvirt", block="virtio", agent=False)
    planned = fixes.plan(there, vm, look(), devices, Wanted())
    paths = {action.change.path for action in planned}
    assert {"/etc/default/grub", "/boot/grub2/grub.cfg", IMAGE, "/etc/modules"} <= paths
    applied(there, planned)
    again = fixes.plan(there, vm, look(), devices, Wanted())
    assert [action.change for action in again] == []
    for path, target in LINKS.items():
        assert str((tmp_path / path[1:]).readlink()) == target
    text = (tmp_path / "boot/grub2/grub.cfg").read_text()
    assert 'set default="b"' in text
    # The kernel without an initramfs finds no UUID by itself.
    assert "vmlinuz-old root=PARTUUID=p-2 resume=PARTUUID=p-3 console" in text
    assert f"vmlinuz-{VERSION} root=UUID=a resume=UUID=b console=ttyS0\n" in text
