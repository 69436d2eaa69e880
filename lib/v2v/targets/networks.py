# SPDX-License-Identifier: GPL-2.0-or-later
"""Which network of the new home each card goes to: the words of -n.

``IN:OUT`` maps cards whose source network is called IN (or whose MAC is IN), ``OUT``
all others.  OUT is bridge=br0, network=default, user, none, or a bare name, which is
a libvirt network.  A name with a colon in it is matched before the last ``:OUT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from v2v.document import VM, Nic
from v2v.errors import UsageError

Kind = Literal["bridge", "network", "user", "none"]
_OUT = re.compile(r"(?:(bridge|network)=)?([^=:\s][^=:]*)")
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a card is plugged in: a bridge or network called ``name``."""

    kind: Kind
    name: str | None = None


def rules(words: Iterable[str]) -> dict[str, Place]:
    """Return the places by source network or MAC, and under "" that for all others.

    Raises UsageError for words that cannot be understood, or contradict each other.
    """
    found: dict[str, Place] = {}
    for word in words:
        before, colon, out = word.rpartition(":")
        key = before.lower() if _MAC.fullmatch(before) else before
        if colon and not before:
            key = ""
        if key in found:
            raise UsageError(f"-n {word}: {key or 'the default'} is mapped twice")
        found[key] = _place(word, out)
    return found


def _place(word: str, out: str) -> Place:
    match = _OUT.fullmatch(out)
    if not match:
        raise UsageError(
            f"-n {word}: not understood",
            "write [IN:]bridge=br0, [IN:]network=default, [IN:]user or [IN:]none",
        )
    kind, name = match.groups()
    if kind is None and name in ("user", "none"):
        return Place(kind="user" if name == "user" else "none")
    return Place(kind="bridge" if kind == "bridge" else "network", name=name)


def check(vm: VM, words: Iterable[str]) -> None:
    """Raise UsageError if a rule names a network that no card of *vm* is on."""
    known = {nic.network for nic in vm.nics} | {nic.mac for nic in vm.nics}
    for key in rules(words):
        if key and key not in known:
            there = ", ".join(sorted(nic.network or nic.mac for nic in vm.nics))
            raise UsageError(
                f"-n {key}:… : no card of {vm.name} is on a network of that name",
                f"it has {there or 'no network card'}",
            )


def place(nic: Nic, known: dict[str, Place]) -> Place:
    """Return where *nic* goes by the rules *known*.

    With no rule: a libvirt network or bridge of this very kind stays; what only the
    old hypervisor knew (a port group) becomes libvirt's network "default".
    """
    for key in (nic.mac, nic.network or "", ""):
        if key in known:
            return known[key]
    if nic.type == "none":
        return Place(kind="none")
    if nic.type == "user":
        return Place(kind="user")
    if nic.type == "network" and nic.network:
        return Place(kind="network", name=nic.network)
    return Place(kind="network", name="default")
