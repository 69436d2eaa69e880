# SPDX-License-Identifier: GPL-2.0-or-later
"""--mac MAC:ip:...: a card's new address, in the words of each network stack."""

import time

import pytest

from guest_files import done, guest_with, paths
from v2v.document import VM, Guest, Nic, Source
from v2v.errors import GuestError, UsageError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import addresses, addressing, interfaces, netplan_address, network

A, B = "00:50:56:00:00:0a", "00:50:56:00:00:0b"
V4 = f"{A}:ip:198.51.100.7,198.51.100.1,25,198.51.100.2,198.51.100.3"
V6 = f"{A}:ip:2001:db8::7,2001:db8::1,64"
NET = "/etc/network/interfaces"
IFCFG = "/etc/sysconfig/network-scripts/ifcfg-ens192"
SUSE = "/etc/sysconfig/network"
PLAN = "/etc/netplan/01.yaml"
NETWORKD = "/etc/systemd/network/a.network"
KEYFILE = "/etc/NetworkManager/system-connections/a.nmconnection"

IFUPDOWN = """\
auto lo
iface lo inet loopback

# The first card
allow-hotplug ens192
iface ens192 inet static
    address 192.0.2.20/24   # old
    gateway 192.0.2.1
    dns-nameservers 192.0.2.1
    mtu 9000

iface ens224 inet dhcp
"""
CASES = {
    "ifupdown": (
        *(NET, V4, IFUPDOWN),
        IFUPDOWN.replace("192.0.2.20/24   # old", "198.51.100.7/25")
        .replace("gateway 192.0.2.1", "gateway 198.51.100.1")
        .replace("servers 192.0.2.1", "servers 198.51.100.2 198.51.100.3"),
    ),
    "ifupdown with a mask": (
        *(NET, V4),
        (
            "iface ens192 inet static\n\taddress 192.0.2.20\n\tnetmask 255.255.255.0\n"
            "\tnetwork 192.0.2.0\n\tbroadcast 192.0.2.255\n"
        ),
        (
            "iface ens192 inet static\n\tgateway 198.51.100.1\n"
            "\tdns-nameservers 198.51.100.2 198.51.100.3\n"
            "\taddress 198.51.100.7\n\tnetmask 255.255.255.128\n"
        ),
    ),
    "ifupdown by DHCP": (
        *(NET, f"{A}:ip:198.51.100.7,,25"),
        "auto ens192\niface ens192 inet dhcp\n",
        (
            "auto ens192\niface ens192 inet static\n\taddress 198.51.100.7\n"
            "\tnetmask 255.255.255.128\n"
        ),
    ),
    "ifupdown, IPv6 beside IPv4": (
        *(NET, V6, IFUPDOWN),
        IFUPDOWN.replace(
            "    mtu 9000\n",
            "    mtu 9000\niface ens192 inet6 static\n\taddress 2001:db8::7/64\n"
            "\tgateway 2001:db8::1\n",
        ),
    ),
    "ifcfg": (
        *(IFCFG, V4),
        (
            'DEVICE="ens192"\nBOOTPROTO="none"\nIPADDR="192.0.2.20"\nPREFIX=24\n'
            "GATEWAY=192.0.2.1\nDNS1=192.0.2.1\nDNS2=192.0.2.2\nDNS3=192.0.2.3\nMTU=9000\n"
        ),
        (
            'DEVICE="ens192"\nBOOTPROTO="none"\nIPADDR="198.51.100.7"\nPREFIX=25\n'
            "GATEWAY=198.51.100.1\nDNS1=198.51.100.2\nDNS2=198.51.100.3\nMTU=9000\n"
        ),
    ),
    "ifcfg with a mask, by DHCP": (
        *(IFCFG, f"{A}:ip:198.51.100.7,,25"),
        "DEVICE=ens192\nBOOTPROTO=dhcp\n",
        "DEVICE=ens192\nBOOTPROTO=none\nIPADDR=198.51.100.7\nPREFIX=25\n",
    ),
    "ifcfg, IPv6": (
        *(IFCFG, V6),
        "DEVICE=ens192\nBOOTPROTO=dhcp\nIPV6INIT=no\n",
        (
            "DEVICE=ens192\nBOOTPROTO=dhcp\nIPV6INIT=yes\nIPV6_AUTOCONF=no\n"
            "IPV6ADDR=2001:db8::7/64\nIPV6_DEFAULTGW=2001:db8::1\n"
        ),
    ),
    "SUSE": (
        *(f"{SUSE}/ifcfg-ens192", V4),
        "BOOTPROTO='static'\nIPADDR='192.0.2.20/24'\nSTARTMODE='auto'\nNETMASK=''\n",
        "BOOTPROTO='static'\nIPADDR='198.51.100.7/25'\nSTARTMODE='auto'\n",
    ),
    "netplan": (
        *(PLAN, V4),
        (
            "network:\n  ethernets:\n    ens192:  # the first\n"
            "      addresses: [192.0.2.20/24, '2001:db8::20/64']\n"
            "      gateway4: 192.0.2.1\n      nameservers:\n        addresses:\n"
            "        - 192.0.2.1\n        - 192.0.2.2\n    ens224:\n      dhcp4: true\n"
        ),
        (
            "network:\n  ethernets:\n    ens192:  # the first\n"
            '      addresses: [198.51.100.7/25, "2001:db8::20/64"]\n'
            "      gateway4: 198.51.100.1\n      nameservers:\n        addresses:\n"
            "        - 198.51.100.2\n        - 198.51.100.3\n    ens224:\n"
            "      dhcp4: true\n"
        ),
    ),
    "netplan with routes": (
        *(PLAN, V4),
        (
            "network:\n  ethernets:\n    ens192:\n      addresses:\n"
            "        - 192.0.2.20/24\n      routes:\n        - to: 10.0.0.0/8\n"
            "          via: 192.0.2.2\n        - to: default\n"
            "          via: 192.0.2.1\n"
            "      nameservers:\n        addresses: [192.0.2.1]\n"
        ),
        (
            "network:\n  ethernets:\n    ens192:\n      addresses:\n"
            "        - 198.51.100.7/25\n      routes:\n        - to: 10.0.0.0/8\n"
            "          via: 192.0.2.2\n        - to: default\n"
            "          via: 198.51.100.1\n"
            "      nameservers:\n        addresses: [198.51.100.2, 198.51.100.3]\n"
        ),
    ),
    "netplan by DHCP": (
        *(PLAN, V6),
        "network:\n ethernets:\n  ens192:\n   dhcp4: true\n   dhcp6: true\n",
        (
            'network:\n ethernets:\n  ens192:\n   routes:\n     - to: "::/0"\n'
            '       via: "2001:db8::1"\n   addresses: ["2001:db8::7/64"]\n'
            "   dhcp4: true\n   dhcp6: false\n"
        ),
    ),
    "networkd": (
        *(NETWORKD, V4),
        (
            "[Match]\nName=ens192\n\n[Network]\nAddress=192.0.2.20/24\n"
            "Address=2001:db8::20/64\nGateway=192.0.2.1\n\n[Link]\nMTUBytes=9000\n"
        ),
        (
            "[Match]\nName=ens192\n\n[Network]\nDNS=198.51.100.2\nDNS=198.51.100.3\n"
            "Address=198.51.100.7/25\nAddress=2001:db8::20/64\nGateway=198.51.100.1\n\n"
            "[Link]\nMTUBytes=9000\n"
        ),
    ),
    "networkd by DHCP": (
        *(NETWORKD, f"{A}:ip:198.51.100.7,,25"),
        "[Match]\nName=ens192\n[Network]\nDHCP=yes\n",
        "[Match]\nName=ens192\n[Network]\nAddress=198.51.100.7/25\nDHCP=no\n",
    ),
    "netctl": (
        *("/etc/netctl/main", V4),
        (
            "Interface=ens192\nConnection=ethernet\nIP=static\n"
            "Address=('192.0.2.9/24' '192.0.2.10/24')\nGateway='192.0.2.1'\n"
        ),
        (
            "Interface=ens192\nConnection=ethernet\nIP=static\n"
            "Address=('198.51.100.7/25')\nGateway='198.51.100.1'\n"
            "DNS=('198.51.100.2' '198.51.100.3')\n"
        ),
    ),
    "networkd by DHCP for one family": (
        *(NETWORKD, f"{A}:ip:198.51.100.7,,25"),
        "[Match]\nName=ens192\n[Network]\nDHCP=ipv4\nAddress=2001:db8::20/64\n",
        (
            "[Match]\nName=ens192\n[Network]\nDHCP=no\nAddress=198.51.100.7/25\n"
            "Address=2001:db8::20/64\n"
        ),
    ),
    "networkd with another route": (
        *(NETWORKD, f"{A}:ip:198.51.100.7,198.51.100.1,25"),
        (
            "[Match]\nName=ens192\n[Network]\nAddress=192.0.2.2/24\n"
            "[Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.9\n"
        ),
        (
            "[Match]\nName=ens192\n[Network]\nGateway=198.51.100.1\n"
            "Address=198.51.100.7/25\n"
            "[Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.9\n"
        ),
    ),
    "NetworkManager": (
        *(KEYFILE, V4),
        (
            "[connection]\ninterface-name=ens192\ntype=ethernet\n\n[ipv4]\nmethod=manual\n"
            "address1=192.0.2.20/24,192.0.2.1\naddress2=192.0.2.21/24\ndns=192.0.2.1;\n\n"
            "[ipv6]\nmethod=ignore\n"
        ),
        (
            "[connection]\ninterface-name=ens192\ntype=ethernet\n\n[ipv4]\nmethod=manual\n"
            "address1=198.51.100.7/25,198.51.100.1\ndns=198.51.100.2;198.51.100.3;\n\n"
            "[ipv6]\nmethod=ignore\n"
        ),
    ),
    "NetworkManager, the gateway stays": (
        *(KEYFILE, f"{A}:ip:192.0.2.99"),
        (
            "[connection]\ninterface-name=ens192\ntype=ethernet\n[ipv4]\nmethod=manual\n"
            "addresses=192.0.2.20/24\ngateway=192.0.2.1\n"
        ),
        (
            "[connection]\ninterface-name=ens192\ntype=ethernet\n[ipv4]\n"
            "address1=192.0.2.99/24,192.0.2.1\nmethod=manual\n"
        ),
    ),
}


