# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in an XVA, the export of XenServer and XCP-ng, where it lies."""

from __future__ import annotations

from collections.abc import Callable

from v2v.document import Layer
from v2v.mapping import xva, xvasums
from v2v.servers import Access, Graph
from v2v.servers.qemu import mapped


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    path = access.checked(address.path or "")
    what = xva.mapped(path, address.member or "", address.length or 0)
    top, _ = mapped(what, access, parent=False)
    return Graph(node=top)


def verify(
    address: Layer, access: Access, stopped: Callable[[], bool]
) -> tuple[int, int]:
    """See servers.Verify."""
    path = access.checked(address.path or "")
    return xvasums.verify(path, address.member or "", stopped)
