# SPDX-License-Identifier: GPL-2.0-or-later
"""Which card of the VM a connection of the guest belongs to, from the registry alone.

Windows knows connections by GUIDs, the VM its cards by MACs, and the name of a card in
Enum seldom has the MAC in it.  So the sources are asked in the order in which they can
be trusted; the first that names a card of this VM counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from v2v.document import Nic
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.network import Connection
from v2v.guests.windows.registry import Registry

# PCIe serial numbers at the end of an instance id.  e1000e: 000C29FFFFF3FFDE00 of the
# real Windows 10 hive is 00:0c:29:f3:ff:de.  vmxnet3 has both halves backwards.
_E1000E = re.compile(r"([0-9A-F]{6})FFF[EF]([0-9A-F]{6})00", re.I)
_VMXNET3 = re.compile(r"FF([0-9A-F]{6})([0-9A-F]{6})FE00", re.I)
_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]?){5}[0-9a-f]{2}", re.I)
_TRIPLE = re.compile(r"\(([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3})\)\s*$")
_NUMBERS = re.compile(r"[0-9]{1,3}")
_BRIDGE = 5  # the first of VMware's PCIe bridges, each with 8 buses


@dataclass(frozen=True, kw_only=True)
class Told:
    """The MAC of a connection, and what says so."""

    mac: str
    by: str


@dataclass(frozen=True, kw_only=True)
class _Case:
    """The connections that are cards, and the cards of the VM."""

    hive: Hive
    current: str
    cards: Sequence[Connection]
    nics: Sequence[Nic]

    def left(self, found: Mapping[str, Told]) -> tuple[list[Connection], list[Nic]]:
        """Return those that are not among what was *found*."""
        taken = {one.mac for one in found.values()}
        return (
            [card for card in self.cards if card.guid not in found],
            [nic for nic in self.nics if nic.mac.lower() not in taken],
        )


def told(
    registry: Registry, connections: Sequence[Connection], nics: Sequence[Nic]
) -> dict[str, Told]:
    """Return the MACs of *connections*, by GUID, as far as they can be told.

    Each card of *nics* is given to one connection at most.  A MAC that none of them
    has is told too, if something names it: the connection is of another card.
    """
    cards = [connection for connection in connections if connection.is_card]
    case = _Case(hive=registry.system, current=registry.current, cards=cards, nics=nics)
    wanted = {nic.mac.lower() for nic in nics}
    named = {c.guid: list(_named(case, c)) for c in cards}
    found = _best(cards, named, wanted)
    for more in (_by_dhcpv6, _by_slot, _by_rest):
        _add(found, more(case, found), wanted)
    for guid, all_ in named.items():
        if guid not in found and all_ and all_[0].mac not in wanted:
            found[guid] = all_[0]
    return found


def plain(text: str) -> str | None:
    """Return the MAC in *text* as v2v writes it; None if it is none."""
    if not _MAC.fullmatch(text.strip()):
        return None
    digits = re.sub("[^0-9a-f]", "", text.lower())
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _named(case: _Case, connection: Connection) -> Iterator[Told]:
    """Yield the MACs that are written for *connection*, the surest first."""
    kernel = (
        rf"{case.current}\Control\NetworkSetup2\Interfaces\{connection.guid}\Kernel"
    )
    for name in ("PermanentAddress", "CurrentAddress"):
        value = case.hive.value(kernel, name)
        if value and len(value.data) == 6 and any(value.data):
            yield Told(mac=value.data.hex(":"), by=f"NetworkSetup2 {name}")
    if mac := plain(connection.override):
        yield Told(mac=mac, by="NetworkAddress")
    instance = connection.device.rpartition("\\")[2]
    if match := _VMXNET3.fullmatch(instance):
        halves = (bytes.fromhex(half)[::-1] for half in match.groups())
        yield Told(mac=b"".join(halves).hex(":"), by="serial number")
    elif match := _E1000E.fullmatch(instance):
        yield Told(
            mac=bytes.fromhex("".join(match.groups())).hex(":"), by="serial number"
        )


def _best(
    cards: Sequence[Connection], named: Mapping[str, list[Told]], wanted: set[str]
) -> dict[str, Told]:
    """Return what is named, and of several for one card that installed last."""
    found: dict[str, Told] = {}
    # A card that was replaced by another kind with its MAC left a connection behind.
    newest = sorted(cards, key=lambda c: c.installed, reverse=True)
    taken: set[str] = set()
    for connection in newest:
        for one in named[connection.guid]:
            if one.mac in wanted:
                if one.mac not in taken:
                    found[connection.guid] = one
                    taken.add(one.mac)
                break
    return found


def _add(found: dict[str, Told], more: Mapping[str, Told], wanted: set[str]) -> None:
    """Add *more* to what was *found*, where the card is free and of this VM."""
    for guid, one in more.items():
        taken = {t.mac for t in found.values()}
        if guid not in found and one.mac in wanted - taken:
            found[guid] = one


def _by_dhcpv6(case: _Case, found: Mapping[str, Told]) -> dict[str, Told]:
    """Tell cards apart by their makers: the OUI is in the id of DHCPv6's client.

    Dhcpv6Iaid of a connection ends in the OUI of its card; Dhcpv6DUID in the whole MAC
    of one card.  An OUI that two have tells nothing.
    """
    root = rf"{case.current}\Services\Tcpip6\Parameters"
    left, free = case.left(found)
    ids = {
        c.guid: case.hive.number(rf"{root}\Interfaces\{c.guid}", "Dhcpv6Iaid")
        for c in left
    }
    ouis = {g: (i & 0xFFFFFF).to_bytes(3, "big").hex(":") for g, i in ids.items() if i}
    of_cards = Counter(ouis.values())
    of_nics = Counter(nic.mac.lower()[:8] for nic in free)
    by_oui = {nic.mac.lower()[:8]: nic.mac.lower() for nic in free}
    duid = case.hive.value(root, "Dhcpv6DUID")
    whole = duid.data[-6:].hex(":") if duid and len(duid.data) == 14 else ""
    return {
        guid: Told(mac=mac, by="Dhcpv6DUID" if mac == whole else "Dhcpv6Iaid")
        for guid, oui in ouis.items()
        if of_cards[oui] == 1 and of_nics[oui] == 1 and (mac := by_oui[oui])
    }


def _by_slot(case: _Case, found: Mapping[str, Told]) -> dict[str, Told]:
    """Tell cards by their PCI address, which VMware's slot number says."""
    left, free = case.left(found)
    slots = {}
    for nic in free:
        if nic.pci_slot is not None and (where := place(nic.pci_slot)):
            slots[where] = nic.mac.lower()
    places = {
        c.guid: location(
            case.hive.text(rf"{case.current}\Enum\{c.device}", "LocationInformation")
            or ""
        )
        for c in left
        if c.device.upper().startswith("PCI\\")
    }
    several = Counter(places.values())
    return {
        guid: Told(mac=slots[where], by="PCI address")
        for guid, where in places.items()
        if where in slots and several[where] == 1
    }


