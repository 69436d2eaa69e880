# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed on the disks of a VM.

Linux systems on plain partitions and volumes are found and read by ourselves; all
others by libguestfs' inspection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from v2v.document import Filesystem, Firmware, Guest
from v2v.errors import GuestError
from v2v.guests import devices
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.linux import boot, interfaces, kernels, system, tools

_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
# The end of the first page of a swap area says what it holds (mkswap(8), kernel/power).
_SWAP_MAGIC_AT = 4086
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")

log = logging.getLogger(__name__)


def inspect(appliance: Appliance, *, root: str | None = None) -> Guest:
    """Return what is on the disks of *appliance*, and leave its root mounted there.

    A disk with no system that is known gives type "unknown".  Raises GuestError if the
    guest is hibernated, or has several systems and *root* names none of them.
    """
    there = devices.found(appliance)
    plain = devices.is_plain(there)
    roots = sorted(system.roots(appliance, there)) if plain else []
    by_us = bool(roots)
    if not by_us:
        roots = sorted(appliance.g.inspect_os())
    chosen = _chosen(roots, root)
    places: dict[str, str] = {}
    guest = Guest()
    if chosen:
        _refuse_hibernated(appliance, there)
        places, guest = _opened(appliance, chosen, there, by_us=by_us)
    points = {device: point for point, device in places.items()}
    guest = guest.having(
        roots=tuple(roots),
        firmware=_firmware(there),
        filesystems=tuple(_filesystem(appliance, d, points) for d in there),
    )
    return _linux(appliance, guest) if guest.type == "linux" else guest


def _chosen(roots: list[str], wanted: str | None) -> str | None:
    """Return the root to work on; None if there is no system at all."""
    if wanted:
        if wanted in roots:
            return wanted
        raise GuestError(
            f"there is no system on {wanted}; found: {', '.join(roots) or 'none'}",
            "name one of these with --root",
        )
    if len(roots) > 1:
        raise GuestError(
            f"several systems are installed: {', '.join(roots)}",
            "say which one runs with --root DEVICE",
        )
    return roots[0] if roots else None


def _opened(
    appliance: Appliance, root: str, there: list[Device], *, by_us: bool
) -> tuple[dict[str, str], Guest]:
    """Mount the system on *root*; return mount point -> device, and what it is."""
    g = appliance.g
    if by_us:
        g.mount(root, "/")
        points = system.mountpoints(appliance, root, there)
        return _mounted(appliance, points), system.described(appliance, root)
    guest = Guest(
        type=g.inspect_get_type(root),
        distro=_known(g.inspect_get_distro(root)),
        product=_known(g.inspect_get_product_name(root)),
        version=f"{g.inspect_get_major_version(root)}."
        f"{g.inspect_get_minor_version(root)}",
        arch=_known(g.inspect_get_arch(root)),
        hostname=_known(g.inspect_get_hostname(root)),
        root=root,
        package_format=_known(g.inspect_get_package_format(root)),
    )
    points = g.inspect_get_mountpoints(root)
    if "/" in points:
        g.mount(points["/"], "/")
    return _mounted(appliance, points), guest


def _known(value: str) -> str | None:
    return None if value in ("unknown", "") else value


def _mounted(appliance: Appliance, points: Mapping[str, str]) -> dict[str, str]:
    """Mount all of *points* but "/", which is; return what could be mounted."""
    mounted = {"/": points["/"]} if "/" in points else {}
    for point in sorted(points.keys() - {"/"}, key=lambda p: (len(p), p)):
        try:
            appliance.g.mount(points[point], point)
        except RuntimeError as e:
            # A data disk that is broken must not hold up the system.
            log.warning("warning: %s cannot be mounted: %s", point, e)
            continue
        mounted[point] = points[point]
    return mounted


def _filesystem(
    appliance: Appliance, device: Device, points: Mapping[str, str]
) -> Filesystem:
    point = points.get(device.name)
    size = free = None
    if point:
        facts = appliance.g.statvfs(point)
        size = facts["blocks"] * facts["frsize"]
        free = facts["bavail"] * facts["frsize"]
    return Filesystem(
        device=device.name,
        type=device.type,
        uuid=device.uuid,
        label=device.label,
        size=size,
        free=free,
        mountpoint=point,
    )


def _firmware(there: list[Device]) -> Firmware | None:
    """Return what the partitions are made for; None if they do not say.

    An ESP means UEFI, unless there is a place for GRUB's BIOS code as well.
    """
    types = {device.partition_type for device in there}
    if _BIOS_BOOT in types:
        return "bios"
    return "efi" if _ESP in types else None


def _refuse_hibernated(appliance: Appliance, there: list[Device]) -> None:
    for device in there:
        # libblkid calls the area of a hibernated system swsuspend.
        if device.type not in ("swap", "swsuspend"):
            continue
        magic = bytes(appliance.g.pread_device(device.name, 10, _SWAP_MAGIC_AT))
        if magic.startswith(_HIBERNATED):
            raise GuestError(
                f"the guest is hibernated: its memory is on {device.name}",
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
