# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Xen domain has besides disks: cards, screens, devices of its host.

Sources: xl.cfg(5) and xl-network-configuration(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from v2v.document import Display, Finding, Nic
from v2v.sources import descriptions, macs
from v2v.sources.xl.text import Settings, strings, true, word

_MAX_NICS = 64
# What is a part of the host, or an argument of its device model.
_LOST = (
    *("pci", "usbdev", "vscsi", "p9", "dtdev", "ioports", "irqs", "iomem", "rdm"),
    *("vdispl", "vsnd", "vkb", "pvcalls", "virtio", "device_tree", "argo"),
)
# What is one only if its value begins so.
_HOSTS = {"usbdevice": "host:", "serial": "/dev/", "parallel": "/dev/"}
_ARGUMENTS = re.compile(r"device_model_args(_hvm|_pv)?")
# What KVM does otherwise, or what is set on the new host: told by name.
_SETTINGS = (
    *("cpus", "cpus_soft", "cpu_weight", "cap", "cpuid", "rtc_timeoffset", "tsc_mode"),
    *("shadow_memory", "altp2m", "seclabel", "pool", "channel", "smbios"),
    *("smbios_firmware", "acpi_firmware", "ms_vm_genid"),
)
_ROUTED = ("vif-route", "vif-nat")
# BRIDGE[.VLAN][:TRUNK:TRUNK]
_SWITCH = re.compile(r"([^.:]*)(?:\.([0-9]{1,4}))?((?::[0-9]{1,4}){0,64})")


def cards(settings: Settings) -> list[Mapping[str, str]]:
    """Return the options of each network card."""
    found: list[Mapping[str, str]] = []
    for text in strings(settings.get("vif")):
        pairs = (part.partition("=")[::2] for part in text.split(","))
        found.append({key.strip().lower(): value.strip() for key, value in pairs})
    return found


def nics(
    found: list[Mapping[str, str]], vm_id: str, mode: str, place: int | None
) -> Iterator[Nic]:
    """Yield the network cards; *place* is the network's in the boot order.

    One without an address gets one of ours: Xen would make another at each start.
    """
    for index, options in enumerate(found):
        mac = macs.parse(options.get("mac"))
        network, vlan, _ = _switch(options)
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=_model(options, mode),
            type=_type(options),
            network=network,
            slot=options.get("vifname") or None,
            vlan=vlan,
            boot=place if index == 0 else None,
        )


def _model(options: Mapping[str, str], mode: str) -> str | None:
    if options.get("type") in ("vif", "netfront") or mode != "hvm":
        return "netfront"
    return options.get("model") or None


def _script(options: Mapping[str, str]) -> str:
    return options.get("script", "").rpartition("/")[2]


def _type(options: Mapping[str, str]) -> Literal["bridge", "user", "none"]:
    """Return how a card is attached: to a bridge, unless its script does otherwise."""
    script = _script(options)
    if script == "vif-nat":
        return "user"
    return "none" if script in _ROUTED else "bridge"


def _switch(options: Mapping[str, str]) -> tuple[str | None, int | None, bool]:
    """Return bridge and VLAN of a card, and whether it carries several of those.

    The script of Open vSwitch takes the VLANs from the name of the bridge.
    """
    bridge = options.get("bridge") or None
    vlan = descriptions.number(options.get("vlan"))
    if bridge and _script(options) == "vif-openvswitch":
        match = _SWITCH.fullmatch(bridge)
        if match:
            own = int(match[2]) if match[2] else vlan
            return match[1] or None, own, bool(match[3])
    return bridge, vlan, False


def display(settings: Settings, mode: str) -> Display:
    """A paravirtual guest without vfb has only a console.  Passwords stay behind."""
    frame = {
        key.strip(): value.strip()
        for text in strings(settings.get("vfb"))
        for key, _, value in (part.partition("=") for part in text.split(","))
    }
    keymap = word(settings, "keymap") or frame.get("keymap") or None
    if true(settings, "spice"):
        return Display(type="spice", keymap=keymap)
    vnc = true(settings, "vnc") or frame.get("vnc") == "1"
    sdl = frame.get("type") == "sdl" or frame.get("sdl") == "1"
    if (true(settings, "sdl") or sdl) and not vnc:
        return Display(type="sdl", keymap=keymap)
    if mode != "hvm" and not frame and not vnc:
        return Display(type="none")
    return Display(type="vnc", keymap=keymap)


def passthrough(settings: Settings) -> Iterator[str]:
    """Yield what belongs to the source's host, and what its device model was told."""
    for key in _LOST:
        for text in strings(settings.get(key)):
            if text:
                yield f"{key} {text:.60}"
    for key, start in _HOSTS.items():
        for text in strings(settings.get(key)):
            if text.startswith(start):
                yield f"{key} {text:.60}"
    if true(settings, "gfx_passthru"):
        yield "gfx_passthru"
    yield from (f"{k}, for qemu itself" for k in settings if _ARGUMENTS.fullmatch(k))


def findings(settings: Settings, found: list[Nic]) -> Iterator[Finding]:
    """Yield what is to be said of the devices, of which *found* are the cards."""
    yield from descriptions.devices_lost(passthrough(settings))
    for index, nic in enumerate(found):
        if nic.mac_source == "made":
            yield descriptions.mac_made(f"network card {index}")
        if nic.type == "none":
            why = "was routed by the source's host"
            yield descriptions.unattached(f"network card {index}", why)
    told = cards(settings)
    if any(_switch(options)[2] for options in told):
        yield descriptions.caution(
            "vlan-trunk",
            "a network card carries several VLANs, of which the document has one",
            "see that its new network carries them all",
        )
    if settings.get("vnuma"):
        yield descriptions.numa_lost()
    lost = [key for key in _SETTINGS if _says(settings, key)]
    lost += [f"vif {k}" for k in ("rate", "ip") if any(o.get(k) for o in told)]
    yield from descriptions.settings_lost(lost, "Xen")


def _says(settings: Settings, key: str) -> bool:
    """Whether *key* is set to something: files list what is off, too."""
    value = settings.get(key)
    return bool(value) if isinstance(value, list) else true(settings, key)


def limited(settings: Settings, where: str) -> list[Mapping[str, str]]:
    """Return the network cards of the domain *where*.

    Raises SourceError if there are more than a machine can have.
    """
    found = cards(settings)
    descriptions.limited(where, len(found), "network cards", _MAX_NICS)
    return found
