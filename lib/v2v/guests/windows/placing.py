# SPDX-License-Identifier: GPL-2.0-or-later
"""Put the drivers of virtio-win where the guest's Windows finds them.

Each has a folder of its own below Drivers\\VirtIO: several have a file of one name.
Those of disks are also where Windows loads drivers from while it boots (facts 2.4).
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Finding, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.wanted import Wanted
from v2v.guests.windows import (
    facts,
    files,
    peversion,
    publisher,
    selection,
    signing,
    virtio_win,
)
from v2v.guests.windows.disks import DRIVERS
from v2v.guests.windows.hive import EXPAND_SZ, Hive, Value, expand_sz
from v2v.guests.windows.place import Work
from v2v.guests.windows.selection import Driver, Selection
from v2v.guests.windows.version import HEAD, architecture

FOLDER = r"Drivers\VirtIO"
AGENT = "qemu-ga"  # of that, the folder with the agent's installer
_CURRENT = r"Microsoft\Windows\CurrentVersion"
FINDINGS = (*selection.FINDINGS, *signing.FINDINGS)
_REASON = "Windows installs virtio's drivers from there"
_LOADED = "Windows loads the drivers of its disk from there"
_SEARCHED = "Windows looks there for drivers of new devices"
_MAX_PATH = 4000  # characters of DevicePath


def given(
    wanted: Wanted, guest: Guest, software: Hive, *, secure_boot: bool = False
) -> tuple[Selection | None, list[Finding]]:
    """Return the drivers for *guest* of the virtio-win that is there, and what of them.

    Raises HostError if virtio-win is given, and cannot be used.
    """
    windows, arch = guest.windows, guest.arch
    if windows is None or arch is None:
        return None, []
    media = virtio_win.media(wanted.virtio_win)
    chosen = selection.selected(media, windows, arch) if media else None
    found = [*selection.findings(chosen, windows, arch)]
    if chosen:
        found += signing.findings(
            chosen, windows, arch, software, secure_boot=secure_boot
        )
        if not wanted.trust_publisher:
            found += signing.untrusted(chosen)
        if signing.is_refused(chosen, windows, arch, software):
            return None, found
    return (chosen if chosen and chosen.drivers else None), found


def plan(work: Work) -> Iterator[Action]:
    """Yield what puts the chosen drivers, and the agent's installer, into the guest."""
    chosen = work.drivers
    if not isinstance(chosen, Selection):
        return
    for driver in chosen.drivers:
        for name, content in sorted(driver.files.items()):
            path = work.path(rf"{FOLDER}\{driver.name}\{name}")
            yield from files.written(work.appliance, path, content, _REASON)
        if driver.name in DRIVERS:
            yield from _loaded(work, driver)
    if chosen.agent and work.wanted.agent:
        name, content = chosen.agent
        path = work.path(rf"{FOLDER}\{AGENT}\{name}")
        reason = "the guest agent is installed from there at the first boot"
        yield from files.written(work.appliance, path, content, reason)
    if work.wanted.trust_publisher:
        for certificate in dict.fromkeys(signing.others(chosen)):
            publisher.trust(work.registry.software, certificate)
    search(
        work.registry.software,
        [driver.name for driver in chosen.drivers],
        facts.system_root(work.registry),
    )


def _loaded(work: Work, driver: Driver) -> Iterator[Action]:
    """Yield what makes Windows load *driver*; one that is no older is kept."""
    file = f"{driver.name}.sys"
    if file not in driver.files:
        return
    path = work.path(rf"System32\drivers\{file}")
    if not is_no_older(work.appliance, path, driver.files[file]):
        content = driver.files[file]
        yield from files.written(work.appliance, path, content, _LOADED)


def is_no_older(appliance: Appliance, path: str, content: bytes) -> bool:
    """Whether the driver at *path* is no older than *content*, for the same machine."""
    g = appliance.g
    if not g.is_file(path, followsymlinks=True) or g.filesize(path) > peversion.MOST:
        return False
    there = files.read(appliance, path)
    own, ours = peversion.version(there), peversion.version(content)
    if own is None or ours is None:
        return False
    machines = {architecture(data[:HEAD]) for data in (there, content)}
    return own >= ours and len(machines) == 1


def search(software: Hive, names: list[str], system_root: str) -> None:
    """Make Windows look for drivers in the folders of *names*, each written once.

    A value that is no EXPAND_SZ is not filled in: it gets *system_root* itself.

    PnP takes each folder of DevicePath as it is: Microsoft has "the folders specified",
    separated by semicolons, and says nothing of those below ("Configure Windows to
    Search Additional Folders for Device Drivers").
    """
    old = software.value(_CURRENT, "DevicePath")
    text = old.text if old else r"%SystemRoot%\inf"
    known = {part.strip().rstrip("\\").lower() for part in text.split(";")}
    filled_in = old is None or old.type == EXPAND_SZ
    root = "%SystemRoot%" if filled_in else system_root
    folders = [rf"{root}\{FOLDER}\{name}" for name in names]
    new = [folder for folder in folders if folder.lower() not in known]
    whole = ";".join([*filter(None, [text.rstrip(";")]), *new])
    if not new or len(whole) > _MAX_PATH:
        return  # the driver store, or pnputil, does it as well
    data = expand_sz(whole).data
    value = Value(old.type, data) if old else expand_sz(whole)
    software.set(_CURRENT, "DevicePath", value, _SEARCHED)
