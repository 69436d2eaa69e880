# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest made by hand, with all that is odd or hostile about guests in 32 MiB.

It has no programs in it and never boots; it is for looking at and for changing.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from v2v.guests.linux import initramfs

VERSION = "9.9.1-test"
MAC = "00:50:56:01:02:03"
UUID = "d0000000-0000-4000-8000-000000000001"
BROKEN = os.fsdecode(b"a\xff.cfg")

FSTAB = f"""\
# /dev/sda / ext4 defaults 0 1
/dev/sda / ext4 defaults 0 1
UUID={UUID} /../../boot ext4 defaults 0 2
UUID={UUID} /etc/../etc ext4 defaults 0 2
/dev/sdz1 /srv ext4 defaults 0 2
"""
NETPLAN = """\
network:
  ethernets:
    ens192:
      addresses: [192.0.2.20/24]
"""
GRUB = """\
menuentry 'x' {
  linux /boot/vmlinuz-custom root=/dev/sda ro resume=/dev/sda console=ttyS0
  initrd /boot/custom.img
}
"""
MODULES = {
    "virtio": "",
    "virtio_ring": "",
    "virtio_pci": "kernel/virtio_ring.ko kernel/virtio.ko",
    "virtio_blk": "kernel/virtio.ko",
    "virtio_net": "kernel/virtio.ko",
}


def build(folder: Path) -> Path:
    """Make the guest's disk in *folder*: an ext4 without a partition table."""
    root = folder / "root"
    texts = {
        "etc/fstab": FSTAB,
        "etc/os-release": f'ID=made\nPRETTY_NAME="{"x" * 900}"\nVERSION_ID=1\n',
        "etc/netplan/01.yaml": NETPLAN,
        "etc/adjtime": "0.0 0 0.0\n0\nLOCAL\n",
        "etc/default/grub": 'GRUB_CMDLINE_LINUX="resume=/dev/sda"\n',
        "boot/grub/grub.cfg": GRUB,
        "lib/systemd/systemd": "",
        "lib/systemd/system/vmware-tools.service": "[Unit]\n",
        "etc/vmware-tools/locations": "",
    }
    for path, text in texts.items():
        _write(root / path, text.encode())
    _write(root / "etc/hostname", b"made\xff01\n")
    # A folder with one name that is not UTF-8, and one that is.
    _write(root / "etc/network/interfaces.d" / BROKEN, b"iface eth9 inet dhcp\n")
    _write(root / "etc/network/interfaces.d/b", b"iface ens224 inet dhcp\n")
    (root / "bin").mkdir()
    (root / "etc/crypttab").symlink_to("/../../../../../../../../../init")
    (root / "etc/network/interfaces").symlink_to("/dev/zero")
    os.mkfifo(root / "etc/netplan/02.yaml")
    _kernel(root)
    disk = folder / "made.img"
    make = ["mke2fs", "-q", "-t", "ext4", "-U", UUID, "-d", str(root), str(disk), "32M"]
    subprocess.run(make, check=True)
    return disk


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _kernel(root: Path) -> None:
    """A kernel with modules, under a name that does not say its version."""
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    head[0x300 : 0x300 + 20] = f"{VERSION} (x@y) #1".encode().ljust(20, b"\0")
    _write(root / "boot/vmlinuz-custom", bytes(head))
    (root / "boot/vmlinuz").symlink_to("vmlinuz-custom")
    folder = root / "lib/modules" / VERSION
    lines = "".join(f"kernel/{n}.ko: {needs}\n" for n, needs in MODULES.items())
    _write(folder / "modules.dep", lines.encode())
    for name in MODULES:
        _write(folder / f"kernel/{name}.ko", b"module " + name.encode())
    entries = [
        ("init", 0o100755, b"#!/bin/sh\n"),
        ("lib", 0o120777, b"usr/lib"),
        ("usr/lib/systemd/systemd-udevd", 0o100755, b""),
        ("conf/conf.d/resume", 0o100644, b"RESUME=/dev/sda\n"),
        ("TRAILER!!!", 0, b""),
    ]
    made = b"".join(initramfs._entry(i, *e) for i, e in enumerate(entries, 1))
    _write(root / "boot/custom.img", made)
