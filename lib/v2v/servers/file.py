# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw bytes in a local file or block device, or in a part of one."""

from __future__ import annotations

from v2v.document import Layer
from v2v.servers import Access, Graph, Node


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    path = access.checked(address.path or "")
    part: Node = {}
    if address.offset or address.length is not None:
        part = {"offset": address.offset or 0}
        if address.length is not None:
            part["size"] = sectors(address.length)
    return Graph(node={"driver": "raw", **part, "file": storage(path, write=write)})


def sectors(length: int) -> int:
    """Return *length* in whole sectors, as qemu wants a stretch of a file.

    The last one may reach into a tar archive's padding.
    """
    return -(-length // 512) * 512


def storage(path: object, *, write: bool) -> Node:
    """Return the protocol node of the file or block device at *path*."""
    from pathlib import Path

    driver = "host_device" if Path(str(path)).is_block_device() else "file"
    node: Node = {"driver": driver, "filename": str(path), "read-only": not write}
    if write:
        node["discard"] = "unmap"
    return node
