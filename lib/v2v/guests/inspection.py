# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed on the disks of a VM.

Linux and Windows systems are found and read by ourselves, on partitions, LVM, btrfs,
mdadm and what given keys open; all others by libguestfs' inspection.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from v2v.document import Disk, Finding, Guest, Nic, Severity
from v2v.errors import GuestError
from v2v.guests import contents, devices, encryption, shutdown
from v2v.guests.appliance import Appliance, printable
from v2v.guests.devices import Device
from v2v.guests.encryption import Key
from v2v.guests.linux import (
    boot,
    crypttab,
    interfaces,
    kernels,
    mounts,
    resolver,
    roots,
    system,
    tools,
)
from v2v.guests.linux.resolver import Resolver
from v2v.guests.linux.roots import Root
from v2v.guests.windows import entering, state
from v2v.guests.windows import roots as windows_roots
from v2v.guests.windows.entering import Entered, Wish
from v2v.guests.windows.opening import How

# All that this module may find; see fixes.FINDINGS.
FINDINGS = (
    *("guest-several-systems", "guest-hibernated", "guest-encrypted"),
    *("guest-data-encrypted", "disk-key-in-tpm"),
    *("filesystem-unsupported", "filesystem-dirty"),
    *(*state.FINDINGS, *entering.FINDINGS),
)
_ASLEEP = "the guest is hibernated: its memory is on {}"
_WAKE = "start it on the source and shut it down"
_DIRTY = "{}: not unmounted cleanly; its journal is replayed"
_CLEAN = "shut the guest down on the source; a snapshot of a running one loses data"
# What a kernel of the host must know for the appliance to open it.
_FEATURES = {"btrfs": "btrfs", "crypto_LUKS": "luks", "linux_raid_member": "mdadm"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is known and wanted before the disks are opened.

    ``disks`` and ``nics`` are the VM's, in the guest's order; ``root`` a root that was
    chosen by the user; ``keys`` open what is encrypted.  ``folder``, of this host, is
    for copies of a Windows' hives; ``how`` says what of such a guest may be lost.
    """

    root: str | None = None
    disks: Sequence[Disk] = ()
    keys: Sequence[Key] = ()
    nics: Sequence[Nic] = ()
    folder: Path = Path("/var/tmp")
    how: How = field(default_factory=How)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is on the disks, before any system there is opened.

    ``ours`` are the roots of Linux that we found, ``windows`` those of Windows,
    ``others`` what only libguestfs did; ``asleep`` the device with a hibernated memory;
    ``dirty`` those that were not unmounted; ``volumes`` what Windows' volumes say.
    """

    devices: list[Device]
    ours: list[Root]
    windows: list[windows_roots.Root]
    others: list[str]
    volumes: Sequence[Finding] = ()
    disks: Sequence[Disk] = ()
    asleep: str | None = None
    dirty: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """All roots, as the user may name them."""
        known = [root.name for root in self.ours]
        known += [root.name for root in self.windows]
        return sorted([*known, *self.others])

    def is_windows(self, name: str | None) -> windows_roots.Root | None:
        """Return the root called *name*, if it is Windows'."""
        return next((root for root in self.windows if root.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A system that is ready to be changed: its root is mounted in the appliance.

    ``windows`` is its opened registry, of a Windows; ``found`` is to be told.
    """

    guest: Guest
    windows: Entered | None = None
    found: Sequence[Finding] = ()


def inspect(appliance: Appliance, asked: Asked | None = None) -> Guest:
    """Return what begun() finds, of which no more than the guest is wanted."""
    return begun(appliance, asked).guest


def begun(appliance: Appliance, asked: Asked | None = None) -> Inspected:
    """Return what is on the disks of *appliance*, and leave its root mounted there.

    A disk with no system that is known gives type "unknown".  Raises GuestError if the
    guest is hibernated, or has several systems and it is not clear which one runs.
    """
    asked = asked or Asked()
    seen = _surveyed(appliance, asked)
    chosen = _chosen(appliance, seen, asked.root)
    if seen.dirty:
        log.warning("warning: %s", _DIRTY.format(", ".join(seen.dirty[:10])))
    if root := seen.is_windows(chosen):
        entered = entering.entered(appliance, root, _wish(seen, asked))
        guest = _completed(appliance, seen, entered.guest, entered.places)
        found = (*seen.volumes, *entered.found)
        return Inspected(guest=guest, windows=entered, found=found)
    if chosen and seen.asleep:
        raise GuestError(_ASLEEP.format(seen.asleep), _WAKE)
    return Inspected(guest=_described(appliance, seen, chosen), found=seen.volumes)


def look(
    appliance: Appliance, asked: Asked | None = None
) -> tuple[Guest, list[Finding]]:
    """Return what is on the disks, and what of it stands in the way of a move."""
    asked = asked or Asked()
    seen = _surveyed(appliance, asked)
    found: list[Finding] = list(seen.volumes)
    chosen = None
    try:
        chosen = _chosen(appliance, seen, asked.root)
    except GuestError as e:
        found.append(_finding("guest-several-systems", "warn", e.message, e.remedy))
    if seen.dirty:
        message = _DIRTY.format(", ".join(seen.dirty[:10]))
        found.append(_finding("filesystem-dirty", "warn", message, _CLEAN))
    if root := seen.is_windows(chosen):
        guest, told = entering.looked(appliance, root, _wish(seen, asked))
        guest = _completed(appliance, seen, guest, {"/": root.device})
        return guest, [*found, *told]
    if seen.asleep:
        message = _ASLEEP.format(seen.asleep)
        found.append(_finding("guest-hibernated", "block", message, _WAKE))
    guest = _described(appliance, seen, chosen)
    return guest, [*found, *findings(appliance, guest)]


def _wish(seen: Survey, asked: Asked) -> Wish:
    return Wish(
        devices=seen.devices,
        names=seen.names,
        nics=asked.nics,
        folder=asked.folder,
        how=asked.how,
    )


def locked(guest: Guest) -> Finding | None:
    """Return the finding that nothing of *guest* can be seen for encryption."""
    closed = _closed(guest)
    if guest.roots or not closed:
        return None
    return _finding(
        "guest-encrypted",
        "warn",
        f"{', '.join(closed[:10])}: encrypted, so the system cannot be looked into; "
        "the VM gets emulated hardware (SATA, e1000e)",
        "give the passphrase with --key all:file:FILE; or see that the guest has "
        "virtio's drivers where it starts (a Linux in its initramfs), then change the "
        "VM's devices",
    )


def findings(appliance: Appliance, guest: Guest) -> list[Finding]:
    """Return what of the disks could not be seen, though the system is known."""
    found = [*_unsupported(appliance, guest)]
    closed = _closed(guest)
    if guest.roots and closed:
        found.append(
            _finding(
                "guest-data-encrypted",
                "info",
                f"{', '.join(closed[:10])}: encrypted and not opened; left as it is",
                "give the passphrase with --key, if device names in it matter",
            )
        )
    locks = any(fs.type == "crypto_LUKS" for fs in guest.filesystems)
    sealed = crypttab.sealed(appliance) if locks and guest.type == "linux" else []
    if sealed:
        found.append(
            _finding(
                "disk-key-in-tpm",
                "warn",
                f"{', '.join(sealed[:10])}: opened with a key in the TPM of the old "
                "machine, which does not move",
                "see that a passphrase is known (cryptsetup luksAddKey): the first "
                "boot asks for it; then run systemd-cryptenroll anew",
            )
        )
    return found


def _unsupported(appliance: Appliance, guest: Guest) -> Iterator[Finding]:
    for kind, feature in _FEATURES.items():
        on = [fs.device for fs in guest.filesystems if fs.type == kind]
        if on and not appliance.g.feature_available([feature]):
            yield _finding(
                "filesystem-unsupported",
                "warn",
                f"{', '.join(on[:10])}: the appliance has no {feature}, so what is "
                "there cannot be seen",
                "use a host whose kernel and libguestfs have it, as Debian's do",
            )


def _closed(guest: Guest) -> list[str]:
    """Return the encrypted devices of *guest* that are not opened."""
    inside = {fs.container for fs in guest.filesystems}
    return [
        fs.device
        for fs in guest.filesystems
        if fs.type in devices.ENCRYPTED and fs.device not in inside
    ]


def _finding(code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=severity, message=message, remedy=remedy)


def _surveyed(appliance: Appliance, asked: Asked) -> Survey:
    there = encryption.opened(appliance, asked.keys)
    # Before any is mounted: that replays the journal.
    dirty = shutdown.dirty(appliance, there)
    plain = devices.is_plain(there)
    volumes = () if plain else tuple(state.volume_findings(appliance, there))
    ours = roots.found(appliance, there)
    theirs = windows_roots.found(appliance, there)
    others = []
    if not ours and not theirs:
        others = _inspected(appliance)
    if renamed := crypttab.fitted(appliance, there, ours):
        there = renamed
        ours = roots.found(appliance, there)
    return Survey(
        devices=there,
        ours=ours,
        windows=theirs,
        others=others,
        volumes=volumes,
        disks=asked.disks,
        asleep=shutdown.hibernated(appliance, there),
        dirty=dirty,
    )


def _inspected(appliance: Appliance) -> list[str]:
    """Return the roots that libguestfs finds; none, if it stumbles over a disk.

    Where it finds Linux and we did not, as in a snapshot, there is none to boot.
    """
    try:
        found = sorted(appliance.g.inspect_os())
    except RuntimeError as e:
        log.warning("warning: the disks cannot be inspected: %s", printable(str(e)))
        return []
    return [root for root in found if not _is_snapshot(root)]


def _is_snapshot(name: str) -> bool:
    return "/.snapshots/" in name or "/timeshift-btrfs/" in name


def _described(appliance: Appliance, seen: Survey, root: str | None) -> Guest:
    """Return the system on *root*, which is left mounted, and all file systems."""
    places: dict[str, str] = {}
    guest = Guest()
    if root:
        by_us = root in {one.name for one in seen.ours}
        opened = _opened if by_us else _opened_by_libguestfs
        places, guest = opened(appliance, root, seen)
    guest = _completed(appliance, seen, guest, places)
    return _linux(appliance, guest) if guest.type == "linux" else guest


def _completed(
    appliance: Appliance, seen: Survey, guest: Guest, places: Mapping[str, str]
) -> Guest:
    """Return *guest* with what the disks say; *places*: mount point -> device."""
    return guest.having(
        roots=tuple(seen.names),
        firmware=guest.firmware or contents.firmware(seen.devices),
        filesystems=tuple(contents.filesystems(appliance, seen.devices, places)),
    )


def _chosen(appliance: Appliance, seen: Survey, wanted: str | None) -> str | None:
    """Return the root to work on; None if there is no system at all."""
    if wanted:
        return _named(seen, wanted)
    if not seen.names:
        return None
    if len(seen.names) == 1 and not seen.ours:
        return seen.names[0]
    one: Root | windows_roots.Root | None = None
    if seen.ours and not seen.windows:
        one = roots.weighed(appliance, seen.ours, seen.devices, seen.disks)
    elif seen.windows and not seen.ours:
        one = windows_roots.weighed(appliance, seen.windows, seen.devices)
    if one:
        return one.name
    raise GuestError(
        f"several systems are installed: {', '.join(seen.names)}",
        "say which one runs with v2v-fixup --root DEVICE",
    )


def _named(seen: Survey, wanted: str) -> str:
    """Return the root that the user calls *wanted*: by its name, or that of its device.

    Raises GuestError if there is none, or several are on that device.
    """
    if wanted in seen.names:
        return wanted
    on = [one.name for one in seen.ours if wanted in (one.device, _mapper(one.device))]
    if len(on) == 1:
        return on[0]
    raise GuestError(
        f"there is no system on {wanted}; found: {', '.join(seen.names) or 'none'}",
        "name one of these with --root",
    )


def _mapper(device: str) -> str:
    own = device.count("/") == 3 and not device.startswith("/dev/mapper/")
    return resolver.mapper(device) if own else device


def _opened(
    appliance: Appliance, root: str, seen: Survey
) -> tuple[dict[str, str], Guest]:
    """Mount the Linux on *root*; return mount point -> device, and what it is."""
    appliance.g.mount(root, "/")
    meaning = Resolver(appliance, seen.devices, seen.disks)
    points = mounts.points(appliance, root, seen.devices, meaning)
    return _mounted(appliance, points), system.described(appliance, root)


def _opened_by_libguestfs(
    appliance: Appliance, root: str, seen: Survey
) -> tuple[dict[str, str], Guest]:
    """Do the same for a system that only libguestfs knows."""
    g = appliance.g
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
