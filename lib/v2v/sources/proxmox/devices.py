# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM of Proxmox VE has besides disks: cards, screen, devices of its host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from v2v.document import Display, Finding, Nic
from v2v.sources import descriptions, macs
from v2v.sources.proxmox.drives import BUSES, order
from v2v.sources.proxmox.text import Settings, flag, numbered, options

# A card may be MODEL=MAC; these are its other keys.
_OF_CARD = (
    *("model", "macaddr", "bridge", "tag", "trunks", "firewall", "link_down", "mtu"),
    *("queues", "rate"),
)
# Of a disk: how fast it may be, and a name that the guest may know it by.
_LIMIT = re.compile(r"iops|mbps|bps|wwn")
_HOSTS = ("hostpci", "virtiofs", "usb")
_PORTS = ("serial", "parallel")
_DEVICES = ("ivshmem", "amd-sev", "intel-tdx")
# What only Proxmox VE does, or what is set on the new host: told by name.
_SETTINGS = (
    *("hookscript", "watchdog", "rng0", "cpulimit", "cpuunits", "affinity", "shares"),
    *("hugepages", "keephugepages", "onboot", "startup", "cicustom", "ciuser"),
    *("cipassword", "sshkeys", "nameserver", "searchdomain", "citype", "ciupgrade"),
    "startdate",
)


def nics(settings: Settings, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    boot = order(settings)
    for index, key in enumerate(numbered(settings, "net")):
        model, own = _card(settings[key])
        mac = macs.parse(own.get("macaddr") or own.get(model))
        bridge = own.get("bridge") or None
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=model or None,
            # Without a bridge qemu's own NAT is taken.
            type="bridge" if bridge else "user",
            network=bridge,
            slot=key,
            vlan=descriptions.number(own.get("tag")),
            connected=not flag(own.get("link_down")),
            boot=boot.index(key) + 1 if key in boot else None,
        )


def _card(value: str) -> tuple[str, Mapping[str, str]]:
    """Return the model of a card, and all its options: MODEL=MAC or MODEL is first."""
    own = options(value)
    named = next((key for key in own if key and key not in _OF_CARD), "")
    return own.get("model") or own[""] or named, own


def display(settings: Settings) -> Display:
    """Return how a person sees the machine."""
    own = options(settings.get("vga", ""))
    kind = own[""] or own.get("type", "")
    keymap = settings.get("keyboard") or None
    if kind.startswith("serial") or kind == "none":
        return Display(type="none")
    return Display(type="spice" if kind.startswith("qxl") else "vnc", keymap=keymap)


def passthrough(settings: Settings) -> Iterator[str]:
    """Yield what belongs to the source's host, and arguments of qemu, never obeyed."""
    for key in numbered(settings, *_HOSTS):
        own = options(settings[key])
        if "spice" not in (own[""], own.get("host")):
            yield f"{key} {settings[key]:.60}"
    for key in numbered(settings, *_PORTS):
        if settings[key].startswith("/dev/"):
            yield f"{key} {settings[key]:.60}"
    for key in _DEVICES:
        if key in settings:
            yield f"{key} {settings[key]:.60}"
    if "args" in settings:
        yield "args, for qemu itself"


def findings(settings: Settings, found: list[Nic]) -> Iterator[Finding]:
    """Yield what is to be said of the devices, of which *found* are the cards."""
    yield from descriptions.devices_lost(passthrough(settings))
    for nic in found:
        if nic.mac_source == "made":
            yield descriptions.mac_made(nic.slot or "a network card")
    cards = {key: _card(settings[key])[1] for key in numbered(settings, "net")}
    if any(own.get("trunks") for own in cards.values()):
        yield descriptions.caution(
            "vlan-trunk",
            "a network card carries several VLANs, of which the document has one",
            "see that its new network carries them all",
        )
    if flag(settings.get("numa")) or any(numbered(settings, "numa")):
        yield descriptions.numa_lost()
    yield from descriptions.settings_lost(list(_lost(settings, cards)), "Proxmox VE")


def _lost(settings: Settings, cards: Mapping[str, Settings]) -> Iterator[str]:
    """Yield the names of settings without a counterpart; values may be secret."""
    for key in _SETTINGS:
        if settings.get(key, "0") != "0":
            yield key
    yield from numbered(settings, "ipconfig")
    if descriptions.number(settings.get("balloon")):
        yield "balloon"
    identity = options(settings.get("smbios1", "")).keys() - {"", "uuid", "base64"}
    yield from (f"smbios1 {key}" for key in sorted(identity))
    for key in numbered(settings, *BUSES):
        names = sorted(name for name in options(settings[key]) if _LIMIT.match(name))
        yield from (f"{key} {name}" for name in names)
    for key, own in cards.items():
        if flag(own.get("firewall")):
            yield f"{key} firewall"
        yield from (f"{key} {name}" for name in ("rate", "mtu") if own.get(name))


def of_windows(settings: Settings) -> bool:
    """Whether the guest is said to be Windows."""
    return bool(re.match(r"w(xp|2k|in|vista)", settings.get("ostype", "")))
