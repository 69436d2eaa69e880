# SPDX-License-Identifier: GPL-2.0-or-later
"""Other addresses for the guest's network cards, where the new network wants them.

``MAC:ip:ADDRESS[,GATEWAY[,PREFIX[,DNS...]]]``, as virt-v2v spells it: the card with
this MAC has this address and no other of its family; all else of its configuration
stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from v2v.document import VM, Guest, Interface
from v2v.errors import GuestError, UsageError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux import addressing, netplan_address
from v2v.guests.linux.interfaces import is_configured

_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]?){5}[0-9a-f]{2}", re.I)
_FORM = re.compile(r"((?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}):ip:(.+)", re.I)
_SHOWN = 10

log = logging.getLogger(__name__)
_Edit = Callable[[str, str, addressing.Static], str]
REASON = "--mac asks for this address"


@dataclass(frozen=True, kw_only=True)
class Address:
    """What a card shall have; ``prefix`` is that of before if it is None."""

    mac: str
    ip: IPv4Address | IPv6Address
    gateway: IPv4Address | IPv6Address | None = None
    prefix: int | None = None
    dns: tuple[str, ...] = ()


def parse(word: str) -> Address:
    """Return what *word* asks for.  Raises ValueError if it is no such thing."""
    match = _FORM.fullmatch(word)
    if not match:
        raise ValueError("it must be MAC:ip:ADDRESS[,GATEWAY[,PREFIX[,DNS...]]]")
    ip, gateway, prefix, *dns = (*match[2].split(","), *("", ""))[: _parts(match[2])]
    made = Address(
        mac=match[1].lower().replace("-", ":"),
        ip=ip_address(ip),
        gateway=ip_address(gateway) if gateway else None,
        prefix=int(prefix) if prefix else None,
        dns=tuple(str(ip_address(server)) for server in dns if server),
    )
    if made.gateway and made.gateway.version != made.ip.version:
        raise ValueError("address and gateway must both be IPv4, or both IPv6")
    if made.prefix is not None and not 0 < made.prefix <= made.ip.max_prefixlen:
        raise ValueError(f"{made.prefix} is no length of a network's prefix")
    return made


def asked(words: Sequence[str]) -> tuple[Address, ...]:
    """Return what the *words* of --mac ask for.

    A mere MAC asks for nothing here: it is v2v-inspect's, and v2v hands it to all.
    Raises UsageError for what is neither.
    """
    found = []
    for word in words:
        try:
            if not _MAC.fullmatch(word):
                found.append(parse(word))
        except ValueError as e:
            raise UsageError(
                f"--mac {word}: {e}",
                "as in --mac 00:50:56:01:02:03:ip:192.0.2.20,192.0.2.1,24",
            ) from e
    return tuple(found)


def _parts(words: str) -> int:
    return max(3, words.count(",") + 1)


class Texts:
    """The guest's files as they will be: what was changed is read again so."""

    def __init__(self, appliance: Appliance) -> None:
        """Read from *appliance*; nothing is written there."""
        self.appliance = appliance
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}

    def read(self, path: str) -> str | None:
        """Return the text at *path*; None if there is no such file."""
        if path not in self.after:
            text = self.appliance.read(path)
            if text is None:
                return None
            self.before[path] = self.after[path] = text
        return self.after[path]

    def write(self, path: str, text: str) -> None:
        """Keep *text* as what *path* shall hold; the file may be new."""
        self.read(path)
        self.after[path] = text


def change(
    texts: Texts,
    vm: VM,
    guest: Guest,
    known: Mapping[str, str],
    all_: Sequence[Address],
) -> None:
    """Change *texts* so that the cards of *vm* have the addresses asked for in *all_*.

    Those for the cards of other VMs are passed over.  Raises GuestError if one of this
    VM's cannot be given.
    """
    macs = {nic.mac for nic in vm.nics}
    for wanted in all_:
        if wanted.mac not in macs:
            log.warning("warning: %s has no network card %s", vm.name, wanted.mac)
            continue
        interface = _configured(guest, known, wanted)
        wanted = replace(wanted, prefix=_prefix(wanted, interface))
        text = texts.read(interface.config) or ""
        edited = _EDITS[_stack(interface, wanted)]
        try:
            made = _in_its_style(edited, text, interface.name, asked_for(wanted))
        except addressing.CannotError as e:
            raise _refused(wanted, f"{printable(interface.config)}: {e}") from e
        texts.write(interface.config, made)
        _around(texts, interface, wanted)


