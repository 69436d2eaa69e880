# SPDX-License-Identifier: GPL-2.0-or-later
"""Give the VM's cards the configuration that their connections had before.

Keyed by MAC, which the VM keeps.  The work is done by a script when the guest starts
first (netsh.py), since the new card has no connection before; what would be in its way
is set aside in the registry now (ghosts.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from v2v.document import VM, Finding, Interface, Nic
from v2v.errors import GuestError
from v2v.guests.appliance import printable
from v2v.guests.linux.addresses import Address
from v2v.guests.windows import ghosts, macs, netsh, network
from v2v.guests.windows.macs import Told
from v2v.guests.windows.netsh import Card
from v2v.guests.windows.network import Connection
from v2v.guests.windows.place import Work
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.stored import Route

FINDINGS = frozenset({"static-address-unmapped", "static-address-not-applied"})
_VISTA = 6000  # the first build of 6.0
_SHOWN = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The guest's connections, and the MACs of those whose card is known, by GUID."""

    connections: Sequence[Connection]
    macs: Mapping[str, Told]

    @property
    def by_mac(self) -> dict[str, Connection]:
        """The connections of cards, by MAC."""
        return {
            self.macs[c.guid].mac: c for c in self.connections if c.guid in self.macs
        }


def read(registry: Registry, nics: Sequence[Nic]) -> Known:
    """Return what the registry says of the network, for the cards *nics*."""
    connections = network.connections(registry)
    return Known(connections=connections, macs=macs.told(registry, connections, nics))


def interfaces(registry: Registry, nics: Sequence[Nic]) -> tuple[Interface, ...]:
    """Return the guest's interfaces for the document."""
    known = read(registry, nics)
    by_guid = {guid: one.mac for guid, one in known.macs.items()}
    return network.described(registry, known.connections, by_guid)


def script(work: Work) -> str | None:
    """Return what the guest has to run at its first boot; None if it is nothing.

    Lines end in LF.  It exits with 249 as long as a card is missing, and with 1 if
    netsh refused something.  The registry is changed so that nothing is in its way.
    Raises GuestError if an address that was asked for cannot be given.
    """
    known = read(work.registry, work.vm.nics)
    is_old = work.guest.windows is not None and work.guest.windows.build < _VISTA
    cards = wanted(known, work.vm, work.wanted.addresses, is_old=is_old)
    if work.wanted.firstboot == "none":
        for address in _of_this(work.vm, work.wanted.addresses):
            raise _refused(address, "the guest runs no script at its first boot")
        return None
    if not cards:
        return None
    ghosts.set_aside(
        work.registry, [card.before for card in cards if card.before.addresses]
    )
    return netsh.script(cards, is_old=is_old)


def findings(
    registry: Registry, nics: Sequence[Nic], *, firstboot: bool = True
) -> Iterator[Finding]:
    """Yield which addresses will not be there after the conversion; see FINDINGS."""
    known = read(registry, nics)
    there = {nic.mac.lower() for nic in nics}
    static = [c for c in known.connections if c.method == "static"]
    for connection in static[:_SHOWN]:
        told = known.macs.get(connection.guid)
        what = f"{printable(connection.name or connection.guid)} has "
        what += ", ".join(connection.addresses[:_SHOWN])
        if told is None or told.mac not in there:
            yield Finding(
                code="static-address-unmapped",
                severity="warn",
                message=f"{what}, and {_why(connection, told)}",
                remedy="say --mac MAC:ip:ADDRESS,GATEWAY,PREFIX for the card that "
                "shall have it",
            )
        elif not firstboot:
            yield Finding(
                code="static-address-not-applied",
                severity="warn",
                message=f"{what}, which the new card will not have: it is given by a "
                "script at the first boot",
                remedy="let the guest run scripts at its first boot, or set the "
                "address in it by hand",
            )


def _why(connection: Connection, told: Told | None) -> str:
    if not connection.is_card:
        return "is no card but made of some, such as a team or a bridge"
    if told:
        return f"its card is {told.mac} ({told.by}), which the VM does not have"
    return "which of the VM's network cards it is for cannot be told"


def wanted(
    known: Known, vm: VM, asked: Sequence[Address], *, is_old: bool = False
) -> list[Card]:
    """Return what each card of *vm* shall have, as it had it or as it is *asked* for.

    Cards that no connection is known for are left out, unless one is asked for.
    ``is_old``: the guest is older than Vista.
    """
    of_vm = list(_of_this(vm, asked))
    cards = []
    for nic in vm.nics:
        mac = nic.mac.lower()
        before = known.by_mac.get(mac)
        own = [address for address in of_vm if address.mac == mac]
        if before is None and not own:
            continue
        after = before or Connection(guid="")
        for family in sorted({address.ip.version for address in own}):
            of_family = [a for a in own if a.ip.version == family]
            if family == 6 and is_old:
                raise _refused(of_family[0], "Windows before Vista has no IPv6 of use")
            after = _with(after, of_family, family)
        cards.append(Card(mac=mac, before=before or Connection(guid=""), after=after))
    return cards


def _of_this(vm: VM, asked: Sequence[Address]) -> Iterator[Address]:
    there = {nic.mac.lower() for nic in vm.nics}
    for address in asked:
        if address.mac in there:
            yield address
        else:
            log.warning("warning: %s has no network card %s", vm.name, address.mac)


def _with(before: Connection, asked: Sequence[Address], family: int) -> Connection:
    """Return *before* with the addresses *asked* for, and no other of their family."""
    gateways = tuple(
        Route(to="0.0.0.0/0" if family == 4 else "::/0", via=str(a.gateway))
        for a in asked
        if a.gateway
    )
    servers = tuple(server for a in asked for server in a.dns)
    # What is not asked for stays, as it is with other guests.
    kept = [g for g in before.gateways if not gateways or _family(g.via) != family]
    return replace(
        before,
        method="static",
        addresses=(
            *(a for a in before.addresses if _family(a) != family),
            *(f"{a.ip}/{_prefix(before, a)}" for a in asked),
        ),
        gateways=(*kept, *dict.fromkeys(gateways)),
        nameservers=tuple(dict.fromkeys(servers)) or before.nameservers,
    )


def _prefix(before: Connection, address: Address) -> int:
    if "%" in str(address.ip):
        raise _refused(address, "an address with a zone cannot be given")
    if address.prefix is not None:
        return address.prefix
    for known in before.addresses:
        if _family(known) == address.ip.version:
            return int(known.partition("/")[2])
    raise _refused(address, "the length of the network's prefix is not known")


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _refused(address: Address, why: str) -> GuestError:
    return GuestError(
        f"--mac {address.mac}: {why}",
        "say MAC:ip:ADDRESS,GATEWAY,PREFIX; or change the address in the guest",
    )
