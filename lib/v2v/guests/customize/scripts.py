# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts and packages: now in the appliance, or by the guest at its first boots.

The appliance has no network, so what needs one is left to the first boots.
"""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from v2v.document import Guest
from v2v.errors import GuestError, UsageError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.customize.work import (
    Parsers,
    Place,
    Settings,
    Work,
    action,
    host_file,
    host_text,
    now,
)
from v2v.guests.linux import packages
from v2v.guests.linux.firstboot import Step
from v2v.guests.plan import Action

_SCRIPT, _LOG = "/var/tmp/v2v-run", "/var/tmp/v2v-run.log"
_SHOWN = 50  # lines of what a script said
_TAIL = 2**16  # bytes of it that are looked at
_PACKAGES = (".deb", ".rpm", ".apk", ".zst", ".xz")

log = logging.getLogger(__name__)


def _firstboot(value: str, _: Settings) -> Work:
    text = host_text("firstboot", value)
    name = Path(value).name
    return Work(steps=(_step("firstboot", name, text, shown=f"{name} of this host"),))


def _firstboot_command(value: str, _: Settings) -> Work:
    words = value.split()
    if not words:
        raise UsageError("--firstboot-command: it is empty", "a command is wanted")
    name = Path(words[0]).name
    return Work(steps=(_step("firstboot-command", name, f"#!/bin/sh\n{value}\n"),))


def _step(
    option: str,
    name: str,
    script: str,
    *,
    network: bool = False,
    shown: str | None = None,
) -> Step:
    reason = f"asked for by --{option}"
    return Step(name=name, script=script, reason=reason, network=network, shown=shown)


def _firstboot_install(value: str, _: Settings) -> Work:
    script = packages.installing(_names("firstboot-install", value))
    return Work(steps=(_step("firstboot-install", "install", script, network=True),))


def _install(value: str, _: Settings) -> Work:
    """Files of packages are installed now; names, by the guest."""
    names = [name for name in value.split(",") if name]
    files = [name for name in names if name.endswith(_PACKAGES) and "/" in name]
    if files and len(files) == len(names):
        paths = [host_file("install", name) for name in files]
        return Work(actions=lambda place: [_offline(place.guest, paths)])
    script = packages.installing(_names("install", value))
    return Work(
        steps=(_step("install", "install", script, network=True),),
        warning=f"--install {value}: the guest does that at its first boot, by its "
        "network; name files (./NAME.deb) to have them installed now",
    )


def _offline(guest: Guest, files: list[Path]) -> Action:
    kind = guest.package_format
    if not kind or not all(file.suffix == f".{kind}" for file in files):
        raise GuestError(
            f"--install: the guest takes packages of kind {kind or 'unknown'}",
            f"name files that end in .{kind}" if kind else "use --run-script",
        )
    return packages.offline(guest, files, "asked for by --install")


def _uninstall(value: str, _: Settings) -> Work:
    names = _names("uninstall", value)

    def actions(place: Place) -> list[Action]:
        if place.guest.package_format not in ("deb", "rpm", "apk", "pacman"):
            raise GuestError(
                "--uninstall: the guest's packages are of no kind that is known",
                "use --run-command",
            )
        reason = "asked for by --uninstall"
        return [packages.removed(place.guest, names, reason)]

    return Work(actions=actions)


def _update(_value: str, _: Settings) -> Work:
    return Work(
        steps=(_step("update", "update", packages.updating(), network=True),),
        warning="--update: the guest does that at its first boot, by its network",
    )


def _names(option: str, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    bad = [name for name in names if not packages.is_name(name)]
    if bad or not names:
        raise UsageError(
            f"--{option} {value}: {', '.join(bad) or 'nothing'} is no package's name",
            "names, with commas between them",
        )
    return names


def _run_script(value: str, _: Settings) -> Work:
    source = host_file("run-script", value)

    def apply(appliance: Appliance) -> None:
        appliance.g.rm_rf(_SCRIPT)
        appliance.g.upload(str(source), _SCRIPT)
        appliance.g.chmod(0o700, _SCRIPT)
        try:
            _logged(appliance, "run-script", _SCRIPT, source.name)
        finally:
            appliance.g.rm_f(_SCRIPT)

    return now(
        action("run-script", _SCRIPT, "run", apply, after=str(source), space=2**20)
    )


def _run_command(value: str, _: Settings) -> Work:
    if not value.strip():
        raise UsageError("--run-command: it is empty", "a command is wanted")

    def apply(appliance: Appliance) -> None:
        _logged(appliance, "run-command", value, value)

    # What it changes is not known: it is shown as what is run.
    return now(action("run-command", "/bin/sh", "run", apply, after=value, space=2**20))


def _logged(appliance: Appliance, option: str, command: str, name: str) -> None:
    """Run *command* by the guest's shell; what it says goes to the log.

    Raises GuestError if it fails.
    """
    inner = shlex.join(["/bin/sh", "-c", f"cd /tmp\n{command}\n"])
    failed = None
    appliance.g.rm_rf(_LOG)  # anybody in the guest may have left a link there
    try:
        appliance.g.sh(f"{inner} > {_LOG} 2>&1 < /dev/null")
    except RuntimeError as e:
        failed = str(e)
    try:
        lines = _said(appliance)
    finally:
        appliance.g.rm_f(_LOG)
    for line in lines[-_SHOWN:]:
        log.info("--%s: %s", option, printable(line))
    if failed is not None:
        last = printable(lines[-1]) if lines else printable(failed)
        raise GuestError(
            f"--{option} {printable(name)} failed in the guest: {last}",
            "-v shows what it said; run it with a guest that runs, by --firstboot",
        )


def _said(appliance: Appliance) -> list[str]:
    """Return the last lines in the log, which may be of any size."""
    if not appliance.g.is_file(_LOG):
        return []
    start = max(0, appliance.g.filesize(_LOG) - _TAIL)
    data = bytes(appliance.g.pread(_LOG, _TAIL, start))
    return data.decode("utf-8", "surrogateescape").splitlines()


PARSERS: Parsers = {
    "firstboot": _firstboot,
    "firstboot-command": _firstboot_command,
    "firstboot-install": _firstboot_install,
    "install": _install,
    "run-script": _run_script,
    "run-command": _run_command,
    "uninstall": _uninstall,
    "update": _update,
}