VENDORS = "[connection]\ntype=ethernet\ninterface-name=ens192\n"
# Cards that are part of a bond or a bridge, in each stack's words.
PORTS = {
    NET: "iface bond0 inet static\n  address 192.0.2.9/24\n  bond-slaves ens192\n",
    IFCFG: "DEVICE=ens192\nMASTER=bond0\nSLAVE=yes\n",
    PLAN: "network:\n  ethernets:\n    ens192: {}\n  bonds:\n    bond0:\n"
    "      interfaces: [ens192]\n      addresses: [192.0.2.9/24]\n",
    NETWORKD: "[Match]\nName=ens192\n[Network]\nBridge=br0\n",
    KEYFILE: "[connection]\ntype=ethernet\ninterface-name=ens192\nmaster=bond0\n",
}


def planned(guest: Appliance, word: str) -> list[str]:
    """Do what --mac *word* asks for; return the paths of what was changed."""
    described = Guest(interfaces=interfaces.found(guest))
    two = "ens224" in {i.name for i in described.interfaces}
    vm = VM(
        id="x",
        name="x",
        memory=1,
        nics=(Nic(mac=A), Nic(mac=B))[: 1 + two],
        source=Source(kind="vmx", location="/x"),
    )
    asked = [addresses.parse(word)]
    return paths(done(guest, network.plan(guest, vm, described, asked)))


