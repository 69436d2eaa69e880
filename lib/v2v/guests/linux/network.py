# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep the names of network cards, which addresses and firewall rules are bound to.

A VMware card is ens192 by the slot of its bridge; the same card on KVM would be enp1s0,
and come up without its address.  The MAC stays, so the name is tied to it: by a .link
file (systemd.link(5)) and, since a card that was named in the initramfs is renamed by
rules only (systemd 9807), by a udev rule with the same name.  A systemd that cannot
match a permanent MAC is given the rule alone: what its .link files match differs from
version to version, and might be a VLAN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from v2v.document import VM, Finding, Guest, Interface, Nic
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux import addresses, boot, cloudinit, hardware
from v2v.guests.linux.addresses import Address
from v2v.guests.linux.interfaces import is_configured
from v2v.guests.plan import Action, create, edit

# Names that a kernel or systemd gives to cards, and no bond, bridge or VLAN has.
# netdevice(7): 15 characters at most.  Xen's is enX0.
_CARD = re.compile(r"(?=.{1,15}$)(eth\d+|(en|em|p\d+p)[a-zX0-9]*\d+[a-z0-9]*)")
_PERMANENT = 245  # the first systemd with PermanentMACAddress=
# All that findings() may yield.
FINDINGS = frozenset(
    {
        *("nic-name-by-order", "nic-name-swap", "nic-mac-differs"),
        *("nic-hardware-match", "nic-offload"),
    }
)
_SHOWN = 20  # of each kind
_RULES = "/etc/udev/rules.d/70-v2v-names.rules"


def names(nics: tuple[Nic, ...], interfaces: tuple[Interface, ...]) -> dict[str, str]:
    """Return the name for each MAC, as far as it can be told.

    By the MAC in a configuration or in what the guest noted, else by the slot that
    VMware names cards by, else in order, if there are as many cards as names.
    """
    found = _told(nics, interfaces)
    left, rest = _left(nics, interfaces, found)
    if len(rest) == len(left):
        found |= dict(zip(rest, left, strict=True))
    return found


def by_order(nics: tuple[Nic, ...], interfaces: tuple[Interface, ...]) -> list[str]:
    """Return the names that only their order gives to cards; a sole one is sure."""
    left, rest = _left(nics, interfaces, _told(nics, interfaces))
    return left if 1 < len(left) == len(rest) else []


def _told(nics: Sequence[Nic], interfaces: Sequence[Interface]) -> dict[str, str]:
    """Return the names that something says."""
    cards = _cards(nics, interfaces)
    # The first that names a MAC is the surest.
    macs = {i.mac: i.name for i in reversed(cards) if i.mac}
    # A name of the configuration, or a free one where it has a name for any.
    free = {i.name for i in cards}
    found: dict[str, str] = {}
    for nic in nics:
        if macs.get(nic.mac) in free:
            found[nic.mac] = macs[nic.mac]
            free.remove(macs[nic.mac])
    for nic in nics:
        name = f"ens{vmware_slot(nic.pci_slot)}" if nic.pci_slot else ""
        if nic.mac not in found and (name in free or _is_meant(name, interfaces)):
            found[nic.mac] = name
            free.discard(name)
    return found


def _is_meant(name: str, interfaces: Sequence[Interface]) -> bool:
    """Whether a pattern is for cards called *name*, and not as KVM calls them."""
    return bool(name) and any(
        set(i.name) & set("*?[")
        and fnmatchcase(name, i.name)
        and not fnmatchcase("enp1s0", i.name)
        for i in interfaces
    )


