# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a Windows guest may be changed: how it ended, and what is locked.

A guest that is hibernated, or was only half shut down (Fast Startup), has more in its
memory than on its disk.  ntfs-3g calls all of that an "unsafe state"; here it is told
which it is, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from v2v.document import Finding, Severity
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device
from v2v.guests.windows import replay, volumes
from v2v.guests.windows.files import below, child
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.volumes import BitLocker, Read

FINDINGS = (
    *("windows-hibernated", "windows-fast-startup", "hive-replayed", "hive-dirty"),
    *("ntfs-dirty", "ntfs-not-closed", "bitlocker-locked", "disk-dynamic"),
)
Sleep = Literal["no", "fast-startup", "hibernated"]

_POWER = r"Control\Session Manager\Power"
_ASLEEP = (b"HIBR", b"hibr")
_PROFILES = ("users", "documents and settings")
_MAX_PROFILES = 50
_SHUT_DOWN = "start it on the source and shut it down whole: shutdown /s /f /t 0"
NOT_CLOSED = (
    "the NTFS was not closed (a snapshot of a running guest, a crash or Fast Startup): "
    "what is in its journal only would be lost"
)
_RECOVER = "start the guest on the source, let it check the disk, and shut it down"


def sleep(appliance: Appliance, registry: Registry | None) -> Sleep:
    """Return whether the guest, whose volume is mounted at /, is hibernated.

    *registry* is None where it cannot be read: then it counts as hibernated.
    """
    path = child(appliance, "", "hiberfil.sys")
    if path is None or not appliance.g.is_file(path):
        return "no"
    if not bytes(appliance.g.pread(path, 4, 0)).startswith(_ASLEEP):
        return "no"  # it was resumed, or never used
    if registry is None or not _shuts_down_fast(registry) or _in_session(appliance):
        return "hibernated"
    return "fast-startup"


def _shuts_down_fast(registry: Registry) -> bool:
    key = rf"{registry.current}\{_POWER}"
    return registry.system.number(key, "HiberbootEnabled") == 1


def _in_session(appliance: Appliance) -> bool:
    """Whether somebody is logged on: then their hive is in use, and so not clean."""
    for name in _PROFILES:
        folder = child(appliance, "", name)
        if folder is None or not appliance.g.is_dir(folder):
            continue
        for user in appliance.names(folder)[:_MAX_PROFILES]:
            own = f"{folder}/{user}"
            hive = below(appliance, own, "ntuser.dat")
            if hive is None or not appliance.g.is_file(hive):
                continue
            # Enough for its base block.
            head = bytes(appliance.g.pread(hive, 4096, 0))
            if replay.state(head) == "dirty":
                return True
    return False


def asleep(state: Sleep) -> Finding | None:
    """Return the finding for a guest that is not wholly off."""
    if state == "hibernated":
        return _finding(
            "windows-hibernated",
            "block",
            "the guest is hibernated: programs that run are in hiberfil.sys",
            f"{_SHUT_DOWN}; or give up what is open there with --discard-hibernation",
        )
    if state == "fast-startup":
        return _finding(
            "windows-fast-startup",
            "block",
            "the guest was shut down by Fast Startup, which hibernates the kernel",
            f"{_SHUT_DOWN}, or powercfg /h off before; "
            "or --discard-hibernation: nobody is logged on",
        )
    return None


def refuse_sleep(state: Sleep, *, discard: bool = False) -> None:
    """Raise GuestError unless the guest is off, or its memory is to be discarded."""
    found = asleep(state)
    if found and not discard:
        raise GuestError(found.message, found.remedy)


def reader(appliance: Appliance, device: str) -> Read:
    """Return what reads *device* of the appliance."""

    def read(at: int, size: int) -> bytes:
        try:
            return bytes(appliance.g.pread_device(device, size, at))
        except RuntimeError:
            return b""  # beyond its end, as what is broken may say

    return read


