# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses are read from the hive, each with the MAC of the card that it is for."""

from pathlib import Path

import pytest

import hives
from v2v.document import Nic
from v2v.guests.windows import macs, network, stored
from v2v.guests.windows.network import Connection
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.stored import Route
from windows_registry import registry

A = "{698E50A9-4F58-4D86-B61D-F42E58DCACF6}"
B = "{6AAFC9A9-0542-4DB2-8760-CCFFA953737C}"
C = "{00000000-0000-4000-8000-00000000000C}"
SET = "ControlSet001"
TCPIP = rf"{SET}\Services\Tcpip\Parameters\Interfaces"
TCPIP6 = rf"{SET}\Services\Tcpip6\Parameters"
NSI6 = rf"{SET}\Control\Nsi\{{eb004a01-9b1a-11d4-9123-0050047759bc}}"
NSI4 = rf"{SET}\Control\Nsi\{{eb004a00-9b1a-11d4-9123-0050047759bc}}"
CLASS = rf"{SET}\Control\Class\{network.CLASS}"
E1000 = r"PCI\VEN_8086&DEV_100F&SUBSYS_075015AD&REV_01\4&B70F118&0"
STATIC: dict[str, hives.Content] = {
    "EnableDHCP": 0,
    "IPAddress": ["192.0.2.5", "192.0.2.6"],
    "SubnetMask": ["255.255.255.0", "255.255.255.128"],
    "DefaultGateway": ["192.0.2.1", "192.0.2.2"],
    "DefaultGatewayMetric": ["0", "20"],
    "NameServer": "192.0.2.53,198.51.100.53",
    "Domain": "corp.example",
    "InterfaceMetric": 15,
    "MTU": 9000,
}


def card(guid: str, device: str, number: int = 0, index: int = 6) -> hives.Keys:
    """What makes a card of a connection; the LUID is (Ethernet, *index*)."""
    return {
        rf"{SET}\Control\Network\{network.CLASS}\{guid}\Connection": {
            "Name": f"Ethernet {number}",
            "PnpInstanceID": device,
        },
        rf"{CLASS}\{number:04}": {
            "NetCfgInstanceId": guid,
            "DeviceInstanceID": device,
            "NetLuidIndex": index,
            "*IfType": 6,
        },
        rf"{TCPIP}\{guid}": {"EnableDHCP": 1},
    }


def nics(*all_: str) -> list[Nic]:
    return [Nic(mac=mac) for mac in all_]


def told(made: Registry, cards: list[Nic]) -> dict[str, tuple[str, str]]:
    found = macs.told(made, network.connections(made), cards)
    return {guid: (one.mac, one.by) for guid, one in found.items()}


def real(shared: Path, folder: Path, name: str) -> Registry:
    return registry(folder, file=hives.real(shared, f"{name}-SYSTEM", folder))


def test_the_two_cards_of_the_real_windows_7(shared: Path, tmp_path: Path) -> None:
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    cards = nics("00:50:56:01:02:03", "00:0c:29:7e:7e:d3")
    assert told(made, cards) == {
        A: ("00:50:56:01:02:03", "Dhcpv6Iaid"),
        B: ("00:0c:29:7e:7e:d3", "Dhcpv6DUID"),
    }
    one, two = network.connections(made)
    assert (one.guid, one.name) == (A, "Local Area Connection 2")
    assert (one.method, one.addresses) == ("static", ("10.3.58.5/24",))
    assert one.gateways == (Route(to="0.0.0.0/0", via="10.3.58.1"),)
    assert one.nameservers == ("10.3.58.4",)
    assert (two.guid, two.name) == (B, "Local Area Connection")
    assert two.addresses == ("192.168.1.123/24",)
    assert two.gateways == (Route(to="0.0.0.0/0", via="192.168.1.1"),)
    assert two.nameservers == ("192.168.1.112",)


def test_cards_of_one_maker_are_told_by_their_slots(
    shared: Path, tmp_path: Path
) -> None:
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    cards = [
        Nic(mac="00:0c:29:7e:7e:dd", pci_slot=35),
        Nic(mac="00:0c:29:7e:7e:d3", pci_slot=33),
    ]
    assert told(made, cards) == {
        A: ("00:0c:29:7e:7e:dd", "PCI address"),
        B: ("00:0c:29:7e:7e:d3", "PCI address"),
    }


