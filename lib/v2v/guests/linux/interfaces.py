# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's configuration says of its network interfaces, stack by stack."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from v2v.document import Interface
from v2v.guests.appliance import Appliance
from v2v.guests.linux import netplan

_Method = Literal["static", "dhcp", "manual", "unknown"]
_METHODS: dict[str, _Method] = {"static": "static", "dhcp": "dhcp", "manual": "manual"}
# More is no configuration, and could keep us busy: files, characters, interfaces.
_MAX_FILES = 200
_MAX_LINE = 1000
_MAX_TEXT = 2**18
_MAX_FOUND = 256
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def found(appliance: Appliance) -> tuple[Interface, ...]:
    """Return the interfaces that are configured, but for the loopback one."""
    all_ = (
        interface
        for pattern, reader in _READERS
        for path, text in _texts(appliance, pattern)
        for interface in reader(path, text)
    )
    return tuple(_named(all_))


def _texts(appliance: Appliance, pattern: str) -> Iterator[tuple[str, str]]:
    for path in appliance.glob(pattern)[:_MAX_FILES]:
        text = appliance.read(path)
        if text is not None and len(text) <= _MAX_TEXT:
            lines = [line for line in text.splitlines() if len(line) <= _MAX_LINE]
            plain = "\n".join(lines) + "\n"
            yield path, plain.encode("utf-8", "replace").decode()


def _named(all_: Iterable[Interface]) -> Iterator[Interface]:
    """Yield those of *all_* that have a name; a MAC only where it is one."""
    count = 0
    for interface in all_:
        if interface.name in ("lo", "*", "") or count == _MAX_FOUND:
            continue
        count += 1
        mac = (interface.mac or "").lower().replace("-", ":")
        yield interface.having(
            mac=mac if _MAC.fullmatch(mac) else None,
            addresses=interface.addresses[:_MAX_FOUND],
        )


def ifupdown(path: str, text: str) -> Iterator[Interface]:
    """Read interfaces(5): stanzas ``iface NAME inet METHOD`` with indented options."""
    for block in re.split(r"(?m)^(?=[ \t]*iface[ \t])", text)[1:]:
        words = block.splitlines()[0].split()
        if len(words) < 4:
            continue
        mac = re.search(r"(?m)^[ \t]*hwaddress[ \t]+(?:ether[ \t]+)?(\S+)", block)
        yield Interface(
            name=words[1],
            config=path,
            method=_METHODS.get(words[3], "unknown"),
            addresses=tuple(re.findall(r"(?m)^[ \t]*address[ \t]+(\S+)", block)),
            mac=mac[1] if mac else None,
        )
        for name in _under(words[1], block):
            yield Interface(name=name, config=path, method="manual")


def _under(name: str, block: str) -> Iterator[str]:
    """Yield the cards that *name* (a VLAN, bridge, bond or alias) is made of."""
    card = re.split(r"[.:]", name, maxsplit=1)[0]
    if card != name:
        yield card
    ports = r"(?m)^[ \t]*(?:bridge[_-]ports|(?:bond-)?slaves|vlan[_-]raw[_-]device)(.*)"
    for rest in re.findall(ports, block):
        yield from (word for word in rest.split() if word not in ("none", "all"))


def _sections(text: str) -> configparser.ConfigParser | None:
    parser = configparser.ConfigParser(
        strict=False, interpolation=None, allow_no_value=True, delimiters=("=",)
    )
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return parser


def _value(parsed: configparser.ConfigParser, section: str, *keys: str) -> str:
    """Return the first of *keys* that *section* has; "" if it has none."""
    found_ = (parsed.get(section, key, fallback=None) for key in keys)
    return next((value for value in found_ if value), "")


def networkd(path: str, text: str) -> Iterator[Interface]:
    """Read systemd.network(5)."""
    parsed = _sections(text)
    if parsed:
        addresses = re.findall(r"(?m)^[ \t]*Address[ \t]*=[ \t]*(\S+)", text)
        dhcp = re.search(r"(?mi)^[ \t]*DHCP[ \t]*=[ \t]*(?:yes|true|ipv4|ipv6)", text)
        yield Interface(
            name=_value(parsed, "Match", "name"),
            config=path,
            method="static" if addresses else "dhcp" if dhcp else "unknown",
            addresses=tuple(addresses),
            mac=_value(parsed, "Match", "permanentmacaddress", "macaddress"),
        )


def links(path: str, text: str) -> Iterator[Interface]:
    """Read systemd.link(5): a name that is tied to a MAC address."""
    parsed = _sections(text)
    mac = parsed and _value(parsed, "Match", "permanentmacaddress", "macaddress")
    if parsed and mac:
        yield Interface(name=_value(parsed, "Link", "name"), config=path, mac=mac)


def rules(path: str, text: str) -> Iterator[Interface]:
    """Read udev(7) rules as the guest itself once wrote them: a MAC and a name."""
    for line in text.splitlines():
        mac = re.search(r"ATTRS?\{address\}==\"([^\"]+)\"", line)
        name = re.search(r"\bNAME:?=\"([^\"]+)\"", line)
        if mac and name and not line.lstrip().startswith("#"):
            yield Interface(name=name[1], config=path, mac=mac[1])


def keyfile(path: str, text: str) -> Iterator[Interface]:
    """Read nm-settings-keyfile(5)."""
    parsed = _sections(text)
    if not parsed:
        return
    addresses = tuple(
        value.partition(",")[0]
        for value in re.findall(r"(?m)^address\d{0,4}=(\S+)", text)
    )
    manual = _value(parsed, "ipv4", "method") == "manual"
    yield Interface(
        name=_value(parsed, "connection", "interface-name"),
        config=path,
        method="static" if manual else "dhcp",
        addresses=addresses,
        mac=_value(parsed, "ethernet", "mac-address"),
    )


def ifcfg(path: str, text: str) -> Iterator[Interface]:
    """Read the ifcfg files of Red Hat and SUSE."""
    pairs = re.findall(r"(?m)^[ \t]*(\w+)=[\"']?([^\"'\n]*)", text)
    values = {key.upper(): value for key, value in pairs}
    static = values.get("BOOTPROTO", "none").lower() in ("none", "static")
    address = values.get("IPADDR", "")
    yield Interface(
        name=values.get("DEVICE") or path.rpartition("ifcfg-")[2],
        config=path,
        method="static" if static and address else "dhcp",
        addresses=(address,) if address else (),
        mac=values.get("HWADDR"),
    )


_READERS: tuple[tuple[str, Callable[[str, str], Iterator[Interface]]], ...] = (
    ("/etc/network/interfaces", ifupdown),
    ("/etc/network/interfaces.d/*", ifupdown),
    ("/etc/netplan/*.yaml", netplan.read),
    ("/etc/systemd/network/*.network", networkd),
    ("/etc/systemd/network/*.link", links),
    ("/etc/NetworkManager/system-connections/*.nmconnection", keyfile),
    ("/etc/sysconfig/network-scripts/ifcfg-*", ifcfg),
    ("/etc/sysconfig/network/ifcfg-*", ifcfg),
    ("/etc/udev/rules.d/*net*.rules", rules),
)
