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
from v2v.document import File, Format, Layer
from v2v.errors import SourceError
from v2v.formats import Image, Part, qcow2
from v2v.mapping import kept, laid, tables
from v2v.servers import Access, Graph, Node
from v2v.servers.file import joined, sectors, storage, with_start


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    top = File(
        path=address.path or "",
        format=address.format,
        offset=address.offset,
        length=address.length,
        parts=address.parts,
    )
    chain = [_opened(top, access, write=write)]
    chain += [_opened(file, access, write=False) for file in address.backing]
    inner = chain[-1].image
    if inner.differencing:
        raise SourceError(
            f"{address.path} holds only the differences to a parent disk"
            + (f" ({inner.parent})" if inner.parent else ""),
            "merge the snapshots or checkpoints on the source first",
        )
    for upper, lower in pairwise(chain):
        _lay(upper, lower)
    if chain[-1].bottom["driver"] in ("qcow2", "vmdk"):
        chain[-1].bottom["backing"] = None
    return Graph(node=chain[0].top)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """One file of a chain: its nodes, of which the ``bottom`` takes a backing file."""

    place: Part
    format: Format
    image: Image
    top: Node
    bottom: Node


def _opened(file: File, access: Access, *, write: bool) -> _Opened:
    if file.parts:
        return _in_pieces(file, access)
    path = access.checked(file.path)
    place = formats.part(path, file.offset or 0, file.length)
    image = formats.load(file.format).examine(place, access.checked)
    if image.mapped:
        folder = kept.written(image.mapped, parent=image.differencing)
        top, bottom = tables.nodes(folder)
        return _Opened(
            place=place, format=file.format, image=image, top=top, bottom=bottom
        )
    protocol = storage(path, write=write)
    if file.length is not None:
        raw = {"driver": "raw", "offset": place.offset, "size": sectors(file.length)}
        protocol = {**raw, "file": protocol, "read-only": not write}
    return _plain(file.format, place, image, protocol, write=write)


def _in_pieces(file: File, access: Access) -> _Opened:
    place, protocol = joined(file, access)
    image = formats.load(file.format).examine(place, access.checked)
    if image.mapped:
        raise SourceError(
            f"{place.path} is the first piece of an image that is not read in pieces",
            "join them first, with cat, in the order of their numbers",
        )
    return _plain(file.format, place, image, protocol, write=False)


def _plain(
    format: Format, place: Part, image: Image, protocol: Node, *, write: bool
) -> _Opened:
    """Return an image that qemu itself reads from *protocol*."""
    node: Node = {"driver": format, "file": protocol, "read-only": not write}
    node |= image.options
    return _Opened(place=place, format=format, image=image, top=node, bottom=node)


def _lay(upper: _Opened, lower: _Opened) -> None:
    """Make *lower* what *upper* lies on.

    qemu takes another parent than the one which a header names only if it is a plain
    file.  For anything else the header must name none; that of a VMDK its CID.
    """
    upper.bottom["backing"] = lower.top
    named = upper.image.differencing
    if (
        upper.format == "vmdk"
        and not upper.image.mapped
        and lower.top["driver"] != "vmdk"
    ):
        raise SourceError(
            f"{upper.place.path} is a delta of VMware on a disk of another kind",
            "consolidate the snapshots on the source, and copy or export again",
        )
    if upper.image.mapped or ("filename" in lower.top.get("file", {}) and named):
        return
    if upper.format == "vmdk":
        head = laid.start(upper.place, lower.place)
        upper.bottom["file"] = with_start(upper.place, head)
    elif upper.format == "qcow2" and named:
        upper.bottom["file"] = with_start(upper.place, qcow2.severed(upper.place))
