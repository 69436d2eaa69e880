# SPDX-License-Identifier: GPL-2.0-or-later
"""Create a VM, whose disks are in place, on its new home."""

from __future__ import annotations

from v2v import targets
from v2v.document import VM
from v2v.errors import TargetError, UsageError
from v2v.targets import Wish


def check(kind: str, wish: Wish) -> None:
    """Raise UsageError or NoTargetError if nothing at all could be defined."""
    if kind not in targets.names():
        raise UsageError(
            f"-t {kind}: no such target", f"one of {', '.join(targets.names())}"
        )
    targets.load(kind).check(wish)


def define(vm: VM, kind: str, wish: Wish) -> VM:
    """Return *vm* as created at target *kind*.  Raises TargetError, having undone all."""
    for disk in vm.disks:
        if kind != "null" and disk.target is None:
            raise TargetError(
                f"disk {disk.id} has not been copied to its new place",
                "run v2v-convert before v2v-define",
            )
    target = targets.load(kind)
    target.preflight(vm, wish)
    return vm.having(target=target.define(vm, wish))
