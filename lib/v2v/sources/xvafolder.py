# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of XenServer before version 4: a folder with ova.xml and packed pieces.

Each disk is a folder of its own with chunk-000000000.gz, chunk-000000001.gz …, which
together are the disk (XenServer's "XVA format, version 0.1").  The machine is
described; its disks are to be joined first.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from v2v.document import VM, Disk, Finding, Source, disk_id
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE
from v2v.ovf import text
from v2v.ovf.text import Element, attribute, children, content
from v2v.sources import descriptions, new_id

NAME = "ova.xml"
_ROOTS = ("appliance", "value")
_KIND = text.Kind(
    root="appliance",
    what="export of XenServer",
    remedy="name the .xva, or the folder with the old export's ova.xml",
)
_DEFAULT_MEMORY = 256 * descriptions.MIB
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
        yield _machine(machine, images, path)


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
        yield disk, [_unjoined(disk, source, path), *_partition(disk, device)]


def _unjoined(disk: Disk, source: str, path: Path) -> Finding:
    """Return the finding how to make one file of the pieces at *source*."""
    name = source.removeprefix("file://").strip("/")
    plain = re.fullmatch(r"[\w][\w.-]{0,99}", name, re.ASCII)
    folder = str(path.parent / name) if plain else "DISK'S-FOLDER"
    return descriptions.unreadable(
        disk,
        name or "a disk without an image",
        "it is cut into packed pieces of 1 GB",
        f"join them: zcat {shlex.quote(folder)}/chunk-*.gz > {disk.id}.img; then take "
        f"{disk.id}.img as the source, with --input-format raw",
    )


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
