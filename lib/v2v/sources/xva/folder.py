# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of XenServer before version 4: a folder with ova.xml and packed pieces.

Each disk is a folder of its own with chunk-000000000.gz, chunk-000000001.gz …, which
together are the disk (XenServer's "XVA format, version 0.1").  Each piece is unpacked
once (v2v.views), and they are read as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from v2v import paths, views
from v2v.document import VM, Chunk, Disk, Finding, Layer, Source, disk_id
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE
from v2v.mapping import strung
from v2v.ovf import text
from v2v.ovf.text import Element, attribute, children, content
from v2v.sources import descriptions, new_id
from v2v.views import unpacking

NAME = "ova.xml"
_ROOTS = ("appliance", "value")
_KIND = text.Kind(
    root="appliance",
    what="export of XenServer",
    remedy="name the .xva, or the folder with the old export's ova.xml",
)
_DEFAULT_MEMORY = 256 * descriptions.MIB
_CHUNK = re.compile(r"chunk-[0-9]{9}\.gz")
_AGAIN = "copy the whole folder of the export again, with all its pieces"
_DEVICE = re.compile(r"(?:/dev/)?(?:xv|s|h)d([a-z])([0-9]{0,2})")


def claims(path: Path) -> bool:
    """Whether *path* is the ova.xml of an export that is no archive."""
    if path.name.lower() != NAME:
        return False
    return text.root_name(descriptions.head(path)) in _ROOTS


def read(path: Path) -> Iterator[VM]:
    """Yield the VMs that the ova.xml *path* describes.

    Raises SourceError if it is none, or that of an archive that was unpacked.
    """
    data = descriptions.content(path, text.MAX_SIZE, _KIND.what)
    if text.root_name(data) == "value":
        raise SourceError(
            f"{path} is the description of an .xva, taken out of it",
            "name the .xva itself; it is read in place",
        )
    root, _ = text.tree(data, str(path), _KIND)
    machines = list(children(root, "vm"))
    if not machines:
        raise SourceError(f"{path} describes no VM", _KIND.remedy)
    descriptions.limited(path, len(machines), "machines")
    images = {attribute(image, "name"): image for image in children(root, "vdi")}
    for machine in machines:
        yield paths.granted(_machine(machine, images, path), path.parent)


def _machine(machine: Element, images: dict[str, Element], path: Path) -> VM:
    config = next(children(machine, "config"), machine)
    hacks = next(children(machine, "hacks"), machine)
    size = descriptions.number(attribute(config, "mem_set"))
    memory = descriptions.memory(size, 1)
    vcpus = descriptions.processors(descriptions.number(attribute(config, "vcpus")))
    given = content(machine, "label") or attribute(machine, "name")
    found = list(_disks(machine, images, path))
    findings = [finding for _, told in found for finding in told]
    if memory is None:
        findings.append(descriptions.memory_unknown("256 MiB"))
    if vcpus is None:
        findings.append(descriptions.vcpus_unknown())
    return VM(
        id=new_id(),
        name=descriptions.name(given, path.parent.name),
        description=content(machine, "shortdesc") or None,
        memory=memory or _DEFAULT_MEMORY,
        vcpus=vcpus or 1,
        # A paravirtual Xen guest has none: its disks decide.
        firmware_known=attribute(hacks, "is_hvm").lower() in ("true", "1"),
        disks=tuple(disk for disk, _ in found),
        source=Source(kind="xva", location=str(path), hw_version="xva-0.1"),
        findings=tuple(findings),
    )


def _disks(
    machine: Element, images: dict[str, Element], path: Path
) -> Iterator[tuple[Disk, list[Finding]]]:
    """Yield each disk, in the order of the file, and why it cannot be had as it is."""
    found = list(children(machine, "vbd"))
    descriptions.limited(path, len(found))
    for index, drive in enumerate(found):
        device = attribute(drive, "device")
        image = images.get(attribute(drive, "vdi"))
        size = descriptions.number(attribute(image, "size")) if image is not None else 0
        disk = Disk(
            id=disk_id(index),
            bus="xen",
            slot=device or None,
            boot=1 if attribute(drive, "function") == "root" else None,
            size=size if size and size <= MAX_SIZE else None,
            readonly=attribute(drive, "mode") == "r",
        )
        source = attribute(image, "source") if image is not None else ""
        disk, told = _joined(disk, source, path)
        yield disk, [*told, *_partition(disk, device)]


def _joined(disk: Disk, source: str, path: Path) -> tuple[Disk, list[Finding]]:
    """Return *disk* with the pieces at *source*, or a finding why it cannot be had."""
    name = source.removeprefix("file://").strip("/")
    try:
        chunks = _chunks(path, name)
    except SourceError as e:
        what = name or "a disk without an image"
        return disk, [descriptions.unreadable(disk, what, e.message, e.remedy)]
    total = sum(chunk.length for chunk in chunks)
    size = disk.size or total
    if total < size:
        reason = f"its {len(chunks)} pieces hold {total} of {size} bytes"
        return disk, [descriptions.unreadable(disk, name, reason, _AGAIN)]
    layer = Layer(server="file", path=chunks[0].path, parts=chunks)
    return disk.having(source=layer, size=total), _larger(disk, total, size)


def _larger(disk: Disk, total: int, size: int) -> list[Finding]:
    if total == size:
        return []
    return [
        Finding(
            code="capacity-differs",
            severity="info",
            message=f"{disk.id}: its pieces hold {total} bytes, and the description "
            f"says {size}; all are taken",
            disk=disk.id,
        )
    ]


def _chunks(path: Path, name: str) -> tuple[Chunk, ...]:
    """Return the pieces in the folder *name* beside *path*, in order, unpacked.

    Raises SourceError if one is missing or damaged, or all hold too much.
    """
    if not re.fullmatch(r"[\w][\w.-]{0,99}", name, re.ASCII):
        raise SourceError(f"{name!r:.300} is no folder beside {path.name}", _AGAIN)
    found = []
    most, total = views.limits.most or MAX_SIZE, 0
    for number, file in enumerate(_files(path.parent / name)):
        if number >= strung.MAX_PIECES:
            raise SourceError(f"it has more than {strung.MAX_PIECES} pieces", _AGAIN)
        if file.name != f"chunk-{number:09}.gz":
            raise SourceError(f"its piece chunk-{number:09}.gz is missing", _AGAIN)
        real = paths.checked(file, [path.parent.resolve()])
        if not real.is_file():
            raise SourceError(f"its piece {file} is no file", _AGAIN)
        plain = Path(views.source(str(real)))
        length = plain.stat().st_size
        total += length
        if total > most:
            raise unpacking.too_large(file.parent, most)
        found.append(Chunk(path=str(plain), length=length))
    if not total:
        raise SourceError(f"there are no pieces of it in {path.parent / name}", _AGAIN)
    return tuple(found)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(f for f in folder.iterdir() if _CHUNK.fullmatch(f.name))
    except OSError as e:
        raise SourceError(f"{folder}: {e.strerror}", _AGAIN) from e


def _partition(disk: Disk, device: str) -> list[Finding]:
    match = _DEVICE.fullmatch(device)
    if not match or not match[2]:
        return []
    return [
        Finding(
            code="disk-is-partition",
            severity="block",
            message=f"{disk.id}: Xen gives it to the guest as the partition {device}, "
            "without a partition table",
            remedy="put it into a partition of a whole disk (sfdisk, dd)",
            disk=disk.id,
        )
    ]
