# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the guest has a driver's file that its Windows can load."""

from __future__ import annotations

from collections.abc import Callable, Collection

from v2v.guests.appliance import Appliance
from v2v.guests.windows import version
from v2v.guests.windows.bootstart import Present


def present(
    appliance: Appliance,
    path: Callable[[str], str],
    arch: str | None,
    planned: Collection[str] = (),
) -> Present:
    """Return what tells whether there is a driver's file for *arch*.

    *path* finds what is in the system's folder; *planned* are the files there that are
    going to be written, in lower case and with backslashes.  Each file is read once.
    """
    known: dict[str, bool] = {}

    def is_present(relative: str) -> bool:
        name = relative.lower()
        if name not in known:
            known[name] = name in planned or _is_driver(appliance, path(relative), arch)
        return known[name]

    return is_present


def _is_driver(appliance: Appliance, path: str, arch: str | None) -> bool:
    """Whether a file is there, not empty, and a program for *arch*."""
    g = appliance.g
    if not g.is_file(path, followsymlinks=True) or not g.filesize(path):
        return False
    found = version.architecture(g.pread(path, version.HEAD, 0))
    return found is not None and arch in (None, found)