def volume_findings(
    appliance: Appliance, devices: Sequence[Device]
) -> Iterator[Finding]:
    """Yield what the volumes on *devices* say; nothing may be mounted before.

    ``ntfs-not-closed`` is the case of a snapshot of a guest that ran.
    """
    disks = {disk: b"" for disk in appliance.g.list_devices()}
    for disk in disks:
        disks[disk] = reader(appliance, disk)(0, 512)
    for device in devices:
        read = reader(appliance, device.name)
        if device.type == "ntfs":
            yield from _ntfs(device.name, volumes.ntfs(read))
        elif device.type in ("BitLocker", "unknown"):
            # libblkid does not know one whose first copy of the metadata is lost.
            found = volumes.bitlocker(read)
            if found or device.type == "BitLocker":
                yield locked(device.name, found or BitLocker())
    dynamic = {d.name for d in devices if d.partition_type in volumes.LDM_GPT}
    dynamic |= {disk for disk, head in disks.items() if volumes.is_dynamic(head)}
    if dynamic:
        yield _finding(
            "disk-dynamic",
            "warn",
            f"{', '.join(sorted(dynamic)[:10])}: dynamic disks (LDM); volumes that "
            "span or mirror disks are not looked into",
            "make a basic disk of the one with the system, if it is there",
        )


def _ntfs(device: str, found: volumes.Ntfs | None) -> Iterator[Finding]:
    if found and found.open:
        yield _finding(
            "ntfs-not-closed",
            "warn",
            f"{device}: {NOT_CLOSED}",
            _RECOVER,
        )
    if found and found.dirty:
        yield _finding(
            "ntfs-dirty",
            "warn",
            f"{device}: the NTFS is marked to be checked; Windows does when it starts",
            _RECOVER,
        )


def locked(device: str, found: BitLocker) -> Finding:
    """Return the finding for a volume of BitLocker that was not opened."""
    means = ", ".join(found.protectors) or "unknown"
    if "clear key" in found.protectors:
        message = f"{device}: encrypted by BitLocker, whose protection is suspended"
        remedy = "decrypt it on the source (manage-bde -off); its key lies in the clear"
    elif found.partial:
        message = f"{device}: BitLocker is at work, encrypting or decrypting it"
        remedy = "wait on the source until manage-bde -status says that it is done"
    elif {"recovery password", "password"} & set(found.protectors):
        message = f"{device}: encrypted by BitLocker ({means})"
        remedy = (
            "give the recovery password with --key, or decrypt it on the source "
            "(manage-bde -off); have that password at hand for the first boot"
        )
    else:
        message = f"{device}: encrypted by BitLocker, with no password ({means})"
        remedy = (
            "the TPM stays behind: on the source add a recovery password "
            "(manage-bde -protectors -add -recoverypassword), or decrypt it"
        )
    return _finding("bitlocker-locked", "warn", message, remedy)


def completed(
    name: str, primary: bytes, logs: Callable[[], Sequence[bytes]], *, force: bool
) -> tuple[bytes, Finding | None]:
    """Return hive *name*, with what its *logs* add if it was in use, and what was done.

    ``force``: a hive that cannot be completed is taken as it is.  Raises GuestError if
    it is no hive, or cannot be completed.
    """
    state = replay.state(primary)
    if state == "broken":
        raise GuestError(
            f"the guest's {name} is no registry hive",
            "see that the guest starts on the source, and shut it down there",
        )
    if state == "clean":
        return primary, None
    try:
        done = replay.replayed(primary, logs())
    except GuestError as e:
        if not force:
            raise GuestError(
                f"the guest's {name} hive was in use, and {e.message}",
                f"{e.remedy}; or lose what is missing with --force-dirty-hive",
            ) from e
        message = (
            f"the {name} hive was in use, and {e.message}: what is missing is lost"
        )
        return primary, _finding("hive-dirty", "warn", message, e.remedy)
    return done, _finding(
        "hive-replayed",
        "info",
        f"the {name} hive was in use; it is completed from its logs, as Windows does",
        "shut the guest down on the source, to be sure that nothing is lost",
    )


def _finding(code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=severity, message=message, remedy=remedy)
