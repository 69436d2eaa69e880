# SPDX-License-Identifier: GPL-2.0-or-later
"""What each network stack's files say; all samples are ours."""

from v2v.document import VM, Devices, Guest, Interface, Nic, Source
from v2v.guests.linux import interfaces, netplan, network

A, B = "00:50:56:00:00:0a", "00:50:56:00:00:0b"


def names(found: list[Interface]) -> list[str]:
    return [interface.name for interface in found]


IFUPDOWN = f"""\
auto lo br0
iface lo inet loopback

iface ens192 inet static
    address 192.0.2.20/24
    address 192.0.2.21/24
    hwaddress ether {A}
iface ens224 inet dhcp
iface br0 inet manual
    bridge_ports ens256 none
iface ens161.100 inet static
    address 198.51.100.1/24
iface bond0 inet manual
    bond-slaves ens193 ens225
"""


def test_interfaces_of_ifupdown_and_the_cards_under_them() -> None:
    found = list(interfaces.ifupdown("/etc/network/interfaces", IFUPDOWN))
    by_name = {i.name: i for i in found}
    assert by_name["ens192"].addresses == ("192.0.2.20/24", "192.0.2.21/24")
    assert by_name["ens192"].mac == A
    assert by_name["ens192"].method == "static"
    assert by_name["ens224"].method == "dhcp"
    assert {"ens256", "ens161", "ens193", "ens225"} <= set(by_name)


NETPLAN = f"""\
# Let cloud-init not touch it.
network:
    version: 2
    renderer: networkd
    ethernets:
        ens160:                      # the first
            dhcp4: true
        "ens192":
            addresses:
            - 192.0.2.30/24
            - "2001:db8::30/64":
                lifetime: 0
            nameservers: {{addresses: [192.0.2.1]}}
        lan:
            match: {{macaddress: '{B.upper()}'}}
            set-name: ens224
            addresses: [198.51.100.3/24, 198.51.100.4/24]
        any:
            match:
                macaddress: {A}
            dhcp4: yes
    bridges:
        br0:
            interfaces: [ens160]
"""


def test_cards_of_netplan() -> None:
    found = list(netplan.read("/etc/netplan/01.yaml", NETPLAN))
    assert [(i.name, i.method, i.mac) for i in found] == [
        ("ens160", "dhcp", None),
        ("ens192", "static", None),
        ("ens224", "static", B.upper().lower()),
        ("", "dhcp", A),  # bound to the MAC alone: any name will do
    ]
    assert found[1].addresses == ("192.0.2.30/24", "2001:db8::30/64")
    assert found[2].addresses == ("198.51.100.3/24", "198.51.100.4/24")


def test_networks_of_networkd() -> None:
    text = f"[Match]\nName=ens192\nMACAddress={A}\n[Network]\nAddress=192.0.2.5/24\n"
    [found] = interfaces.networkd("/etc/systemd/network/a.network", text)
    assert (found.name, found.method, found.mac) == ("ens192", "static", A)


def test_keyfiles_of_network_manager() -> None:
    text = (
        f"[connection]\nid=x\ninterface-name=ens192\n[ethernet]\nmac-address={A.upper()}"
        "\n[ipv4]\nmethod=manual\naddress1=192.0.2.7/24,192.0.2.1\n"
    )
    [found] = interfaces.keyfile("/x.nmconnection", text)
    assert (found.name, found.method) == ("ens192", "static")
    assert found.addresses == ("192.0.2.7/24",)


def test_ifcfg_files() -> None:
    text = f'DEVICE="ens192"\nBOOTPROTO=none\nIPADDR=192.0.2.8\nHWADDR={A}\n'
    [found] = interfaces.ifcfg("/x/ifcfg-ens192", text)
    assert (found.name, found.method, found.addresses) == (
        *("ens192", "static"),
        ("192.0.2.8",),
    )


def test_names_that_the_guest_tied_to_macs_itself() -> None:
    rule = f'SUBSYSTEM=="net", DRIVERS=="?*", ATTR{{address}}=="{A}", NAME="eth7"\n'
    [by_rule] = interfaces.rules("/etc/udev/rules.d/70-persistent-net.rules", rule)
    [by_link] = interfaces.links(
        "/etc/systemd/network/1.link", f"[Match]\nMACAddress={B}\n[Link]\nName=lan0\n"
    )
    assert (by_rule.name, by_rule.mac) == ("eth7", A)
    assert (by_link.name, by_link.mac) == ("lan0", B)


def test_a_rule_for_another_machines_card_is_not_ours() -> None:
    """As in a template that was copied: its old rules name MACs that nobody has."""
    of_template = Interface(name="eth0", config="/a.rules", mac=B)
    ours = Interface(name="ens192", config="/etc/network/interfaces")
    assert network.names((Nic(mac=A),), (of_template, ours)) == {A: "ens192"}


def test_cards_are_counted_in_natural_order() -> None:
    nics = (Nic(mac=A), Nic(mac=B))
    there = tuple(
        Interface(name=name, config="/etc/network/interfaces")
        for name in ("ens192", "ens33")
    )
    assert network.names(nics, there) == {A: "ens33", B: "ens192"}


def test_a_name_is_never_longer_than_the_kernel_allows() -> None:
    there = (Interface(name="en" + "1" * 20, config="/etc/network/interfaces"),)
    assert network.names((Nic(mac=A),), there) == {}


def test_what_no_card_was_found_for_is_said() -> None:
    guest = Guest(
        interfaces=(
            Interface(name="ens1", config="/i"),
            Interface(name="ens2", config="/i"),
        )
    )
    vm = VM(
        id="x",
        name="x",
        memory=1,
        nics=(Nic(mac=A),),
        source=Source(kind="vmx", location="/x"),
        devices=Devices(),
    )
    known = network.names(vm.nics, guest.interfaces)
    assert network.undecided(vm, guest, known) == ["ens1", "ens2"]
