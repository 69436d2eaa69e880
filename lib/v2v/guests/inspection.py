# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed on the disks of a VM.

Linux systems on plain partitions and volumes are found and read by ourselves; all
others by libguestfs' inspection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from v2v.document import Filesystem, Finding, Firmware, Guest, Severity
from v2v.errors import GuestError
from v2v.guests import devices
from v2v.guests.appliance import Appliance, printable
from v2v.guests.devices import Device
from v2v.guests.linux import boot, interfaces, kernels, system, tools

# All that this module may find; see fixes.FINDINGS.
FINDINGS = ("guest-several-systems", "guest-hibernated", "guest-encrypted")
_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
# The end of the first page of a swap area says what it holds (mkswap(8), kernel/power).
_SWAP_MAGIC_AT = 4086
_ASLEEP = "the guest is hibernated: its memory is on {}"
_WAKE = "start it on the source and shut it down"
_ENCRYPTED = ("crypto_LUKS", "BitLocker")
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is on the disks, before any system there is opened.

    ``roots`` are the root devices, with whether each may boot; ``by_us``: found
    without libguestfs' inspection; ``asleep`` the device with a hibernated memory.
    """

    devices: list[Device]
    roots: Mapping[str, bool]
    by_us: bool
    asleep: str | None = None


def inspect(appliance: Appliance, *, root: str | None = None) -> Guest:
    """Return what is on the disks of *appliance*, and leave its root mounted there.

    A disk with no system that is known gives type "unknown".  Raises GuestError if the
    guest is hibernated, or has several systems and *root* names none of them.
    """
    seen = _surveyed(appliance)
    chosen = _chosen(seen.roots, root)
    if chosen and seen.asleep:
        raise GuestError(_ASLEEP.format(seen.asleep), _WAKE)
    return _described(appliance, seen, chosen)


def look(appliance: Appliance) -> tuple[Guest, list[Finding]]:
    """Return what is on the disks, and what of it stands in the way of a move."""
    seen = _surveyed(appliance)
    found: list[Finding] = []
    chosen = None
    try:
        chosen = _chosen(seen.roots, None)
    except GuestError as e:
        found.append(_finding("guest-several-systems", "warn", e.message, e.remedy))
    if seen.asleep:
        message = _ASLEEP.format(seen.asleep)
        found.append(_finding("guest-hibernated", "block", message, _WAKE))
    return _described(appliance, seen, chosen), found


def locked(guest: Guest) -> Finding | None:
    """Return the finding that nothing of *guest* can be seen for encryption."""
    devices_ = [fs.device for fs in guest.filesystems if fs.type in _ENCRYPTED]
    if guest.roots or not devices_:
        return None
    return _finding(
        "guest-encrypted",
        "warn",
        f"{', '.join(devices_[:10])}: encrypted, so the system cannot be looked into; "
        "the VM gets emulated hardware (SATA, e1000e)",
        "see that the guest's initramfs has virtio, then change the VM's devices",
    )


def _finding(code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=severity, message=message, remedy=remedy)


def _surveyed(appliance: Appliance) -> Survey:
    there = devices.found(appliance)
    roots = system.roots(appliance, there) if devices.is_plain(there) else {}
    by_us = bool(roots)
    if not by_us:
        roots = dict.fromkeys(_inspected(appliance), True)
    return Survey(
        devices=there, roots=roots, by_us=by_us, asleep=_hibernated(appliance, there)
    )


def _inspected(appliance: Appliance) -> list[str]:
    """Return the roots that libguestfs finds; none, if it stumbles over a disk."""
    try:
        return sorted(appliance.g.inspect_os())
    except RuntimeError as e:
        log.warning("warning: the disks cannot be inspected: %s", printable(str(e)))
        return []


def _described(appliance: Appliance, seen: Survey, root: str | None) -> Guest:
    """Return the system on *root*, which is left mounted, and all file systems."""
    places: dict[str, str] = {}
    guest = Guest()
    if root:
        places, guest = _opened(appliance, root, seen.devices, by_us=seen.by_us)
    points = {device: point for point, device in places.items()}
    guest = guest.having(
        roots=tuple(sorted(seen.roots)),
        firmware=_firmware(seen.devices),
        filesystems=tuple(_filesystem(appliance, d, points) for d in seen.devices),
    )
    return _linux(appliance, guest) if guest.type == "linux" else guest


def _chosen(roots: Mapping[str, bool], wanted: str | None) -> str | None:
    """Return the root to work on; None if there is no system at all."""
    if wanted:
        if wanted in roots:
            return wanted
        raise GuestError(
            f"there is no system on {wanted}; found: {', '.join(roots) or 'none'}",
            "name one of these with --root",
        )
    able = [root for root, may_boot in roots.items() if may_boot]
    if len(able) == 1:
        return able[0]
    if len(roots) > 1:
        raise GuestError(
            f"several systems are installed: {', '.join(sorted(roots))}",
            "say which one runs with v2v-fixup --root DEVICE",
        )
    return next(iter(roots), None)


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
            # A mount point may be a link, which must lead nowhere but in the guest.
            place = appliance.g.realpath(point)
            appliance.g.mount(points[point], place)
        except RuntimeError as e:
            # A data disk that is broken must not hold up the system.
            log.warning("warning: %s cannot be mounted: %s", printable(point), e)
            continue
        mounted[place] = points[point]
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
        label=printable(device.label) if device.label else None,
        size=size,
        free=free,
        mountpoint=printable(point) if point else None,
    )


def _firmware(there: list[Device]) -> Firmware | None:
    """Return what the partitions are made for; None if they do not say.

    An ESP means UEFI, unless there is a place for GRUB's BIOS code as well.
    """
    types = {device.partition_type for device in there}
    if _BIOS_BOOT in types:
        return "bios"
    return "efi" if _ESP in types else None


def _hibernated(appliance: Appliance, there: list[Device]) -> str | None:
    """Return the device that holds the memory of a hibernated system, if any does."""
    for device in there:
        # libblkid calls the area of a hibernated system swsuspend.
        if device.type not in ("swap", "swsuspend"):
            continue
        magic = bytes(appliance.g.pread_device(device.name, 10, _SWAP_MAGIC_AT))
        if magic.startswith(_HIBERNATED):
            return device.name
    return None


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
