# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's configuration says of its network interfaces, stack by stack."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Literal

from v2v.document import Interface
from v2v.guests.appliance import Appliance
from v2v.guests.linux import evidence, netplan

_Method = Literal["static", "dhcp", "manual", "unknown"]
_METHODS: dict[str, _Method] = {"static": "static", "dhcp": "dhcp", "manual": "manual"}
# More is no configuration, and could keep us busy: files, characters, interfaces.
_MAX_FILES = 200
_MAX_LINE = 1000
_MAX_TEXT = 2**18
_MAX_FOUND = 256
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
# What editors and package managers leave, and initscripts pass over.
_COPIES = ("~", ".bak", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".dpkg-old")


def found(appliance: Appliance) -> tuple[Interface, ...]:
    """Return the interfaces that are configured, but for the loopback one.

    After them what else the guest knows of the names of its cards; see is_configured().
    """
    configured = tuple(_named(_configured(appliance)))
    unbound = {i.name for i in configured if not i.mac and is_configured(i)}
    if len(unbound) < 2:
        return configured  # one name, and the one card that is left
    return (*configured, *_named(evidence.found(appliance, unbound)))


def is_configured(interface: Interface) -> bool:
    """Whether *interface* is one that the guest shall bring up.

    Others are mere names: in rules for udev, in leases, in logs.
    """
    named = (".rules", ".link", "/iftab")
    seen = ("/var/", "/etc/cloud/")
    return not interface.config.endswith(named) and not interface.config.startswith(
        seen
    )


def _configured(appliance: Appliance) -> Iterator[Interface]:
    """Read all configuration; one question for which files there are."""
    patterns = ",".join(pattern.lstrip("/") for pattern, _ in _READERS)
    for path in appliance.glob("/{" + patterns + "}")[:_MAX_FILES]:
        reader = _reader(path)
        if reader and (text := plain(appliance, path)):
            yield from reader(path, text)


def _reader(path: str) -> Callable[[str, str], Iterator[Interface]] | None:
    if path.endswith(_COPIES):
        return None
    fitting = (r for pattern, r in _READERS if fnmatchcase(path, pattern))
    return next(fitting, None)


def plain(appliance: Appliance, path: str) -> str | None:
    """Return the text at *path* without over-long lines; None if it is too long."""
    text = appliance.read(path)
    if text is None or len(text) > _MAX_TEXT:
        return None
    lines = [line for line in text.splitlines() if len(line) <= _MAX_LINE]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace").decode()


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
    except (configparser.Error, AttributeError):
        # The latter where a key without a value goes on in the next line.
        return None
    return parser


def _value(parsed: configparser.ConfigParser, section: str, *keys: str) -> str:
    """Return the first of *keys* that *section* has; "" if it has none."""
    found_ = (parsed.get(section, key, fallback=None) for key in keys)
    return next((value for value in found_ if value), "")


def networkd(path: str, text: str) -> Iterator[Interface]:
    """Read systemd.network(5), which may be for several cards."""
    parsed = _sections(text)
    if not parsed:
        return
    addresses = tuple(re.findall(r"(?m)^[ \t]*Address[ \t]*=[ \t]*(\S+)", text))
    dhcp = re.search(r"(?mi)^[ \t]*DHCP[ \t]*=[ \t]*(?:yes|true|ipv4|ipv6)", text)
    port = _value(parsed, "Network", "bond", "bridge")
    for name in _value(parsed, "Match", "name").split()[:_MAX_FOUND]:
        yield Interface(
            name=name,
            config=path,
            method="static"
            if addresses
            else "dhcp"
            if dhcp
            else "manual"
            if port
            else "unknown",
            addresses=addresses,
            mac=_value(parsed, "Match", "permanentmacaddress", "macaddress"),
        )


def links(path: str, text: str) -> Iterator[Interface]:
    """Read systemd.link(5): a name that is tied to a MAC address."""
    parsed = _sections(text)
    mac = parsed and _value(parsed, "Match", "permanentmacaddress", "macaddress")
    if parsed and mac:
        yield Interface(name=_value(parsed, "Link", "name"), config=path, mac=mac)


def rules(path: str, text: str) -> Iterator[Interface]:
    """Read udev(7) rules as the guest itself once wrote them: a MAC and a name.

    SUSE 10 has a program rename the card.
    """
    for line in text.splitlines():
        mac = re.search(r"(?:ATTRS?|SYSFS)\{address\}==\"([^\"]+)\"", line)
        name = re.search(r"(?:\bNAME:?=\"|rename_netiface %k )([^\"]+)\"", line)
        if mac and name and not line.lstrip().startswith("#"):
            yield Interface(name=name[1], config=path, mac=mac[1])


