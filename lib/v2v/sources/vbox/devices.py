# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VirtualBox machine has besides disks: network cards, and parts of its host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from v2v.document import Finding, Nic
from v2v.ovf.text import Element, attribute, children, descendants, local
from v2v.sources import descriptions, macs

# VirtualBox's way to attach a card: ours.
_NETWORKS = {
    "NAT": "user",
    "NATNetwork": "network",
    "BridgedInterface": "bridge",
    "HostOnlyInterface": "internal",
    "HostOnlyNetwork": "internal",
    "InternalNetwork": "internal",
    "GenericInterface": "none",
    "CloudNetwork": "none",
}
_DEFAULT_NIC = "Am79C973"
# Ports that are a file, a pipe or a socket are no part of the host.
_OF_HOST = "HostDevice"
# What a user set past VirtualBox's own words: CPUID, DMI, raw disks.
_HIDDEN = "VBoxInternal"


def true(word: str) -> bool:
    """Whether *word* is a true value, as XML Schema has it."""
    return word.lower() in ("true", "1")


def of(hardware: Element, element: str, name: str) -> str:
    """Return an attribute of the first *element* within *hardware*; or nothing."""
    found = next(descendants(hardware, element), None)
    return "" if found is None else attribute(found, name)


def cards(hardware: Element) -> list[Element]:
    """Return the network cards that are enabled; files list all slots that there are.

    They are in the order of their slots.
    """
    found = [
        card
        for card in descendants(hardware, "Adapter")
        if true(attribute(card, "enabled"))
    ]
    return sorted(found, key=lambda c: descriptions.number(attribute(c, "slot")) or 0)


def nics(found: list[Element], vm_id: str, boot: int | None) -> Iterator[Nic]:
    """Yield the network cards *found*; *boot* is the place of the network."""
    first = _booted(found)
    for index, card in enumerate(found):
        kind, network = _network(card)
        mac = macs.parse(attribute(card, "MACAddress"))
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=attribute(card, "type") or _DEFAULT_NIC,
            type=cast(Literal["bridge"], kind),
            network=network,
            slot=attribute(card, "slot") or None,
            connected=attribute(card, "cable").lower() not in ("false", "0"),
            boot=boot if index == first else None,
        )


def _booted(found: list[Element]) -> int:
    """Return which card the firmware tries first: 1 goes before 2, and 0 last."""
    ranks = [descriptions.number(attribute(c, "bootPriority")) or 0 for c in found]
    return min(range(len(ranks)), key=lambda i: (ranks[i] or 1 << 62, i), default=0)


def _network(card: Element) -> tuple[str, str | None]:
    """Return how *card* is attached: what lies in DisabledModes is not in use."""
    for mode in card:
        if local(mode) in _NETWORKS:
            return _NETWORKS[local(mode)], attribute(mode, "name") or None
    return "none", None


def passthrough(hardware: Element) -> Iterator[str]:
    """Yield what belongs to the source's host: no other can give it."""
    for folder in descendants(hardware, "SharedFolder"):
        yield f"shared folder {attribute(folder, 'name'):.60}"
    for devices in descendants(hardware, "HostPci"):
        for device in descendants(devices, "Device"):
            yield f"host PCI device {attribute(device, 'host'):.60}"
    for device in _within(hardware, "DeviceFilters", "DeviceFilter"):
        if true(attribute(device, "active")):
            yield f"USB device {attribute(device, 'name'):.60} of the host"
    yield from _ports(hardware)
    for reader in descendants(hardware, "CardReader"):
        if true(attribute(reader, "enabled")):
            yield "smart card reader of the host"


def _ports(hardware: Element) -> Iterator[str]:
    """Yield the serial and parallel ports that are the host's own."""
    for kind, name in (("UART", "serial"), ("LPT", "parallel")):
        for port in _within(hardware, kind, "Port"):
            # A parallel port has no mode: it is always the host's.
            mode = attribute(port, "hostMode") if kind == "UART" else _OF_HOST
            if true(attribute(port, "enabled")) and mode == _OF_HOST:
                place = f"{attribute(port, 'path'):.60}"
                yield f"{name} port {attribute(port, 'slot'):.9} ({place})"


def _within(hardware: Element, group: str, name: str) -> Iterator[Element]:
    for holder in descendants(hardware, group):
        yield from children(holder, name)


def findings(
    machine: Element, hardware: Element, found: list[Nic]
) -> Iterator[Finding]:
    """Yield what is to be said of the devices, of which *found* are the cards."""
    yield from descriptions.devices_lost(passthrough(hardware))
    for index, card in enumerate(found):
        if card.mac_source == "made":
            yield descriptions.mac_made(f"network card {index}")
        if card.type == "none":
            why = "is attached to nothing that is there elsewhere"
            yield descriptions.unattached(f"network card {index}", why)
    yield from descriptions.settings_lost(list(_lost(machine, hardware)), "VirtualBox")


def _lost(machine: Element, hardware: Element) -> Iterator[str]:
    """Yield the names of settings that have no counterpart; values may be secret."""
    for card in cards(hardware):
        # What lies in DisabledModes is not in use.
        for nat in children(card, "NAT"):
            names = (attribute(rule, "name") for rule in children(nat, "Forwarding"))
            yield from (f"port forwarding {name:.40}" for name in names)
    for name in ("RemoteDisplay", "Autostart", "Teleporter"):
        if true(of(machine, name, "enabled")):
            yield name
    for group in descendants(machine, "BandwidthGroup"):
        yield f"bandwidth group {attribute(group, 'name'):.40}"
    items = _within(machine, "ExtraData", "ExtraDataItem")
    keys = (attribute(item, "name") for item in items)
    yield from (key for key in keys if key.startswith(_HIDDEN))
