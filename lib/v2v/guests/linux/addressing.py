# SPDX-License-Identifier: GPL-2.0-or-later
"""A static address in the words of each network stack: text in, text out.

Only the lines that say an address change; order, comments and all else stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

_FAMILIES = {4: "inet", 6: "inet6"}


class CannotError(Exception):
    """The file is written in a way that is not understood; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Static:
    """What an interface shall have; what is None, or empty, stays as it is."""

    family: int
    address: str
    prefix: int
    gateway: str | None = None
    dns: tuple[str, ...] = ()

    @property
    def cidr(self) -> str:
        """The address with the length of its network's prefix."""
        return f"{self.address}/{self.prefix}"

    @property
    def netmask(self) -> str:
        """That length as a mask, for IPv4."""
        return str(ip_interface(self.cidr).netmask)

    def is_of_family(self, word: str) -> bool:
        """Whether *word* is an address of the same family."""
        return (":" in word) == (self.family == 6)


def ifupdown(text: str, name: str, static: Static) -> str:
    """Return *text* of interfaces(5) with *static* for *name*."""
    family = _FAMILIES[static.family]
    lines = text.splitlines(keepends=True)
    heads = [i for i, line in enumerate(lines) if line.split()[:2] == ["iface", name]]
    own = [i for i in heads if lines[i].split()[2:3] == [family]]
    if not heads or len(own) > 1:
        raise CannotError(f"it has {len(own)} stanzas for {name} {family}")
    if not own:
        end = _stanza_end(lines, heads[-1])
        lines[end - 1] = lines[end - 1].rstrip("\n") + "\n"
        lines.insert(end, f"iface {name} {family} static\n")
        own = [end]
    head = own[0]
    end = _stanza_end(lines, head)
    bare = lines[head].rstrip()
    method = bare.split()[-1]
    lines[head] = f"{bare.removesuffix(method)}static{lines[head][len(bare) :]}"
    lines[head + 1 : end] = _options(lines[head + 1 : end], static)
    return "".join(lines)


_KEYWORDS = ("iface", "auto", "mapping", "source", "source-directory", "no-auto-down")


def _stanza_end(lines: list[str], head: int) -> int:
    """Return the line after the last option of the stanza that starts at *head*."""
    end = head + 1
    for i in range(head + 1, len(lines)):
        words = lines[i].split()
        if words and (words[0] in _KEYWORDS or words[0].startswith("allow-")):
            break
        if words and not words[0].startswith("#"):
            end = i + 1
    return end


def _options(options: list[str], static: Static) -> list[str]:
    """Return the lines of a stanza with *static* in them."""
    named = [(line.split() or [""])[0] for line in options]
    blank = next((re.match(r"[ \t]*", o)[0] for o in options if o.split()), "\t")  # type: ignore[index]
    masked = static.family == 4 and ("netmask" in named or "address" not in named)
    wanted = {"address": static.address if masked else static.cidr}
    if masked:
        wanted["netmask"] = static.netmask
    if static.gateway:
        wanted["gateway"] = static.gateway
    if static.dns:
        wanted["dns-nameservers"] = " ".join(static.dns)
    stale = {"address", "netmask", "broadcast", "network"} | wanted.keys()
    found = []
    for line, word in zip(options, named, strict=True):
        if word in wanted:
            found.append(f"{_before_value(line)}{wanted.pop(word)}\n")
        elif word not in stale:
            found.append(line)
    return [*(f"{blank}{key} {value}\n" for key, value in wanted.items()), *found]


def _before_value(line: str) -> str:
    match = re.match(r"[ \t]*\S+[ \t]+", line)
    return match[0] if match else f"{line.rstrip()} "


def resolv(text: str, servers: Sequence[str]) -> str:
    """Return *text* of resolv.conf(5) with *servers* where the old ones were."""
    lines = text.splitlines(keepends=True)
    old = [i for i, line in enumerate(lines) if line.split()[:1] == ["nameserver"]]
    made = "".join(f"nameserver {server}\n" for server in servers)
    for i in old[1:]:
        lines[i] = ""
    if old:
        lines[old[0]] = made
        return "".join(lines)
    return _ended("".join(lines)) + made


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def assigned(text: str, wanted: dict[str, str], stale: Callable[[str], bool]) -> str:
    """Return *text*, KEY=VALUE lines, with those *wanted*; without those *stale*."""
    left = dict(wanted)
    found = []
    for line in text.splitlines(keepends=True):
        match = re.match(r"([ \t]*)(\w+)=", line)
        key = match[2] if match else ""
        if key in left:
            value = left.pop(key)
            quote = line[match.end() :].strip()[:1] if match else ""
            quote = quote if quote and quote in "\"'" else ""
            found.append(f"{key}={quote}{value}{quote}\n")
        elif not match or (key not in wanted and not stale(key)):
            found.append(line)
    made = "".join(f"{key}={value}\n" for key, value in left.items())
    return _ended("".join(found)) + made