def test_what_cannot_be_told_is_not_guessed(shared: Path, tmp_path: Path) -> None:
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    assert told(made, nics("00:0c:29:7e:7e:dd", "00:0c:29:7e:7e:d3")) == {}


@pytest.mark.parametrize(
    ("name", "guid", "mac", "by"),
    [
        (
            *("win10-x64-vmware", "{5F3F359E-9D52-4566-9BEC-37EFDFB25ABE}"),
            *("00:0c:29:f3:ff:de", "NetworkSetup2 PermanentAddress"),
        ),
        (
            *("win81-x64-virtualbox", "{B0E24C4B-50F2-4B60-BCB3-EF2C3FF3394E}"),
            *("08:00:27:49:97:16", "Dhcpv6DUID"),
        ),
        (
            *(
                "win10-1709-x64-physical-dirty",
                "{08BA0CD8-E98C-475C-BADF-65130C043BD6}",
            ),
            *("ec:f4:bb:48:7f:ed", "NetworkSetup2 PermanentAddress"),
        ),
    ],
)
def test_the_card_of_other_real_guests(
    shared: Path, tmp_path: Path, name: str, guid: str, mac: str, by: str
) -> None:
    made = real(shared, tmp_path, name)
    assert told(made, nics(mac))[guid] == (mac, by)
    connection = {c.guid: c for c in network.connections(made)}[guid]
    assert (connection.method, connection.addresses) == ("dhcp", ())
    assert connection.is_card


def test_tunnels_and_bluetooth_are_no_interfaces(shared: Path, tmp_path: Path) -> None:
    made = real(shared, tmp_path, "win10-1709-x64-physical-dirty")
    found = network.described(made, network.connections(made), {})
    assert {one.name for one in found} == {"Ethernet", "Wi-Fi"}


def test_the_serial_number_of_e1000e_in_the_real_windows_10(
    shared: Path, tmp_path: Path
) -> None:
    file = hives.real(shared, "win10-x64-vmware-SYSTEM", tmp_path)
    guid = "{5F3F359E-9D52-4566-9BEC-37EFDFB25ABE}"
    made = registry(tmp_path, file=file)
    made.system.remove(rf"{SET}\Control\NetworkSetup2", "a test")
    # Not the only card, so that nothing else tells it.
    cards = nics("00:0c:29:f3:ff:de", "00:0c:29:00:00:01")
    assert told(made, cards) == {guid: ("00:0c:29:f3:ff:de", "serial number")}


def test_all_that_ipv4_has(tmp_path: Path) -> None:
    made = registry(
        tmp_path,
        system=hives.with_keys(card(A, rf"{E1000}&0888"), {rf"{TCPIP}\{A}": STATIC}),
    )
    assert network.connections(made) == [
        Connection(
            guid=A,
            name="Ethernet 0",
            device=rf"{E1000}&0888",
            method="static",
            addresses=("192.0.2.5/24", "192.0.2.6/25"),
            gateways=(
                Route(to="0.0.0.0/0", via="192.0.2.1"),
                Route(to="0.0.0.0/0", via="192.0.2.2", metric=20),
            ),
            nameservers=("192.0.2.53", "198.51.100.53"),
            suffix="corp.example",
            metric=15,
            mtu=9000,
            installed=(0, 6),
        )
    ]


def test_ipv6_addresses_and_routes_of_nsi(tmp_path: Path) -> None:
    luid = stored.luid(6, 6).hex()
    other = stored.luid(7, 6).hex()
    address = "20010db8000000000000000000000005"
    life = "ff" * 8 + "10000000" * 2
    gateway = "20010db8000000000000000000000001"
    net = "20010db8000100000000000000000000"
    ends = luid * 2 + gateway
    made = registry(
        tmp_path,
        system=hives.with_keys(
            card(A, rf"{E1000}&0888"),
            {
                rf"{NSI6}\10": {
                    luid + address: bytes.fromhex(life + "40000000"),
                    other + address[:-1] + "6": bytes.fromhex(life + "40000000"),
                    luid + "fe80" + "0" * 28: bytes.fromhex(life + "40000000"),
                    luid + "ff": b"short",
                    "no number": b"",
                },
                rf"{NSI6}\16": {
                    "0" * 40 + "00" + "0" * 38 + ends: b"\xff" * 56,
                    "0" * 8 + net + "30" + "0" * 38 + ends: b"\xff" * 56,
                    "0" * 8 + net + "ff" + "0" * 38 + ends: b"\xff" * 56,
                },
                rf"{TCPIP6}\Interfaces\{A}": {"NameServer": "2001:db8::53%12"},
            },
        ),
    )
    (found,) = network.connections(made)
    assert found.addresses == ("2001:db8::5/64",)
    assert found.gateways == (Route(to="::/0", via="2001:db8::1"),)
    assert found.routes == (Route(to="2001:db8:1::/48", via="2001:db8::1"),)
    assert found.nameservers == ("2001:db8::53",)


