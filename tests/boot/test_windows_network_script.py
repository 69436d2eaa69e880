# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that configures Windows' cards, run by wine's cmd.exe.

Its programs are stand-ins that write down what they are told.  One of the two cards is
there, the other never comes.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from v2v.guests.windows import netsh
from v2v.guests.windows.netsh import Card
from v2v.guests.windows.network import Connection
from v2v.guests.windows.stored import Route

HERE, ABSENT = "52:54:00:00:00:01", "52:54:00:00:00:02"
OLD = Connection(
    guid="{698E50A9-4F58-4D86-B61D-F42E58DCACF6}",
    addresses=("192.0.2.5/24", "192.0.2.6/25", "2001:db8::5/64"),
    gateways=(Route(to="0.0.0.0/0", via="192.0.2.1"),),
    nameservers=("192.0.2.53", "198.51.100.53"),
    suffix="corp.example",
)
# What the guest's registry, and WMIC, say; the name is made to be hard.
NAME, NOW = "LAN & (1)", "Ethernet 7"
WMIC = (
    '@echo %*|find "{here}" >nul',
    "@if errorlevel 1 exit /b 0",
    "@echo.",
    '@echo %*|find "InterfaceIndex" >nul',
    "@if errorlevel 1 (echo NetConnectionID={now}) else (echo InterfaceIndex=12)",
)
Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="module")
def prefix(
    tmp_path_factory: pytest.TempPathFactory, requires: Callable[..., None]
) -> Path:
    requires("wine")
    return tmp_path_factory.mktemp("wine")


@pytest.fixture
def run(prefix: Path, tmp_path: Path) -> Run:
    """Run the script for *macs*; return its status and what programs were told."""

    def told(
        *macs: str, is_old: bool = False, status: int = 0
    ) -> tuple[int, list[str]]:
        cards = [Card(mac=mac, before=OLD, after=OLD) for mac in macs]
        log = tmp_path / "log"
        text = _with_stand_ins(netsh.script(cards, is_old=is_old), tmp_path, status)
        script = tmp_path / "script.cmd"
        script.write_bytes(text.replace("\n", "\r\n").encode())
        done = subprocess.run(
            ["wine", "cmd", "/d", "/c", _windows(script)],
            env={**os.environ, "WINEPREFIX": str(prefix), "WINEDEBUG": "-all"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert log.exists(), done.stderr.decode(errors="replace")
        return done.returncode, [line.strip() for line in log.read_text().splitlines()]

    return told


def _with_stand_ins(text: str, folder: Path, status: int) -> str:
    """Return the script with a batch file for each program; it waits thrice only."""
    log = _windows(folder / "log")
    for name in ("netsh", "reg", "ping"):
        end = status if name == "netsh" else 0
        lines = (f"@echo {name} %*>>{log}", f"@exit /b {end}")
        stand_in = _batch(folder / f"{name}.cmd", *lines)
        text = text.replace(f'"%{name}%"', f'call "{stand_in}"')
    value = NAME.replace("&", "^&")
    query = _batch(folder / "query.cmd", f"@echo     Name    REG_SZ    {value}")
    answers = tuple(line.format(here=HERE, now=NOW) for line in WMIC)
    wmic = _batch(folder / "wmic.cmd", *answers)
    text = text.replace("%reg%", query).replace('"%wmic%" nicconfig', "rem")
    text = text.replace(r"%SystemRoot%\System32\wbem\wmic.exe", wmic)
    return text.replace('set "left=60"', 'set "left=3"')


def _batch(file: Path, *lines: str) -> str:
    file.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    return _windows(file)


def _windows(file: Path) -> str:
    return "Z:" + str(file).replace("/", "\\")


def test_a_card_that_is_there_is_configured_and_named(run: Run) -> None:
    status, told = run(HERE)
    assert status == 0
    four, six = "netsh interface ipv4", "netsh interface ipv6"
    first = "address=192.0.2.5 mask=255.255.255.0 gateway=192.0.2.1 store=persistent"
    server = "dnsserver name=12"
    assert [line for line in told if line.startswith((four, six))] == [
        f"{four} set address name=12 source=static {first}",
        f"{four} add address name=12 address=192.0.2.6 mask=255.255.255.128",
        f"{six} delete address interface=12 address=2001:db8::5",
        f"{six} add address interface=12 address=2001:db8::5/64 store=persistent",
        f"{four} set {server} source=static address=192.0.2.53 validate=no",
        f"{four} add {server} address=198.51.100.53 index=2 validate=no",
    ]
    assert [line for line in told if "interface set" in line] == [
        f'netsh interface set interface name="{NOW}" newname="{NAME}"'
    ]
    deleted = [line for line in told if line.startswith("reg delete")]
    assert len(deleted) == 4
    assert not any(line.startswith("ping") for line in told)


def test_a_card_that_never_comes_is_waited_for_once_and_asks_for_a_retry(
    run: Run,
) -> None:
    status, told = run(ABSENT, ABSENT, HERE)
    assert status == 249
    assert sum(line.startswith("ping") for line in told) == 3
    # That does not keep the one that is there from being configured.
    assert any("address=192.0.2.5" in line for line in told)
    assert not any(line.startswith("reg delete") for line in told)


def test_what_netsh_refuses_fails_the_step_and_keeps_what_was_set_aside(
    run: Run,
) -> None:
    status, told = run(HERE, status=1)
    assert status == 1
    assert any("address=198.51.100.53 index=2 validate=no" in line for line in told)
    # Vista's netsh does not know validate=.
    assert any(line.endswith("address=198.51.100.53 index=2") for line in told)
    assert not any(line.startswith("reg delete") for line in told)
    # The old connection got its name back, as the new one did not take it.
    names = [line for line in told if line.startswith("reg add")]
    assert [f'/d "{NAME} (v2v)"' in line for line in names] == [True, False]
    assert f'/d "{NAME}"' in names[1]


def test_windows_xp_is_told_by_the_name_of_the_connection(run: Run) -> None:
    status, told = run(HERE, is_old=True)
    assert status == 0
    assert [line for line in told if " ip " in line] == [
        f'netsh interface ip set address "{NOW}" static 192.0.2.5 255.255.255.0',
        f'netsh interface ip add address "{NOW}" 192.0.2.6 255.255.255.128',
        f'netsh interface ip add address "{NOW}" gateway=192.0.2.1 gwmetric=1',
        f'netsh interface ip set dns "{NOW}" static 192.0.2.53',
        f'netsh interface ip add dns "{NOW}" 198.51.100.53',
    ]
