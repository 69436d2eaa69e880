# SPDX-License-Identifier: GPL-2.0-or-later
"""Have the guest remove the packages of the old machine's tools, and no others.

By dpkg(1) or rpm(8) themselves, which refuse what others need: what solves dependencies
has taken applications with the tools (RHEL-233944).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from v2v.guests.linux.firstboot import Step

log = logging.getLogger(__name__)

# A package's name, in which a star may stand for any rest; nothing for a shell.
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*\*?")


def steps(packages: Iterable[str], kind: str | None) -> list[Step]:
    """Return what a guest has to do at its first boot to be rid of *packages*.

    See script(); nothing, with a warning, where that has none for this guest.
    """
    text = script(packages, kind)
    if text is None:
        log.warning("warning: no package of the old machine's tools can be removed")
        return []
    reason = "the packages of the old machine's tools are not wanted any more"
    return [Step(name="remove-tools", script=text, reason=reason)]


def script(packages: Iterable[str], kind: str | None) -> str | None:
    """Return what removes *packages*, as tools.packages() gives them, in a guest.

    *kind* is that of its package database.  None if there is nothing to remove, or
    nothing that removes without solving dependencies.  The script fails only if it
    shall be tried again.
    """
    names = [name for name in packages if _PACKAGE.fullmatch(name)]
    if not names or kind not in _SCRIPTS:
        return None
    return _SCRIPTS[kind].format(packages=" ".join(f"'{name}'" for name in names))


_DPKG = """\
#!/bin/sh
# Made by v2v: remove the tools of the old machine, and nothing with them.
export DEBIAN_FRONTEND=noninteractive
set --
for name in {packages}; do
    case $(dpkg-query -W -f '${{Status}}' "$name" 2>/dev/null) in
        *' installed') set -- "$@" "$name" ;;
    esac
done
[ $# -gt 0 ] || exit 0
# It leaves those that others need; 2 is its status for a database that is in use.
dpkg --purge "$@"
[ $? -ne 2 ]
"""

_RPM = """\
#!/bin/sh
# Made by v2v: remove the tools of the old machine, and nothing with them.
names=$(rpm -qa --qf '%{{NAME}}\\n' {packages}) || exit 1
[ -n "$names" ] || exit 0
# All at once, since they need each other; else those that nothing else needs.
rpm -e $names || for name in $names; do rpm -e "$name"; done
exit 0
"""

_SCRIPTS = {"deb": _DPKG, "rpm": _RPM}