def ifcfg(text: str, name: str, static: Static) -> str:
    """Return *text* of an ifcfg file of Red Hat with *static*."""
    dns = {f"DNS{i}": server for i, server in enumerate(static.dns, 1)}
    if static.family == 6:
        wanted = {"IPV6INIT": "yes", "IPV6_AUTOCONF": "no", "IPV6ADDR": static.cidr}
        gateway = "IPV6_DEFAULTGW"
        stale = re.compile(r"IPV6ADDR_SECONDARIES|DHCPV6C")
    else:
        number = "0" if re.search(r"(?m)^IPADDR0=", text) else ""
        masked = re.search(rf"(?m)^NETMASK{number}=", text)
        wanted = {"BOOTPROTO": "none", f"IPADDR{number}": static.address}
        key = "NETMASK" if masked else "PREFIX"
        wanted[f"{key}{number}"] = static.netmask if masked else str(static.prefix)
        gateway = "GATEWAY0" if re.search(r"(?m)^GATEWAY0=", text) else "GATEWAY"
        stale = re.compile(r"(?:IPADDR|NETMASK|PREFIX)\d*|NETWORK|BROADCAST")
    if static.gateway:
        wanted[gateway] = static.gateway
    wanted |= dns
    no_dns = re.compile(r"DNS\d+" if dns else r"\b\B")
    return assigned(
        text, wanted, lambda k: bool(stale.fullmatch(k) or no_dns.fullmatch(k))
    )


def suse(text: str, name: str, static: Static) -> str:
    """Return *text* of an ifcfg file of SUSE with *static*.

    The gateway is not in it; see suse_routes().
    """
    keys = re.findall(r"(?m)^((?:IPADDR|LABEL)(_\w+)?)=[\"']?([^\"'\n]*)", text)
    own = [(k, suffix) for k, suffix, v in keys if static.is_of_family(v)]
    others = [k for k, _, v in keys if v and not static.is_of_family(v)]
    key = next((k for k, _ in own if k.startswith("IPADDR")), "")
    key = key or ("IPADDR_v2v" if "IPADDR" in others else "IPADDR")
    suffixes = {suffix for _, suffix in own}
    stale = {k for k, _ in own} | {
        f"{word}{suffix}"
        for word in ("NETMASK", "PREFIXLEN", "BROADCAST", "NETWORK", "LABEL")
        for suffix in suffixes
    }
    wanted = {"BOOTPROTO": "static", key: static.cidr}
    return assigned(text, wanted, lambda k: k in stale)


def has_default(text: str, static: Static) -> bool:
    """Whether *text* of routes(5) has a default route of the family of *static*."""
    rows = [line.split() for line in text.splitlines()]
    return any(
        row[:1] == ["default"] and static.is_of_family("".join(row[1:2]))
        for row in rows
    )


def suse_routes(text: str, static: Static) -> str:
    """Return *text* of routes(5) with the default route by the gateway."""
    if not static.gateway:
        return text
    lines = text.splitlines(keepends=True)
    made = f"default {static.gateway} - -\n"
    for i, line in enumerate(lines):
        words = line.split()
        if words[:1] == ["default"] and static.is_of_family("".join(words[1:2])):
            words[1] = static.gateway
            lines[i] = " ".join(words) + "\n"
            return "".join(lines)
    return _ended("".join(lines)) + made


def suse_config(text: str, static: Static) -> str:
    """Return *text* of SUSE's network/config with the name servers."""
    if not static.dns:
        return text
    key, servers = "NETCONFIG_DNS_STATIC_SERVERS", " ".join(static.dns)
    quoted = servers if re.search(rf"(?m)^{key}=[\"']", text) else f'"{servers}"'
    return assigned(text, {key: quoted}, lambda _: False)


def netctl(text: str, name: str, static: Static) -> str:
    """Return *text* of netctl.profile(5) of Arch with *static*."""
    number = "6" if static.family == 6 else ""
    wanted = {f"IP{number}": "static", f"Address{number}": f"('{static.cidr}')"}
    if static.gateway:
        wanted[f"Gateway{number}"] = static.gateway
    if static.dns:
        wanted["DNS"] = "(" + " ".join(f"'{server}'" for server in static.dns) + ")"
    return assigned(text, wanted, lambda _: False)


def etcnet(text: str, name: str, static: Static) -> str:
    """Return *text* of the options of ALT's etcnet; see etcnet_files() for the rest."""
    if static.family == 6:
        return assigned(text, {"CONFIG_IPV6": "yes"}, lambda _: False)
    return assigned(text, {"BOOTPROTO": "static"}, lambda _: False)


