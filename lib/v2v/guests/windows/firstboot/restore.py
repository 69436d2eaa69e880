# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that are changed for the first boots only, and put back by restore.cmd.

Appendix A of the facts: A11, A12, A16, B2, C2.  A value is saved once: a second run
finds it changed, and keeps the line of the first.  Those that guard the first boots,
AutoReboot and the boot policy, are changed where something else is done in these: they
are no reason for first boots of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from v2v.document import Finding
from v2v.guests.windows import bcd
from v2v.guests.windows.firstboot.steps import crlf
from v2v.guests.windows.hive import Hive, dword
from v2v.guests.windows.place import Work

FINDINGS = ("disks-offline",)
_HEAD = """\
@echo off
rem Made by v2v: put back what was changed for the first boots.
"""
_LINE = re.compile(
    r'call "%SYS%\\reg" (?:add|delete) "(?P<key>HKLM\\[A-Za-z0-9 \\]{1,200})" '
    r"/v (?P<name>[A-Za-z]{1,40})(?: /t REG_DWORD /d \d{1,10})? /f"
)
_BCD = re.compile(
    r'call "%SYS%\\bcdedit" (?:/set \{default\} bootstatuspolicy [A-Za-z]{1,40}'
    r"|/deletevalue \{default\} bootstatuspolicy)"
)
_POLICY = r"\Elements\250000E0\Element"
_POLICIES = (
    "DisplayAllFailures",
    "IgnoreAllFailures",
    "IgnoreShutdownFailures",
    "IgnoreBootFailures",
)
_VISTA, _XP_X64 = 6000, 3790  # builds
_ONLINE_ALL = 1  # VDS_SP_ONLINE


def lines(work: Work, kept: str) -> list[str]:
    """Edit the registry for the first boots; return the commands that undo it.

    *kept* is the text of the restore.cmd that is there, or "".
    """
    known = [line for line in kept.splitlines() if _is_ours(line)]
    saved = {(m["key"], m["name"]) for line in known if (m := _LINE.fullmatch(line))}
    made = [line for spot, line in _values(work) if spot not in saved]
    if not work.steps and not known and not made:
        return []
    made = [line for spot, line in _guards(work) if spot not in saved] + made
    if work.registry.bcd:
        bcd.ignore_failures(work.registry.bcd)
    if not any(map(_BCD.fullmatch, known)):
        made += _boot_policy(work.registry.bcd)
    return [*known, *made]


def text(commands: Sequence[str]) -> str:
    """Return the restore.cmd with *commands*."""
    return crlf("\n".join([_HEAD + commands[0], *commands[1:], "exit /b 0"]))


def _is_ours(line: str) -> bool:
    return bool(_LINE.fullmatch(line) or _BCD.fullmatch(line))


def _guards(work: Work) -> Iterator[tuple[tuple[str, str], str]]:
    """Edit what is for the sake of the first boots themselves."""
    system = work.registry.system
    for own in work.registry.control_sets:
        crash = rf"{own}\Control\CrashControl"
        if system.exists(crash):
            why = "a crash at the first boots must stay on the screen"
            yield from _changed(system, crash, "AutoReboot", 0, why)


def _values(work: Work) -> Iterator[tuple[tuple[str, str], str]]:
    """Edit what the guest needs until it has started with its new devices."""
    registry = work.registry
    build = work.guest.windows.build if work.guest.windows else 0
    for own in registry.control_sets:
        if _onlines(work):
            key = rf"{own}\Services\partmgr\Parameters"
            why = "Windows leaves disks on a new controller offline"
            yield from _changed(registry.system, key, "SanPolicy", _ONLINE_ALL, why)
        if _XP_X64 <= build < _VISTA:
            key = rf"{own}\Services\PlugPlay\Parameters"
            why = "nobody is there to answer the wizards for new hardware"
            yield from _changed(registry.system, key, "SuppressUI", 1, why)
    if 0 < build < _XP_X64:
        key = r"Policies\Microsoft\Windows\DeviceInstall\Settings"
        why = "nobody is there to answer the wizards for new hardware"
        yield from _changed(registry.software, key, "SuppressNewHWUI", 1, why)


def findings(work: Work) -> Iterator[Finding]:
    """Yield that data disks may stay offline, where nothing is run at a first boot.

    To be asked before the registry is edited.
    """
    if work.wanted.firstboot != "none" or not _onlines(work):
        return
    key = rf"{work.registry.current}\Services\partmgr\Parameters"
    policy = work.registry.system.number(key, "SanPolicy")
    is_client = work.guest.windows and work.guest.windows.installation == "client"
    # Without a value a client puts all disks online, and a server those not shared.
    if policy == _ONLINE_ALL or (policy is None and is_client):
        return
    yield Finding(
        code="disks-offline",
        severity="warn",
        message="Windows leaves disks on a new controller offline (SanPolicy "
        f"{'is not set' if policy is None else policy}), and "
        "--firstboot-method none has nothing put that back: so the data disks may "
        "stay offline",
        remedy="put them online in the guest (diskpart: select disk N, online disk), "
        "or let it run scripts at its first boot",
    )


def _onlines(work: Work) -> bool:
    """Whether data disks are put online: not where a cluster decides that itself."""
    services = rf"{work.registry.current}\Services"
    build = work.guest.windows.build if work.guest.windows else 0
    cluster = ("ClusDisk", "ClusSvc")
    system = work.registry.system
    is_cluster = any(system.exists(rf"{services}\{name}") for name in cluster)
    return len(work.vm.disks) > 1 and build >= _VISTA and not is_cluster


def _changed(
    hive: Hive, key: str, name: str, number: int, reason: str
) -> Iterator[tuple[tuple[str, str], str]]:
    """Set a DWORD; yield where it is and the command that puts back what it was.

    A value of another type is none that Windows made; it is not touched.
    """
    before = hive.value(key, name)
    if before and before.number is None:
        return
    if before and before.number == number:
        return
    hive.set(key, name, dword(number), reason)
    full = rf"HKLM\{hive.name}\{key}"
    if before is None:
        line = rf'call "%SYS%\reg" delete "{full}" /v {name} /f'
    else:
        line = (
            rf'call "%SYS%\reg" add "{full}" /v {name} '
            f"/t REG_DWORD /d {(before.number or 0) & 0xFFFFFFFF} /f"
        )
    yield (full, name), line


def _boot_policy(store: Hive | None) -> list[str]:
    """Return what puts the boot store's bootstatuspolicy back, if it is changed."""
    for change in store.changes if store else []:
        if not change.path.endswith(_POLICY):
            continue
        match = re.fullmatch(r"hex\(3\):0([0-3])(?:00)*", change.before or "")
        if match:
            name = _POLICIES[int(match[1])]
            return [rf'call "%SYS%\bcdedit" /set {{default}} bootstatuspolicy {name}']
        return [r'call "%SYS%\bcdedit" /deletevalue {default} bootstatuspolicy']
    return []
