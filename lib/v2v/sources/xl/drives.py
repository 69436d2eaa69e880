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
    "vmdk": "vmdk",
    "vdi": "vdi",
}
_OTHER_FORMATS = ("qcow", "qed")
_VDEV = re.compile(
    r"(?:ioemu:)?(?:/dev/)?"
    r"((hd|sd|xvd|vd)([a-z]{1,3})([0-9]{0,3})|d([0-9]{1,5})(?:p([0-9]{1,3}))?"
    r"|(0[xX][0-9a-fA-F]{1,8}|[1-9][0-9]{2,9}))"
    r"(:cdrom|:disk)?"
)
# The numbers of Linux's devices, which Xen took over: of a major number the kind,
# how many bits the partition has, and which disk is its first (xen-vbd-interface(7)).
_MAJORS: Mapping[int, tuple[Bus, int, int]] = {
    3: ("ide", 6, 0),
    8: ("scsi", 4, 0),
    22: ("ide", 6, 2),
    202: ("xen", 4, 0),
}
_EXTENDED = 1 << 28
_LAST = 1 << 30
_BUSES: Mapping[str, Bus] = {"hd": "ide", "sd": "scsi", "vd": "virtio"}
_KEYS = (
    *("format", "vdev", "access", "backendtype", "backend", "devtype", "script"),
    *("target", "discard", "direct-io-safe", "colo-host", "colo-port", "specification"),
)
# Words before a colon that say how the target is reached, and hold no place themselves.
_PREFIX = re.compile(
    r"(file|phy|tap2?|tapdisk|ioemu|aio|raw|qcow2?|vhd|qed|sync|vdi|vmdk):"
)
_ELSEWHERE = re.compile(r"(drbd|e?nbd|rbd|iscsi|gluster|sheepdog|https?|fcp):")


@dataclass(kw_only=True)
class Specification:
    """One entry of ``disk``: of ``vdev``, bus, number and partition."""

    target: str = ""
    format: str = ""
    vdev: str = ""
    access: str = ""
    cdrom: bool = False
    script: str = ""
    backend: str = ""
    physical: bool = False

    @property
    def place(self) -> tuple[Bus, int, int | None]:
        """The bus, the number of the disk from 0 on, and the partition if it is one."""
        match = _VDEV.fullmatch(self.vdev)
        if not match:
            return "unknown", _LAST, None
        _, kind, letters, digits, number, part, plain, _ = match.groups()
        if plain:
            return _numbered(int(plain, 0))
        if kind is None:
            return "xen", int(number), int(part) if part else None
        index = 0
        for letter in letters:
            index = index * 26 + ord(letter) - ord("a") + 1
        return _BUSES.get(kind, "xen"), index - 1, int(digits) if digits else None


def _numbered(device: int) -> tuple[Bus, int, int | None]:
    """Return bus, number and partition of the disk that Xen knows as *device*."""
    if device & _EXTENDED:
        return "xen", (device & ~_EXTENDED) >> 8, device & 0xFF or None
    major, minor = divmod(device, 256)
    if major not in _MAJORS:
        return "unknown", _LAST, None
    bus, bits, first = _MAJORS[major]
    return bus, first + (minor >> bits), minor & (1 << bits) - 1 or None


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
    elif fields and fields[0] == "target":
        if _PREFIX.match(word) and "format" in fields:
            fields.remove("format")
        found.target = _without_prefixes(word, found)
        fields.pop(0)
    elif fields:
        # xm has no format: the place of it is a device's name.
        if fields[0] == "format" and _VDEV.fullmatch(word):
            fields.pop(0)
        _set(found, fields.pop(0), word)


def _set(found: Specification, key: str, value: str) -> None:
    if key == "devtype":
        found.cdrom |= value == "cdrom"
    elif key in ("format", "vdev", "access", "script", "target", "backend"):
        setattr(found, key, value)


def _without_prefixes(text: str, found: Specification) -> str:
    """Return *text* without tap:aio: and the like; a format among them is noted."""
    while match := _PREFIX.match(text):
        word = match[1]
        if word in _FORMATS or word in _OTHER_FORMATS:
            found.format = word
        found.physical |= word == "phy"
        text = text[match.end() :]
    return text


def _finish(found: Specification) -> None:
    match = _VDEV.fullmatch(found.vdev)
    if match:
        found.cdrom |= match[8] == ":cdrom"
        found.vdev = match[1]
    if found.format.lower() == "empty":
        found.format = found.target = ""
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
        if bus == "unknown":
            said.append(descriptions.bus_unknown(disk, f"{spec.vdev!r:.40}"))
        yield disk.having(source=layer), said


def _unreadable(spec: Specification) -> tuple[str, str] | None:
    """Return why *spec* cannot be read from here, and what to do; None if it can."""
    copied = "copy the disk into a file on the source, and name that"
    if not spec.target:
        return "it has no source", "name its file in the configuration"
    if _ELSEWHERE.match(spec.target) or spec.script:
        return "it is reached over a network or by a script", copied
    if spec.backend not in ("", "0", "Domain-0", "dom0"):
        return f"another domain, {spec.backend:.60}, has it", copied
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
