# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed on the disks of a VM.

libguestfs finds the systems; kernels, initramfs, network and tools are read from the
guest's own files.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from v2v.document import Filesystem, Firmware, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot, interfaces, kernels, tools

_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
# The end of the first page of a swap area says what it holds (mkswap(8), kernel/power).
_SWAP_MAGIC_AT = 4086
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")

log = logging.getLogger(__name__)


def inspect(appliance: Appliance, *, root: str | None = None) -> Guest:
    """Return what is on the disks of *appliance*, and leave its root mounted there.

    A disk with no system that is known gives type "unknown".  Raises GuestError if the
    guest is hibernated, or has several systems and *root* names none of them.
    """
    g = appliance.g
    found = g.list_filesystems()
    firmware = _firmware(appliance)
    roots = sorted(g.inspect_os())
    chosen = _chosen(appliance, roots, root)
    if chosen is None:
        filesystems = tuple(_filesystem(appliance, d, t, {}) for d, t in found.items())
        return Guest(filesystems=filesystems, firmware=firmware)
    _refuse_hibernated(appliance, found)
    mounts = _mounted(appliance, chosen)
    places = {device: point for point, device in mounts.items()}
    guest = Guest(
        type=g.inspect_get_type(chosen),
        distro=_known(g.inspect_get_distro(chosen)),
        product=_known(g.inspect_get_product_name(chosen)),
        version=f"{g.inspect_get_major_version(chosen)}."
        f"{g.inspect_get_minor_version(chosen)}",
        arch=_known(g.inspect_get_arch(chosen)),
        hostname=_known(g.inspect_get_hostname(chosen)),
        root=chosen,
        roots=tuple(roots),
        package_format=_known(g.inspect_get_package_format(chosen)),
        firmware=firmware,
        filesystems=tuple(
            _filesystem(appliance, d, t, places) for d, t in found.items()
        ),
    )
    return _linux(appliance, guest) if guest.type == "linux" else guest


def _known(value: str) -> str | None:
    return None if value in ("unknown", "") else value


def _chosen(appliance: Appliance, roots: list[str], wanted: str | None) -> str | None:
    """Return the root to work on; None if there is no system at all."""
    if wanted:
        if wanted in roots:
            return wanted
        raise GuestError(
            f"there is no system on {wanted}; found: {', '.join(roots) or 'none'}",
            "name one of these with --root",
        )
    if len(roots) > 1:
        names = (f"{r} ({appliance.g.inspect_get_product_name(r)})" for r in roots)
        raise GuestError(
            f"several systems are installed: {', '.join(names)}",
            "say which one runs with --root DEVICE",
        )
    return roots[0] if roots else None


def _mounted(appliance: Appliance, root: str) -> dict[str, str]:
    """Mount all that the guest mounts; return mount point -> device."""
    mounted = {}
    points = appliance.g.inspect_get_mountpoints(root)
    for point in sorted(points, key=len):
        try:
            appliance.g.mount(points[point], point)
        except RuntimeError as e:
            if point == "/":
                raise
            # A data disk that is broken must not hold up the system.
            log.warning("warning: %s cannot be mounted: %s", point, e)
            continue
        mounted[point] = points[point]
    return mounted


def _filesystem(
    appliance: Appliance, device: str, kind: str, places: Mapping[str, str]
) -> Filesystem:
    g = appliance.g
    point = places.get(device)
    free = None
    if point:
        facts = g.statvfs(point)
        free = facts["bavail"] * facts["frsize"]
    subvolume = device.startswith("btrfsvol:")
    return Filesystem(
        device=device,
        type=kind,
        uuid=None if subvolume else g.vfs_uuid(device) or None,
        label=None if subvolume else g.vfs_label(device) or None,
        size=None if subvolume else g.blockdev_getsize64(device),
        free=free,
        mountpoint=point,
    )


def _firmware(appliance: Appliance) -> Firmware | None:
    """Return what the partitions are made for; None if they do not say.

    An ESP means UEFI, unless there is a place for GRUB's BIOS code as well.
    """
    g = appliance.g
    types = set()
    for partition in g.list_partitions():
        device = g.part_to_dev(partition)
        if g.part_get_parttype(device) == "gpt":
            types.add(g.part_get_gpt_type(device, g.part_to_partnum(partition)).upper())
    if _BIOS_BOOT in types:
        return "bios"
    return "efi" if _ESP in types else None


def _refuse_hibernated(appliance: Appliance, found: Mapping[str, str]) -> None:
    for device, kind in found.items():
        if kind != "swap":
            continue
        magic = appliance.g.pread_device(device, 10, _SWAP_MAGIC_AT)
        if magic.startswith(_HIBERNATED):
            raise GuestError(
                f"the guest is hibernated: its memory is on {device}",
                "start it on the source and shut it down",
            )


def _linux(appliance: Appliance, guest: Guest) -> Guest:
    return guest.having(
        init=_init(appliance),
        bootloader=boot.loader(appliance),
        kernels=kernels.found(appliance),
        tools=tools.found(appliance),
        interfaces=interfaces.found(appliance),
        serial_console="console=ttyS" in boot.command_lines(appliance),
    )


def _init(appliance: Appliance) -> str:
    g = appliance.g
    if g.exists("/lib/systemd/systemd") or g.exists("/usr/lib/systemd/systemd"):
        return "systemd"
    return "openrc" if g.exists("/sbin/openrc") else "sysv"
