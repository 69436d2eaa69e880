# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest's configuration says of its network interfaces, stack by stack."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator

from v2v.document import Interface
from v2v.guests.appliance import Appliance

_METHODS = {"static": "static", "dhcp": "dhcp", "manual": "manual"}
_MAX_FILES = 200


def found(appliance: Appliance) -> tuple[Interface, ...]:
    """Return the interfaces that are configured, but for the loopback one."""
    all_ = [
        *_ifupdown(appliance),
        *_networkd(appliance),
        *_keyfiles(appliance),
        *_ifcfg(appliance),
    ]
    return tuple(i for i in all_ if i.name not in ("lo", "*", ""))


def _texts(appliance: Appliance, *patterns: str) -> Iterator[tuple[str, str]]:
    paths = [path for pattern in patterns for path in appliance.glob(pattern)]
    for path in paths[:_MAX_FILES]:
        text = appliance.read(path)
        if text is not None:
            yield path, text.encode("utf-8", "replace").decode()


def _ifupdown(appliance: Appliance) -> Iterator[Interface]:
    """interfaces(5): stanzas ``iface NAME inet METHOD`` with indented options."""
    for path, text in _texts(
        appliance, "/etc/network/interfaces", "/etc/network/interfaces.d/*"
    ):
        for block in re.split(r"(?m)^(?=\s*iface\s)", text)[1:]:
            words = block.splitlines()[0].split()
            if len(words) < 4:
                continue
            mac = re.search(r"(?m)^\s*hwaddress\s+(?:ether\s+)?(\S+)", block)
            yield Interface(
                name=words[1],
                config=path,
                method=_METHODS.get(words[3], "unknown"),  # type: ignore[arg-type]
                addresses=tuple(re.findall(r"(?m)^\s*address\s+(\S+)", block)),
                mac=mac[1].lower() if mac else None,
            )


def _sections(text: str) -> configparser.ConfigParser | None:
    parser = configparser.ConfigParser(
        strict=False, interpolation=None, allow_no_value=True, delimiters=("=",)
    )
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return parser


def _networkd(appliance: Appliance) -> Iterator[Interface]:
    for path, text in _texts(appliance, "/etc/systemd/network/*.network"):
        parsed = _sections(text)
        if not parsed or not parsed.has_section("Match"):
            continue
        addresses = tuple(re.findall(r"(?m)^\s*Address\s*=\s*(\S+)", text))
        dhcp = re.search(r"(?mi)^\s*DHCP\s*=\s*(yes|true|ipv4|ipv6)", text)
        yield Interface(
            name=parsed.get("Match", "name", fallback="") or "",
            config=path,
            method="static" if addresses else "dhcp" if dhcp else "unknown",
            addresses=addresses,
            mac=(parsed.get("Match", "macaddress", fallback="") or "").lower() or None,
        )


def _keyfiles(appliance: Appliance) -> Iterator[Interface]:
    """nm-settings-keyfile(5)."""
    for path, text in _texts(
        appliance, "/etc/NetworkManager/system-connections/*.nmconnection"
    ):
        parsed = _sections(text)
        if not parsed:
            continue
        addresses = tuple(
            value.partition(",")[0]
            for value in re.findall(r"(?m)^address\d*=(\S+)", text)
        )
        manual = parsed.get("ipv4", "method", fallback="") == "manual"
        mac = parsed.get("ethernet", "mac-address", fallback="")
        yield Interface(
            name=parsed.get("connection", "interface-name", fallback="") or "",
            config=path,
            method="static" if manual else "dhcp",
            addresses=addresses,
            mac=(mac or "").lower() or None,
        )


def _ifcfg(appliance: Appliance) -> Iterator[Interface]:
    for path, text in _texts(
        appliance,
        "/etc/sysconfig/network-scripts/ifcfg-*",
        "/etc/sysconfig/network/ifcfg-*",
    ):
        pairs = re.findall(r"(?m)^\s*(\w+)=[\"']?([^\"'\n]*)", text)
        values = {key.upper(): value for key, value in pairs}
        static = values.get("BOOTPROTO", "none").lower() in ("none", "static")
        address = values.get("IPADDR", "")
        yield Interface(
            name=values.get("DEVICE") or path.rpartition("ifcfg-")[2],
            config=path,
            method="static" if static and address else "dhcp",
            addresses=(address,) if address else (),
            mac=values.get("HWADDR", "").lower() or None,
        )