def iftab(path: str, text: str) -> Iterator[Interface]:
    """Read iftab(5): lines ``NAME mac ADDRESS``."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 2 and words[1] == "mac":
            yield Interface(name=words[0], config=path, mac=words[2])


def keyfile(path: str, text: str) -> Iterator[Interface]:
    """Read nm-settings-keyfile(5)."""
    parsed = _sections(text)
    if not parsed:
        return
    addresses = tuple(
        value.partition(",")[0]
        for value in re.findall(r"(?m)^address(?:es)?\d{0,4}=([^\s;]+)", text)
    )
    manual = any(_value(parsed, f, "method") == "manual" for f in ("ipv4", "ipv6"))
    port = _value(parsed, "connection", "master", "controller")
    if _value(parsed, "connection", "type") in _OF_CARDS:
        yield Interface(
            name=_value(parsed, "connection", "interface-name"),
            config=path,
            method="static" if manual else "manual" if port else "dhcp",
            addresses=addresses,
            mac=_value(parsed, "ethernet", "mac-address")
            or _value(parsed, "802-3-ethernet", "mac-address"),
        )
    if parent := _value(parsed, "vlan", "parent"):
        yield Interface(name=parent, config=path, method="manual")


def ifcfg(path: str, text: str) -> Iterator[Interface]:
    """Read the ifcfg files of Red Hat and SUSE."""
    values = assignments(text)
    static = values.get("BOOTPROTO", "none").lower() in ("none", "static")
    addresses = tuple(
        value
        for key, value in values.items()
        if re.fullmatch(r"IP(?:V6)?ADDR\w{0,20}", key) and value
    )
    name = values.get("DEVICE") or path.rpartition("ifcfg-")[2]
    virtual = values.get("TYPE", "").lower() in _VIRTUAL
    if not virtual and values.get("VLAN", "").lower() not in ("yes", "true"):
        yield Interface(
            name=name,
            config=path,
            method="static"
            if static and addresses
            else "manual"
            if any(values.get(key) for key in ("MASTER", "BRIDGE"))
            else "dhcp",
            addresses=addresses,
            mac=values.get("HWADDR") or name.partition("eth-id-")[2] or None,
        )
    for card in _cards_under(values):
        yield Interface(name=card, config=path, method="manual")


def _cards_under(values: dict[str, str]) -> Iterator[str]:
    """Yield what a VLAN, bond or bridge of an ifcfg file is made of."""
    yield from (values[key] for key in ("ETHERDEVICE", "PHYSDEV") if values.get(key))
    for key, value in values.items():
        if key.startswith("BONDING_SLAVE") or key == "BRIDGE_PORTS":
            yield from value.split()


def assignments(text: str) -> dict[str, str]:
    """Return the variables of a file that a shell would read; names in capitals."""
    pairs = re.findall(r"(?m)^[ \t]*(\w+)=[\"']?([^\"'\n]*)", text)
    return {key.upper(): value.strip() for key, value in pairs}


def netctl(path: str, text: str) -> Iterator[Interface]:
    """Read netctl.profile(5) of Arch."""
    values = assignments(text)
    if values.get("CONNECTION") == "ethernet":
        addresses = re.findall(
            r"[0-9a-fA-F.:]{3,45}/\d{1,3}", values.get("ADDRESS", "")
        )
        inside = re.findall(r"(?m)^Address=\(([^)\n]*)\)", text)
        addresses += [w.strip("'\"") for part in inside for w in part.split()]
        yield Interface(
            name=values.get("INTERFACE", ""),
            config=path,
            method=_METHODS.get(values.get("IP", ""), "unknown"),
            addresses=tuple(dict.fromkeys(addresses)),
        )


def etcnet(path: str, text: str) -> Iterator[Interface]:
    """Read the options of an interface of ALT's etcnet; its folder is its name."""
    values = assignments(text)
    if values.get("TYPE", "eth") == "eth":
        yield Interface(
            name=path.split("/")[-2],
            config=path,
            method=_METHODS.get(values.get("BOOTPROTO", ""), "unknown"),
        )
    for card in values.get("HOST", "").split():
        yield Interface(name=card, config=path, method="manual")


_OF_CARDS = ("ethernet", "802-3-ethernet", "")
_VIRTUAL = ("bond", "bridge", "vlan", "team", "ovsbridge", "ovsport", "infiniband")
_KEYFILES = "NetworkManager/system-connections"
_READERS: tuple[tuple[str, Callable[[str, str], Iterator[Interface]]], ...] = (
    ("/etc/network/interfaces", ifupdown),
    ("/etc/network/interfaces.d/*", ifupdown),
    ("/etc/netplan/*.yaml", netplan.read),
    ("/etc/systemd/network/*.network", networkd),
    ("/etc/systemd/network/*.link", links),
    (f"/etc/{_KEYFILES}/*", keyfile),
    (f"/usr/lib/{_KEYFILES}/*.nmconnection", keyfile),
    ("/etc/sysconfig/network-scripts/ifcfg-*", ifcfg),
    ("/etc/sysconfig/network/ifcfg-*", ifcfg),
    ("/etc/netctl/*", netctl),
    ("/etc/net/ifaces/*/options", etcnet),
    ("/etc/net/iftab", iftab),
    ("/etc/iftab", iftab),
    ("/etc/udev/rules.d/*net*.rules", rules),
)
