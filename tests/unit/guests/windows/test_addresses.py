# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards get at the first boot what their connections had, and nothing is in the way."""

import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from unittest import mock

import pytest

import hives
from v2v.document import VM, Guest, Nic, Source, Windows
from v2v.errors import GuestError
from v2v.guests.linux.addresses import Address, parse
from v2v.guests.wanted import Firstboot, Wanted
from v2v.guests.windows import addresses, ghosts, netsh, network
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.netsh import Card
from v2v.guests.windows.network import Connection
from v2v.guests.windows.place import Work
from v2v.guests.windows.registry import Registry
from v2v.guests.windows.stored import Route
from windows_registry import registry

A = "{698E50A9-4F58-4D86-B61D-F42E58DCACF6}"
B = "{6AAFC9A9-0542-4DB2-8760-CCFFA953737C}"
MAC_A, MAC_B = "00:50:56:01:02:03", "00:0c:29:7e:7e:d3"
MAC = "52:54:00:00:00:01"
SET = "ControlSet001"
TCPIP = rf"{SET}\Services\Tcpip\Parameters\Interfaces"
ROUTES = rf"{SET}\Services\Tcpip\Parameters\PersistentRoutes"
STATIC: hives.Keys = {
    rf"{TCPIP}\{A}": {
        "EnableDHCP": 0,
        "IPAddress": ["192.0.2.5"],
        "SubnetMask": ["255.255.255.0"],
        "DefaultGateway": ["192.0.2.1"],
        "DefaultGatewayMetric": ["0"],
        "NameServer": "192.0.2.53",
    },
    ROUTES: {
        "0.0.0.0,0.0.0.0,192.0.2.1,-1": "",
        "0.0.0.0,0.0.0.0,198.51.100.1,-1": "",
        "10.0.0.0,255.0.0.0,192.0.2.1,1": "",
    },
}
FULL = Connection(
    guid=A,
    name='LAN" & calc',
    method="static",
    addresses=("192.0.2.5/24", "192.0.2.6/25", "2001:db8::5/64"),
    gateways=(
        Route(to="0.0.0.0/0", via="192.0.2.1", metric=10),
        Route(to="0.0.0.0/0", via="192.0.2.2"),
        Route(to="::/0", via="fe80::1"),
    ),
    nameservers=("192.0.2.53", "198.51.100.53", "2001:db8::53"),
    routes=(Route(to="10.1.0.0/16", via="192.0.2.254", metric=5),),
    suffix="corp.example",
    metric=15,
    mtu=9000,
)


def work(
    made: Registry,
    macs: Sequence[str],
    asked: Sequence[str] = (),
    *,
    build: int = 19045,
    firstboot: Firstboot = "service",
) -> Work:
    vm = VM(
        id="made",
        name="made",
        memory=2**30,
        source=Source(kind="disk", location="/x"),
        nics=tuple(Nic(mac=mac) for mac in macs),
    )
    return Work(
        appliance=mock.create_autospec(object),
        registry=made,
        vm=vm,
        guest=Guest(type="windows", windows=Windows(id="win10", build=build)),
        wanted=Wanted(addresses=tuple(map(parse, asked)), firstboot=firstboot),
        root="/Windows",
    )


def script(made: Registry, macs: Sequence[str], *asked: str) -> str:
    text = addresses.script(work(made, macs, asked))
    assert text is not None
    return text


def commands(text: str, label: str) -> list[str]:
    """The lines of *text* from *label* to the end of what is called there."""
    body = text.partition(f"\n:{label}\n")[2].partition("\ngoto :eof\n")[0]
    return [line for line in body.splitlines() if not line.startswith("if errorlevel")]


def of_netsh(text: str, label: str) -> list[str]:
    """What netsh is told there, without its name and what becomes of its output."""
    return [
        line.replace('"%netsh%" ', "", 1)
        for line in commands(text, label)
        if line.startswith('"%netsh%"')
    ]


def real(shared: Path, folder: Path, name: str) -> Registry:
    return registry(folder, file=hives.real(shared, f"{name}-SYSTEM", folder))


