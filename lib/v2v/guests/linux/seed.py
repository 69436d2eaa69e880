# SPDX-License-Identifier: GPL-2.0-or-later
"""A new seed for the random numbers of a guest that is changed anyway.

The source may run on, or be converted twice: two machines must not draw the same
numbers.  The machine-id stays: it is the same machine, and its licences, leases and
journals go by it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from v2v.document import Change
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action

# systemd; Debian, Red Hat and SUSE before it; CirrOS.
_FILES = (
    "/{var/lib/systemd/random-seed,var/lib/urandom/random-seed,var/lib/random-seed,"
    "var/lib/misc/random-seed,etc/random-seed}"
)
_LEAST, _MOST = 512, 8192  # bytes


def plan(appliance: Appliance) -> Iterator[Action]:
    """Yield what writes new seeds, where there are seeds."""
    for path in appliance.glob(_FILES):
        if appliance.g.is_file(path):
            yield _seeded(path, appliance.g.filesize(path))


def _seeded(path: str, size: int) -> Action:
    size = min(max(size, _LEAST), _MOST)

    def apply(appliance: Appliance) -> None:
        appliance.g.write(path, os.urandom(size))

    change = Change(
        path=path,
        kind="edit",
        reason="two machines must not draw the same random numbers",
        after=f"{size} random bytes",
    )
    return Action(change=change, apply=apply, space=size)