def test_the_tables_of_nsi_are_as_tcpip_has_them_in_the_real_windows_7(
    shared: Path, tmp_path: Path
) -> None:
    """What is read of IPv4 there proves how the tables are read."""
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    for index, address in ((7, "10.3.58.5/24"), (6, "192.168.1.123/24")):
        luid = stored.luid(index, 6)
        assert stored.addresses(made.system, SET, 4, luid) == [address]
    by_address = stored.default_gateways(made.system, SET, 4, stored.luid(7, 6))
    assert [route.via for route in by_address] == ["10.3.58.1"]


def test_routes_of_ipv4_that_are_stored_for_the_card(tmp_path: Path) -> None:
    luid = stored.luid(6, 6).hex()
    name = "00000000" + "0a010000" + "10" + "0" * 30 + luid * 2 + "c00002fe" + "0" * 8
    made = registry(
        tmp_path,
        system=hives.with_keys(
            card(A, rf"{E1000}&0888"),
            {
                rf"{TCPIP}\{A}": STATIC,
                rf"{NSI4}\16": {name: b"\xff" * 56},
                rf"{SET}\Services\Tcpip\Parameters\PersistentRoutes": {
                    "10.1.0.0,255.255.0.0,192.0.2.254,5": "",
                    "10.1.0.0,255.0.255.0,192.0.2.254,6": "",
                    "10.1.0.0,255.255.0.0,192.0.2.253,7": "",
                    "10.1.0.0,255.255.0.0,192.0.2.254,-1,8": "",
                },
            },
        ),
    )
    (found,) = network.connections(made)
    assert found.routes == (Route(to="10.1.0.0/16", via="192.0.2.254", metric=5),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"IPAddress": ["0.0.0.0"], "SubnetMask": ["0.0.0.0"]}, ()),
        ({"IPAddress": ["192.0.2.5"], "SubnetMask": ["255.0.255.0"]}, ()),
        ({"IPAddress": ["192.0.2.5&calc"], "SubnetMask": ["255.255.255.0"]}, ()),
        ({"IPAddress": ["192.0.2.5"]}, ()),
        ({"IPAddress": 7, "SubnetMask": b"x"}, ()),
        ({"IPAddress": "192.0.2.5", "SubnetMask": "255.0.0.0"}, ("192.0.2.5/8",)),
        ({"IPAddress": ["192.0.2.5"] * 500, "SubnetMask": ["255.0.0.0"] * 500}, None),
    ],
)
def test_addresses_that_are_none(
    tmp_path: Path,
    values: dict[str, hives.Content],
    expected: tuple[str, ...] | None,
) -> None:
    made = registry(tmp_path, system={rf"{TCPIP}\{A}": {"EnableDHCP": 0, **values}})
    (found,) = network.connections(made)
    assert found.addresses == (("192.0.2.5/8",) if expected is None else expected)


def test_text_of_the_guest_that_is_no_address_or_name_is_left_out(
    tmp_path: Path,
) -> None:
    values: dict[str, hives.Content] = {
        "EnableDHCP": 1,
        "NameServer": "192.0.2.53 & calc.exe,fe80::1%&calc",
        "Domain": 'x" & calc.exe',
        "InterfaceMetric": 0,
    }
    made = registry(tmp_path, system={rf"{TCPIP}\{A}": values, rf"{TCPIP}\x": values})
    (found,) = network.connections(made)
    assert found.nameservers == ("192.0.2.53", "fe80::1")
    assert (found.suffix, found.metric) == ("", None)