@pytest.mark.report("https://github.com/kubev2v/forklift/issues/1113")
def test_the_addresses_of_the_real_windows_7_come_back(
    shared: Path, tmp_path: Path
) -> None:
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    text = script(made, [MAC_A, MAC_B])
    address = "interface ipv4 set address name=%nic% source=static"
    assert of_netsh(text, "card0")[0] == (
        f"{address} address=10.3.58.5 mask=255.255.255.0 gateway=10.3.58.1 "
        "store=persistent"
    )
    assert of_netsh(text, "card1")[0] == (
        f"{address} address=192.168.1.123 mask=255.255.255.0 gateway=192.168.1.1 "
        "store=persistent"
    )
    assert (
        commands(text, "card0")[0] == "call :find 00:50:56:01:02:03 00-50-56-01-02-03"
    )
    assert f"call :rename {A}" in commands(text, "card0")
    assert f"call :rename {B}" in commands(text, "card1")
    assert "address=10.3.58.4" in of_netsh(text, "card0")[1]
    assert "address=192.168.1.112" in of_netsh(text, "card1")[1]


def test_what_the_real_windows_7_loses_of_its_ghosts(
    shared: Path, tmp_path: Path
) -> None:
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    script(made, [MAC_A, MAC_B])
    expected = set()
    for control_set in ("ControlSet001", "ControlSet002"):
        parameters = rf"SYSTEM\{control_set}\Services\Tcpip\Parameters"
        for guid in (A, B):
            for name in ghosts.VALUES:
                key = rf"{parameters}\Interfaces\{guid}"
                expected.add((rf"{key}\{name}", "delete"))
                expected.add((rf"{key}\v2v-{name}", "create"))
        for gateway in ("10.3.58.1", "192.168.1.1"):
            route = f"0.0.0.0,0.0.0.0,{gateway},-1"
            expected.add((rf"{parameters}\PersistentRoutes\{route}", "delete"))
    assert {(c.path, c.kind) for c in made.system.changes} == expected


def test_a_second_run_changes_nothing_and_says_the_same(
    shared: Path, tmp_path: Path
) -> None:
    made = real(shared, tmp_path, "win7-x86-vmware-static")
    first = script(made, [MAC_A, MAC_B])
    described = addresses.interfaces(made, (Nic(mac=MAC_A), Nic(mac=MAC_B)))
    made.system.save(tmp_path / "NEW")
    again = replace(made, system=Hive("SYSTEM", tmp_path / "NEW"))
    assert script(again, [MAC_A, MAC_B]) == first
    assert again.system.changes == []
    assert addresses.interfaces(again, (Nic(mac=MAC_A), Nic(mac=MAC_B))) == described
    assert [i.method for i in described] == ["static", "static"]


@pytest.mark.report("https://github.com/libguestfs/libguestfs/issues/363")
def test_only_the_default_routes_of_the_card_are_deleted(tmp_path: Path) -> None:
    made = registry(tmp_path, system=STATIC)
    script(made, [MAC])
    assert set(made.system.values(ROUTES)) == {
        "0.0.0.0,0.0.0.0,198.51.100.1,-1",
        "10.0.0.0,255.0.0.0,192.0.2.1,1",
    }


def test_an_address_whose_card_cannot_be_told_stays_where_it_is(
    tmp_path: Path,
) -> None:
    made = registry(tmp_path, system=STATIC)
    assert addresses.script(work(made, [MAC, MAC_A])) is None
    assert made.system.changes == []
    (found,) = addresses.findings(made, (Nic(mac=MAC), Nic(mac=MAC_A)))
    assert found.code == "static-address-unmapped"
    assert "192.0.2.5/24, and which of the VM's" in found.message


def test_a_static_address_of_a_team_is_a_finding(tmp_path: Path) -> None:
    about = rf"{SET}\Control\Network\{network.CLASS}\{A}\Connection"
    made = registry(
        tmp_path,
        system={**STATIC, about: {"Name": "Team", "PnpInstanceID": r"ROOT\NDISIMP\0"}},
    )
    (found,) = addresses.findings(made, (Nic(mac=MAC),))
    assert found.code == "static-address-unmapped"
    assert "Team has 192.0.2.5/24, and is no card" in found.message


def test_no_first_boot_leaves_the_addresses_and_says_so(tmp_path: Path) -> None:
    made = registry(tmp_path, system=STATIC)
    assert addresses.script(work(made, [MAC], firstboot="none")) is None
    assert made.system.changes == []
    (found,) = addresses.findings(made, (Nic(mac=MAC),), firstboot=False)
    assert found.code == "static-address-not-applied"
    assert list(addresses.findings(made, (Nic(mac=MAC),))) == []


def test_a_card_with_dhcp_is_waited_for_but_never_retried(tmp_path: Path) -> None:
    made = registry(tmp_path, system={rf"{TCPIP}\{A}": {"EnableDHCP": 1}})
    text = script(made, [MAC])
    assert "249" not in text
    assert of_netsh(text, "card0") == []
    assert made.system.changes == []


