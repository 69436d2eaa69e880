# SPDX-License-Identifier: GPL-2.0-or-later
"""Enter a Windows system: to look at it, or to change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.document import Finding, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.windows import buses, opening, policy, presence, state
from v2v.guests.windows.opening import How, Opened
from v2v.guests.windows.place import spelled
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.roots import Root

FINDINGS = (*policy.FINDINGS, "windows-unreadable")
# Where the volume with the boot store is mounted, if that is another one; the folder is
# made for this and removed.
BOOT = "/.v2v-boot"


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A system whose volume is mounted at /, to be written.

    ``places``: mount point -> device; ``folder`` has the copies of its hives.
    """

    root: Root
    guest: Guest
    registry: Registry
    places: dict[str, str]
    folder: Path
    found: Sequence[Finding] = ()

    @property
    def esp(self) -> str | None:
        """Where the volume of the boot store is mounted, if it is another one."""
        return BOOT if BOOT in self.places else None


def entered(
    appliance: Appliance,
    root: Root,
    devices: Sequence[Device],
    folder: Path,
    how: How,
) -> Entered:
    """Enter the system on *root*; its volume, and that of its boot store, are mounted.

    Nothing may be mounted before.  Raises GuestError if it must not be changed.
    """
    stores = opening.stores(appliance, devices)
    opened = opening.begun(appliance, root, folder, how)
    places, bcd = _with_boot(appliance, root, stores)
    if bcd:
        opened = opening.registry(appliance, root, folder, bcd=bcd, force=how.force)
    return Entered(
        root=root,
        guest=described(appliance, root, opened.registry),
        registry=opened.registry,
        places=places,
        folder=folder,
        found=opened.findings,
    )


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
    appliance.g.mkdir_p(BOOT)
    appliance.g.mount(device, BOOT)
    return places | {BOOT: device}, f"{BOOT}/{path.lstrip('/')}"


def left(appliance: Appliance) -> None:
    """Undo what entering made in the guest, when all else is done."""
    if appliance.g.is_dir(BOOT):
        if BOOT in appliance.g.mountpoints().values():
            appliance.g.umount(BOOT)
        appliance.g.rmdir(BOOT)


def looked(
    appliance: Appliance, root: Root, names: Sequence[str], folder: Path
) -> tuple[Guest, list[Finding]]:
    """Return what the system on *root* is, and what stands in the way of a move.

    *names* are all systems there are.  Its volume is left mounted, to be read.
    """
    try:
        appliance.g.mount_ro(root.device, "/")
        opened = opening.registry(appliance, root, folder, force=True)
        guest = described(appliance, root, opened.registry)
    except GuestError as e:
        told = Finding(
            code="windows-unreadable",
            severity="block",
            message=e.message,
            remedy=e.remedy,
        )
        return Guest(type="windows", root=root.name), [told]
    return guest, [*_findings(appliance, root, opened, names)]


def _findings(
    appliance: Appliance, root: Root, opened: Opened, names: Sequence[str]
) -> Iterator[Finding]:
    yield from opened.findings
    if asleep := state.asleep(state.sleep(appliance, opened.registry)):
        yield asleep
    yield from told(appliance, root, opened.registry, names)


def told(
    appliance: Appliance, root: Root, registry: Registry, names: Sequence[str]
) -> Iterator[Finding]:
    """Yield what is worth knowing of the system as it is; *names* are all systems."""
    known: dict[str, str] = {}

    def is_there(relative: str) -> bool:
        return appliance.g.exists(spelled(appliance, root.folder, relative, known))

    yield from policy.findings(registry, is_there)
    yield from policy.other_systems([*names], root.name)


def described(appliance: Appliance, root: Root, registry: Registry) -> Guest:
    """Return what the system is by its registry, with the verdict for each bus."""
    guest = opening.described(appliance, root, registry)
    known: dict[str, str] = {}
    there = presence.present(
        appliance, lambda p: spelled(appliance, root.folder, p, known), guest.arch
    )
    return guest.having(verdicts=buses.judged(registry, there)[0])
