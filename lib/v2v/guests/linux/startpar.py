# SPDX-License-Identifier: GPL-2.0-or-later
"""Init scripts that startpar(8) starts: Debian 6 to 8 without systemd, SLES 11.

It goes by the list that insserv(8) has made of them: a mere link for a runlevel is not
seen.  A script on the list that has no link is passed over, so what removes itself may
stay there until insserv makes a new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from v2v.document import Change
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action

_PATH = "/etc/init.d/.depend.start"
_TARGETS = re.compile(r"^TARGETS[ \t]*=([^\r\n]*)", re.MULTILINE)


def plan(appliance: Appliance, name: str, reason: str) -> Iterator[Action]:
    """Yield what has startpar start the init script *name*, where there is one."""
    text = appliance.read(_PATH)
    if text is None or added(text, name) == text:
        return

    def apply(running: Appliance) -> None:
        # Read again: another script may have been added meanwhile.
        running.write(_PATH, added(running.read(_PATH) or "", name))

    change = Change(path=_PATH, kind="edit", reason=reason, after=f"TARGETS: {name}")
    yield Action(change=change, apply=apply, space=2 * len(text))


def added(text: str, name: str) -> str:
    """Return the list *text* with the script *name*, to be started after all others."""
    match = _TARGETS.search(text)
    if not match or name in match[1].split():
        return text
    others = match[1].strip()
    made = f"{text[: match.end()].rstrip()} {name}{text[match.end() :]}"
    gap = "" if made.endswith("\n") else "\n"
    return f"{made}{gap}{name}: {others}".rstrip() + "\n"