def _by_rest(case: _Case, found: Mapping[str, Told]) -> dict[str, Told]:
    """Return the sole connection for the sole card that are left."""
    left, free = case.left(found)
    if len(left) != 1 or len(free) != 1:
        return {}
    others = list(_named(case, left[0]))
    # One that names another MAC is a card that the VM has no more.
    if others:
        return {}
    return {left[0].guid: Told(mac=free[0].mac.lower(), by="the only one left")}


def place(slot: int) -> tuple[int, int, int] | None:
    """Return (bus, device, function) for ethernetN.pciSlotNumber (Broadcom 2047927).

    Five bits of the device, five of the bridge, three of the bridge's function.  Bus 2
    is behind the PCI bridge (33 is (2,1,0) in the real Windows 7 hive), from 3 on are
    those behind the PCIe bridges (192 is (11,0,0) in that of Windows 10).
    """
    device, bridge, function = slot & 31, slot >> 5 & 31, slot >> 10 & 7
    if bridge == 0:
        return (0, device, 0)
    if bridge == 1 and function == 0:
        return (2, device, 0)
    if _BRIDGE <= bridge < _BRIDGE + 4:
        return (3 + 8 * (bridge - _BRIDGE) + function, device, 0)
    return None


def location(text: str) -> tuple[int, int, int] | None:
    """Return (bus, device, function) of LocationInformation.

    From Vista on it ends in them; before, they are the numbers of a sentence.
    """
    text = text[:512]
    if match := _TRIPLE.search(text):
        found = match.groups()
    else:
        found = tuple(_NUMBERS.findall(text))
    if len(found) != 3 or (not text.startswith("@") and "PCI" not in text):
        return None
    return int(found[0]), int(found[1]), int(found[2])
