# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMDK in an archive that is a list of other members, with the disk's plain bytes.

qemu looks for them beside the list, as files.  But plain bytes are read where they lie,
as an image in pieces.
"""

from __future__ import annotations

from v2v import formats
from v2v.errors import SourceError
from v2v.formats import Part, vmdk
from v2v.formats.vmdk import Extent
from v2v.mapping import strung
from v2v.ovf.envelope import FileRef
from v2v.ovf.package import Package

_PLAIN = ("FLAT", "VMFS")


def joined(file: FileRef, descriptor: Part, package: Package) -> Part | None:
    """Return the raw disk that *descriptor*, which is *file*, strings together.

    None if that is a delta, or its members are no plain bytes.  Raises MissingError or
    RefusedError for one that cannot be had, SourceError for one that is cut off.
    """
    found = vmdk.descriptor(descriptor)
    is_plain = all(extent.type in _PLAIN for extent in found.extents)
    if found.parent_cid != vmdk.NONE or not is_plain:
        return None
    strung.check_count(descriptor.path, len(found.extents))
    formats.checked_size(descriptor.path, found.size)
    folder = file.href.replace("\\", "/").rpartition("/")[0]
    parts = [_part(extent, folder, package) for extent in found.extents]
    return formats.strung(parts)


def _part(extent: Extent, folder: str, package: Package) -> Part:
    member = package.find(f"{folder}/{extent.name}" if folder else extent.name)
    start, length = extent.offset * vmdk.SECTOR, extent.sectors * vmdk.SECTOR
    if start + length > member.length:
        raise SourceError(
            f"{extent.name:.300} has {member.length} bytes, and the list of the disk's "
            f"parts says {start + length}",
            "copy or export the OVA again: it is not whole",
        )
    return Part(path=member.path, offset=member.offset + start, length=length)
