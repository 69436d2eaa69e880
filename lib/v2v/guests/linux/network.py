# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep the names of network cards, which addresses and firewall rules are bound to.

A VMware card is ens192 by the slot of its bridge; the same card on KVM would be enp1s0,
and come up without its address.  The MAC stays, so the name is tied to it: by a .link
file (systemd.link(5)) and, since a card that was named in the initramfs is renamed by
rules only (systemd 9807), by a udev rule with the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from v2v.document import VM, Guest, Interface, Nic
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot
from v2v.guests.linux.plan import Action, create

# Names that a kernel or systemd gives to cards, and no bond, bridge or VLAN has.
# netdevice(7): 15 characters at most.
_CARD = re.compile(r"(?=.{1,15}$)(eth\d+|(en|em|p\d+p)[a-z0-9]*\d+[a-z0-9]*)")
_RULES = "/etc/udev/rules.d/70-v2v-names.rules"


def names(nics: tuple[Nic, ...], interfaces: tuple[Interface, ...]) -> dict[str, str]:
    """Return the name for each MAC, as far as it can be told.

    By the MAC in a configuration, else by the slot that VMware names cards by, else in
    order, if there are as many cards as names.
    """
    wanted = _cards(nics, interfaces)
    left = sorted({i.name for i in wanted}, key=_natural)
    found: dict[str, str] = {}
    macs = {i.mac: i.name for i in reversed(wanted) if i.mac}
    slots = {f"ens{vmware_slot(n.pci_slot)}": n.mac for n in nics if n.pci_slot}
    for nic in nics:
        if nic.mac in macs and macs[nic.mac] in left:
            found[nic.mac] = macs[nic.mac]
            left.remove(macs[nic.mac])
    for name, mac in slots.items():
        if name in left and mac not in found:
            found[mac] = name
            left.remove(name)
    rest = [nic.mac for nic in nics if nic.mac not in found]
    if len(rest) == len(left):
        found |= dict(zip(rest, left, strict=True))
    return found


def _cards(nics: Sequence[Nic], interfaces: Sequence[Interface]) -> list[Interface]:
    """Return those of *interfaces* that are cards of this VM.

    A mere name for the MAC of another machine, that this one was copied from, is none.
    """
    macs = {nic.mac for nic in nics}
    return [
        i
        for i in interfaces
        if _CARD.fullmatch(i.name)
        and (i.mac in macs or not i.config.endswith((".rules", ".link")))
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts ens33 before ens192."""
    return [(int(n or 0), word) for word, n in re.findall(r"(\D*)(\d*)", name)]


def vmware_slot(number: int) -> int:
    """Return the N of ensN for ethernetX.pciSlotNumber (Broadcom KB 311606)."""
    return number % 1024 + number // 1024


def undecided(vm: VM, guest: Guest, known: Mapping[str, str]) -> list[str]:
    """Return the configured names of cards that no card of the VM was found for."""
    all_ = {i.name for i in _cards(vm.nics, guest.interfaces)}
    return sorted(all_ - set(known.values()))


def plan(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Action]:
    """Yield what ties the names in the guest's configuration to the MACs."""
    known = names(vm.nics, guest.interfaces)
    if not known or _come_by_themselves(appliance, vm, guest, known):
        return
    reason = "an address is bound to this name, and the card keeps its MAC"
    if guest.init == "systemd":
        version = systemd_version(appliance)
        for mac, name in known.items():
            path = f"/etc/systemd/network/10-v2v-{name}.link"
            text = _link(mac, name, version)
            if appliance.read(path) != text:
                yield create(path, text, reason)
    rules = "".join(_rule(mac, name) for mac, name in known.items())
    if appliance.read(_RULES) != rules:
        yield create(_RULES, rules, reason)


def _come_by_themselves(
    appliance: Appliance, vm: VM, guest: Guest, known: Mapping[str, str]
) -> bool:
    """Whether the kernel names the cards eth0, eth1 … and nobody renames them.

    A systemd guest on Hyper-V has an eth0 that on KVM would become enp1s0.
    """
    in_order = [known.get(nic.mac) for nic in vm.nics]
    if in_order != [f"eth{i}" for i in range(len(vm.nics))]:
        return False
    off = "net.ifnames=0" in boot.command_lines(appliance)
    return off or guest.init != "systemd"


def systemd_version(appliance: Appliance) -> int:
    """Return the version of the guest's systemd; 0 if it cannot be told."""
    for pattern in ("/usr/lib/systemd", "/lib/systemd", "/usr/lib/*/systemd"):
        for path in appliance.glob(f"{pattern}/libsystemd-shared-*.so"):
            if match := re.search(r"shared-(\d+)", path):
                return int(match[1])
    return 0


def _link(mac: str, name: str, version: int) -> str:
    # MACAddress alone would match VLANs and bridges over the card as well.
    if version >= 245:
        match = f"PermanentMACAddress={mac}\nType=ether\n"
    else:
        match = f"MACAddress={mac}\nType=ether\nDriver=virtio_net e1000e e1000\n"
    return (
        f"# Made by v2v: the name that this card had before.\n[Match]\n{match}\n"
        f"[Link]\nName={name}\n"
    )


def _rule(mac: str, name: str) -> str:
    # DRIVERS leaves out VLANs and bridges, which have no driver.
    return (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{mac}", '
        f'ATTR{{type}}=="1", NAME="{name}"\n'
    )
