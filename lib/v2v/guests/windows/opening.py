# SPDX-License-Identifier: GPL-2.0-or-later
"""Open a Windows system: its hives as copies on this host, its volume to be changed.

Hives that were in use are completed first.  ntfs-3g mounts what it finds unsafe, but
only to be read, and says so to nobody: so it is tried out.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from v2v.document import Finding, Guest, Windows
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.devices import Device
from v2v.guests.windows import facts, replay, state, volumes
from v2v.guests.windows import version as versions
from v2v.guests.windows.files import below, child
from v2v.guests.windows.hive import MAX_SIZE, Hive
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.roots import Root, shown

_CONFIG = r"system32\config"
_PROGRAM = r"system32\cmd.exe"
_LOGS = (".LOG", ".LOG1", ".LOG2")
_NEEDED = ("SYSTEM", "SOFTWARE")
_STORES = (r"EFI\Microsoft\Boot\BCD", r"Boot\BCD")
_OFF = "start the guest on the source and shut it down there: shutdown /s /f /t 0"


log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class How:
    """What the user lets be lost.

    ``discard``: the memory of a system that is hibernated, and the journal of a volume
    that was not closed (--discard-hibernation);
    ``force``: what a hive lacks (--force-dirty-hive).
    """

    discard: bool = False
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The registry of a system, and what is to be told of how it was left."""

    registry: Registry
    findings: tuple[Finding, ...] = ()


def begun(appliance: Appliance, root: Root, folder: Path, how: How) -> Opened:
    """Open the system on *root*, and leave its volume mounted at /, to be written.

    Nothing may be mounted before; the copies of its hives are in *folder*.  Raises
    GuestError if it is hibernated, its registry is not whole, or it cannot be written.
    """
    with shown(appliance, root.device) as is_mounted:
        if not is_mounted:
            raise GuestError(f"{root.device}: the guest's volume cannot be read", _OFF)
        opened = registry(appliance, root, folder, force=how.force)
        sleep = state.sleep(appliance, opened.registry)
    state.refuse_sleep(sleep, discard=how.discard)
    left = volumes.ntfs(state.reader(appliance, root.device))
    if left and left.open and not how.discard:
        # ntfs-3g would empty the journal of Windows 7 and say nothing.
        raise GuestError(
            f"{root.device}: {state.NOT_CLOSED}",
            f"{_OFF}; or let it be lost with --discard-hibernation",
        )
    mount(appliance, root, discard=how.discard)
    return opened


def registry(
    appliance: Appliance, root: Root, folder: Path, *, force: bool = False
) -> Opened:
    """Copy the hives of *root*, which is mounted at /, into *folder* and open them.

    ``force``: hives that cannot be completed are taken as they are.  Raises GuestError
    if one that is needed is not there, is broken, or was in use and its logs do not
    complete it.
    """
    config = below(appliance, root.folder, _CONFIG) or ""
    paths = {
        name: path
        for name in (*_NEEDED, "DRIVERS")
        if config and (path := _file(appliance, config, name))
    }
    for name in _NEEDED:
        if name not in paths:
            raise GuestError(
                f"the guest's {name} hive is not in {root.folder}/System32/config",
                "see that the guest starts on the source, and shut it down there",
            )
    hives, findings = {}, []
    for name, path in paths.items():
        file, found = _fetched(appliance, name, path, folder, force=force)
        hives[name] = Hive(name, file)
        findings += [found] if found else []
    own = Registry(
        system=hives["SYSTEM"],
        software=hives["SOFTWARE"],
        drivers=hives.get("DRIVERS"),
        paths=paths,
    )
    return Opened(registry=own, findings=tuple(findings))


def store(
    appliance: Appliance, path: str, folder: Path, *, force: bool = False
) -> tuple[Hive, Finding | None]:
    """Return the boot store at *path*, copied into *folder*, and how it was left.

    Raises GuestError as registry() does.
    """
    file, found = _fetched(appliance, "BCD", path, folder, force=force)
    return Hive("BCD", file), found


def with_store(
    appliance: Appliance, opened: Opened, path: str, folder: Path, *, force: bool
) -> Opened:
    """Return *opened* with the boot store at *path*, copied into *folder*.

    Raises GuestError as registry() does.
    """
    bcd, found = store(appliance, path, folder, force=force)
    own = replace(
        opened.registry,
        bcd=bcd,
        paths={**opened.registry.paths, "BCD": path},
    )
    told = (found,) if found else ()
    return Opened(registry=own, findings=(*opened.findings, *told))


def _file(appliance: Appliance, folder: str, name: str) -> str | None:
    path = child(appliance, folder, name)
    return path if path and appliance.g.is_file(path) else None


