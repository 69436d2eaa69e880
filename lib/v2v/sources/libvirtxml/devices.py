# SPDX-License-Identifier: GPL-2.0-or-later
"""What a libvirt domain has besides disks: cards, screens, devices of its host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from v2v.document import Display, Finding, Nic
from v2v.sources import macs
from v2v.sources.descriptions import caution, mac_made, number
from v2v.sources.libvirtxml.drives import Element, attribute

_NIC_TYPES: dict[str, tuple[str, str]] = {
    # libvirt's type: ours, and the attribute of <source> that names the network.
    "bridge": ("bridge", "bridge"),
    "network": ("network", "network"),
    "user": ("user", ""),
    "direct": ("direct", "dev"),
    "internal": ("internal", "name"),
    "ethernet": ("bridge", ""),
}
_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_MAX_LOST = 64


def nics(domain: Element, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    for index, element in enumerate(domain.findall("devices/interface")):
        mac = macs.parse(attribute(element, "mac", "address"))
        generated = attribute(element, "mac", "type") == "generated"
        kind, key = _NIC_TYPES.get(element.get("type", ""), ("none", ""))
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source=("generated" if generated else "static") if mac else "made",
            model=attribute(element, "model", "type"),
            type=cast(Literal["bridge"], kind),
            network=attribute(element, "source", key) if key else None,
            slot=attribute(element, "target", "dev"),
            vlan=number(attribute(element, "vlan/tag", "id")),
            connected=attribute(element, "link", "state") != "down",
            boot=_boot(domain, element, index),
        )


def _boot(domain: Element, element: Element, index: int) -> int | None:
    """Return the card's place in the boot order.

    Where no device has an order of its own, os/boot says it for each class, and the
    first card stands for them all.
    """
    if index == 0 and domain.find("devices/*/boot") is None:
        classes = [boot.get("dev") for boot in domain.findall("os/boot")]
        return classes.index("network") + 1 if "network" in classes else None
    return number(attribute(element, "boot", "order"))


def display(domain: Element) -> Display:
    """Return how a person sees the machine.

    One without graphics stays so if a person can see it otherwise.
    """
    for graphics in domain.findall("devices/graphics"):
        kind = graphics.get("type")
        known = kind if kind in ("vnc", "spice", "sdl") else "vnc"
        return Display(
            type=cast(Literal["vnc", "spice", "sdl"], known),
            keymap=graphics.get("keymap"),
        )
    serial = domain.find("devices/serial"), domain.find("devices/console")
    return Display(type="vnc" if serial == (None, None) else "none")


def passthrough(domain: Element) -> Iterator[str]:
    """Yield what belongs to the source's host: no other can give it."""
    for element in domain.findall("devices/hostdev")[:_MAX_LOST]:
        yield " ".join(("hostdev", element.get("type") or "", _host_address(element)))
    for kind in ("filesystem", "shmem", "vsock", "memory"):
        for element in domain.findall(f"devices/{kind}")[:_MAX_LOST]:
            yield f"{kind} {element.get('model') or element.get('name') or ''}".strip()
    if domain.find("launchSecurity") is not None:
        yield "launchSecurity"
    # What stands there may be anything that QEMU does, and is for that one host.
    if domain.find(f"{_QEMU}commandline") is not None:
        yield "qemu:commandline"


def _host_address(element: Element) -> str:
    """Return 0000:01:00.0 of a PCI device, 046d:c077 of a USB one."""
    address = element.find("source/address")
    if address is not None:
        parts = [address.get(key, "0x0") for key in ("domain", "bus", "slot")]
        place = ":".join(part.removeprefix("0x") for part in parts)
        return f"{place}.{address.get('function', '0x0').removeprefix('0x')}"
    ids = [attribute(element, f"source/{key}", "id") for key in ("vendor", "product")]
    return ":".join((word or "?").removeprefix("0x") for word in ids)


def findings(domain: Element) -> Iterator[Finding]:
    """Yield what is to be said of the devices."""
    for name in passthrough(domain):
        yield caution("device-lost", f"{name:.100} cannot be taken over")
    for element in domain.findall("devices/interface"):
        kind = element.get("type", "")
        if kind not in _NIC_TYPES:
            yield caution(
                "nic-unattached",
                f"a network card of type {kind:.60} cannot be attached as on the "
                "source",
                "say where it goes with -n",
            )
        if len(element.findall("vlan/tag")) > 1:
            yield caution(
                "vlan-trunk",
                "a network card carries several VLANs, of which the document has one",
                "see that its new network carries them all",
            )
    for index, nic in enumerate(nics(domain, "")):
        if nic.mac_source == "made":
            yield mac_made(f"network card {index}")