@pytest.mark.report("https://github.com/kubev2v/forklift/pull/1468")
def test_macs_are_compared_in_any_case(tmp_path: Path) -> None:
    made = registry(
        tmp_path,
        system=hives.with_keys(
            card(A, rf"{E1000}&0888"),
            {rf"{CLASS}\0000": {"NetworkAddress": "00-50-56-AB-CD-EF"}},
        ),
    )
    cards = nics("00:50:56:ab:cd:ef", "00:50:56:ab:cd:ee")
    assert told(made, cards) == {A: ("00:50:56:ab:cd:ef", "NetworkAddress")}
    assert macs.plain("005056ABCDEF") == "00:50:56:ab:cd:ef"
    assert macs.plain("x") is None


def test_vmxnet3_has_its_mac_backwards(tmp_path: Path) -> None:
    device = r"PCI\VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\FF565000BB0895FE00"
    made = registry(tmp_path, system=card(A, device))
    cards = nics("00:50:56:95:08:bb", "00:50:56:00:00:01")
    assert told(made, cards) == {A: ("00:50:56:95:08:bb", "serial number")}


def test_of_two_connections_for_a_mac_the_newer_has_the_card(tmp_path: Path) -> None:
    """The card was once exchanged for another kind, with its MAC."""
    kernel = rf"{SET}\Control\NetworkSetup2\Interfaces"
    mac = bytes.fromhex("005056000001")
    made = registry(
        tmp_path,
        system=hives.with_keys(
            card(A, rf"{E1000}&0888", 0, 6),
            card(B, rf"{E1000}&1888", 1, 7),
            {
                rf"{kernel}\{A}\Kernel": {"PermanentAddress": mac},
                rf"{kernel}\{B}\Kernel": {"PermanentAddress": mac},
            },
        ),
    )
    assert told(made, nics("00:50:56:00:00:01")) == {
        B: ("00:50:56:00:00:01", "NetworkSetup2 PermanentAddress")
    }


def test_the_sole_connection_is_that_of_the_sole_card(tmp_path: Path) -> None:
    made = registry(tmp_path, system=card(A, rf"{E1000}&0888"))
    assert told(made, nics("52:54:00:00:00:01")) == {
        A: ("52:54:00:00:00:01", "the only one left")
    }


def test_a_connection_of_a_card_that_is_gone_says_so(tmp_path: Path) -> None:
    kernel = rf"{SET}\Control\NetworkSetup2\Interfaces\{A}\Kernel"
    made = registry(
        tmp_path,
        system=hives.with_keys(
            card(A, rf"{E1000}&0888"),
            {kernel: {"PermanentAddress": bytes.fromhex("005056000001")}},
        ),
    )
    assert told(made, nics("52:54:00:00:00:01")) == {
        A: ("00:50:56:00:00:01", "NetworkSetup2 PermanentAddress")
    }


@pytest.mark.parametrize(
    ("slot", "place"),
    # The first two are in the real hive of Windows 7, 192 in that of Windows 10.
    [
        *((33, (2, 1, 0)), (35, (2, 3, 0)), (192, (11, 0, 0)), (160, (3, 0, 0))),
        *((1184, (4, 0, 0)), (224, (19, 0, 0)), (256, (27, 0, 0)), (17, (0, 17, 0))),
        *((1216, (12, 0, 0)), (64, None)),
    ],
)
def test_vmwares_slot_is_a_pci_address(
    slot: int, place: tuple[int, int, int] | None
) -> None:
    assert macs.place(slot) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (r"@system32\DRIVERS\pci.sys,#65536;PCI bus %1, device %2;(2,3,0)", (2, 3, 0)),
        ("PCI bus 2, device 1, function 0", (2, 1, 0)),
        ("PCI-Bus 2, Gerät 1, Funktion 0", (2, 1, 0)),
        ("", None),
        ("Port_#0001.Hub_#0002", None),
    ],
)
def test_where_a_device_is(text: str, place: tuple[int, int, int] | None) -> None:
    assert macs.location(text) == place


def test_a_hive_without_a_network_has_no_connections(tmp_path: Path) -> None:
    assert network.connections(registry(tmp_path)) == []