def _fetched(
    appliance: Appliance, name: str, path: str, folder: Path, *, force: bool
) -> tuple[Path, Finding | None]:
    """Return a copy of hive *name* on this host, completed, and what was done to it."""
    size = appliance.g.filesize(path)
    if size > MAX_SIZE:
        raise GuestError(
            f"the guest's {name} hive is too large: {size / 2**20:.0f} MiB "
            f"of at most {MAX_SIZE // 2**20}",
            "see on the source what fills it",
        )
    file = folder / name
    appliance.g.download(path, str(file))
    with file.open("rb") as f:
        head = f.read(4096)
    if replay.state(head) == "clean":
        return file, None
    primary = file.read_bytes()
    logs = _logs(appliance, path, folder)
    data, found = state.completed(name, primary, logs, force=force)
    file.write_bytes(data)
    return file, found


def _logs(
    appliance: Appliance, path: str, folder: Path
) -> Callable[[], Sequence[bytes]]:
    """Return what reads the logs of the hive at *path*; a large one is none."""

    def read() -> list[bytes]:
        within, _, name = path.rpartition("/")
        found = []
        for end in _LOGS:
            log = _file(appliance, within, name + end)
            if log and appliance.g.filesize(log) <= replay.MAX_LOG:
                copy = appliance.fetched(log, folder)
                found.append(copy.read_bytes())
                copy.unlink()
        return found

    return read


def described(appliance: Appliance, root: Root, own: Registry) -> Guest:
    """Return what the system *root*, which is mounted at /, is by its registry."""
    version = versions.version(own)
    return Guest(
        type="windows",
        distro="windows",
        product=printable(version.product) if version.product else None,
        version=f"{version.major}.{version.minor}",
        arch=_architecture(appliance, root) or versions.processor(own),
        hostname=facts.hostname(own),
        root=root.name,
        windows=Windows(
            id=version.id,
            build=version.build,
            release=printable(version.display) if version.display else None,
            patch=version.patch,
            edition=printable(version.edition) if version.edition else None,
            installation=version.installation,
            control_set=own.current,
            system_root=facts.system_root(own),
            timezone=facts.timezone(own),
            machine=facts.machine_uuid(own),
            drives=facts.drives(own),
        ),
    )


def _architecture(appliance: Appliance, root: Root) -> str | None:
    path = below(appliance, root.folder, _PROGRAM)
    if path is None or not appliance.g.is_file(path):
        return None  # compressed by Windows
    return versions.architecture(bytes(appliance.g.pread(path, versions.HEAD, 0)))


def stores(appliance: Appliance, devices: Sequence[Device]) -> list[tuple[str, str]]:
    """Return (device, path there) of the boot stores; nothing stays mounted.

    With UEFI it is on the ESP, else on the active partition, which may be a small one.
    """
    found: list[tuple[str, str]] = []
    for device in devices:
        if device.type in ("ntfs", "vfat"):
            with shown(appliance, device.name) as is_mounted:
                paths = _stores(appliance) if is_mounted else []
            found += [(device.name, path) for path in paths]
    return found


def _stores(appliance: Appliance) -> list[str]:
    """Return the boot stores of what is mounted; none, if it cannot be read."""
    try:
        paths = [below(appliance, "", path) for path in _STORES]
        return [path for path in paths if path and appliance.g.is_file(path)]
    except RuntimeError as e:
        log.warning("warning: a volume cannot be read: %s", printable(str(e)))
        return []


def mount(appliance: Appliance, root: Root, *, discard: bool = False) -> None:
    """Mount the volume of *root* at / to be written, and prove that it can be.

    ``discard``: what a hibernated system has in hiberfil.sys, or one that ran in its
    journal, is thrown away.  Raises GuestError if it cannot be written.
    """
    try:
        _mounted(appliance, root.device, "remove_hiberfile" if discard else "")
    except RuntimeError as e:
        if not discard or not _journal_emptied(appliance, root.device):
            raise _not_written(root, e) from e
        try:
            _mounted(appliance, root.device, "remove_hiberfile")
        except RuntimeError as again:
            raise _not_written(root, again) from again


def _mounted(appliance: Appliance, device: str, options: str) -> None:
    """Mount *device* at / and try to write to it."""
    if options:
        appliance.g.mount_options(options, device, "/")
    else:
        appliance.g.mount(device, "/")
    trial = f"/v2v-{uuid.uuid4().hex}"
    appliance.g.touch(trial)
    appliance.g.rm_f(trial)


def _journal_emptied(appliance: Appliance, device: str) -> bool:
    """Have ntfsfix empty the journal of *device*; return whether it is closed then.

    It fails for a volume that is hibernated, but only when that is done.
    """
    appliance.g.umount_all()
    try:
        appliance.g.ntfsfix(device)
    except RuntimeError as e:
        log.debug("%s: %s", device, e)
    left = volumes.ntfs(state.reader(appliance, device))
    return left is not None and not left.open


def _not_written(root: Root, e: RuntimeError) -> GuestError:
    return GuestError(
        f"{root.device}: the guest's volume cannot be written: hibernated, in use "
        f"or damaged ({printable(str(e))})",
        f"{_OFF}; for a damaged one run chkdsk /f first",
    )