@pytest.mark.parametrize("case", CASES)
def test_the_file_says_the_new_address_and_all_else_stays(case: str) -> None:
    path, word, before, after = CASES[case]
    guest = guest_with({path: before})
    assert planned(guest, word)[0] == path
    assert guest.read(path) == after
    assert planned(guest, word) == []


@pytest.mark.parametrize("case", CASES)
def test_what_was_written_is_what_is_read(case: str) -> None:
    path, word, before, _ = CASES[case]
    guest = guest_with({path: before})
    planned(guest, word)
    asked = addresses.parse(word)
    found = [a for i in interfaces.found(guest) for a in i.addresses]
    assert any(a.split("/")[0] == str(asked.ip) for a in found)


def test_files_beside_the_interfaces_own() -> None:
    guest = guest_with(
        {
            f"{SUSE}/ifcfg-eth0": "BOOTPROTO='dhcp'\n",
            f"{SUSE}/routes": "# routes\ndefault 192.0.2.1 - -\n10.0.0.0/8 192.0.2.2\n",
            f"{SUSE}/config": 'A="b"\nNETCONFIG_DNS_STATIC_SERVERS="192.0.2.1"\n',
        }
    )
    planned(guest, V4)
    assert guest.read(f"{SUSE}/routes") == (
        "# routes\ndefault 198.51.100.1 - -\n10.0.0.0/8 192.0.2.2\n"
    )
    assert guest.read(f"{SUSE}/config") == (
        'A="b"\nNETCONFIG_DNS_STATIC_SERVERS="198.51.100.2 198.51.100.3"\n'
    )
    guest = guest_with({NET: IFUPDOWN, "/etc/resolv.conf": "search x\nnameserver 1\n"})
    planned(guest, V4)
    assert guest.read("/etc/resolv.conf") == (
        "search x\nnameserver 198.51.100.2\nnameserver 198.51.100.3\n"
    )


