# SPDX-License-Identifier: GPL-2.0-or-later
"""The hives of a Windows guest, as copies on this host, and how they get back.

A hive is given back whole: uploaded under a temporary name beside the old one, which
is kept as NAME.pre-v2v, and renamed.  So an appliance that breaks down leaves no half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from v2v.document import Change
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.windows.hive import Hive

KEPT = ".pre-v2v"
_NEW = ".v2v-new"


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The hives of one guest; ``paths``: where each is in it, by its name."""

    system: Hive
    software: Hive
    drivers: Hive | None = None
    bcd: Hive | None = None
    paths: dict[str, str]

    @property
    def current(self) -> str:
        """The control set that is in use, e.g. "ControlSet001".

        Raises GuestError if there is none.
        """
        number = self.system.number("Select", "Current")
        name = _set(number if number is not None else 1)
        if not self.system.exists(name):
            raise GuestError(
                f"the guest's SYSTEM hive has no {name}, which it says is in use",
                "see that the guest starts on the source, and shut it down there",
            )
        return name

    @property
    def control_sets(self) -> tuple[str, ...]:
        """The control sets that Windows may start from, the current one first.

        The loader takes Default, and LastKnownGood when the start before failed.
        """
        names = [self.current]
        for value in ("Default", "LastKnownGood"):
            number = self.system.number("Select", value)
            if number is not None and self.system.exists(_set(number)):
                names.append(_set(number))
        return tuple(dict.fromkeys(names))

    @property
    def hives(self) -> list[Hive]:
        """All of them."""
        known = (self.system, self.software, self.drivers, self.bcd)
        return [hive for hive in known if hive]


def _set(number: int) -> str:
    return f"ControlSet{number:03d}"


def actions(registry: Registry, folder: Path) -> Iterator[Action]:
    """Yield the actions that give back what was edited; *folder* takes the new hives.

    The values are shown as changes of their own; the last one of a hive uploads it.
    """
    for hive in registry.hives:
        if not hive.changes:
            continue
        file = folder / f"{hive.name}.new"
        hive.save(file)
        for change in hive.changes:
            yield Action(change=change, apply=_nothing)
        path = registry.paths[hive.name]
        size = file.stat().st_size
        yield Action(
            change=Change(
                path=path,
                kind="edit",
                reason=f"{_counted(len(hive.changes))} changed; "
                f"the hive before is kept as {path}{KEPT}",
            ),
            apply=_given_back(file, path),
            space=2 * size,
            also=(path + KEPT, path + _NEW),
        )


def _counted(number: int) -> str:
    if number == 1:
        return "1 value or key of the hive is"
    return f"{number} values or keys of the hive are"


def _nothing(appliance: Appliance) -> None:
    """A value goes into the guest with its hive, by the action after it."""


def _given_back(file: Path, path: str) -> Callable[[Appliance], None]:
    def apply(appliance: Appliance) -> None:
        g = appliance.g
        # Into a FIFO, which NTFS may have too, we would write for ever.
        g.rm_f(path + _NEW)
        g.upload(str(file), path + _NEW)
        if g.filesize(path + _NEW) != file.stat().st_size:
            raise GuestError(
                f"{path} in the guest could not be written whole",
                "see how much room the guest's file system has",
            )
        if not g.exists(path + KEPT):
            # The first of all: a later run must not make its own result the old one.
            # Not a copy: who may read it stays.
            g.mv(path, path + KEPT)
        g.mv(path + _NEW, path)

    return apply
