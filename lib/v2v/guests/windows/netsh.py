# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that configures the new network cards when the guest starts first.

Cards are found by MAC, at most five minutes after the start: by WMIC, or where Windows
has none any more (11 24H2) by PowerShell.  All that is written into the script is
checked here: MACs, GUIDs, and addresses as ipaddress writes them.  The names of
connections never are; the script reads them from the guest's registry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from v2v.guests.windows.ghosts import VALUES
from v2v.guests.windows.network import CLASS, KEPT, Connection, key_of

_SAFE = re.compile(r"[0-9A-Za-z.:/{}_-]*")
_WAITS = 60  # of five seconds each, for all cards together
_BAD = 'if errorlevel 1 if "%result%"=="0" set "result=1"'
_QUIET = ">nul 2>nul"


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card of the VM: what its connection was before, and what it shall be.

    Without a GUID there was none.
    """

    mac: str
    before: Connection
    after: Connection


def script(cards: Sequence[Card], *, is_old: bool) -> str:
    """Return the batch file that configures *cards*; ``is_old``: before Vista."""
    lines = [
        "@echo off",
        "setlocal",
        'set "result=0"',
        f'set "left={_WAITS}"',
        r'set "netsh=%SystemRoot%\System32\netsh.exe"',
        r'set "wmic=%SystemRoot%\System32\wbem\wmic.exe"',
        r'set "reg=%SystemRoot%\System32\reg.exe"',
        r'set "ping=%SystemRoot%\System32\ping.exe"',
        r'set "shell=%SystemRoot%\System32\WindowsPowerShell\v1.0\powershell.exe"',
        *(f"call :card{i}" for i, _ in enumerate(cards)),
        "exit /b %result%",
    ]
    for i, card in enumerate(cards):
        lines += ["", f":card{i}", *_card(card, is_old=is_old)]
    lines += ["", *(_FIND_OLD if is_old else _FIND), "", *_RENAME]
    return "\n".join(lines) + "\n"


def _card(card: Card, *, is_old: bool) -> Iterator[str]:
    mac = _safe(card.mac.upper())
    yield f"call :find {mac} {mac.replace(':', '-')}"
    if card.after.is_manual:
        # Run again after the next start; its driver may need that.
        yield 'if not defined nic set "result=249"'
    yield "if not defined nic goto :eof"
    yield from _five(card.after) if is_old else _six(card.after, mac)
    guid = _safe(card.before.guid)
    if guid:
        yield f"call :rename {guid}"
        yield 'if not "%result%"=="0" goto :eof'
        key = "HKLM\\SYSTEM\\" + key_of("CurrentControlSet", guid)
        for name in VALUES:
            yield f'"%reg%" delete "{key}" /v {KEPT}{name} /f {_QUIET}'
    yield "goto :eof"


def _six(connection: Connection, mac: str) -> Iterator[str]:
    """Yield the commands of Vista and later, which know a card by its number."""
    yield from _six_four(connection)
    for address in _of(connection.addresses, 6):
        head = '"%netsh%" interface ipv6'
        bare = address.partition("/")[0]
        yield f"{head} delete address interface=%nic% address={bare} {_QUIET}"
        yield f"{head} add address interface=%nic% address={address} store=persistent"
        yield _BAD
    yield from _routes(connection)
    yield from _six_servers(connection)
    if connection.suffix:
        yield from _suffix(connection.suffix, mac)
    if connection.metric:
        yield (
            f'"%netsh%" interface ipv4 set interface %nic% metric={connection.metric} '
            "store=persistent"
        )
    if connection.mtu:
        yield (
            f'"%netsh%" interface ipv4 set subinterface %nic% mtu={connection.mtu} '
            "store=persistent"
        )


def _six_four(connection: Connection) -> Iterator[str]:
    head = '"%netsh%" interface ipv4'
    gateways = [g for g in connection.gateways if ":" not in g.via]
    for i, address in enumerate(_of(connection.addresses, 4)):
        ip, mask = _masked(address)
        if i:
            yield f"{head} add address name=%nic% address={ip} mask={mask}"
        else:
            first = (
                f" gateway={_safe(gateways[0].via)}" if gateways else " gateway=none"
            )
            if gateways and gateways[0].metric:
                first += f" gwmetric={gateways[0].metric}"
            yield (
                f"{head} set address name=%nic% source=static address={ip} "
                f"mask={mask}{first} store=persistent"
            )
        yield _BAD
    for gateway in gateways[1:]:
        metric = f" gwmetric={gateway.metric}" if gateway.metric else ""
        yield f"{head} add address name=%nic% gateway={_safe(gateway.via)}{metric}"
        yield _BAD


def _routes(connection: Connection) -> Iterator[str]:
    """Yield IPv6's default routes, and all others."""
    six = [g for g in connection.gateways if ":" in g.via]
    for route in (*six, *connection.routes):
        to: IPv4Network | IPv6Network = ip_network(route.to)
        where = f"prefix={to} interface=%nic% nexthop={_safe(route.via)}"
        head = f'"%netsh%" interface ipv{to.version}'
        yield f"{head} delete route {where} {_QUIET}"
        metric = f" metric={route.metric}" if route.metric else ""
        yield f"{head} add route {where}{metric} store=persistent"
        yield _BAD