def test_etcnet_has_a_file_for_each_thing() -> None:
    folder = "/etc/net/ifaces/ens192"
    guest = guest_with(
        {
            f"{folder}/options": "TYPE=eth\nBOOTPROTO=dhcp\n",
            f"{folder}/ipv4route": "10.0.0.0/8 via 192.0.2.2\ndefault via 192.0.2.1\n",
        }
    )
    planned(guest, V4)
    assert guest.read(f"{folder}/options") == "TYPE=eth\nBOOTPROTO=static\n"
    assert guest.read(f"{folder}/ipv4address") == "198.51.100.7/25\n"
    assert guest.read(f"{folder}/ipv4route") == (
        "10.0.0.0/8 via 192.0.2.2\ndefault via 198.51.100.1\n"
    )
    assert guest.read(f"{folder}/resolv.conf") == (
        "nameserver 198.51.100.2\nnameserver 198.51.100.3\n"
    )
    assert planned(guest, V4) == []


def test_a_file_that_was_loosened_too_is_edited_once() -> None:
    text = "[Match]\nName=ens192\nDriver=vmxnet3\n[Network]\nDHCP=yes\n"
    guest = guest_with({NETWORKD: text})
    assert planned(guest, f"{A}:ip:198.51.100.7,,25").count(NETWORKD) == 1
    made = guest.read(NETWORKD) or ""
    assert "vmxnet3" not in made and "Address=198.51.100.7/25" in made


@pytest.mark.parametrize(
    ("files", "word", "why"),
    [
        ({}, V4, "configured nowhere"),
        ({NET: "iface ens192 inet dhcp\n"}, f"{A}:ip:192.0.2.1", "prefix is not known"),
        (
            {"/usr/lib/NetworkManager/system-connections/a.nmconnection": VENDORS},
            *(V4, "none that can be edited"),
        ),
        (
            {PLAN: "network:\n  ethernets:\n    ens192: {dhcp4: true}\n"},
            *(V4, "block style"),
        ),
        (
            {NETWORKD: "[Match]\nName=ens192\n[Address]\nAddress=192.0.2.1/24\n"},
            *(V4, "sections of their own"),
        ),
        (
            {NETWORKD: "[Match]\nName=ens192\n[Route]\nGateway=192.0.2.1\n"},
            *(V4, "default route is in a section of its own"),
        ),
        (
            {NET: "iface ens192 inet dhcp\n", NETWORKD: "[Match]\nName=ens192\n"},
            *(V4, "in several files"),
        ),
        *(({path: text}, V4, "what is made over it") for path, text in PORTS.items()),
        (
            {NET: "iface ens1 inet dhcp\niface ens2 inet dhcp\n"},
            *(V4, "which of ens1, ens2 this card is"),
        ),
    ],
)
def test_what_cannot_be_edited_is_refused(
    files: dict[str, str], word: str, why: str
) -> None:
    guest = guest_with(files)
    with pytest.raises(GuestError, match=why) as refused:
        planned(guest, word)
    assert refused.value.remedy
    assert {path: guest.read(path) for path in files} == files


