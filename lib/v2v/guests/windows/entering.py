# SPDX-License-Identifier: GPL-2.0-or-later
"""Enter a Windows system: to look at it, or to change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from v2v.document import Change, Finding, Guest, Nic
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.windows import (
    addresses,
    bcd,
    buses,
    opening,
    policy,
    presence,
    state,
    tools,
)
from v2v.guests.windows.files import spelled
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.opening import How
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.roots import Root

FINDINGS = (
    *(*policy.FINDINGS, *bcd.FINDINGS, *addresses.FINDINGS),
    "windows-unreadable",
)
# Where the volume with the boot store is mounted, if that is another one; the folder is
# made for this and removed.
BOOT = "/.v2v-boot"
_VISTA = 6000  # the first build of 6.0


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A system whose volume is mounted at /, to be written.

    ``places``: mount point -> device; ``folder`` has the copies of its hives; ``names``
    are all systems on the disks.
    """

    root: Root
    guest: Guest
    registry: Registry
    places: dict[str, str]
    folder: Path
    names: Sequence[str] = ()
    found: Sequence[Finding] = ()

    @property
    def esp(self) -> str | None:
        """Where the ESP is mounted, for a guest that is started by UEFI."""
        path = self.registry.paths.get("BCD", "").removeprefix(BOOT)
        return BOOT if BOOT in self.places and _is_efi(path) else None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is known and wanted before a system is entered.

    ``names`` are all systems on ``devices``; ``nics`` are the VM's; ``folder``, of this
    host, gets copies of hives.
    """

    devices: Sequence[Device]
    names: Sequence[str]
    nics: Sequence[Nic]
    folder: Path
    how: How = field(default_factory=How)


def entered(appliance: Appliance, root: Root, wish: Wish) -> Entered:
    """Enter the system on *root*; its volume, and that of its boot store, are mounted.

    Nothing may be mounted before.  Raises GuestError if it must not be changed.
    """
    stores = _stores(appliance, root, wish.devices)
    opened = opening.begun(appliance, root, wish.folder, wish.how)
    places, store = _with_boot(appliance, root, stores)
    if store:
        opened = opening.with_store(
            appliance, opened, store, wish.folder, force=wish.how.force
        )
    guest = described(appliance, root, opened.registry, wish.nics)
    return Entered(
        root=root,
        guest=guest.having(firmware=_firmware(guest, opened.registry.bcd)),
        registry=opened.registry,
        places=places,
        folder=wish.folder,
        names=wish.names,
        found=opened.findings,
    )


def _stores(
    appliance: Appliance, root: Root, devices: Sequence[Device]
) -> list[tuple[str, str]]:
    """Return (device, path) of the boot stores, first the one that *root* starts by.

    A disk that was made a GPT one keeps the store of its BIOS days: from GPT Windows
    starts by UEFI alone.
    """
    own = [device for device in devices if device.name == root.device]
    # What is in a volume of BitLocker's has no type of its own.
    on_gpt = any(d.partition_type for d in own) or (
        root.device.startswith("/dev/mapper/")
        and any(d.partition_type for d in devices)
    )
    found = opening.stores(appliance, devices)
    return sorted(found, key=lambda store: _is_efi(store[1]) != on_gpt)


def _is_efi(path: str) -> bool:
    return path.lower().lstrip("/").startswith("efi/")


def _with_boot(
    appliance: Appliance, root: Root, stores: Sequence[tuple[str, str]]
) -> tuple[dict[str, str], str | None]:
    """Mount the volume of the boot store; return what is mounted, and its path."""
    places = {"/": root.device}
    if not stores:
        return places, None
    device, path = stores[0]
    if device == root.device:
        return places, path
    g = appliance.g
    # A link would have the volume mounted in the appliance's own system.
    if g.is_symlink(BOOT) or (g.exists(BOOT) and not g.is_dir(BOOT)):
        raise GuestError(
            f"{BOOT} in the guest is no folder, and one must be made there",
            "remove it on the source",
        )
    g.mkdir_p(BOOT)
    g.mount(device, BOOT)
    return places | {BOOT: device}, f"{BOOT}/{path.lstrip('/')}"


def named(places: Mapping[str, str], change: Change) -> Change:
    """Return *change* with the paths of the boot store's volume as people know them.

    That is by its device, DEVICE:/PATH: it has no place of its own in the guest.
    """
    device = places.get(BOOT)
    if device is None:
        return change

    def shown(text: str) -> str:
        return text.replace(f"{BOOT}/", f"{device}:/")

    return change.having(
        path=shown(change.path),
        reason=shown(change.reason),
        after=shown(change.after) if change.after else None,
    )


def without_boot(guest: Guest) -> Guest:
    """Return *guest* with its boot store's volume mounted nowhere, as it is there."""
    return guest.having(
        filesystems=tuple(
            fs.having(mountpoint=None) if fs.mountpoint == BOOT else fs
            for fs in guest.filesystems
        )
    )


