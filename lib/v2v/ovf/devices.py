# SPDX-License-Identifier: GPL-2.0-or-later
"""The network cards and the drives for removable media of a VM."""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Finding, Nic, Removable
from v2v.ovf import envelope, items, machine, units
from v2v.ovf.envelope import Envelope
from v2v.ovf.items import Item, Place
from v2v.ovf.machine import Hardware
from v2v.ovf.package import Package
from v2v.sources import macs

_NIC_MODELS = {
    **{
        name: name
        for name in ("e1000", "e1000e", "vmxnet3", "vmxnet2", "vmxnet", "pcnet32")
    },
    **{name: name for name in ("flexible", "virtio", "rtl8139")},
    "virtio-net": "virtio",
    "sriovethernetcard": "sriov",
    # oVirt's numbers, see its VmInterfaceType.
    "1": "rtl8139",
    "2": "e1000",
    "3": "virtio",
}


def nics(found: Hardware, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    extension = found.extension
    for number, item in enumerate(found.of_type(*items.NICS)):
        # VirtualBox keeps addresses only in its own section, in the same order.
        others = extension.macs if extension else ()
        given = item.get("MACAddress") or item.get("Address")
        mac = macs.parse(given) or macs.parse("".join(others[number : number + 1]))
        cable = extension.connected[number : number + 1] if extension else ()
        network = item.get("Connection")[:255] or None
        unattached = (network or "").lower() == "none"
        yield Nic(
            mac=mac or macs.made(vm_id, number),
            mac_source="static" if mac else "made",
            model=items.word(item.get("ResourceSubType"), _NIC_MODELS),
            type="none" if unattached else "bridge",
            network=None if unattached else network,
            slot=item.get("ElementName") or item.get("Caption") or None,
            pci_slot=units.number(item.config.get("slotInfo.pciSlotNumber", "")),
            connected=not item.off and False not in cable,
            boot=machine.boot_order(found, item),
        )


def made(cards: tuple[Nic, ...]) -> Iterator[Finding]:
    """Yield a finding if *cards* have addresses that are not the source's."""
    count = sum(card.mac_source == "made" for card in cards)
    if count:
        yield Finding(
            code="mac-made",
            severity="info",
            message=f"the OVF gives no address for {count} of {len(cards)} network "
            "cards; new ones are made",
            remedy="give the old ones with --mac if the guest or DHCP knows the VM by "
            "them",
        )


def removable(
    placed: list[tuple[Item, Place]], known: Envelope, package: Package
) -> tuple[tuple[Removable, ...], tuple[Finding, ...]]:
    """Return the CD and floppy drives among *placed*, and what is odd of them."""
    drives = []
    findings = []
    for item, place in placed:
        if item.type not in items.DRIVES:
            continue
        file = envelope.file_of(known, item.get("HostResource"))
        drives.append(
            Removable(
                type="floppy" if item.type == items.FLOPPY else "cdrom",
                bus=place.bus,
                slot=place.slot,
                path=file.href if file else None,
                connected=not item.off,
            )
        )
        if file:
            findings.append(_medium(file.href))
    return tuple(drives), tuple(findings)


def _medium(href: str) -> Finding:
    return Finding(
        code="medium-lost",
        severity="info",
        message=f"the medium {href[:300]} in a drive is not copied",
        remedy="put it into the drive of the new VM if the guest needs it",
    )
