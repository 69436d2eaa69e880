# SPDX-License-Identifier: GPL-2.0-or-later
"""What an OVF says of all its VMs: files, disks, configurations and properties."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from v2v.errors import SourceError
from v2v.formats import MAX_SIZE
from v2v.ovf import units
from v2v.ovf.text import Element, attribute, children, content, kind

# More than any package of real machines has.
_MAX_SYSTEMS = 1000
_MAX_ENTRIES = 10_000
_PROPERTY = re.compile(r"\$\{([^}]{1,200})\}")
_HOST_RESOURCE = re.compile(r"(?:ovf:)?/{0,2}(disk|file)/(.+)")


@dataclass(frozen=True, kw_only=True)
class FileRef:
    """A file of the package, ``size`` in bytes as the OVF has it."""

    id: str
    href: str
    size: int | None = None
    compression: str = ""
    # The length in bytes of the pieces that it is stored in; 0 if that is no number.
    chunk_size: int | None = None

    @property
    def chunked(self) -> bool:
        """Whether the OVF says that it is stored in pieces."""
        return self.chunk_size is not None


@dataclass(frozen=True, kw_only=True)
class DiskRef:
    """A disk of the package.  Without a file it is blank."""

    id: str
    file: FileRef | None = None
    capacity: str = ""
    units: str = ""
    format: str = ""
    # oVirt: RAW or COW, and this holds, not the format.
    volume_format: str = ""
    parent: str = ""
    # oVirt: VirtIO, VirtIO_SCSI, IDE or SATA.
    interface: str = ""
    boot: bool = False


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """An OVF; ``configuration`` is the deployment option that is taken."""

    files: Mapping[str, FileRef]
    disks: Mapping[str, DiskRef]
    configurations: tuple[str, ...]
    configuration: str
    systems: tuple[Element, ...]
    # Disks by the id and by the href of their file; files by their href.
    by_file: Mapping[str, DiskRef]
    by_href: Mapping[str, FileRef]


def read(root: Element, name: str, option: str = "") -> Envelope:
    """Return what the OVF *root* says; *option* is the deployment option to take.

    Raises SourceError, which calls the file *name*, if it describes no VM, or has no
    such option.
    """
    systems = tuple(_systems(root))
    if not systems:
        raise SourceError(
            f"{name} describes no VM", "export the VM or vApp again, with its hardware"
        )
    files = {file.id: file for file in _files(root)}
    disks = {disk.id: disk for disk in _disks(root, files)}
    if len(systems) > _MAX_SYSTEMS or max(len(files), len(disks)) > _MAX_ENTRIES:
        raise _too_many(f"{name} describes more VMs, files or disks than any package")
    options = [
        (attribute(choice, "id"), attribute(choice, "default"))
        for section in children(root, "DeploymentOptionSection")
        for choice in children(section, "Configuration")
    ]
    names = tuple(label for label, _ in options)
    default = [label for label, flag in options if flag.lower() in ("true", "1")]
    if option and option not in names:
        shown = ", ".join(names[:20])
        raise SourceError(
            f"{name} has no deployment option {option!r:.100}",
            f"one of: {shown:.1000}" if names else "leave --deployment-option out",
        )
    return Envelope(
        files=files,
        disks=disks,
        configurations=names,
        configuration=option or next(iter((*default, *names)), ""),
        systems=systems,
        by_file=_by_file(disks.values()),
        by_href={file.href: file for file in files.values()},
    )


def _too_many(message: str) -> SourceError:
    return SourceError(message, "do not trust this file; export the VM again")


def _systems(element: Element) -> Iterator[Element]:
    """Yield the VMs of *element* and of the collections in it."""
    for child in children(element, "VirtualSystem", "VirtualSystemCollection"):
        if kind(child) == "VirtualSystem":
            yield child
        else:
            yield from _systems(child)


def _by_file(disks: Iterable[DiskRef]) -> dict[str, DiskRef]:
    """Return *disks* by their files; of two disks of one file the first."""
    found: dict[str, DiskRef] = {}
    for disk in disks:
        for name in (disk.file.id, disk.file.href) if disk.file else ():
            found.setdefault(name, disk)
    return found


def _files(root: Element) -> Iterator[FileRef]:
    for section in children(root, "References"):
        for file in children(section, "File"):
            yield FileRef(
                id=attribute(file, "id"),
                href=attribute(file, "href"),
                size=units.number(attribute(file, "size")),
                compression=attribute(file, "compression").lower(),
                chunk_size=_chunk_size(attribute(file, "chunkSize")),
            )


def _chunk_size(text: str) -> int | None:
    return (units.number(text) or 0) if text else None


def _disks(root: Element, files: Mapping[str, FileRef]) -> Iterator[DiskRef]:
    # In oVirt's OVF fileRef is the href.
    by_href = {file.href: file for file in files.values()}
    for section in children(root, "DiskSection"):
        for disk in children(section, "Disk"):
            ref = attribute(disk, "fileRef")
            file = files.get(ref) or by_href.get(ref)
            if ref and not file:
                # It names a file all the same: this disk is not blank.
                file = FileRef(id=ref, href=ref)
            bootable = attribute(disk, "boot") or attribute(disk, "isBootable")
            capacity = attribute(disk, "capacity")
            # oVirt has size, in GiB, and no capacity.
            unit = attribute(disk, "capacityAllocationUnits") if capacity else "GB"
            yield DiskRef(
                id=attribute(disk, "diskId"),
                file=file,
                capacity=capacity or attribute(disk, "size"),
                units=unit,
                format=attribute(disk, "format"),
                volume_format=attribute(disk, "volume-format"),
                parent=attribute(disk, "parentRef"),
                interface=attribute(disk, "disk-interface"),
                boot=bootable.lower() == "true",
            )


def disk_of(envelope: Envelope, resource: str, item_id: str) -> DiskRef | None:
    """Return the disk that the HostResource *resource* of item *item_id* means.

    A file that no disk is made of counts as a disk of which nothing else is known.
    None if there is no such disk or file.
    """
    match = _HOST_RESOURCE.fullmatch(resource)
    place, name = (match[1], match[2]) if match else ("", resource)
    if place != "file" and name in envelope.disks:
        return envelope.disks[name]
    if name and name in envelope.by_file:
        return envelope.by_file[name]
    if file := file_of(envelope, resource):
        return DiskRef(id=file.id, file=file)
    return envelope.disks.get(item_id)


def file_of(envelope: Envelope, resource: str) -> FileRef | None:
    """Return the file that the HostResource *resource* means; None if there is none."""
    match = _HOST_RESOURCE.fullmatch(resource)
    name = match[2] if match else resource
    if not name:
        return None
    return envelope.files.get(name) or envelope.by_href.get(name)


def properties(system: Element, configuration: str) -> dict[str, str]:
    """Return the properties that hold for *system* in *configuration*.

    Those of the VM itself go before those of the collections around it.  Raises
    SourceError if there are more than any package has.
    """
    found: dict[str, str] = {}
    count = 0
    for place in (system, *system.iterancestors()):
        for section in children(place, "ProductSection"):
            for entry in children(section, "Property"):
                count += 1
                if count > _MAX_ENTRIES:
                    raise _too_many("the OVF has more properties than any package")
                labels = attribute(entry, "configuration").split()
                if not labels or configuration in labels:
                    value = _value(entry, configuration)
                    found.setdefault(attribute(entry, "key"), value)
    return found


def _value(entry: Element, configuration: str) -> str:
    for value in children(entry, "Value"):
        if attribute(value, "configuration") == configuration:
            return attribute(value, "value")
    return attribute(entry, "value") or content(entry, "Value")


def capacity(disk: DiskRef, known: Mapping[str, str]) -> int | None:
    """Return the capacity of *disk* in bytes; *known* are the properties.

    None if it is not given, or no disk has such a size.
    """
    quantity = disk.capacity.strip()
    if match := _PROPERTY.fullmatch(quantity):
        quantity = known.get(match[1], "")
    return units.size(quantity, disk.units, default=1, largest=MAX_SIZE)
