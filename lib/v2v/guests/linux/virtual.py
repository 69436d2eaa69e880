# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual hardware that a guest gets: what its kernel has drivers for.

By the drivers that are on its disk, never by the name of its distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from v2v.document import Devices, Guest, Kernel
from v2v.guests.linux import ranking

# With more disks each would take a slot of PCI; those of one SCSI controller do not.
MANY_DISKS = 20
# What a kernel must have at hand while it boots, to see a disk on each bus.
_NEEDED: dict[str, tuple[str, ...]] = {
    "virtio": ranking.DISK,
    "scsi": ("virtio_scsi", "virtio_pci", "sd_mod"),
    "sata": ("ahci", "sd_mod"),
    "ide": ("ata_piix", "sd_mod"),
}


def needed(devices: Devices) -> tuple[str, ...]:
    """Return the drivers that the initramfs must hold for the disks of *devices*."""
    return _NEEDED[devices.block]


def devices(guest: Guest, made_for: str, *, agent: bool, disks: int = 1) -> Devices:
    """Return the hardware that the kernel of *guest* can drive after fixup.

    *disks* is their number; *agent*: whether a channel for its agent is wanted.
    """
    kernels = ranking.deciding(guest.kernels)
    if guest.type != "linux" or not kernels:
        return Devices(made_for=made_for)
    there = set.intersection(*(set(k.drivers) for k in kernels))
    if not set(ranking.DISK) <= there:
        return _emulated(kernels, there, made_for)
    many = disks > MANY_DISKS and set(_NEEDED["scsi"]) <= there
    return Devices(
        block="scsi" if many else "virtio",
        net="virtio" if "virtio_net" in there else _card(there),
        video="virtio" if "virtio_gpu" in there else "vga",
        transitional=any(_is_old(kernel.version) for kernel in kernels),
        rng="virtio_rng" in there,
        balloon="virtio_balloon" in there,
        pvpanic=_reports_panics(there),
        vsock="vmw_vsock_virtio_transport" in there,
        agent=agent and "virtio_console" in there,
        made_for=made_for,
    )


def _is_old(version: str) -> bool:
    """Whether kernel *version* is of before virtio 1.0, which came with Linux 4.0.

    Red Hat's 3.10 has it.
    """
    major = version.partition(".")[0]
    return (
        major.isascii() and major.isdigit() and int(major) < 4 and ".el7" not in version
    )


def _reports_panics(there: set[str]) -> bool:
    """Whether the kernel drives the ISA device: since Linux 5.14 by pvpanic_mmio.

    There "pvpanic" is only what its drivers share.
    """
    return "pvpanic_mmio" in there or (
        "pvpanic" in there and "pvpanic_pci" not in there
    )


def _card(there: set[str]) -> Literal["e1000e", "e1000", "rtl8139"]:
    """Return the network card of before virtio that the kernel drives."""
    if "e1000e" in there or not {"e1000", "8139cp", "8139too"} & there:
        return "e1000e"
    return "e1000" if "e1000" in there else "rtl8139"


def _emulated(kernels: Sequence[Kernel], there: set[str], made_for: str) -> Devices:
    """Return hardware of before virtio, of which the guest has the drivers."""
    early = set.intersection(*(set(k.initramfs_drivers) for k in kernels))
    card = _card(there)
    old = {"ata_piix"} & early or ("ahci" not in there and "ata_piix" in there)
    if "ahci" not in early and old:
        if card == "e1000e":
            card = "e1000"  # what is on PCI Express does not fit the old machine
        return Devices(block="ide", machine="pc", net=card, made_for=made_for)
    return Devices(block="sata", net=card, made_for=made_for)
