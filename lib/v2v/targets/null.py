# SPDX-License-Identifier: GPL-2.0-or-later
"""Create nothing: for rehearsals, and for those who define the VM by other means."""

from __future__ import annotations

from v2v.document import VM, Defined
from v2v.targets import Wish


def check(wish: Wish) -> None:
    """See targets.Target."""


def preflight(vm: VM, wish: Wish) -> None:
    """See targets.Target."""


def define(vm: VM, wish: Wish) -> Defined:
    """See targets.Target."""
    return Defined(kind="null", name=vm.name, location="-")
