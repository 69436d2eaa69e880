# SPDX-License-Identifier: GPL-2.0-or-later
"""Where VMs go: one module for each kind of target."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from v2v.document import VM, Defined


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asked of a target.

    ``output`` is the folder for files that describe the VM (default: where its disks
    are); ``uri`` names the libvirt; ``networks`` are the words given with -n;
    ``allow`` the codes of what would forbid it otherwise.
    """

    output: Path | None = None
    uri: str = ""
    networks: tuple[str, ...] = ()
    force: bool = False
    start: bool = False
    allow: tuple[str, ...] = ()


class Target(Protocol):
    """What every module of this package offers."""

    def check(self, wish: Wish) -> None:
        """Raise NoTargetError if the target as a whole is not there.

        Called before any data moves.
        """
        ...

    def preflight(self, vm: VM, wish: Wish) -> None:
        """Raise TargetError if *vm* could not be defined: its name is taken, …"""
        ...

    def define(self, vm: VM, wish: Wish) -> Defined:
        """Create *vm*, whose disks are in place.  Raises TargetError, changing nothing.

        An object that bears this VM's id is ours and is replaced.
        """
        ...


_HELPERS = {"commandline", "domain", "firmware", "machine", "networks"}


def names() -> list[str]:
    """Return the kinds of target there are."""
    return [m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS]


def load(name: str) -> Target:
    """Return the target called *name*."""
    return cast(Target, import_module(f"{__name__}.{name}"))
