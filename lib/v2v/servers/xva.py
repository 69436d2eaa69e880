# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in an XVA, the export of XenServer and XCP-ng, where it lies."""

from __future__ import annotations

import logging
from threading import Event

from v2v.document import Layer
from v2v.mapping import kept, tables, xva, xvasums
from v2v.servers import Access, Graph

log = logging.getLogger(__name__)


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    path = access.checked(address.path or "")
    what = xva.mapped(path, address.member or "", address.length or 0)
    top, _ = tables.nodes(kept.written(what, parent=False))
    return Graph(node=top)


def verify(address: Layer, access: Access, given_up: Event) -> None:
    """See servers.Verify."""
    path, disk = access.checked(address.path or ""), address.member or ""
    agree, without = xvasums.verify(path, disk, given_up)
    log.debug("%s: %d blocks of %s agree with their checksums", path, agree, disk)
    if without:
        log.warning("%s: %d blocks of %s have no checksum", path, without, disk)
