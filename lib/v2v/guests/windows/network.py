# SPDX-License-Identifier: GPL-2.0-or-later
"""The network configuration of a Windows guest, from its SYSTEM hive alone.

Windows keeps it by connection: a GUID for each card it has ever met.  What was moved
aside for the first boot (ghosts.py) is read as if it were still in force.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, ip_address

from v2v.document import Interface
from v2v.guests.appliance import printable
from v2v.guests.windows import stored
from v2v.guests.windows.hive import MULTI_SZ, Hive, Value
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.stored import Route

KEPT = "v2v-"  # before the names of values that were moved aside
CLASS = "{4D36E972-E325-11CE-BFC1-08002BE10318}"  # of network cards
_GUID = re.compile(r"\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}", re.I)
# DNS names; what else a suffix may be is not worth a quote in a script.
_SUFFIX = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,10}", re.I | re.A)
# Buses of what is no card: tunnels, WAN ports, teams, Bluetooth, Wi-Fi's own.
_SOFTWARE = ("ROOT", "SWD", "SW", "BTH", "COMPOSITEBUS", "HTREE", "{")
_METRIC = re.compile(r"[0-9]{1,4}", re.A)
_ROUTES = 1024
_CONNECTIONS = 256
_ADDRESSES = 64  # of one connection, and servers or gateways


@dataclass(frozen=True, kw_only=True)
class Connection:
    r"""What Windows has for one card.

    ``guid`` is in capitals; ``device`` is the card's place in Enum, "" if not known.
    ``addresses`` have prefix lengths; ``installed`` orders those made for one card.
    ``metric`` and ``mtu`` are None where Windows chooses.
    """

    guid: str
    name: str = ""
    device: str = ""
    method: stored.Method = "unknown"
    addresses: tuple[str, ...] = ()
    gateways: tuple[Route, ...] = ()
    nameservers: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    suffix: str = ""
    metric: int | None = None
    mtu: int | None = None
    installed: tuple[int, int] = (0, 0)
    override: str = ""

    @property
    def is_card(self) -> bool:
        """Whether it is for a card, and not for what is made of software."""
        return not self.device.upper().startswith(_SOFTWARE)

    @property
    def is_manual(self) -> bool:
        """Whether somebody chose a part of it, that a new card would not have."""
        chosen = self.addresses or self.nameservers or self.routes or self.suffix
        return bool(chosen or self.metric or self.mtu)


@dataclass(frozen=True, kw_only=True)
class _Adapter:
    """What the class of network cards has for a connection."""

    luid: bytes
    device: str = ""
    override: str = ""
    installed: tuple[int, int] = (0, 0)


def key_of(control_set: str, guid: str) -> str:
    """Return the key of the TCP/IP parameters of the connection *guid*."""
    return rf"{control_set}\Services\Tcpip\Parameters\Interfaces\{guid}"


def connections(registry: Registry) -> list[Connection]:
    """Return the connections that have TCP/IP parameters, cards or not.

    At most 256: what has more was made to take long.
    """
    hive, current = registry.system, registry.current
    adapters = _adapters(hive, current)
    return [
        _connection(hive, current, guid.upper(), adapters)
        for guid in hive.keys(key_of(current, ""))[:_CONNECTIONS]
        if _GUID.fullmatch(guid) and hive.values(key_of(current, guid))
    ]


def described(
    registry: Registry, all_: Sequence[Connection], macs: dict[str, str]
) -> tuple[Interface, ...]:
    """Return *all_* for the document; ``macs`` are those that are known, by GUID."""
    return tuple(
        Interface(
            name=printable(connection.name or connection.guid),
            config=f"{registry.system.name}\\"
            + key_of(registry.current, connection.guid),
            method=connection.method,
            addresses=connection.addresses,
            mac=macs.get(connection.guid),
            gateways=tuple(gateway.via for gateway in connection.gateways),
            nameservers=connection.nameservers,
        )
        for connection in all_
        if connection.is_card or connection.method == "static"
    )


def _connection(
    hive: Hive, current: str, guid: str, adapters: dict[str, _Adapter]
) -> Connection:
    key = key_of(current, guid)
    about = rf"{current}\Control\Network\{CLASS}\{guid}\Connection"
    adapter = adapters.get(guid, _Adapter(luid=b""))
    six = stored.of_connection(hive, current, adapter.luid)
    metrics = _metrics(hive, current) if six.routes else {}
    is_dhcp = hive.number(key, "EnableDHCP") != 0
    four = () if is_dhcp else _addresses(hive, key)
    servers = [_servers(hive, key)]
    servers.append(_servers(hive, _six(hive, current, guid)))
    suffix = hive.text(key, "Domain") or ""
    return Connection(
        guid=guid,
        name=hive.text(about, "Name") or "",
        device=hive.text(about, "PnpInstanceID") or adapter.device,
        method="static" if four or six.addresses else "dhcp" if is_dhcp else "unknown",
        addresses=(*four, *six.addresses),
        gateways=(*(() if is_dhcp else _gateways(hive, key)), *six.gateways),
        nameservers=(*servers[0], *servers[1]),
        routes=tuple(_with_metric(route, metrics) for route in six.routes),
        suffix=suffix if _SUFFIX.fullmatch(suffix) else "",
        metric=_within(hive.number(key, "InterfaceMetric"), 1, 9999),
        mtu=_within(hive.number(key, "MTU"), 576, 65535),
        installed=adapter.installed,
        override=adapter.override,
    )


def _metrics(hive: Hive, current: str) -> dict[tuple[str, str], int]:
    """Return the metrics of persistent routes, by network and gateway.

    Each is the name of a value: "10.1.0.0,255.255.0.0,192.0.2.254,5".
    """
    found = {}
    key = rf"{current}\Services\Tcpip\Parameters\PersistentRoutes"
    for name in list(hive.values(key))[:_ROUTES]:
        words = name.split(",")
        length = _length(words[1]) if len(words) == 4 else None
        if length is not None and _METRIC.fullmatch(words[3]):
            found[f"{words[0]}/{length}", words[2]] = int(words[3])
    return found


def _with_metric(route: Route, metrics: dict[tuple[str, str], int]) -> Route:
    metric = metrics.get((route.to, route.via))
    return replace(route, metric=metric) if metric else route


def _six(hive: Hive, current: str, guid: str) -> str:
    return rf"{current}\Services\Tcpip6\Parameters\Interfaces\{guid}"


def _within(number: int | None, least: int, most: int) -> int | None:
    return number if number is not None and least <= number <= most else None


def _adapters(hive: Hive, current: str) -> dict[str, _Adapter]:
    """Return what is known of the adapters, by the GUID of their connection."""
    found = {}
    root = rf"{current}\Control\Class\{CLASS}"
    for name in hive.keys(root)[: 4 * _CONNECTIONS]:
        key = rf"{root}\{name}"
        guid = (hive.text(key, "NetCfgInstanceId") or "").upper()
        if not _GUID.fullmatch(guid):
            continue
        index = hive.number(key, "NetLuidIndex")
        kind = hive.number(key, "*IfType")
        at = hive.number(key, "NetworkInterfaceInstallTimestamp")
        found[guid] = _Adapter(
            luid=stored.luid(index, kind),
            device=hive.text(key, "DeviceInstanceID") or "",
            override=hive.text(key, "NetworkAddress") or "",
            installed=(at or 0, index or 0),
        )
    return found


def _addresses(hive: Hive, key: str) -> tuple[str, ...]:
    """Return the IPv4 addresses, with the lengths that their masks say."""
    masks = _strings(hive, key, "SubnetMask")
    found = []
    for address, mask in zip(_strings(hive, key, "IPAddress"), masks, strict=False):
        ip, length = _ip(address), _length(mask)
        if isinstance(ip, IPv4Address) and int(ip) and length is not None:
            found.append(str(IPv4Interface(f"{ip}/{length}")))
    return tuple(dict.fromkeys(found))


def _length(mask: str) -> int | None:
    """Return the prefix length that *mask* says; None if it has holes."""
    ip = _ip(mask)
    if not isinstance(ip, IPv4Address):
        return None
    bits = f"{int(ip):032b}"
    return bits.count("1") if "01" not in bits else None


def _gateways(hive: Hive, key: str) -> tuple[Route, ...]:
    metrics = _strings(hive, key, "DefaultGatewayMetric")
    found = []
    for i, address in enumerate(_strings(hive, key, "DefaultGateway")):
        ip = _ip(address)
        if isinstance(ip, IPv4Address) and int(ip):
            metric = metrics[i] if i < len(metrics) else ""
            # 0 is "automatic".
            number = int(metric) if _METRIC.fullmatch(metric) else 0
            found.append(Route(to="0.0.0.0/0", via=str(ip), metric=number or None))
    return tuple(found)


def _servers(hive: Hive, key: str) -> tuple[str, ...]:
    """Return the name servers that were chosen: with commas, or spaces."""
    words = re.split(r"[,\s]", (hive.text(key, "NameServer") or "")[:4096])
    found = [str(ip) for word in words if word and (ip := _ip(word))]
    return tuple(dict.fromkeys(found[:_ADDRESSES]))


def _strings(hive: Hive, key: str, name: str) -> tuple[str, ...]:
    """Return the strings of *name*, or of what was kept of it."""
    value = hive.value(key, name) or hive.value(key, KEPT + name)
    return _texts(value)[:_ADDRESSES] if value else ()


def _texts(value: Value) -> tuple[str, ...]:
    return value.texts if value.type == MULTI_SZ else (value.text,)


def _ip(word: str) -> object:
    # A zone ("%12") is of the old card; and ipaddress takes any text for one.
    try:
        return ip_address(word.strip().partition("%")[0])
    except ValueError:
        return None
