# SPDX-License-Identifier: GPL-2.0-or-later
import pytest

from v2v.document import Filesystem, Guest, Interface, Nic
from v2v.guests.linux import drivers, kernels, network, stable, virtual

A, B = "00:50:56:00:00:0a", "00:50:56:00:00:0b"


def interface(name: str, mac: str | None = None) -> Interface:
    return Interface(name=name, config="/etc/network/interfaces", mac=mac)


def test_one_card_takes_the_one_name() -> None:
    assert network.names((Nic(mac=A),), (interface("ens192"),)) == {A: "ens192"}


def test_a_mac_in_the_configuration_decides() -> None:
    nics = (Nic(mac=A), Nic(mac=B))
    known = network.names(nics, (interface("ens1", B), interface("ens2", A)))
    assert known == {A: "ens2", B: "ens1"}


def test_vmwares_slots_name_the_cards() -> None:
    """160 is ens160; 1184 is the second function behind the bridge: ens161.

    Else ens192 becomes enp1s0 and has no address: virt-v2v 99, libguestfs 363,
    proxcenter-ui 554.
    """
    nics = (Nic(mac=A, pci_slot=1184), Nic(mac=B, pci_slot=160))
    known = network.names(nics, (interface("ens160"), interface("ens161")))
    assert known == {A: "ens161", B: "ens160"}


def test_more_names_than_cards_are_not_guessed() -> None:
    known = network.names((Nic(mac=A),), (interface("ens1"), interface("ens2")))
    assert known == {}


def test_xens_names_are_those_of_cards() -> None:
    assert network.names((Nic(mac=A),), (interface("enX0"),)) == {A: "enX0"}


def test_bridges_and_vlans_are_no_cards() -> None:
    names = ("br0", "bond0", "ens3.100", "docker0", "ens3")
    known = network.names((Nic(mac=A),), tuple(map(interface, names)))
    assert known == {A: "ens3"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/dev/sda1 / ext4 defaults 0 1\n", "UUID=u1 / ext4 defaults 0 1\n"),
        ("/dev/sda2\tnone\tswap\tsw\n", "UUID=u2\tnone\tswap\tsw\n"),
        ("#/dev/sda1 / ext4 defaults 0 1\n", None),
        ("# was on /dev/sda1 during installation\n", None),
        ("/dev/sda1 /x xfs defaults 0 0\n", None),
        ("/dev/sdb1 /x ext4 defaults 0 0\n", None),
        ("/dev/sr0 /media/cdrom udf,iso9660 user,noauto 0 0\n", None),
        ("UUID=u1 / ext4 defaults 0 1\n", None),
        ("/dev/sda5 /dup ext4 defaults 0 0\n", None),
        ("tmpfs /tmp tmpfs\n", None),
    ],
)
def test_fstab_names_become_uuids_where_it_is_sure_what_they_mean(
    before: str, after: str | None
) -> None:
    guest = Guest(
        filesystems=(
            Filesystem(device="/dev/sda1", type="ext4", uuid="u1"),
            Filesystem(device="/dev/sda2", type="swap", uuid="u2"),
            Filesystem(device="/dev/sda5", type="ext4", uuid="twice"),
            Filesystem(device="/dev/sda6", type="ext4", uuid="twice"),
        )
    )
    line = stable._fstab_line(before, stable.Names(guest))
    assert line == (before if after is None else after)


DEP = {
    "virtio_blk": "kernel/virtio_blk.ko: kernel/virtio.ko",
    "virtio": "kernel/virtio.ko:",
    "virtio_pci": "kernel/virtio_pci.ko: kernel/virtio_ring.ko kernel/virtio.ko",
    "virtio_ring": "kernel/virtio_ring.ko:",
}


def test_what_drivers_need_is_needed_too() -> None:
    inside = {"virtio_blk", "virtio_pci", "virtio"}
    assert kernels.lacking(drivers.DISK, set(), DEP, inside) == {"virtio_ring"}
    assert kernels.lacking(drivers.DISK, {"virtio_ring"}, DEP, inside) == set()


def test_a_driver_that_is_nowhere_is_lacking() -> None:
    assert kernels.lacking(["virtio_blk"], set(), {}, set()) == {"virtio_blk"}


def test_a_guest_without_known_kernels_gets_safe_hardware() -> None:
    devices = virtual.devices(Guest(type="linux"), "local", agent=True)
    assert (devices.block, devices.net, devices.agent) == ("sata", "e1000e", False)
