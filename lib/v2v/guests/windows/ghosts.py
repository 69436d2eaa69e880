# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections of cards that the VM leaves behind: their addresses are set aside.

The new card is another device for Windows, with a connection of its own; the old one
stays in the registry and keeps its address and its default route, and the same address
on the new one is a conflict (forklift cleans up double routes).  So the values are
moved to names that Windows does not know, from where a second run reads them, and the
first boot gives them to the new card.
"""

from __future__ import annotations

from collections.abc import Sequence

from v2v.guests.windows.hive import Hive
from v2v.guests.windows.network import KEPT, Connection, key_of
from v2v.guests.windows.registry import Registry

VALUES = ("IPAddress", "SubnetMask", "DefaultGateway", "DefaultGatewayMetric")
_REASON = "the address goes to the new card at the first boot; this one is gone"


def set_aside(registry: Registry, connections: Sequence[Connection]) -> None:
    """Move the addresses of *connections* aside, and delete their default routes.

    Only those must be given that get their addresses back at the first boot.
    """
    gateways = {
        gateway.via for connection in connections for gateway in connection.gateways
    }
    for control_set in registry.control_sets:
        for connection in connections:
            _move(registry.system, key_of(control_set, connection.guid))
        _delete_routes(registry.system, control_set, gateways)


def _move(hive: Hive, key: str) -> None:
    if hive.number(key, "EnableDHCP") != 0:
        return  # what it has is of a time before DHCP
    for name in VALUES:
        value = hive.value(key, name)
        if value is not None:
            hive.set(key, KEPT + name, value, _REASON)
            hive.unset(key, name, _REASON)


def _delete_routes(hive: Hive, control_set: str, gateways: set[str]) -> None:
    """Delete the persistent default routes by *gateways*: "0.0.0.0,0.0.0.0,GW,-1"."""
    key = rf"{control_set}\Services\Tcpip\Parameters\PersistentRoutes"
    for name in hive.values(key):
        to, _, rest = name.partition(",")
        mask, _, rest = rest.partition(",")
        if to == mask == "0.0.0.0" and rest.partition(",")[0] in gateways:
            hive.unset(key, name, _REASON)
