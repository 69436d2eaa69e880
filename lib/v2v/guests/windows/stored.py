# SPDX-License-Identifier: GPL-2.0-or-later
"""What netsh stored as persistent: IPv6 addresses, and routes, in the keys of Nsi.

From Vista on, all of IPv6 that is set by hand is in ``Control\\Nsi``: a value for each
address (table 10) and each route (table 16).  Its *name* is the number in hexadecimal
of the connection (NET_LUID) and the address; the structures are those of netioapi.h.
The real Windows 7 hive has both tables for IPv4, where they can be compared with what
is written in Tcpip\\Parameters; those of IPv6 differ by the size of an address only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal

from v2v.guests.windows.hive import Hive

Method = Literal["static", "dhcp", "unknown"]
_NSI = {
    4: "{eb004a00-9b1a-11d4-9123-0050047759bc}",
    6: "{eb004a01-9b1a-11d4-9123-0050047759bc}",
}
_SIZES = {4: 4, 6: 16}  # bytes of an address
_ENTRIES = 4096
_MOST = 64  # of one connection


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route: to a network, by the address of a gateway."""

    to: str
    via: str
    metric: int | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is stored for one connection; ``routes`` without the default ones."""

    addresses: tuple[str, ...] = ()
    gateways: tuple[Route, ...] = ()
    routes: tuple[Route, ...] = ()


def luid(index: int | None, kind: int | None) -> bytes:
    """Return the NET_LUID of a connection; none if a part of it is not known.

    24 reserved bits, 24 of the index, 16 of the kind of interface (6: Ethernet).
    """
    if index is None or kind is None or index >= 1 << 24 or kind >= 1 << 16:
        return b""
    return (index << 24 | kind << 48).to_bytes(8, "little")


def of_connection(hive: Hive, control_set: str, luid: bytes) -> Stored:
    """Return the IPv6 addresses and gateways, and all routes, of one connection."""
    if not luid:
        return Stored()
    routes = [r for family in (4, 6) for r in _routes(hive, control_set, family, luid)]
    return Stored(
        addresses=tuple(addresses(hive, control_set, 6, luid))[:_MOST],
        # IPv4's default gateways are in Tcpip's own values, with their metrics.
        gateways=tuple(default_gateways(hive, control_set, 6, luid))[:_MOST],
        routes=tuple(r for r in routes if not r.to.endswith("/0"))[:_MOST],
    )


def addresses(hive: Hive, control_set: str, family: int, luid: bytes) -> list[str]:
    """Return the addresses of *family* (4 or 6) of one connection, with lengths."""
    return list(_addresses(hive, control_set, family, luid))


def default_gateways(
    hive: Hive, control_set: str, family: int, luid: bytes
) -> list[Route]:
    """Return the default routes of *family* (4 or 6) of one connection."""
    routes = _routes(hive, control_set, family, luid)
    return [route for route in routes if route.to.endswith("/0")]


def _addresses(hive: Hive, control_set: str, family: int, luid: bytes) -> Iterator[str]:
    size = _SIZES[family]
    for name, data in _entries(hive, control_set, family, 10):
        # The connection and the address; IPv4's is filled up.
        if len(name) < 8 + size or name[:8] != luid or len(data) < 20:
            continue
        ip = _ip(name[8 : 8 + size])
        # Lifetimes, origins of prefix and suffix, then the length of the prefix.
        length = int.from_bytes(data[16:20], "little")
        if 0 < length <= 8 * size and not ip.is_link_local and not ip.is_unspecified:
            yield f"{ip}/{length}"


def _routes(hive: Hive, control_set: str, family: int, luid: bytes) -> Iterator[Route]:
    size = _SIZES[family]
    # 4 bytes, the network, its length in one of 16, up to a multiple of 8.
    start = (4 + size + 16 + 7) & ~7
    for name, _ in _entries(hive, control_set, family, 16):
        if len(name) < start + 16 + size or name[start : start + 8] != luid:
            continue
        length = name[4 + size]
        via = _ip(name[start + 16 : start + 16 + size])
        if length > 8 * size or via.is_unspecified:
            continue
        to = ip_network((_ip(name[4 : 4 + size]), length), strict=False)
        yield Route(to=str(to), via=str(via))


def _entries(
    hive: Hive, control_set: str, family: int, table: int
) -> Iterator[tuple[bytes, bytes]]:
    key = rf"{control_set}\Control\Nsi\{_NSI[family]}\{table}"
    for i, (name, value) in enumerate(hive.values(key).items()):
        if i >= _ENTRIES:
            return
        try:
            yield bytes.fromhex(name), value.data
        except ValueError:
            continue  # not a name of this table's form


def _ip(data: bytes) -> IPv4Address | IPv6Address:
    return IPv4Address(data) if len(data) == 4 else IPv6Address(data)
