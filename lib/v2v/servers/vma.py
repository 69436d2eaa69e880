# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in a VMA, the backup of Proxmox VE, where it lies."""

from __future__ import annotations

from v2v.document import Layer
from v2v.mapping import kept, tables, vma
from v2v.servers import Access, Graph


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    path = access.checked(address.path or "")
    what = vma.mapped(path, address.member or "")
    top, _ = tables.nodes(kept.written(what, parent=False))
    return Graph(node=top)
