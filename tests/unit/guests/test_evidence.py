# SPDX-License-Identifier: GPL-2.0-or-later
"""Which name a card had, by what the guest noted; all samples are ours."""

import json

import pytest

from guest_files import Files, guest_with
from v2v.document import Interface, Nic
from v2v.guests.linux import evidence, interfaces, network

A, B = "00:50:56:00:00:0a", "00:50:56:00:00:0b"

TWO = {
    "/etc/systemd/network/a.network": "[Match]\nName=ens192\n[Network]\nDHCP=yes\n",
    "/etc/systemd/network/b.network": "[Match]\nName=ens224\n[Network]\nDHCP=yes\n",
}
PACKET = bytes([2, 1, 6, 0]) + bytes(24) + bytes.fromhex("00505600000b") + bytes(250)

NOTED: dict[str, tuple[str, str | bytes]] = {
    "dhclient": (
        "/var/lib/dhcp/dhclient.ens224.leases",
        (
            'lease {\n  interface "ens224";\n  fixed-address 192.0.2.9;\n'
            "  option dhcp-client-identifier 1:0:50:56:0:0:b;\n}\n"
        ),
    ),
    "NetworkManager": (
        "/var/lib/NetworkManager/internal-5c7d4d44-9d2f-4c36-ens224.lease",
        "# This is private data.\nADDRESS=192.0.2.9\nCLIENTID=0100505600000b\n",
    ),
    "wicked": (
        "/var/lib/wicked/lease-ens224-dhcp-ipv4.xml",
        (
            "<lease>\n <ipv4:dhcp>\n  <client-id>01:00:50:56:00:00:0b</client-id>\n"
            "  <sender-hwa>00:50:56:00:00:0a</sender-hwa>\n </ipv4:dhcp>\n</lease>\n"
        ),
    ),
    "dhcpcd": ("/var/lib/dhcpcd/ens224.lease", PACKET),
    "dhclient's log": (
        "/var/log/syslog",
        f"Nov 26 dhclient[7]: Listening on LPF/ens224/{B}\n",
    ),
    "cloud-init's log": (
        "/var/log/cloud-init-output.log",
        (
            "ci-info: | Device |  Up  |  Address  |  Mask | Scope | Hw-Address |\n"
            f"ci-info: | ens224 | True | 192.0.2.9 | 255.255.255.0 | global | {B} |\n"
        ),
    ),
    "the kernel's log": (
        "/var/log/messages",
        (
            f"e1000 0000:02:01.0 eth1: (PCI:66MHz:32-bit) {B}\n"
            "e1000 0000:02:01.0 ens224: renamed from eth1\n"
        ),
    ),
    "the journal": (
        "/var/log/journal/0123/system.journal",
        b"LPKSHHRH\0\0\xff\1MESSAGE=Listening on LPF/ens224/"
        + B.encode()
        + b"\0\0_PID=7\xfe\n\n",
    ),
    "cloud-init": (
        "/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg",
        (
            "network:\n  version: 1\n  config:\n  - type: physical\n    name: ens192\n"
            "    subnets:\n    - type: dhcp\n"
            f"  - mac_address: '{B}'\n    name: ens224\n"
        ),
    ),
    "cloud-init as JSON": (
        "/var/lib/cloud/instance/network-config.json",
        json.dumps({"version": 1, "config": [{"name": "ens224", "mac_address": B}]}),
    ),
}


@pytest.mark.parametrize("source", NOTED)
def test_a_name_is_known_by_what_the_guest_noted(source: str) -> None:
    """Of two cards: so the other is known as well, against their order.

    Forklift 1358 and 3781: cards swapped, since only their order was known.
    """
    path, noted = NOTED[source]
    found = interfaces.found(guest_with({**TWO, path: noted}))
    assert Interface(name="ens224", config=path, mac=B) in found
    nics = (Nic(mac=B), Nic(mac=A))
    assert network.names(nics, found) == {B: "ens224", A: "ens192"}
    assert network.by_order(nics, found) == []


def test_without_any_note_the_order_decides_and_that_is_said() -> None:
    found = interfaces.found(guest_with(TWO))
    nics = (Nic(mac=B), Nic(mac=A))
    assert network.names(nics, found) == {B: "ens192", A: "ens224"}
    assert network.by_order(nics, found) == ["ens192", "ens224"]


def test_the_newest_entry_of_a_log_counts() -> None:
    lines = [f"dhclient: Listening on LPF/{name}/{B}" for name in ("ens192", "ens224")]
    found = list(evidence.log("/var/log/syslog", "\n".join(lines).encode()))
    assert found[0] == ("ens224", B)


def test_notes_of_a_machine_that_this_one_was_copied_from_do_not_count() -> None:
    path, noted = NOTED["dhclient's log"]
    found = interfaces.found(guest_with({**TWO, path: noted}))
    nics = (Nic(mac=A), Nic(mac="00:50:56:00:00:0c"))
    assert network.by_order(nics, found) == ["ens192", "ens224"]


def test_what_the_guest_noted_is_not_taken_for_an_interface_to_bring_up() -> None:
    path, noted = NOTED["dhclient's log"]
    found = interfaces.found(guest_with({**TWO, path: noted}))
    assert [i.name for i in found if interfaces.is_configured(i)] == [
        *("ens192", "ens224")
    ]


def test_a_guest_with_one_card_is_asked_one_question() -> None:
    guest = guest_with({"/etc/network/interfaces": "iface ens192 inet dhcp\n"})
    interfaces.found(guest)
    assert isinstance(guest.g, Files) and guest.g.asked == 1


@pytest.mark.parametrize(
    "noted",
    [
        b"",
        b"\x00" * 2**20,
        b"LPF/" * 2**18,
        b"client-id " * 2**16,
        b"| ci-info" * 2**16,
        b"name: a\n- " * 2**16,
        b"[" * 2**20,
        b'interface "' * 2**16,
        b"1:" * 2**19,
    ],
)
def test_hostile_notes_are_passed_over_in_time(noted: bytes) -> None:
    for _, reader in evidence._SOURCES:
        for path in ("/var/x-ens192.lease", "/var/x.json"):
            assert list(reader(path, noted)) == []


def test_a_pattern_for_vmwares_names_is_given_such_a_name() -> None:
    """Name=ens* would not match enp1s0; Name=en* does, and needs nothing."""
    nic = Nic(mac=A, pci_slot=192)
    for pattern, known in (("ens*", {A: "ens192"}), ("en*", {}), ("e*", {})):
        text = f"[Match]\nName={pattern}\n[Network]\nDHCP=yes\n"
        files = {"/etc/systemd/network/all.network": text}
        assert network.names((nic,), interfaces.found(guest_with(files))) == known
