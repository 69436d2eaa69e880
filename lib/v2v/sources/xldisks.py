# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk specifications of a Xen domain's configuration.

Sources: xl-disk-configuration(5) and libxlu_disk_l.l of Xen for xl; xm's older form
``phy:/dev/vg/lv,hda:cdrom,w`` has no format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from v2v.document import Bus, Disk, Finding, Format, Layer, Removable, disk_id
from v2v.sources import descriptions

_FORMATS: Mapping[str, Format] = {
    "": "raw",
    "raw": "raw",
    "aio": "raw",
    "qcow2": "qcow2",
    "vhd": "vpc",
}
_OTHER_FORMATS = ("qcow", "qed", "vmdk")
_VDEV = re.compile(
    r"(?:ioemu:)?((hd|sd|xvd|vd)([a-z]{1,3})([0-9]{0,3})|d([0-9]{1,5})(?:p([0-9]{1,3}))?)"
    r"(:cdrom|:disk)?"
)
_BUSES: Mapping[str, Bus] = {"hd": "ide", "sd": "scsi", "vd": "virtio"}
_KEYS = (
    *("format", "vdev", "access", "backendtype", "backend", "devtype", "script"),
    *("target", "discard", "direct-io-safe", "colo-host", "colo-port", "specification"),
)
# Words before a colon that say how the target is reached, and hold no place themselves.
_PREFIX = re.compile(r"(file|phy|tap2?|aio|raw|qcow2?|vhd|qed|sync|vdi):")
_ELSEWHERE = re.compile(r"(drbd|nbd|rbd|iscsi|gluster|sheepdog|https?|fcp):")


@dataclass(kw_only=True)
class Specification:
    """One entry of ``disk``: of ``vdev``, bus, number and partition."""

    target: str = ""
    format: str = ""
    vdev: str = ""
    access: str = ""
    cdrom: bool = False
    script: str = ""
    physical: bool = False

    @property
    def place(self) -> tuple[Bus, int, int | None]:
        """The bus, the number of the disk from 0 on, and the partition if it is one."""
        match = _VDEV.fullmatch(self.vdev)
        if not match:
            return "unknown", 0, None
        _, kind, letters, digits, number, part, _ = match.groups()
        if kind is None:
            return "xen", int(number), int(part) if part else None
        index = 0
        for letter in letters:
            index = index * 26 + ord(letter) - ord("a") + 1
        return _BUSES.get(kind, "xen"), index - 1, int(digits) if digits else None


def specification(text: str) -> Specification:
    """Return what the disk specification *text* says."""
    found = Specification()
    rest = _without_prefixes(text.strip(), found)
    fields = ["target"] if _PREFIX.match(text.strip()) else ["target", "format"]
    fields += ["vdev", "access"]
    while rest:
        key, equals, value = (part.strip() for part in rest.partition("="))
        if equals and key == "target":
            # It runs to the end, and may hold commas.
            found.target = _without_prefixes(value, found)
            break
        word, _, rest = rest.partition(",")
        _take(word.strip(), fields, found)
    _finish(found)
    return found


def _take(word: str, fields: list[str], found: Specification) -> None:
    """Take one field of a specification: by its name, or by its place."""
    key, equals, value = (part.strip() for part in word.partition("="))
    if equals and key in _KEYS:
        _set(found, key, value)
    elif word in ("cdrom", "discard", "no-discard", "direct-io-safe"):
        found.cdrom |= word == "cdrom"
    elif fields:
        # xm has no format: the place of it is a device's name.
        if fields[0] == "format" and _VDEV.fullmatch(word):
            fields.pop(0)
        _set(found, fields.pop(0), word)


def _set(found: Specification, key: str, value: str) -> None:
    if key == "devtype":
        found.cdrom |= value == "cdrom"
    elif key in ("format", "vdev", "access", "script", "target"):
        setattr(found, key, value)


def _without_prefixes(text: str, found: Specification) -> str:
    """Return *text* without tap:aio: and the like; a format among them is noted."""
    while match := _PREFIX.match(text):
        word = match[1]
        if word in _FORMATS or word in _OTHER_FORMATS or word == "vdi":
            found.format = word
        found.physical |= word == "phy"
        text = text[match.end() :]
    return text


def _finish(found: Specification) -> None:
    match = _VDEV.fullmatch(found.vdev)
    if match:
        found.cdrom |= match[7] == ":cdrom"
        found.vdev = match[1]
    if found.physical and found.target and not found.target.startswith("/"):
        found.target = f"/dev/{found.target}"


def ordered(texts: Iterator[str], path: Path) -> list[Specification]:
    """Return the specifications by the letters of their devices, as the guest sees
    them.  Raises SourceError if there are more than a machine can have."""
    found = list(texts)
    descriptions.limited(path, len(found))
    return sorted(map(specification, found), key=lambda s: s.place[1])


def disks(found: list[Specification]) -> Iterator[tuple[Disk, list[Finding]]]:
    """Yield each hard disk, and what cannot be had of it."""
    hard = [s for s in found if not s.cdrom]
    for index, spec in enumerate(hard):
        bus, _, partition = spec.place
        disk = Disk(
            id=disk_id(index),
            bus=bus,
            slot=spec.vdev or None,
            readonly=spec.access in ("r", "ro"),
            shared=spec.access == "w!",
        )
        reason = _unreadable(spec)
        if reason:
            yield disk, [descriptions.unreadable(disk, spec.target, *reason)]
            continue
        format = _FORMATS[spec.format.lower()]
        layer = Layer(
            server="file" if format == "raw" else "qemu",
            path=spec.target,
            format=format,
        )
        said = [_partition(disk, spec)] if partition is not None else []
        yield disk.having(source=layer), said


def _unreadable(spec: Specification) -> tuple[str, str] | None:
    """Return why *spec* cannot be read from here, and what to do; None if it can."""
    copied = "copy the disk into a file on the source, and name that"
    if not spec.target:
        return "it has no source", "name its file in the configuration"
    if _ELSEWHERE.match(spec.target) or spec.script:
        return "it is reached over a network or by a script", copied
    if spec.format.lower() not in _FORMATS:
        said = f"it is in the format {spec.format!r:.40}, which is not read here"
        return said, "convert it on the source: qemu-img convert -O qcow2"
    return None


def _partition(disk: Disk, spec: Specification) -> Finding:
    return Finding(
        code="disk-is-partition",
        severity="block",
        message=f"{disk.id}: {spec.target:.300} is given to the guest as the partition "
        f"{spec.vdev}; it has no partition table, and no firmware can start from it",
        remedy="put it into a partition of a whole disk on the source",
        disk=disk.id,
    )


def drives(found: list[Specification]) -> Iterator[Removable]:
    """Yield the CD drives, with the names of the media in them."""
    for spec in found:
        if spec.cdrom:
            yield Removable(
                type="cdrom",
                bus=spec.place[0],
                slot=spec.vdev or None,
                path=spec.target or None,
            )