def etcnet_files(static: Static) -> dict[str, Callable[[str], str]]:
    """Return the files beside etcnet's options, and what makes each of what it was."""
    family = f"ipv{static.family}"
    made: dict[str, Callable[[str], str]] = {
        f"{family}address": lambda _: f"{static.cidr}\n"
    }
    if static.gateway:
        made[f"{family}route"] = lambda text: _route(text, static.gateway or "")
    if static.dns:
        made["resolv.conf"] = lambda text: resolv(text, static.dns)
    return made


def _route(text: str, gateway: str) -> str:
    """Return *text*, arguments of ``ip route``, with the default by *gateway*."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if line.split()[:1] != ["default"]]
    return _ended("".join(kept)) + f"default via {gateway}\n"


def keyfile(text: str, name: str, static: Static) -> str:
    """Return *text* of nm-settings-keyfile(5) with *static*."""
    section = f"ipv{static.family}"
    old = re.search(rf"(?m)^\[{section}\](?:\n(?!\[).*)*", text)
    gateway = static.gateway or (_keyfile_gateway(old[0]) if old else None)
    wanted = {"method": "manual", "address1": static.cidr}
    if gateway:
        wanted["address1"] += f",{gateway}"
    if static.dns:
        wanted["dns"] = "".join(f"{server};" for server in static.dns)
    stale = re.compile(r"address(?:es)?\d*|gateway")
    return _in_section(text, section, wanted, lambda k: bool(stale.fullmatch(k)))


def _keyfile_gateway(section: str) -> str | None:
    match = re.search(r"(?m)^gateway=(\S+)", section)
    match = match or re.search(r"(?m)^address(?:es)?1?=[^,\n]*,([^\s;,]+)", section)
    return match[1] if match else None


def networkd(text: str, name: str, static: Static) -> str:
    """Return *text* of systemd.network(5) with *static*."""
    if re.search(r"(?m)^[ \t]*\[Address\]", text):
        raise CannotError("its addresses are in sections of their own, [Address]")
    others = re.findall(r"(?m)^[ \t]*Address[ \t]*=[ \t]*(\S+)", text)
    kept = [word for word in others if not static.is_of_family(word)]
    wanted = {"Address": "\nAddress=".join([static.cidr, *kept])}
    if dhcp := re.search(r"(?mi)^[ \t]*DHCP[ \t]*=[ \t]*(\w+)", text):
        own, other = f"ipv{static.family}", f"ipv{10 - static.family}"
        if dhcp[1].lower() in (own, own[2:]):
            wanted["DHCP"] = "no"
        elif dhcp[1].lower() in ("yes", "true", "on", "1", "both"):
            wanted["DHCP"] = other if kept else "no"
    if static.gateway:
        if any(map(_is_default, re.split(r"(?m)^(?=[ \t]*\[)", text))):
            raise CannotError("its default route is in a section of its own, [Route]")
        gateways = re.findall(r"(?m)^[ \t]*Gateway[ \t]*=[ \t]*(\S+)", text)
        more = [word for word in gateways if not static.is_of_family(word)]
        wanted["Gateway"] = "\nGateway=".join([static.gateway, *more])
    if static.dns:
        wanted["DNS"] = "\nDNS=".join(static.dns)
    return _in_section(text, "Network", wanted, lambda _: False)


def _is_default(section: str) -> bool:
    """Whether *section* of systemd.network(5) is a route to all there is."""
    found = re.findall(r"(?m)^[ \t]*(\w+)[ \t]*=[ \t]*(\S+)", section)
    settings = dict(found) if section.lstrip().startswith("[Route]") else {}
    to = settings.get("Destination", "0.0.0.0/0")
    return "Gateway" in settings and to in ("0.0.0.0/0", "::/0")


def _in_section(
    text: str, section: str, wanted: dict[str, str], stale: Callable[[str], bool]
) -> str:
    """Return *text* with the keys *wanted* in [*section*], which may be new."""
    lines = text.splitlines(keepends=True)
    heads = [i for i, line in enumerate(lines) if line.strip() == f"[{section}]"]
    if not heads:
        made = "".join(f"{key}={value}\n" for key, value in wanted.items())
        return f"{_ended(text)}\n[{section}]\n{made}"
    lines[heads[0]] = _ended(lines[heads[0]])
    end = heads[0] + 1
    while end < len(lines) and not lines[end].startswith("["):
        end += 1
    left = dict(wanted)
    found: list[str] = []
    for line in lines[heads[0] + 1 : end]:
        key = "" if line.lstrip().startswith(("#", ";")) else line.partition("=")[0]
        key = key.strip()
        if key in left:
            found.append(f"{key}={left.pop(key)}\n")
        elif key not in wanted and not (key and stale(key)):
            found.append(line)
    new = [f"{key}={value}\n" for key, value in left.items()]
    return "".join([*lines[: heads[0] + 1], *new, *found, *lines[end:]])
