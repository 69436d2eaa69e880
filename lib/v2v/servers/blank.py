# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that the description asks for and that holds nothing yet (OVF)."""

from __future__ import annotations

from v2v.document import Layer
from v2v.servers import Access, Graph


def graph(address: Layer, access: Access, *, write: bool) -> Graph:
    """See servers.Server."""
    size = address.length or 0
    return Graph(node={"driver": "null-co", "size": size, "read-zeroes": True})