def test_name_servers_that_were_set_beside_dhcp(tmp_path: Path) -> None:
    values: dict[str, hives.Content] = {"EnableDHCP": 1, "NameServer": "192.0.2.53"}
    made = registry(tmp_path, system={rf"{TCPIP}\{A}": values})
    (line,) = of_netsh(script(made, [MAC]), "card0")
    assert line.startswith("interface ipv4 set dnsserver name=%nic% source=static")
    assert "set address" not in line


def test_all_that_vista_and_later_can_be_told() -> None:
    text = netsh.script([Card(mac=MAC, before=FULL, after=FULL)], is_old=False)
    four, six = "interface ipv4", "interface ipv6"
    assert [line.partition(" >nul")[0] for line in of_netsh(text, "card0")] == [
        (
            f"{four} set address name=%nic% source=static address=192.0.2.5 "
            "mask=255.255.255.0 gateway=192.0.2.1 gwmetric=10 store=persistent"
        ),
        f"{four} add address name=%nic% address=192.0.2.6 mask=255.255.255.128",
        f"{four} add address name=%nic% gateway=192.0.2.2",
        f"{six} delete address interface=%nic% address=2001:db8::5",
        f"{six} add address interface=%nic% address=2001:db8::5/64 store=persistent",
        f"{six} delete route prefix=::/0 interface=%nic% nexthop=fe80::1",
        f"{six} add route prefix=::/0 interface=%nic% nexthop=fe80::1 store=persistent",
        f"{four} delete route prefix=10.1.0.0/16 interface=%nic% nexthop=192.0.2.254",
        (
            f"{four} add route prefix=10.1.0.0/16 interface=%nic% nexthop=192.0.2.254 "
            "metric=5 store=persistent"
        ),
        f"{four} set dnsserver name=%nic% source=static address=192.0.2.53 validate=no",
        f"{four} add dnsserver name=%nic% address=198.51.100.53 index=2 validate=no",
        (
            f"{six} set dnsserver name=%nic% source=static address=2001:db8::53 "
            "validate=no"
        ),
        f"{four} set interface %nic% metric=15 store=persistent",
        f"{four} set subinterface %nic% mtu=9000 store=persistent",
    ]
    assert 'call SetDNSDomain "corp.example"' in text


def test_all_that_windows_xp_can_be_told() -> None:
    text = netsh.script([Card(mac=MAC, before=FULL, after=FULL)], is_old=True)
    head = "interface ip"
    assert of_netsh(text, "card0") == [
        f'{head} set address "%nic%" static 192.0.2.5 255.255.255.0',
        f'{head} add address "%nic%" 192.0.2.6 255.255.255.128',
        f'{head} add address "%nic%" gateway=192.0.2.1 gwmetric=10',
        f'{head} add address "%nic%" gateway=192.0.2.2 gwmetric=1',
        f'{head} set dns "%nic%" static 192.0.2.53',
        f'{head} add dns "%nic%" 198.51.100.53',
    ]
    assert "powershell" not in text.partition(":card0")[2].lower()


def test_the_zone_of_a_name_server_is_left_out() -> None:
    after = replace(FULL, nameservers=("fe80::1%&calc",))
    text = netsh.script([Card(mac=MAC, before=FULL, after=after)], is_old=False)
    assert "address=fe80::1 " in text
    assert "calc" not in text


@pytest.mark.parametrize("is_old", [False, True])
def test_the_batch_file_is_whole(is_old: bool) -> None:
    cards = [Card(mac=MAC, before=FULL, after=FULL)] * 3
    text = netsh.script(cards, is_old=is_old)
    assert text.isascii()
    lines = text.splitlines()
    labels = re.findall(r"^:(\w+)$", text, re.M)
    assert len(labels) == len(set(labels))
    called = set(re.findall(r"(?:call :|goto )(\w+)", text))
    assert called == set(labels)
    assert all(line.count('"') % 2 == 0 or '"=%' in line for line in lines)
    # Nothing runs into a label but those in the loop.
    for i, line in enumerate(lines):
        if line.startswith(":") and line[1:] not in ("again", "byshell", "looked"):
            before = next(text for text in reversed(lines[:i]) if text)
            assert before.startswith(("goto", "exit"))
    # Waiting ends: the one loop counts down.
    assert lines.count("goto again") == lines.count("set /a left-=1") == 1
    assert lines.index("if %left% leq 0 goto :eof") < lines.index("goto again")