def _in_its_style(edit: _Edit, text: str, name: str, static: addressing.Static) -> str:
    """Return what *edit* makes of *text*, with CRLF if that ends all its lines."""
    if not 0 < text.count("\n") == text.count("\r\n"):
        return edit(text, name, static)
    made = edit(text.replace("\r\n", "\n"), name, static)
    return made.replace("\n", "\r\n")


def asked_for(wanted: Address) -> addressing.Static:
    """Return *wanted* in the words of the files."""
    assert wanted.prefix is not None
    return addressing.Static(
        family=wanted.ip.version,
        address=str(wanted.ip),
        prefix=wanted.prefix,
        gateway=str(wanted.gateway) if wanted.gateway else None,
        dns=wanted.dns,
    )


def _configured(guest: Guest, known: Mapping[str, str], wanted: Address) -> Interface:
    """Return the one interface that is the card with the MAC that is *wanted*."""
    name = known.get(wanted.mac)
    there = [
        i
        for i in guest.interfaces
        if is_configured(i) and (i.mac == wanted.mac or (name and i.name == name))
    ]
    files = {i.config for i in there}
    if not files and not name and guest.interfaces:
        all_ = ", ".join(printable(i.name) for i in guest.interfaces[:_SHOWN])
        raise _refused(wanted, f"which of {all_} this card is cannot be told")
    if len(files) != 1:
        what = f"in several files: {', '.join(sorted(files)[:_SHOWN])}"
        raise _refused(
            wanted, f"this card is configured {what if files else 'nowhere'}"
        )
    if {i.method for i in there} == {"manual"}:
        raise _refused(wanted, "its address is that of what is made over it")
    return max(there, key=lambda i: len(i.addresses))


def _prefix(wanted: Address, interface: Interface) -> int:
    if wanted.prefix is not None:
        return wanted.prefix
    for address in interface.addresses:
        ip, slash, length = address.partition("/")
        same = (":" in ip) == (wanted.ip.version == 6)
        if slash and same and length.isdecimal() and int(length) <= 128:
            return int(length)
    raise _refused(wanted, "the length of the network's prefix is not known")


def _stack(interface: Interface, wanted: Address) -> str:
    for start in _EDITS:
        if interface.config.startswith(start):
            return start
    raise _refused(wanted, f"{printable(interface.config)} is none that can be edited")


def _refused(wanted: Address, why: str) -> GuestError:
    return GuestError(
        f"--mac {wanted.mac}: {why}",
        "say MAC:ip:ADDRESS,GATEWAY,PREFIX; or change the address in the guest",
    )


def _around(texts: Texts, interface: Interface, wanted: Address) -> None:
    """Change the files beside an interface's own that some stacks have."""
    path = interface.config
    if path.startswith("/etc/network/") and wanted.dns:
        link = texts.appliance.g.is_symlink("/etc/resolv.conf")
        text = None if link else texts.read("/etc/resolv.conf")
        if text is not None:
            texts.write("/etc/resolv.conf", addressing.resolv(text, wanted.dns))
    if path.startswith(_ETCNET):
        folder = path.rpartition("/")[0]
        for name, made in addressing.etcnet_files(asked_for(wanted)).items():
            texts.write(f"{folder}/{name}", made(texts.read(f"{folder}/{name}") or ""))
    if path.startswith(_SUSE):
        static = asked_for(wanted)
        own = f"{_SUSE}ifroute-{interface.name}"
        # With DHCP there is neither of them.
        is_own = addressing.has_default(texts.read(own) or "", static)
        routes = own if is_own else f"{_SUSE}routes"
        if wanted.gateway:
            text = addressing.suse_routes(texts.read(routes) or "", static)
            texts.write(routes, text)
        text = texts.read(f"{_SUSE}config")
        if text is not None:
            texts.write(f"{_SUSE}config", addressing.suse_config(text, static))


_ETCNET = "/etc/net/ifaces/"
_SUSE = "/etc/sysconfig/network/"
_EDITS: dict[str, _Edit] = {
    "/etc/network/": addressing.ifupdown,
    "/etc/netplan/": netplan_address.edited,
    "/etc/systemd/network/": addressing.networkd,
    "/etc/NetworkManager/": addressing.keyfile,
    "/etc/sysconfig/network-scripts/": addressing.ifcfg,
    _SUSE: addressing.suse,
    "/etc/netctl/": addressing.netctl,
    _ETCNET: addressing.etcnet,
}
