# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left for the guest itself to do, at its first boots.

firstboot.sh runs the steps in the background, tries those that fail at some more boots,
and then removes itself.  It never holds up a boot, nor breaks one.  Nothing is put
into /usr, which may be read-only; /var/lib/v2v keeps the log and status.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.document import Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import startpar
from v2v.guests.plan import Action, create, link

HOME = "/var/lib/v2v"
_FOLDER = f"{HOME}/firstboot"
_DRIVER = f"{_FOLDER}/run"
_NAME = "v2v-firstboot"
_UNIT = f"/etc/systemd/system/{_NAME}.service"
_WANTED = f"/etc/systemd/system/multi-user.target.wants/{_NAME}.service"
_INIT = f"/etc/init.d/{_NAME}"
_RUNLEVEL = "/etc/runlevels/default"
# Where an init has a folder for each runlevel; /etc/rc.d of SUSE is a link to init.d,
# and /etc/rcN.d of Red Hat one into rc.d.
_RC = ("/etc/init.d/rc{}.d", "/etc/rc.d/rc{}.d", "/etc/rc{}.d")
_LEVELS = "2345"
_REASON = "the guest does what is left at its first boots"
_MOST = 99  # steps


@dataclass(frozen=True, kw_only=True)
class Step:
    """A script for the guest to run once, with success.

    ``script`` may hold bytes that are no UTF-8, as surrogates; ``network``: it needs
    one.  ``shown`` is what people may see of it, if not the script.
    """

    name: str
    script: str
    reason: str = _REASON
    network: bool = False
    shown: str | None = None


def plan(appliance: Appliance, guest: Guest, steps: Sequence[Step]) -> Iterator[Action]:
    """Yield what has the guest do *steps*, in their order, after those it has already.

    To be asked once for all steps of a guest.  Raises GuestError if nothing in the
    guest could start them, or if they are too many.
    """
    if not steps:
        return
    there = appliance.glob(f"{_FOLDER}/[0-9][0-9]-*/script")[-_MOST:]
    waiting = {appliance.read(path) for path in there}
    fresh = [step for step in steps if step.script not in waiting]
    if not fresh:
        return
    first = max((int(path.split("/")[-2][:2]) for path in there), default=0) + 1
    if first + len(fresh) > _MOST:
        raise GuestError("there is too much to do at the first boot", "do less there")
    for number, step in enumerate(fresh, first):
        yield from _step(f"{_FOLDER}/{number:02}-{_safe(step.name)}", step)
    if not appliance.g.exists(_DRIVER):
        driver = Path(__file__).with_suffix(".sh").read_text()
        yield create(_DRIVER, driver, _REASON, 0o700)
    yield from _started(appliance, guest)


def can_start(appliance: Appliance, guest: Guest) -> bool:
    """Whether the guest has an init that starts what plan() leaves."""
    return guest.init in ("systemd", "openrc") or bool(_levels(appliance))


def _safe(name: str) -> str:
    """Return *name* as it may be a file's, and in JSON."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()[:40]).strip("-.") or "step"


def _step(folder: str, step: Step) -> Iterator[Action]:
    made = create(f"{folder}/script", step.script, step.reason, 0o700)
    if step.shown is not None:
        change = made.change.having(after=step.shown)
        made = Action(change=change, apply=made.apply, space=made.space)
    yield made
    if step.network:
        yield create(f"{folder}/network", "", step.reason)


def _started(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield what makes the guest's init start the driver."""
    if guest.init == "systemd":
        yield from _absent(appliance, [create(_UNIT, _SERVICE, _REASON)])
        yield from _absent(appliance, [link(_WANTED, _UNIT, _REASON)])
        return
    links = (
        [f"{_RUNLEVEL}/{_NAME}"]
        if guest.init == "openrc"
        else [f"{folder}/S99{_NAME}" for folder in _levels(appliance)]
    )
    if not links:
        raise GuestError(
            "the guest's init is none that is known: nothing would start what is to "
            "be done at its first boot",
            "leave the options for the first boot out, and use --agent no",
        )
    text = _OPENRC if guest.init == "openrc" else _SYSV
    yield from _absent(appliance, [create(_INIT, text, _REASON, 0o755)])
    yield from _absent(appliance, (link(path, _INIT, _REASON) for path in links))
    if guest.init != "openrc":
        yield from startpar.plan(appliance, _NAME, _REASON)


def _absent(appliance: Appliance, actions: Iterable[Action]) -> Iterator[Action]:
    """Yield those of *actions* whose file is not there."""
    for action in actions:
        path = action.change.path
        if not appliance.g.is_symlink(path) and not appliance.g.exists(path):
            yield action


def _levels(appliance: Appliance) -> list[str]:
    """Return the folders of the runlevels in which services are started."""
    for form in _RC:
        found = appliance.glob(form.format(f"[{_LEVELS}]"))
        if found:
            return found
    return []


# Type=simple, and after all else: nothing waits for it.  By /bin/sh: /var may be
# mounted noexec, and SELinux lets init run a shell, but nothing in /var/lib.
_SERVICE = f"""\
# Made by v2v.  Removes itself once all is done, or was tried often enough.
[Unit]
Description=Do what v2v left for the first boots
After=multi-user.target
ConditionPathExists={_DRIVER}

[Service]
Type=simple
ExecStart=/bin/sh {_DRIVER}
TimeoutStopSec=5

[Install]
WantedBy=multi-user.target
"""

_SYSV = f"""\
#!/bin/sh
# Made by v2v.  Removes itself once all is done, or was tried often enough.
### BEGIN INIT INFO
# Provides:          {_NAME}
# Required-Start:    $remote_fs
# Required-Stop:
# Should-Start:      $network
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Do what v2v left for the first boots
### END INIT INFO
# In the background: nothing waits for it.
if [ "$1" = start ] && [ -e {_DRIVER} ]; then
    /bin/sh {_DRIVER} < /dev/null > /dev/null 2>&1 &
fi
exit 0
"""

_OPENRC = f"""\
#!/sbin/openrc-run
# Made by v2v.  Removes itself once all is done, or was tried often enough.
description="Do what v2v left for the first boots"
command=/bin/sh
command_args={_DRIVER}
command_background=yes
pidfile=/run/{_NAME}.pid
"""
