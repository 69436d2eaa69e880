# SPDX-License-Identifier: GPL-2.0-or-later
"""What each network stack's files say; all samples are ours."""

from guest_files import done, guest_with, paths
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


def test_a_card_that_comes_up_by_hotplug_is_one() -> None:
    """Forklift 8562: ifquery -l shows those that are "auto" alone."""
    text = "allow-hotplug ens192\niface ens192 inet static\n  address 192.0.2.9/24\n"
    [found] = interfaces.ifupdown("/etc/network/interfaces", text)
    assert (found.name, found.method) == ("ens192", "static")


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


def test_a_card_without_settings_is_one_all_the_same() -> None:
    """As a bond's ports are written."""
    text = "network:\n  ethernets:\n    ens192: {}\n    ens224: {dhcp4: true}\n"
    found = list(netplan.read("/etc/netplan/01.yaml", text))
    assert [(i.name, i.method) for i in found] == [
        *(("ens192", "unknown"), ("ens224", "dhcp")),
    ]


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


def test_a_network_of_networkd_may_be_for_several_cards() -> None:
    text = "[Match]\nName=ens192 ens224\n[Network]\nBond=bond0\n"
    assert names(list(interfaces.networkd("/x.network", text))) == ["ens192", "ens224"]


def test_a_vlan_in_a_keyfile_is_no_card_but_its_parent_is() -> None:
    text = (
        "[connection]\ntype=vlan\ninterface-name=ens192.5\n[vlan]\nparent=ens192\n"
        "[ipv4]\nmethod=manual\naddress1=192.0.2.7/24\n"
    )
    [found] = interfaces.keyfile("/x.nmconnection", text)
    assert (found.name, found.method) == ("ens192", "manual")


def test_an_ifcfg_file_of_a_bridge_names_its_cards() -> None:
    text = "BOOTPROTO='static'\nBRIDGE='yes'\nTYPE=Bridge\nBRIDGE_PORTS='eth0 eth1'\n"
    assert names(list(interfaces.ifcfg("/x/ifcfg-br0", text))) == ["eth0", "eth1"]


def test_suse_10_names_its_files_by_mac() -> None:
    [found] = interfaces.ifcfg(f"/x/ifcfg-eth-id-{A}", "BOOTPROTO='dhcp'\n")
    assert found.mac == A
    rule = (
        f'SUBSYSTEM=="net", ACTION=="add", SYSFS{{address}}=="{A}", '
        'IMPORT="/lib/udev/rename_netiface %k eth1"\n'
    )
    [named] = interfaces.rules("/etc/udev/rules.d/30-net_persistent_names.rules", rule)
    assert (named.name, named.mac) == ("eth1", A)


def test_stacks_of_arch_and_alt() -> None:
    guest = guest_with(
        {
            "/etc/netctl/main": "Interface=ens192\nConnection=ethernet\nIP=static\n"
            "Address=('192.0.2.9/24' '192.0.2.10/24')\n",
            "/etc/net/ifaces/ens224/options": "TYPE=eth\nBOOTPROTO=static\n",
            "/etc/net/ifaces/lo/options": "TYPE=lo\n",
            "/etc/net/iftab": f"ens224 mac {B}\n",
        }
    )
    found = interfaces.found(guest)
    by_name = {i.name: i for i in found if i.method == "static"}
    assert by_name["ens192"].addresses == ("192.0.2.9/24", "192.0.2.10/24")
    assert by_name["ens224"].config == "/etc/net/ifaces/ens224/options"
    assert network.names((Nic(mac=B), Nic(mac=A)), found) == {B: "ens224", A: "ens192"}


def test_copies_that_editors_leave_are_no_configuration() -> None:
    folder = "/etc/sysconfig/network-scripts"
    text = "DEVICE=ens192\nBOOTPROTO=dhcp\n"
    files = {f"{folder}/ifcfg-ens192": text, f"{folder}/ifcfg-ens1.bak": text}
    assert len(interfaces.found(guest_with(files))) == 1


def test_only_a_systemd_that_knows_permanent_macs_gets_a_link_file() -> None:
    """An older one might rename a VLAN, which has the same MAC (systemd 11992)."""
    config = {"/etc/network/interfaces": "iface ens192 inet dhcp\n"}
    rules = "/etc/udev/rules.d/70-v2v-names.rules"
    link = "/etc/systemd/network/10-v2v-ens192.link"
    for version, written in ((237, [rules]), (252, [link, rules])):
        library = f"/lib/systemd/libsystemd-shared-{version}.so"
        guest = guest_with({**config, library: ""})
        described = Guest(init="systemd", interfaces=interfaces.found(guest))
        vm = machine(A)
        assert paths(done(guest, network.plan(guest, vm, described))) == written
        text = guest.read(rules) or ""
        assert 'DRIVERS=="?*"' in text and 'ATTR{type}=="1"' in text
        assert paths(network.plan(guest, vm, described)) == []


def test_names_that_the_guest_itself_ties_to_the_macs_need_nothing() -> None:
    """As udev before 197 did; but on VMware it did not, and there a rule is made."""
    path = "/etc/udev/rules.d/70-persistent-net.rules"
    rule = (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{A}", '
        'ATTR{type}=="1", KERNEL=="eth*", NAME="eth1"\n'
    )
    config = {"/etc/network/interfaces": "iface eth1 inet dhcp\n"}
    for files, made in (({path: rule}, 0), ({}, 1)):
        guest = guest_with({**config, **files})
        described = Guest(init="sysv", interfaces=interfaces.found(guest))
        assert len(paths(network.plan(guest, machine(A), described))) == made


def machine(*macs: str) -> VM:
    return VM(
        id="x",
        name="x",
        memory=1,
        nics=tuple(Nic(mac=mac) for mac in macs),
        source=Source(kind="vmx", location="/x"),
    )


def test_a_configuration_for_another_mac_is_said() -> None:
    """An ifcfg whose HWADDR is no card's does not come up."""
    path = "/etc/sysconfig/network-scripts/ifcfg-ens192"
    guest = guest_with(
        {
            path: f"DEVICE=ens192\nHWADDR={B.upper()}\nBOOTPROTO=dhcp\n"
            "ETHTOOL_OPTS='-G ens192 rx 4096'\n"
        }
    )
    described = Guest(interfaces=interfaces.found(guest))
    found = list(network.findings(guest, machine(A), described))
    assert [f.code for f in found] == ["nic-mac-differs", "nic-offload"]
    assert path in found[0].message and B in found[0].message
    assert {f.code for f in found} <= network.FINDINGS


def test_names_that_would_have_to_be_swapped_are_said() -> None:
    """udev cannot name a card eth1 while the kernel calls another so."""
    config = f"iface eth0 inet dhcp\niface eth1 inet dhcp\n  hwaddress ether {A}\n"
    guest = guest_with({"/etc/network/interfaces": config})
    described = Guest(init="systemd", interfaces=interfaces.found(guest))
    [found] = network.findings(guest, machine(A, B), described)
    assert (found.code, "eth1, eth0" in found.message) == ("nic-name-swap", True)
    assert list(network.findings(guest, machine(B, A), described)) == []
