# SPDX-License-Identifier: GPL-2.0-or-later
"""Put the steps, and what runs them, into the guest; have Windows start it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from v2v.document import Change
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action, remove
from v2v.guests.windows import files, security, verdict
from v2v.guests.windows.firstboot import restore
from v2v.guests.windows.firstboot.steps import MOST, Step, crlf
from v2v.guests.windows.hive import Hive, dword, expand_sz, multi_sz, sz
from v2v.guests.windows.place import Work

NAME = "v2v-firstboot"
_TOP = "v2v"
HOME = r"v2v\firstboot"
_REASON = "the guest does what is left at its first boots"
_SCRIPTS = ("run.cmd", "one.cmd")
_STEP = re.compile(r"([12])-(\d{4})-(\d{2})-[a-z0-9-]+\.cmd", re.A)
# cmd.exe never answers the service manager, which may end it: what it starts stays.
IMAGE = (
    r'%SystemRoot%\System32\cmd.exe /c start "" /b %SystemRoot%\System32\cmd.exe '
    r'/c "%SystemRoot%\v2v\firstboot\run.cmd"'
)
_SERVICE = {
    "Type": dword(0x10),
    "Start": dword(2),
    "ErrorControl": dword(0),
    "ObjectName": sz("LocalSystem"),
    "DisplayName": sz("v2v: what is left for the first boots"),
    "ImagePath": expand_sz(IMAGE),
    "DependOnService": multi_sz(["RpcSs", "PlugPlay"]),
}
_ROOT = re.compile(r"[A-Za-z]:\\[A-Za-z0-9_. -]{1,60}", re.A)


def plan(work: Work) -> Iterator[Action]:
    """Yield what has the guest do work.steps; the registry is edited at once.

    To be asked last, once for all steps.  Raises GuestError if it cannot be done.
    """
    if work.wanted.firstboot == "none":
        if any(step.shown is not None for step in work.steps):
            raise GuestError(
                "--firstboot-method none: nothing would run what --firstboot asks for",
                "leave one of them out",
            )
        return
    appliance, home = work.appliance, work.path(HOME)
    kept = appliance.read(f"{home}/restore.cmd") or ""
    undo = restore.lines(work, kept)
    if not work.steps and not undo:
        return
    wanted = dict(_contents(work, home, undo))
    made = [
        action
        for path, content in wanted.items()
        for action in files.written(appliance, path, content, _REASON, links=False)
    ]
    yield from made
    if made and appliance.g.exists(f"{home}/complete"):
        yield remove(f"{home}/complete", "it tells of an earlier first boot")
        yield _emptied(f"{home}/state")
    if made:
        yield _restricted(work.path(_TOP), home, list(wanted))
    _register(work)


def _contents(
    work: Work, home: str, undo: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the guest, and what is in them."""
    for name in _SCRIPTS:
        text = (Path(__file__).parent / name).read_text("ascii")
        yield f"{home}/{name}", crlf(text).encode()
    if undo:
        yield f"{home}/restore.cmd", restore.text(undo).encode()
    if work.wanted.firstboot == "setup":
        yield f"{home}/setup", b"1\r\n"
    for name, step in named(work.appliance, f"{home}/scripts", work.steps):
        script = crlf(step.script).encode("utf-8", "surrogateescape")
        yield f"{home}/scripts/{name}.cmd", script
        if step.required:
            yield f"{home}/scripts/{name}.required", b"1\r\n"
        for file, content in step.files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            yield f"{home}/files/{file}", data


def named(
    appliance: Appliance, folder: str, steps: Sequence[Step]
) -> Iterator[tuple[str, Step]]:
    """Yield *steps* by order, each with its name, unless it is waiting in *folder*."""
    there: dict[str, str] = {}
    for path in appliance.glob(f"{folder}/[12]-*.cmd")[: 2 * MOST]:
        name = path.rpartition("/")[2]
        if _STEP.fullmatch(name):
            there[appliance.read(path) or ""] = name
    last: dict[int, int] = {}
    for name in there.values():
        match = _STEP.fullmatch(name)
        if match:
            own = int(match[2])
            last[own] = max(last.get(own, 0), int(match[3]))
    for step in sorted(steps, key=lambda step: step.priority):
        waiting = there.get(crlf(step.script))
        if waiting:
            yield waiting.removesuffix(".cmd"), step
            continue
        number = last[step.priority] = last.get(step.priority, 0) + 1
        if number > MOST:
            raise GuestError("there is too much to do at the first boot", "do less")
        name = f"{step.phase}-{step.priority:04}-{number:02}-{step.label}"
        there[crlf(step.script)] = f"{name}.cmd"
        yield name, step


def _emptied(path: str) -> Action:
    """Return what removes the notes of a first boot that is over: they count boots."""
    reason = "it tells of an earlier first boot"
    change = Change(path=path, kind="delete", reason=reason)
    return Action(change=change, apply=lambda appliance: appliance.g.rm_rf(path))


def _restricted(top: str, home: str, paths: Sequence[str]) -> Action:
    """Return what keeps all of it from the guest's users."""
    folders = dict.fromkeys([top, home, *(p.rpartition("/")[0] for p in paths)])

    def apply(appliance: Appliance) -> None:
        security.give(appliance, [*folders, *paths], security.descriptor())

    change = Change(
        path=top,
        kind="edit",
        reason="SYSTEM runs what is there, so nobody else may write it",
        after="SYSTEM and Administrators: all",
    )
    return Action(change=change, apply=apply, space=4096)


def _refuse_setup(system: Hive, command: str) -> None:
    """Raise GuestError if Setup has something to do itself: it would never do it.

    So it is of an image that sysprep has prepared.
    """
    busy = any(
        system.number("Setup", name)
        for name in ("SystemSetupInProgress", "OOBEInProgress")
    )
    theirs = system.text("Setup", "CmdLine") or ""
    if busy or theirs not in ("", command):
        raise GuestError(
            "the guest's Windows is not set up yet (sysprep), and --firstboot-method "
            "setup would be in its way",
            "use --firstboot-method service",
        )


def _register(work: Work) -> None:
    """Have Windows start run.cmd: a service, or Setup's command line."""
    system = work.registry.system
    if work.wanted.firstboot == "setup":
        root = work.guest.windows.system_root if work.guest.windows else r"C:\Windows"
        if not _ROOT.fullmatch(root):
            raise GuestError(
                f"the guest's system is in {root[:80]!r}, which no command line takes",
                "use --firstboot-method service",
            )
        command = rf"{root}\System32\cmd.exe /c {root}\{HOME}\run.cmd"
        _refuse_setup(system, command)
        system.set("Setup", "CmdLine", sz(command), _REASON)
        system.set("Setup", "SetupType", dword(2), _REASON)
        return
    for control_set in verdict.booted(work.registry):
        key = rf"{control_set}\Services\{NAME}"
        for name, value in _SERVICE.items():
            system.set(key, name, value, _REASON)
