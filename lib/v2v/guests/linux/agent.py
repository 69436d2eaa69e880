# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-guest-agent: enabled if it is there, else installed offline or by the guest.

Never a reason to fail, nor to hold up a boot.  What the guest lets the agent do (its
lists of blocked commands) is its owner's decision, and stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from v2v.document import Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import firstboot, packages, startpar
from v2v.guests.linux.firstboot import Step
from v2v.guests.plan import Action, link

_NAME = "qemu-guest-agent"
_REASON = "the host talks to the guest by qemu-guest-agent"
_UNITS = f"/{{lib,usr/lib,etc}}/systemd/system/{_NAME}.service"
_SCRIPTS = f"/etc/init.d/{{{_NAME},qemu-ga}}"
# That something starts it: a link to the unit or script, or udev for its port.
_STARTED = ",".join(
    (
        *(
            f"etc/systemd/system/*.{kind}/{_NAME}.service"
            for kind in ("wants", "requires")
        ),
        *(f"{top}/udev/rules.d/*{_NAME}.rules" for top in ("lib", "usr/lib", "etc")),
        *(
            f"{top}/rc[2-5].d/S[0-9][0-9]{name}"
            for top in ("etc", "etc/rc.d", "etc/init.d")
            for name in (_NAME, "qemu-ga")
        ),
        f"etc/runlevels/*/{_NAME}",
    )
)
_RC = "/{etc/rc.d,etc/init.d,etc}/rc[345].d"
_WANTED = re.compile(r"^(?:WantedBy|RequiredBy)\s*=\s*(\S+)", re.MULTILINE)

log = logging.getLogger(__name__)


def is_there(appliance: Appliance) -> bool:
    """Whether the guest has the agent."""
    return bool(appliance.glob(_UNITS) or appliance.glob(_SCRIPTS))


def plan(appliance: Appliance, guest: Guest, folder: Path | None) -> Iterator[Action]:
    """Yield what enables the agent, or installs it from the files in *folder*."""
    if is_there(appliance):
        yield from _enabled(appliance, guest)
    elif folder and (files := _fitting(guest, folder)):
        yield _offline(guest, packages.offline(guest, files, _REASON))


def steps(appliance: Appliance, guest: Guest, folder: Path | None) -> Iterator[Step]:
    """Yield what has the guest install the agent, where plan() does not."""
    if is_there(appliance) or (folder and _fitting(guest, folder)):
        return
    if folder:
        log.warning(
            "warning: %s has no qemu-guest-agent for this guest (.%s, %s); the guest "
            "will try to install it by itself",
            folder,
            guest.package_format,
            guest.arch,
        )
    if firstboot.can_start(appliance, guest):
        yield Step(
            name="agent",
            script=packages.installing([_NAME]) + _START,
            reason="the guest installs qemu-guest-agent at one of its first boots",
            network=True,
        )


def _fitting(guest: Guest, folder: Path) -> list[Path]:
    if guest.package_format is None:
        return []
    found = packages.fitting(guest, folder)
    return found if any(file.name.startswith(_NAME) for file in found) else []


def _offline(guest: Guest, install: Action) -> Action:
    """Return *install* as it is never a reason to fail, and with the agent enabled."""

    def apply(appliance: Appliance) -> None:
        try:
            install.apply(appliance)
        except GuestError as e:
            log.warning("warning: the agent could not be installed: %s", e.message)
            _undo(appliance, guest)
            return
        for action in list(_enabled(appliance, guest)):
            action.apply(appliance)

    return Action(change=install.change, apply=apply, space=install.space)


def _undo(appliance: Appliance, guest: Guest) -> None:
    """Leave no half-installed package, over which the next update would stumble."""
    if guest.package_format != "deb":
        return  # the others install all or nothing
    try:
        appliance.g.command(["dpkg", "--force-all", "--purge", _NAME])
    except RuntimeError as e:
        log.warning("warning: qemu-guest-agent may be half installed: %s", e)


def _enabled(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield what has an agent started that is there, but that nothing starts."""
    if guest.init == "systemd":
        yield from _by_systemd(appliance)
    elif appliance.glob(f"/{{{_STARTED}}}"):
        return
    elif scripts := appliance.glob(_SCRIPTS):
        name = scripts[0].rpartition("/")[2]
        if guest.init == "openrc":
            yield link(f"/etc/runlevels/default/{name}", scripts[0], _REASON)
            return
        for folder in appliance.glob(_RC):
            if not appliance.g.is_symlink(folder):
                yield link(f"{folder}/S99{name}", scripts[0], _REASON)
        yield from startpar.plan(appliance, name, _REASON)


def _by_systemd(appliance: Appliance) -> Iterator[Action]:
    """Yield the link that its unit's [Install] asks for.

    A unit without that section is started by udev; one that is masked was masked by
    its owner.
    """
    units = appliance.glob(_UNITS)
    if any(path.startswith("/etc/") for path in units):
        return
    if appliance.glob(f"/{{{_STARTED}}}"):
        return
    for unit in units[:1]:
        wanted = _WANTED.search(appliance.read(unit) or "")
        if wanted and "/" not in wanted[1]:
            folder = f"/etc/systemd/system/{wanted[1]}.wants"
            yield link(f"{folder}/{_NAME}.service", unit, _REASON)


# What starts it at once; only that it was installed counts.
_START = f"""\
[ "$?" = 0 ] || exit 1
for name in {_NAME} qemu-ga; do
    if command -v systemctl; then
        systemctl enable "$name.service"
        systemctl start "$name.service" && break
    elif command -v rc-service; then
        rc-update add "$name" default
        rc-service "$name" start && break
    else
        chkconfig "$name" on || update-rc.d "$name" defaults
        service "$name" start && break
    fi
done
exit 0
"""