def test_names_of_the_guest_are_not_in_the_script() -> None:
    text = netsh.script([Card(mac=MAC, before=FULL, after=FULL)], is_old=True)
    assert "calc" not in text
    assert "LAN" not in text


@pytest.mark.parametrize(
    "changed",
    [
        {"guid": "{x} & calc"},
        {"suffix": 'a" & calc'},
        {"gateways": (Route(to="::/0", via="fe80::1%& calc"),)},
        {"gateways": (Route(to="0.0.0.0/0", via="192.0.2.1 & calc"),)},
        {"addresses": ("fe80::1%&calc/64",)},
        {"routes": (Route(to="10.0.0.0/8 & calc", via="192.0.2.1"),)},
    ],
)
def test_what_is_more_than_a_word_never_gets_into_the_script(
    changed: dict[str, object],
) -> None:
    connection = replace(FULL, **changed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\S"):
        netsh.script([Card(mac=MAC, before=connection, after=connection)], is_old=False)


def test_another_address_is_asked_for(tmp_path: Path) -> None:
    made = registry(tmp_path, system=STATIC)
    text = script(
        made,
        [MAC],
        f"{MAC}:ip:198.51.100.20,198.51.100.1,25,198.51.100.53",
        f"{MAC}:ip:198.51.100.21,,25",
        f"{MAC}:ip:2001:db8::20,2001:db8::1,64",
    )
    lines = [line.partition(" validate")[0] for line in of_netsh(text, "card0")]
    assert lines[:2] == [
        (
            "interface ipv4 set address name=%nic% source=static address=198.51.100.20 "
            "mask=255.255.255.128 gateway=198.51.100.1 store=persistent"
        ),
        (
            "interface ipv4 add address name=%nic% address=198.51.100.21 "
            "mask=255.255.255.128"
        ),
    ]
    assert "192.0.2.5" not in text
    assert any("address=2001:db8::20/64" in line for line in lines)
    assert lines[-1].endswith("address=198.51.100.53")
    # The old address is in the way of nothing.
    assert made.system.value(rf"{TCPIP}\{A}", "IPAddress") is None


def test_what_is_not_asked_for_stays(tmp_path: Path) -> None:
    made = registry(tmp_path, system=STATIC)
    text = script(made, [MAC], f"{MAC.upper()}:ip:192.0.2.77")
    assert of_netsh(text, "card0")[0] == (
        "interface ipv4 set address name=%nic% source=static address=192.0.2.77 "
        "mask=255.255.255.0 gateway=192.0.2.1 store=persistent"
    )
    assert "address=192.0.2.53" in of_netsh(text, "card0")[1]


def test_an_address_for_a_card_without_a_connection(tmp_path: Path) -> None:
    text = script(registry(tmp_path), [MAC, MAC_A], f"{MAC}:ip:192.0.2.7,,24")
    assert "gateway=none" in of_netsh(text, "card0")[0]
    assert "call :rename" not in text


@pytest.mark.parametrize(
    ("asked", "build", "firstboot", "why"),
    [
        ("192.0.2.7", 19045, "service", "the length of the network's prefix"),
        ("2001:db8::7,,64", 2600, "service", "before Vista"),
        ("192.0.2.7,,24", 19045, "none", "runs no script"),
        ("fe80::7%12,,64", 19045, "service", "zone"),
    ],
)
def test_an_address_that_cannot_be_given(
    tmp_path: Path, asked: str, build: int, firstboot: Firstboot, why: str
) -> None:
    made = registry(tmp_path)
    given = work(made, [MAC], [f"{MAC}:ip:{asked}"], build=build, firstboot=firstboot)
    with pytest.raises(GuestError, match=why):
        addresses.script(given)


def test_an_address_for_another_vm_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = registry(tmp_path)
    assert addresses.script(work(made, [MAC], [f"{MAC_A}:ip:192.0.2.7,,24"])) is None
    assert f"made has no network card {MAC_A}" in caplog.text


def test_an_address_is_as_ipaddress_writes_it(tmp_path: Path) -> None:
    address = Address(mac=MAC, ip=ip_address("2001:DB8:0::7"), prefix=64)
    known = addresses.Known(connections=[], macs={})
    vm = work(registry(tmp_path), [MAC]).vm
    (card,) = addresses.wanted(known, vm, [address])
    assert card.after.addresses == ("2001:db8::7/64",)