@pytest.mark.parametrize(
    "word",
    [
        "",
        A,
        f"{A}:ip:",
        f"{A}:ip:1.2.3",
        f"{A}:bridge:br0",
        f"{A}:ip:192.0.2.1,::1",
        f"{A}:ip:192.0.2.1,,33",
        f"{A}:ip:192.0.2.1,,0",
        f"{A}:ip:::1,,x",
        f"{A}:ip:192.0.2.1,,24,dns",
    ],
)
def test_what_is_no_address_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        addresses.parse(word)


@pytest.mark.parametrize(
    "text",
    [
        "iface ens192 inet static\naddress\n" + "a\n" * 2**17,
        "[ipv4]\n" * 2**15,
        "[Network]\nAddress=\n" * 2**13,
        "IPADDR_=x\n" * 2**14,
        "network:\n ethernets:\n  ens192:\n" + "   - a\n" * 2**14,
        "network:\n ethernets:\n" + "".join(f"  e{i}:\n" for i in range(2**14)),
    ],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.process_time()
    static = addresses.asked_for(addresses.parse(V4))
    addressing.suse_routes(text, static)
    for edited in addresses._EDITS.values():
        try:
            edited(text, "ens192", static)
        except addressing.CannotError:
            continue
    with pytest.raises(addressing.CannotError):
        netplan_address.edited("", "ens192", static)
    assert time.process_time() - began < 10


def test_an_address_for_another_vms_card_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One command may convert many VMs."""
    guest = guest_with({NET: "iface ens192 inet dhcp\n"})
    assert NET not in planned(guest, V4.replace(A, B))
    assert f"x has no network card {B}" in caplog.text


def test_a_mere_mac_is_for_inspect_and_nonsense_is_refused() -> None:
    assert [a.mac for a in addresses.asked([A, V4])] == [A]
    with pytest.raises(UsageError, match="must be MAC:ip:"):
        addresses.asked([f"{A}:bridge:br0"])


def test_suse_gets_its_gateway_where_there_was_dhcp() -> None:
    """Without a file for routes it was lost without a word."""
    path = f"{SUSE}/ifcfg-eth0"
    guest = guest_with({path: "BOOTPROTO='dhcp'\n"})
    assert planned(guest, V4) == [path, f"{SUSE}/routes"]
    assert guest.read(f"{SUSE}/routes") == "default 198.51.100.1 - -\n"
    assert planned(guest, V4) == []


def test_suse_has_but_one_default_route() -> None:
    own = f"{SUSE}/ifroute-eth0"
    files = {f"{SUSE}/ifcfg-eth0": "BOOTPROTO='dhcp'\n", own: "default 192.0.2.1 - -\n"}
    guest = guest_with(files)
    assert f"{SUSE}/routes" not in planned(guest, V4)
    assert guest.read(own) == "default 198.51.100.1 - -\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_as_they_did(end: str) -> None:
    before = f"network:{end}  ethernets:{end}    ens192:{end}      dhcp4: true{end}"
    guest = guest_with({PLAN: before})
    planned(guest, V4)
    made = guest.read(PLAN) or ""
    assert "198.51.100.7" in made and made.count(end) == made.count("\n")


def test_comments_of_items_and_a_heading_that_ends_the_file_are_understood() -> None:
    static = addressing.Static(family=4, address="192.0.2.9", prefix=24)
    text = "[connection]\ntype=ethernet\n[ipv4]"
    assert "[ipv4]\nmethod=manual\n" in addressing.keyfile(text, "x", static)
    text = "ethernets:\n  x:\n    addresses:\n      - 192.0.2.2/24 # old\n"
    assert "- 192.0.2.9/24\n" in netplan_address.edited(text, "x", static)
