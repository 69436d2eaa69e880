# SPDX-License-Identifier: GPL-2.0-or-later
"""A phony Windows on the disk of an appliance that runs: with a real NTFS."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import windows_guest
from phony_disk import kernel_name, owned
from windows_guest import HEADS, Phony

SIZE = 192 * 2**20  # bytes, sparse
_SECTORS = 2048  # of a MiB
_ROOMS = (39, 128)  # MiB of each partition


def write(guest: Phony, folder: Path, g: Any) -> None:
    """Put *guest* on the appliance's disk, in place of what is there.

    ``folder`` is empty, and gets the files first.
    """
    g.umount_all()
    own = kernel_name("/dev/sda")
    g.debug("sh", [f"wipefs -q -a {own} && blockdev --rereadpt {own}"])
    script = "\\n".join(_table(guest))
    g.debug("sh", [f"printf '{script}\\n' | sfdisk -q --wipe always {own}"])
    g.debug("sh", ["udevadm settle"])
    for device, place in windows_guest.placed(guest, folder).items():
        kind = windows_guest.facts(guest, device)["TYPE"]
        g.zero(device)
        g.mkfs(kind, device)
        if sector := windows_guest.boot_sector(guest, device):
            g.pwrite_device(device, sector[HEADS:], HEADS)
        archive = place.with_suffix(".tar")
        with tarfile.open(archive, "w") as tar:
            tar.add(place, ".", filter=owned)
        g.mount(device, "/")
        g.tar_in(str(archive), "/")
        g.umount_all()


def _table(guest: Phony) -> list[str]:
    """Return the lines of a script for sfdisk(8)."""
    rows = []
    for number, room in enumerate(_ROOMS, 1):
        facts = windows_guest.facts(guest, f"/dev/sda{number}")
        start = windows_guest.STARTS[number - 1] * _SECTORS
        row = f"{number} : start={start}, size={room * _SECTORS}"
        if guest.efi:
            kind, own = facts["PART_ENTRY_TYPE"], facts["PART_ENTRY_UUID"]
            rows.append(f"{row}, type={kind.upper()}, uuid={own}")
        else:
            active = ", bootable" if number == 1 else ""
            rows.append(f"{row}, type=7{active}")
    if guest.efi:
        return ["label: gpt", f"label-id: {windows_guest.DISK_GUID}", *rows]
    return ["label: dos", f"label-id: 0x{windows_guest.SIGNATURE:08x}", *rows]
