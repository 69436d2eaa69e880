# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps for drivers, agents, and the programs of the hypervisor before.

Windows has no pnputil before Vista: there the drivers come by DevicePath alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from v2v.errors import GuestError
from v2v.guests.windows.firstboot import steps
from v2v.guests.windows.firstboot.steps import Step
from v2v.guests.windows.hive import Hive

# Without these the guest has no disk, no network, or no agent; others may fail (one
# INF of no use had guests restart for ever: virt-v2v issues 159, 178).
REQUIRED = ("viostor", "vioscsi", "netkvm", "vioser")
# These only name a device: what they would be good for is not worth a failure.
COSMETIC = ("smbus", "qemupciserial", "qemufwcfg")
BALLOON_SERVICE = "blnsvr.exe"
_ORDER = (
    *("viostor", "vioscsi", "vioser", "netkvm", "balloon", "viorng", "pvpanic"),
    *("fwcfg", "vioinput", "viogpudo"),
)
_VISTA, _ADD_DRIVER = 6000, 14393  # builds
_BASE = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}", re.A)
_MSI = re.compile(r"\{[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\}", re.A)
_TOOLS = re.compile(
    r"VMware Tools|Citrix (?:Hypervisor|VM Tools|XenServer)[ A-Za-z]{0,40}"
    r"|XenServer VM Tools[ A-Za-z]{0,40}|Parallels Tools|Nutanix (?:VirtIO|Guest)"
    r"[ A-Za-z]{0,20}",
)
# What keeps each from restarting the guest by itself, and Parallels' from refusing
# because Windows' installer was not started by its own (facts 4.1, 4.4).
_PROPERTIES = {
    "VMware": " REBOOT=ReallySuppress REMOVE=ALL",
    "Parallels": " PREVENT_REBOOT=Yes LAUNCHED_BY_SETUP_EXE=Yes",
}
_UNINSTALL = (
    r"Microsoft\Windows\CurrentVersion\Uninstall",
    r"WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall",
)
_MAX_TOOLS = 10


def drivers(names: Sequence[str], build: int) -> Iterator[Step]:
    r"""Yield what installs the drivers *names*, which are INFs' names without .inf.

    Each is in %SystemRoot%\Drivers\VirtIO\NAME.  In the facts' order (appendix D).
    """
    if build < _VISTA:
        return
    wanted = {name.lower() for name in names} - set(COSMETIC)
    first = [name for name in _ORDER if name in wanted]
    for name in [*first, *sorted(wanted - set(first))]:
        if not _BASE.fullmatch(name):
            raise GuestError(
                f"a driver's INF cannot be called {name[:60]!r}",
                "name a virtio-win that was not changed with --virtio-win",
            )
        add = (
            '/add-driver "%INF%" /install' if build >= _ADD_DRIVER else '-i -a "%INF%"'
        )
        yield Step(
            name=f"driver {name}",
            script=_PNPUTIL.format(name=name, add=add),
            required=name in REQUIRED,
            priority=steps.DRIVERS,
            reason=f"the driver {name} is installed where its device is found",
        )


_PNPUTIL = """\
@echo off
set "INF=%SystemRoot%\\Drivers\\VirtIO\\{name}\\{name}.inf"
if not exist "%INF%" exit /b 2
call "%SYS%\\pnputil" {add}
set "CODE=%ERRORLEVEL%"
rem 259: it is there already, or no such device is
if "%CODE%"=="259" set "CODE=0"
exit /b %CODE%
"""


def installer(
    name: str, file: bytes | Path | None, msi: str, *, folder: str = "%FILES%"
) -> Step:
    """Return what installs the MSI *file*, to be called *msi* there.

    None is one that is put into *folder*, as Windows names it, already.

    Another installation (1618), or a driver that is not bound yet (1603), may be in
    its way: it is tried again, and once more after a restart.
    """
    return Step(
        name=name,
        script=_INSTALL.format(path=rf"{folder}\{msi}"),
        priority=steps.AGENTS,
        files={} if file is None else {msi: file},
        reason=f"{name} is installed once its driver is",
    )


_INSTALL = """\
@echo off
set "COUNT=0"
:again
call "%SYS%\\msiexec" /i "{path}" /qn /norestart
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="1618" if not "%CODE%"=="1603" exit /b %CODE%
set /a COUNT+=1
if "%COUNT%"=="5" exit /b 249
call "%SYS%\\ping" -n 31 127.0.0.1 >nul 2>&1
goto again
"""


def balloon() -> Step:
    """Return what starts the service for the balloon's statistics."""
    return Step(name="balloon service", script=_BALLOON, priority=steps.AGENTS)


_BALLOON = f"""\
@echo off
set "SERVER=%SystemRoot%\\Drivers\\VirtIO\\balloon\\{BALLOON_SERVICE}"
if not exist "%SERVER%" exit /b 2
call "%SERVER%" -i
exit /b %ERRORLEVEL%
"""


def removals(software: Hive) -> Iterator[Step]:
    """Yield what removes the tools of the hypervisor before, as --remove-tools asks.

    Only by Windows' own installer, by GUID: a command from the registry is not run.
    Off VMware their uninstaller may refuse (1603): that is noted, and no more.
    """
    found: dict[str, str] = {}
    for place in _UNINSTALL:
        for key in software.keys(place):
            name = software.text(rf"{place}\{key}", "DisplayName") or ""
            tool = _TOOLS.match(name[:100])
            if tool and _MSI.fullmatch(key.upper()):
                found.setdefault(key.upper(), tool[0].strip())
    for guid, name in sorted(found.items())[:_MAX_TOOLS]:
        more = next((p for tool, p in _PROPERTIES.items() if name.startswith(tool)), "")
        yield Step(
            name=f"remove {name}",
            script=f'@echo off\ncall "%SYS%\\msiexec" /x {guid} /qn /norestart{more}\n'
            'set "CODE=%ERRORLEVEL%"\nrem 1605: it is not installed\n'
            'if "%CODE%"=="1605" set "CODE=0"\nexit /b %CODE%\n',
            priority=steps.TOOLS,
            reason=f"asked for by --remove-tools: {name}",
        )
