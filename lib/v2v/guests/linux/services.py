# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep services from being started, by whatever starts them in the guest.

systemd: masked.  SysV init and OpenRC: without the links that start them.  upstart: by
an override.  All of it is instantaneous, runs no code of the guest, and can be undone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action, create, link, remove

_UNITS = "/{lib,usr/lib,etc}/systemd/system"
_MASKS = "/etc/systemd/system"
_WANTED = f"{_MASKS}/*.{{wants,requires}}/*"
# Debian and Red Hat; SUSE; OpenRC.
_LINKS = "/etc/{rc?.d,rc.d/rc?.d,init.d/rc?.d}/S[0-9][0-9]*"
_RUNLEVELS = "/etc/runlevels/*/*"
_MAX_LINKS = 5000


def present(appliance: Appliance, names: Collection[str]) -> set[str]:
    """Return those of *names* that the guest has as a unit, init script or job.

    One question for all: each takes a while in an emulated appliance.  Links are other
    names of a unit.
    """
    words = ",".join(sorted(names))
    units = ",".join(sorted(map(unit, names)))
    jobs = ",".join(f"{name}.conf" for name in sorted(names))
    places = (
        *(
            f"{folder}/systemd/system/{{{units}}}"
            for folder in ("lib", "usr/lib", "etc")
        ),
        f"etc/init.d/{{{words}}}",
        f"etc/init/{{{jobs}}}",
    )
    there = appliance.glob("/{" + ",".join(places) + "}")
    files = {p.rpartition("/")[2] for p in there if appliance.g.is_file(p)}
    return {n for n in names if files & {n, unit(n), f"{n}.conf"}}


def unit(name: str) -> str:
    """Return the unit of service *name*, which may be a unit's own name."""
    return name if name.endswith((".service", ".timer", ".path")) else f"{name}.service"


def off(
    appliance: Appliance, init: str | None, names: dict[str, str]
) -> Iterator[Action]:
    """Yield what keeps services from being started; *names* are those present.

    The value of each is the reason.
    """
    if init == "systemd":
        yield from _masked(appliance, names)
        return
    done: set[str] = set()
    for path in (*appliance.glob(_LINKS), *appliance.glob(_RUNLEVELS))[:_MAX_LINKS]:
        folder, _, file = path.rpartition("/")
        name = re.sub(r"^S\d\d", "", file)
        if name not in names:
            continue
        # Red Hat's /etc/rc3.d is a link to rc.d/rc3.d.
        real = f"{appliance.g.realpath(folder)}/{file}"
        if real not in done:
            done.add(real)
            yield remove(real, names[name])
    for name, reason in names.items():
        job, override = f"/etc/init/{name}.conf", f"/etc/init/{name}.override"
        if appliance.g.is_file(job) and appliance.read(override) != "manual\n":
            yield create(override, "manual\n", reason)


def _masked(appliance: Appliance, names: dict[str, str]) -> Iterator[Action]:
    for name, reason in names.items():
        path = f"{_MASKS}/{unit(name)}"
        if not appliance.g.is_symlink(path) and not appliance.g.is_file(path):
            yield link(path, "/dev/null", reason)
    # A unit of the administrator's folder cannot be masked there without losing it.
    own = {
        unit(name): reason
        for name, reason in names.items()
        if appliance.g.is_file(f"{_MASKS}/{unit(name)}")
    }
    for path in appliance.glob(_WANTED)[:_MAX_LINKS] if own else ():
        if path.rpartition("/")[2] in own:
            yield remove(path, own[path.rpartition("/")[2]])
