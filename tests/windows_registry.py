# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry of a Windows guest, made from what a test says, or a real hive."""

from __future__ import annotations

from pathlib import Path

import hives
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.registry import Registry

CONFIG = "/Windows/System32/config"


def registry(
    folder: Path,
    *,
    system: hives.Keys | None = None,
    software: hives.Keys | None = None,
    file: Path | None = None,
    drivers: hives.Keys | None = None,
    bcd: Path | None = None,
) -> Registry:
    """Return a registry with hives made in *folder*.

    The keys of *system* are added to hives.SYSTEM, those of *drivers* make a DRIVERS
    hive; *software* is all that SOFTWARE has, hives.SOFTWARE if it is not given.
    *file* is a SYSTEM hive that is there already.
    """
    if file is None:
        keys = hives.with_keys(hives.SYSTEM, system or {})
        file = hives.made(folder / "SYSTEM", keys)
    elif system:
        hives.extended(file, system)
    own = hives.SOFTWARE if software is None else software
    others = {}
    if drivers is not None:
        others["drivers"] = Hive("DRIVERS", hives.made(folder / "DRIVERS", drivers))
    if bcd is not None:
        others["bcd"] = Hive("BCD", bcd)
    names = ["SYSTEM", "SOFTWARE", *(name.upper() for name in others)]
    return Registry(
        system=Hive("SYSTEM", file),
        software=Hive("SOFTWARE", hives.made(folder / "SOFTWARE", own)),
        drivers=others.get("drivers"),
        bcd=others.get("bcd"),
        paths={name: f"{CONFIG}/{name}" for name in names},
    )