def _left(
    nics: Sequence[Nic], interfaces: Sequence[Interface], found: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the names, in natural order, and the MACs that *found* does not have."""
    all_ = {i.name for i in _cards(nics, interfaces)}
    left = sorted(all_ - set(found.values()), key=_natural)
    return left, [nic.mac for nic in nics if nic.mac not in found]


def _cards(nics: Sequence[Nic], interfaces: Sequence[Interface]) -> list[Interface]:
    """Return those of *interfaces* that are cards of this VM.

    A mere name for the MAC of another machine, that this one was copied from, is none.
    """
    macs = {nic.mac for nic in nics}
    return [
        i
        for i in interfaces
        if _CARD.fullmatch(i.name) and (i.mac in macs or is_configured(i))
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


def findings(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Finding]:
    """Yield what may keep the network from coming up as before; see FINDINGS."""
    known = names(vm.nics, guest.interfaces)
    if ordered := by_order(vm.nics, guest.interfaces):
        yield _finding(
            "nic-name-by-order",
            f"{', '.join(ordered[:_SHOWN])}: taken for the VM's network cards in their "
            "order, since nothing says which is which",
            "compare the addresses of the cards after the first boot",
        )
    if guest.init == "systemd" and (swapped := _swapped(vm, known)):
        yield _finding(
            "nic-name-swap",
            f"{', '.join(swapped[:_SHOWN])}: the kernel gives these names to other "
            "cards first, and udev cannot swap names",
            "give the cards names of their own in the guest, such as lan0 and lan1",
        )
    for interface in _of_other_macs(vm, guest)[:_SHOWN]:
        yield _finding(
            "nic-mac-differs",
            f"{printable(interface.config)} is for a card with the address "
            f"{interface.mac}, which the VM does not have",
            "give the VM's card that address, or change the file",
        )
    for bound in list(hardware.bound(appliance, vm, known))[:_SHOWN]:
        yield _finding(
            "nic-hardware-match",
            f"{printable(bound.path)} matches a card by its old hardware, and which "
            f"one cannot be told: {printable(bound.line)}",
            "write the card's MAC address there",
        )
    for path in hardware.tuned(appliance)[:_SHOWN]:
        yield _finding(
            "nic-offload",
            f"{printable(path)} sets what the old card could (ethtool); the new one "
            "may refuse it",
            "see after the first boot whether the interface is up; remove the setting",
        )


def _swapped(vm: VM, known: Mapping[str, str]) -> list[str]:
    """Return the names of cards that another card has when the kernel finds them."""
    first = {nic.mac: f"eth{i}" for i, nic in enumerate(vm.nics)}
    return [
        name
        for mac, name in known.items()
        if name in first.values() and name != first.get(mac)
    ]


def _finding(code: str, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity="warn", message=message, remedy=remedy)


def _of_other_macs(vm: VM, guest: Guest) -> list[Interface]:
    """Return the interfaces that are bound to a MAC that no card of *vm* has.

    ifupdown's is no condition: it gives the card that address.
    """
    macs = {nic.mac for nic in vm.nics}
    return [
        i
        for i in guest.interfaces
        if i.mac
        and i.mac not in macs
        and is_configured(i)
        and not i.config.startswith("/etc/network/")
    ]


def plan(
    appliance: Appliance, vm: VM, guest: Guest, asked: Sequence[Address] = ()
) -> Iterator[Action]:
    """Yield what ties the names in the guest's configuration to the MACs.

    And what gives cards the addresses *asked* for.  Raises GuestError if one cannot be
    given.
    """
    known = names(vm.nics, guest.interfaces)
    yield from _edits(appliance, vm, guest, known, asked)
    yield from cloudinit.plan(appliance, guest, pinned=bool(asked))
    known = _untied(known, guest.interfaces)
    if not known or _come_by_themselves(appliance, vm, guest, known):
        return
    reason = "an address is bound to this name, and the card keeps its MAC"
    if guest.init == "systemd" and systemd_version(appliance) >= _PERMANENT:
        for mac, name in known.items():
            path = f"/etc/systemd/network/10-v2v-{name}.link"
            text = _link(mac, name)
            if appliance.read(path) != text:
                yield create(path, text, reason)
    rules = "".join(_rule(mac, name) for mac, name in known.items())
    if appliance.read(_RULES) != rules:
        yield create(_RULES, rules, reason)


def _edits(
    appliance: Appliance,
    vm: VM,
    guest: Guest,
    known: Mapping[str, str],
    asked: Sequence[Address],
) -> Iterator[Action]:
    """Yield edits of the configuration, one for each file."""
    texts = addresses.Texts(appliance)
    reasons = {}
    for path, before, after in hardware.loosened(appliance, vm, known):
        texts.before[path], texts.after[path] = before, after
        reasons[path] = hardware.REASON
    addresses.change(texts, vm, guest, known, asked)
    for path, after in texts.after.items():
        reason = reasons.get(path, addresses.REASON)
        if path in texts.before:
            yield from edit(path, texts.before[path], after, reason)
        else:
            yield create(path, after, reason)


def _untied(known: Mapping[str, str], there: Sequence[Interface]) -> dict[str, str]:
    """Return those of *known* that no rule of the guest's own ties to their MACs.

    None, if one of several is not tied: then all are said in one place.
    """
    tied = {
        (i.mac, i.name)
        for i in there
        if i.config.endswith(".rules") and i.config != _RULES
    }
    return {} if known.items() <= tied else dict(known)


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


def _link(mac: str, name: str) -> str:
    # MACAddress alone would match VLANs and bridges over the card (systemd 11992).
    return (
        "# Made by v2v: the name that this card had before.\n"
        f"[Match]\nPermanentMACAddress={mac}\nType=ether\n\n[Link]\nName={name}\n"
    )


def _rule(mac: str, name: str) -> str:
    # DRIVERS leaves out VLANs and bridges, which have no driver.
    return (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{mac}", '
        f'ATTR{{type}}=="1", NAME="{name}"\n'
    )
