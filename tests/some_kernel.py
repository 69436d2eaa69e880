# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel of which only the drivers matter."""

from v2v.document import Kernel

VIRTIO = ("virtio_blk", "virtio_pci", "virtio_net")


def kernel(*there: str, early: tuple[str, ...] = (), default: bool = False) -> Kernel:
    return Kernel(
        version=f"6.{len(there)}",
        path=f"/boot/vmlinuz-6.{len(there)}",
        drivers=there,
        initramfs_drivers=early,
        default=default,
    )