def _six_servers(connection: Connection) -> Iterator[str]:
    """Yield what sets the name servers.

    "dnsserver" is Vista's word, and later versions take it for theirs, dnsservers.
    """
    for family in (4, 6):
        head = f'"%netsh%" interface ipv{family}'
        for i, server in enumerate(_of(connection.nameservers, family)):
            # They are not asked whether they answer: from 7 on netsh does that.
            how = (
                f"add dnsserver name=%nic% address={server} index={i + 1}"
                if i
                else f"set dnsserver name=%nic% source=static address={server}"
            )
            yield f"{head} {how} validate=no {_QUIET}"
            # Vista does not know that word.
            yield f"if errorlevel 1 {head} {how} {_QUIET}"
            yield _BAD


def _suffix(suffix: str, mac: str) -> Iterator[str]:
    suffix = _safe(suffix)
    where = f"nicconfig where \"MACAddress='{mac}'\""
    yield (
        f'if exist "%wmic%" "%wmic%" {where} call SetDNSDomain "{suffix}" <nul {_QUIET}'
    )
    yield (
        'if not exist "%wmic%" "%shell%" -NoProfile -NonInteractive -Command '
        f"\"Set-DnsClient -InterfaceIndex %nic% -ConnectionSpecificSuffix '{suffix}'\" "
        f"<nul {_QUIET}"
    )


def _five(connection: Connection) -> Iterator[str]:
    """Yield the commands of XP and 2003, which know a card by its connection's name."""
    head = '"%netsh%" interface ip'
    for i, address in enumerate(_of(connection.addresses, 4)):
        how = "add address" if i else "set address"
        static = "" if i else " static"
        yield f'{head} {how} "%nic%"{static} {" ".join(_masked(address))}'
        yield _BAD
    gateways = [g for g in connection.gateways if ":" not in g.via]
    for gateway in gateways:
        yield (
            f'{head} add address "%nic%" gateway={_safe(gateway.via)} '
            f"gwmetric={gateway.metric or 1}"
        )
        yield _BAD
    for i, server in enumerate(_of(connection.nameservers, 4)):
        how = "add dns" if i else "set dns"
        static = "" if i else " static"
        yield f'{head} {how} "%nic%"{static} {server}'
        yield _BAD


def _of(addresses: Sequence[str], family: int) -> list[str]:
    """Return those of *addresses* that are of *family*, in the words of ipaddress."""
    parsed = [(text, ip_interface(text)) for text in addresses]
    return [
        _safe(str(ip) if "/" in text else str(ip.ip))
        for text, ip in parsed
        if ip.version == family
    ]


def _masked(address: str) -> tuple[str, str]:
    ip = ip_interface(address)
    return _safe(str(ip.ip)), str(ip.netmask)


def _safe(word: str) -> str:
    """Return *word*.  Raises ValueError if cmd.exe could see more than a word in it."""
    if not _SAFE.fullmatch(word):
        raise ValueError(f"this must not be in a batch file: {word!r}")
    return word


# :find MAC MAC-WITH-DASHES sets nic, and now, the connection's name.  WMIC ends lines
# in CR CR LF; the inner loop takes the first CR away.  It waits for its input to end.
_WMIC = (
    'for /f "tokens=1,* delims==" %%a in (\'%wmic% nic where '
    "\"MACAddress='%~1' and NetConnectionID is not null\" get {0} /value "
    '^<nul 2^>nul\') do if /i "%%a"=="{0}" for /f "delims=" %%c in ("%%b") do '
    'set "{1}=%%c"'
)
_SHELL = (
    'for /f "delims=" %%c in (\'%shell% -NoProfile -NonInteractive -Command '
    "\"(Get-NetAdapter -Physical | Where-Object {{ $_.MacAddress -eq '%~2' }} | "
    'Select-Object -First 1).{0}" ^<nul 2^>nul\') do set "{1}=%%c"'
)
_WAIT = (
    "if defined nic goto :eof",
    "if %left% leq 0 goto :eof",
    "set /a left-=1",
    f'"%ping%" -n 6 127.0.0.1 {_QUIET}',
    "goto again",
)
_FIND = (
    *(":find", 'set "nic="', 'set "now="', ":again"),
    'if not exist "%wmic%" goto byshell',
    _WMIC.format("InterfaceIndex", "nic"),
    _WMIC.format("NetConnectionID", "now"),
    "goto looked",
    ":byshell",
    _SHELL.format("ifIndex", "nic"),
    _SHELL.format("Name", "now"),
    ":looked",
    *_WAIT,
)
_FIND_OLD = (
    *(":find", 'set "nic="', 'set "now="', ":again"),
    _WMIC.format("NetConnectionID", "now"),
    'if defined now set "nic=%now:"=%"',
    *_WAIT,
)
# :rename GUID gives the connection the name of the old one, which must let go of it
# before.  Nothing fails for want of it.
_RENAME = (
    ":rename",
    'set "name="',
    rf'set "key=HKLM\SYSTEM\CurrentControlSet\Control\Network\{CLASS}\%~1\Connection"',
    (
        'for /f "tokens=2,*" %%a in (\'%reg% query "%key%" /v Name 2^>nul\') do '
        'if "%%a"=="REG_SZ" set "name=%%b"'
    ),
    "if not defined name goto :eof",
    "if not defined now goto :eof",
    'set "name=%name:"=%"',
    'set "now=%now:"=%"',
    'if /i "%name%"=="%now%" goto :eof',
    # So it was called by a run before.
    'if "%name:~-6%"==" (v2v)" goto :eof',
    f'"%reg%" add "%key%" /v Name /t REG_SZ /d "%name% (v2v)" /f {_QUIET}',
    f'"%netsh%" interface set interface name="%now%" newname="%name%" {_QUIET}',
    f'if errorlevel 1 "%reg%" add "%key%" /v Name /t REG_SZ /d "%name%" /f {_QUIET}',
    "goto :eof",
)