def left(appliance: Appliance) -> None:
    """Undo what entering made in the guest, when all else is done."""
    if appliance.g.is_dir(BOOT):
        if BOOT in appliance.g.mountpoints().values():
            appliance.g.umount(BOOT)
        appliance.g.rmdir(BOOT)


def looked(appliance: Appliance, root: Root, wish: Wish) -> tuple[Guest, list[Finding]]:
    """Return what the system on *root* is, and what stands in the way of a move.

    Its volume is left mounted, to be read.
    """
    try:
        stores = _stores(appliance, root, wish.devices)
        appliance.g.mount_ro(root.device, "/")
        opened = opening.registry(appliance, root, wish.folder, force=True)
        guest = described(appliance, root, opened.registry, wish.nics)
    except GuestError as e:
        return Guest(type="windows", root=root.name), [_unreadable(e)]
    found = [
        *opened.findings,
        *filter(None, [state.asleep(state.sleep(appliance, opened.registry))]),
        *_told(appliance, root, opened.registry, wish),
    ]
    store, told = _stored(appliance, root, stores, wish.folder)
    return guest.having(firmware=_firmware(guest, store)), [*found, *told]


def _unreadable(e: GuestError) -> Finding:
    return Finding(
        code="windows-unreadable", severity="block", message=e.message, remedy=e.remedy
    )


def _stored(
    appliance: Appliance,
    root: Root,
    stores: Sequence[tuple[str, str]],
    folder: Path,
) -> tuple[Hive | None, list[Finding]]:
    """Return a copy of the boot store, if it can be read, and what is to be told."""
    if not stores:
        return None, []
    device, path = stores[0]
    if device != root.device:
        appliance.g.umount_all()
        appliance.g.mount_ro(device, "/")
    store = None
    try:
        store, left = opening.store(appliance, path, folder, force=True)
        found = [*filter(None, [left]), *bcd.findings(store, bcd.volumes(appliance))]
    except GuestError as e:
        found = [_unreadable(e)]
    if device != root.device:
        appliance.g.umount_all()
        appliance.g.mount_ro(root.device, "/")
    return store, found


def _firmware(guest: Guest, store: Hive | None) -> Literal["bios", "efi"] | None:
    """Return what starts the guest: by its loader's name (facts 1.9).

    What is older than Vista has no boot store, and no loader for UEFI.
    """
    if guest.windows and guest.windows.build < _VISTA:
        return "bios"
    return bcd.firmware(store) if store else None


def told(
    appliance: Appliance, entered: Entered, nics: Sequence[Nic], *, firstboot: bool
) -> list[Finding]:
    """Return what is worth knowing of the system, as it is before it is changed.

    ``firstboot``: whether it will run scripts at its first boot.
    """
    wish = Wish(devices=(), names=entered.names, nics=nics, folder=entered.folder)
    found = [
        *_told(appliance, entered.root, entered.registry, wish, firstboot=firstboot)
    ]
    if entered.registry.bcd:
        found += bcd.findings(entered.registry.bcd, bcd.volumes(appliance))
    return found


def _told(
    appliance: Appliance,
    root: Root,
    registry: Registry,
    wish: Wish,
    *,
    firstboot: bool = True,
) -> Iterator[Finding]:
    known: dict[str, str] = {}

    def is_there(relative: str) -> bool:
        return appliance.g.exists(spelled(appliance, root.folder, relative, known))

    yield from policy.findings(registry, is_there)
    yield from policy.other_systems([*wish.names], root.name)
    yield from addresses.findings(registry, wish.nics, firstboot=firstboot)


def described(
    appliance: Appliance, root: Root, registry: Registry, nics: Sequence[Nic]
) -> Guest:
    """Return what the system is by its registry, with the verdict for each bus."""
    guest = opening.described(appliance, root, registry)
    known: dict[str, str] = {}
    there = presence.present(
        appliance, lambda p: spelled(appliance, root.folder, p, known), guest.arch
    )
    return guest.having(
        verdicts=buses.judged(registry, there)[0],
        tools=tools.found(registry),
        interfaces=addresses.interfaces(registry, nics),
    )
