# SPDX-License-Identifier: GPL-2.0-or-later
"""Which network of the new home each card goes to: the words of -n.

``IN:OUT`` maps cards whose source network is called IN (or whose MAC is IN), ``OUT``
all others.  OUT is bridge=br0, network=default, user, none, or a bare name, which is
a libvirt network.  IN may have colons in it: what follows the last one is OUT.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from v2v.document import VM, Nic
from v2v.errors import TargetError, UsageError

Kind = Literal["bridge", "network", "user", "none"]

_OUT = re.compile(r"(?:(bridge|network)=)?([^=:\x00-\x1f\x7f]+)")
# The kernel's own rule, dev_valid_name(), less what is odd in a shell.
_BRIDGE = re.compile(r"(?!\.\.?$)[\w.+-]{1,15}", re.ASCII)
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a card is plugged in: a bridge or network called ``name``."""

    kind: Kind
    name: str | None = None

    def __str__(self) -> str:
        """Return the place as -n takes it."""
        return f"{self.kind}={self.name}" if self.name else self.kind


@dataclass(frozen=True, kw_only=True)
class Card:
    """A network card and where it is plugged in, never into ``none``."""

    nic: Nic
    place: Place


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where the cards of a VM go, and what a person should know of it."""

    cards: tuple[Card, ...] = ()
    warnings: tuple[str, ...] = ()


USER = Place(kind="user")
DEFAULT = Place(kind="network", name="default")

# Whether a place that the source named is one of the new home as well.
Known = Callable[[Place], bool]


def rules(words: Iterable[str]) -> dict[str, Place]:
    """Return the places by source network or MAC, and under "" that for all others.

    Raises UsageError for words that cannot be understood, or contradict each other.
    """
    found: dict[str, Place] = {}
    for word in words:
        before, _, out = word.rpartition(":")
        key = before.lower() if _MAC.fullmatch(before) else before
        if key in found:
            what = f"network {key}" if key else "every other network"
            raise UsageError(
                f"-n {word}: {what} is mapped twice", "leave one of both out"
            )
        found[key] = _place(word, out)
    return found


def _place(word: str, out: str) -> Place:
    match = _OUT.fullmatch(out)
    if not match or (match[1] == "bridge" and not _BRIDGE.fullmatch(match[2])):
        raise UsageError(
            f"-n {word}: not understood",
            "write [IN:]bridge=br0, [IN:]network=default, [IN:]user or [IN:]none",
        )
    kind, name = match.groups()
    if kind is None and name in ("user", "none"):
        return USER if name == "user" else Place(kind="none")
    return Place(kind="bridge" if kind == "bridge" else "network", name=name)


def plan(vm: VM, words: Iterable[str], known: Known, fallback: Place) -> Plan:
    """Return where each card of *vm* goes by *words*.

    Without a rule a card stays on a network or bridge that is *known* at the new
    home; one that only the old hypervisor had (a port group) becomes *fallback*.
    Raises TargetError for a rule that matches no card, since it is misspelt.
    """
    mapped = rules(words)
    _refuse_unused(vm, mapped)
    warnings: list[str] = []
    cards = []
    for nic in vm.nics:
        place = _ruled(nic, mapped) or _kept(nic, known)
        if place is None:
            place = fallback
            warnings += _moved(nic, place)
            # A card that was plugged in nowhere stays so, but the guest sees it.
            nic = nic.having(connected=nic.connected and nic.type != "none")
        if place.kind != "none":
            cards.append(Card(nic=nic, place=place))
    return Plan(cards=tuple(cards), warnings=tuple(warnings))


def _moved(nic: Nic, place: Place) -> Iterator[str]:
    """Yield what to know of a card whose network there is not at the new home."""
    if (nic.type, nic.network) == ("network", "default"):
        return  # libvirt's own, behind the host's address: as user is, too
    if nic.network or nic.type in ("internal", "direct"):
        was = repr(nic.network) if nic.network else f"a network of kind {nic.type}"
        yield (
            f"card {nic.mac} was on {was}, which is not known here, and goes to "
            f"{place} (choose with -n)"
        )


def _refuse_unused(vm: VM, mapped: Mapping[str, Place]) -> None:
    """Raise TargetError for a rule without a card, if it may have been meant for one.

    Several VMs share one -n list, so a rule for a network that this VM is not on is
    no mistake as long as each of its cards has a rule that names it.
    """
    names = {name for nic in vm.nics for name in (nic.mac, nic.network) if name}
    unused = [key for key in mapped if key and key not in names]
    unnamed = [n for n in vm.nics if n.mac not in mapped and n.network not in mapped]
    if unused and (unnamed or not vm.nics):
        there = ", ".join(repr(n.network or n.mac) for n in unnamed)
        raise TargetError(
            f"-n {unused[0]}:{mapped[unused[0]]} matches no card",
            f"its cards are on {there}" if there else "it has no network card",
        )


def _ruled(nic: Nic, mapped: Mapping[str, Place]) -> Place | None:
    for key in (nic.mac, nic.network or "", ""):
        if key in mapped:
            return mapped[key]
    return None


def _kept(nic: Nic, known: Known) -> Place | None:
    """Return the place that *nic* had, if there is such a one at the new home."""
    if nic.type == "user":
        return USER
    if nic.type == "network" and nic.network:
        place = Place(kind="network", name=nic.network)
    elif nic.type == "bridge" and nic.network and _BRIDGE.fullmatch(nic.network):
        place = Place(kind="bridge", name=nic.network)
    else:
        return None
    return place if known(place) else None
