# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images that qemu reads: qcow2, VMDK, VHD, VHDX, VDI, and chains of VMDKs.

The format is the document's and never probed.  Before qemu sees a file we look into
it ourselves (v2v.formats): a VMDK descriptor or a qcow2 header may name other files
of the host, and qemu opens those even when the format is pinned (CVE-2022-47951).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from v2v import formats
from v2v.document import File, Layer
from v2v.errors import SourceError
from v2v.formats import Image
from v2v.mapping import kept, tables
from v2v.servers import Access, Graph, Node
from v2v.servers.file import joined, sectors, storage


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    top = File(path=address.path or "", format=address.format)
    if address.parts:
        parts = [_in_pieces(address, access)]
    else:
        part = (address.offset, address.length)
        parts = [_opened(top, access, write=write, part=part)]
    for file in address.backing:
        parts.append(_opened(file, access, write=False, part=(None, None)))
    inner = parts[-1].image
    if inner.differencing:
        raise SourceError(
            f"{address.path} holds only the differences to a parent disk"
            + (f" ({inner.parent})" if inner.parent else ""),
            "merge the snapshots or checkpoints on the source first",
        )
    for upper, lower in pairwise(parts):
        upper.bottom["backing"] = lower.top
    if parts[-1].bottom["driver"] in ("qcow2", "vmdk"):
        parts[-1].bottom["backing"] = None
    return Graph(node=parts[0].top)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """One file of a chain: its nodes, of which the ``bottom`` takes a backing file."""

    image: Image
    top: Node
    bottom: Node


def _opened(
    file: File, access: Access, *, write: bool, part: tuple[int | None, int | None]
) -> _Opened:
    path = access.checked(file.path)
    offset, length = part
    module = formats.load(file.format)
    image = module.examine(path, access.checked, offset or 0, length)
    if image.mapped:
        folder = kept.written(image.mapped, parent=image.differencing)
        top, bottom = tables.nodes(folder)
        return _Opened(image=image, top=top, bottom=bottom)
    protocol = storage(path, write=write)
    if length is not None:
        raw = {"driver": "raw", "offset": offset or 0, "size": sectors(length)}
        protocol = {**raw, "file": protocol, "read-only": not write}
    node: Node = {"driver": file.format, "file": protocol, "read-only": not write}
    node |= image.options
    return _Opened(image=image, top=node, bottom=node)


def _in_pieces(address: Layer, access: Access) -> _Opened:
    place, protocol = joined(address, access)
    image = formats.load(address.format).examine(place, access.checked)
    if image.mapped:
        raise SourceError(
            f"{place.path} is the first piece of an image that is not read in pieces",
            "join them first, with cat, in the order of their numbers",
        )
    node: Node = {"driver": address.format, "file": protocol, "read-only": True}
    node |= image.options
    return _Opened(image=image, top=node, bottom=node)
