# SPDX-License-Identifier: GPL-2.0-or-later
"""Driver packages' files where Windows keeps them: the driver store, the INF folder.

A record in the DriverDatabase without them is half of one: pnputil, and an upgrade,
read the INF of each package that is published (facts 2.4, 2.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.windows import files
from v2v.guests.windows.packages import Package

_STORE = r"System32\DriverStore\FileRepository"
_REASON = "Windows keeps the files of a driver package there"


def staged(
    appliance: Appliance,
    path: Callable[[str], str],
    package: Package,
    published: str,
    contents: Mapping[str, bytes],
) -> Iterator[Action]:
    """Yield what puts the files of *package* into the driver store: *contents* by name.

    *path* finds what is in the system's folder.  What is there already, with the same
    content, needs nothing.
    """
    wanted = {
        rf"{_STORE}\{package.label}\{name.lower()}": content
        for name, content in sorted(contents.items())
    }
    wanted[rf"INF\{published}"] = package.content
    for relative, content in wanted.items():
        yield from files.written(appliance, path(relative), content, _REASON)


def is_published(appliance: Appliance, path: Callable[[str], str], name: str) -> bool:
    """Whether the INF folder has a file *name*."""
    return appliance.g.exists(path(rf"INF\{name}"))
