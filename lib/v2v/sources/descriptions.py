# SPDX-License-Identifier: GPL-2.0-or-later
"""What readers of descriptions share: bounded reading, values that a VM can have."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from v2v.document import Disk, Finding, Removable
from v2v.errors import SourceError

MIB = 2**20
_HEAD = 64 * 2**10
_MAX_MEMORY = 2**50
_MAX_VCPUS = 4096
# No hypervisor gives a machine more; a hostile description does.
_MAX_DISKS = 512
_MAX_TOLD = 64
_NUMBER = re.compile(r"\s*(?:0[xX]([0-9a-fA-F]{1,15})|([0-9]{1,18}))\s*")


def content(path: Path, largest: int, what: str) -> bytes:
    """Return what the file *path* holds, at most *largest* bytes.

    Raises SourceError, which says that it is too large for *what*, or unreadable.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "not a path"
        raise SourceError(f"{path}: {reason}", "check the path") from e
    if len(data) > largest:
        raise SourceError(f"{path} is too large for {what}", "check the path")
    return data


def head(location: str | Path, count: int = _HEAD) -> bytes:
    """Return how the regular file *location* begins; nothing if it cannot be read."""
    path = Path(location)
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError):
        return b""


def name(given: str, otherwise: str) -> str:
    """Return the name of a VM: *given*, or else *otherwise*, as a document has it."""
    plain = given.replace("\0", "").strip() or otherwise
    return plain.encode("utf-8", "replace").decode()[:255] or "unnamed"


def uuid_of(word: str) -> str | None:
    """Return *word* as a UUID; None if it is none, or the one of all zeroes."""
    try:
        found = uuid.UUID(word)
    except ValueError:
        return None
    return str(found) if found.int else None


def number(word: str | None) -> int | None:
    """Return *word*, decimal or with 0x, as a number that fits a size; else None."""
    match = _NUMBER.fullmatch(word or "")
    if not match:
        return None
    return int(match[1], 16) if match[1] else int(match[2])


def memory(count: int | None, unit: int = MIB) -> int | None:
    """Return *count* of *unit* in bytes; None if no machine has so much, or none."""
    size = (count or 0) * unit
    return size if 0 < size <= _MAX_MEMORY else None


def processors(count: int | None) -> int | None:
    """Return *count* if a machine can have as many; else None."""
    return count if count and 0 < count <= _MAX_VCPUS else None


def caution(code: str, message: str, remedy: str = "") -> Finding:
    """Return a finding of severity ``warn``."""
    return Finding(code=code, severity="warn", message=message, remedy=remedy)


def memory_unknown(taken: str) -> Finding:
    """Return the finding that no memory size can be used, and what is *taken*."""
    return caution("memory-unknown", f"no usable memory size; {taken} taken")


def vcpus_unknown() -> Finding:
    """Return the finding that no number of processors can be used."""
    return caution("vcpus-unknown", "no usable number of processors; one taken")


def memory_dynamic(range_: str, taken: str) -> Finding:
    """Return the finding that the host gave and took memory as it liked."""
    return caution(
        "memory-dynamic",
        f"its memory was {range_}, as the host had it; it gets {taken} it starts with",
        "give the new VM more if the guest needs it",
    )


def nvram_lost(where: str) -> Finding:
    """Return the finding that what the firmware kept stays behind; *where* it is."""
    return Finding(
        code="nvram-lost",
        severity="info",
        message=f"boot entries and keys that the firmware knew stay behind: {where}",
    )


def numa_lost() -> Finding:
    """Return the finding that there were several NUMA cells."""
    return Finding(
        code="numa-lost",
        severity="info",
        message="the memory is divided into NUMA cells, and will be in one",
    )


def tpm_lost() -> Finding:
    """Return the finding that the machine has a TPM, whose content is the host's."""
    return caution(
        "tpm-state-lost",
        "the TPM's secrets stay behind",
        "have the recovery keys of encrypted disks at hand",
    )


def unreadable(disk: Disk, what: str, reason: str, remedy: str) -> Finding:
    """Return the finding that *disk*, the source's *what*, cannot be had."""
    return Finding(
        code="disk-missing",
        severity="block",
        message=f"{disk.id} ({what:.300}) cannot be read: {reason}",
        remedy=remedy,
        disk=disk.id,
    )


def encrypted(disk: Disk, what: str, remedy: str) -> Finding:
    """Return the finding that the hypervisor encrypts *disk*."""
    return Finding(
        code="disk-encrypted",
        severity="block",
        message=f"{disk.id}: {what:.300} is encrypted by the source's host",
        remedy=remedy,
        disk=disk.id,
    )


def mac_made(card: str) -> Finding:
    """Return the finding that network card *card* has an address of ours."""
    return Finding(
        code="mac-made",
        severity="info",
        message=f"{card:.60} has no MAC address that a card can have; it is given one",
    )


def unattached(card: str, why: str) -> Finding:
    """Return the finding that network card *card* is on no network, and *why*."""
    return caution("nic-unattached", f"{card:.60} {why}", "say where it goes with -n")


def medium_lost(drives: Sequence[Removable]) -> list[Finding]:
    """Return a finding for each of *drives* that has a medium in it, which stays."""
    return [
        Finding(
            code="medium-lost",
            severity="info",
            message=f"the medium in drive {drive.slot or drive.type}, "
            f"{drive.path:.200}, is not copied",
        )
        for drive in drives[:_MAX_TOLD]
        if drive.path
    ]


def settings_lost(names: Sequence[str], where: str) -> list[Finding]:
    """Return a finding if settings *names* of *where* have no counterpart in KVM."""
    if not names:
        return []
    shown = ", ".join(f"{name:.60}" for name in names[:20])
    return [
        Finding(
            code="settings-lost",
            severity="info",
            message=f"settings of {where} that are not taken over: {shown}"
            + (" …" if len(names) > 20 else ""),
        )
    ]


def devices_lost(names: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding for each of the devices *names*, of which there are too many to
    tell them all in a hostile description."""
    for name in islice(names, _MAX_TOLD):
        yield caution("device-lost", f"{name:.100} cannot be taken over")


def bus_unknown(disk: Disk, what: str) -> Finding:
    """Return the finding that the controller of *disk*, called *what*, is not known."""
    return Finding(
        code="bus-unknown",
        severity="warn",
        message=f"{disk.id} is plugged into {what:.60}, which is not known",
        remedy="see that the guest finds the disk, if it stays on an emulated "
        "controller",
        disk=disk.id,
    )


def snapshots(names: Sequence[str]) -> list[Finding]:
    """Return a finding if there are snapshots, called *names*; they stay behind."""
    if not names:
        return []
    shown = ", ".join(f"{name:.60}" for name in names[:5])
    text = f"{len(names)} snapshots stay behind: {shown}"
    return [
        caution(
            "snapshots-dropped",
            text + (" …" if len(names) > 5 else ""),
            "keep the source if you may want to go back to one of them",
        )
    ]


def suspended() -> Finding:
    """Return the finding that the machine's memory is in a file of the hypervisor."""
    return Finding(
        code="suspended",
        severity="block",
        message="the VM is suspended; its memory cannot be taken over",
        remedy="resume and shut it down, or accept the loss: --allow suspended",
    )


def limited(
    path: Path | str, count: int, what: str = "disks", most: int = _MAX_DISKS
) -> None:
    """Raise SourceError if *path* describes more disks (or *what*) than can be."""
    if count > most:
        raise SourceError(
            f"{path} describes {count} {what}, more than any machine has",
            "do not trust this file; copy it again from the source",
        )
