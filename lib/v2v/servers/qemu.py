# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images that qemu reads: qcow2, VMDK, VHD, VHDX, VDI, and chains of VMDKs.

The format is the document's and never probed.  Before qemu sees a file we look into
it ourselves (v2v.formats): a VMDK descriptor or a qcow2 header may name other files
of the host, and qemu opens those even when the format is pinned (CVE-2022-47951).
"""

from __future__ import annotations

from v2v import formats
from v2v.document import File, Layer
from v2v.errors import SourceError
from v2v.formats import Image
from v2v.servers import Access, Graph, Node
from v2v.servers.file import storage


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    top = File(path=address.path or "", format=address.format)
    part = (address.offset, address.length)
    node, inner = _node(top, access, write=write, part=part)
    below = node
    for file in address.backing:
        below["backing"], inner = _node(file, access, write=False, part=(None, None))
        below = below["backing"]
    if inner.differencing:
        raise SourceError(
            f"{address.path} holds only the differences to a parent disk"
            + (f" ({inner.parent})" if inner.parent else ""),
            "merge the snapshots or checkpoints on the source first",
        )
    if below["driver"] in ("qcow2", "vmdk"):
        below["backing"] = None
    return Graph(node=node)


def _node(
    file: File, access: Access, *, write: bool, part: tuple[int | None, int | None]
) -> tuple[Node, Image]:
    path = access.checked(file.path)
    offset, length = part
    module = formats.load(file.format)
    inner = module.examine(path, access.checked, offset or 0, length)
    protocol = storage(path, write=write)
    if length is not None:
        # qemu wants whole sectors; the last one may reach into tar's padding.
        size = -(-length // 512) * 512
        raw = {"driver": "raw", "offset": offset or 0, "size": size}
        protocol = {**raw, "file": protocol, "read-only": not write}
    node: Node = {"driver": file.format, "file": protocol, "read-only": not write}
    return node | inner.options, inner
