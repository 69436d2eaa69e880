# SPDX-License-Identifier: GPL-2.0-or-later
"""An appliance of which one write fails, whichever it is."""

from __future__ import annotations

from typing import Any

WRITES = frozenset(
    {
        *("write", "upload", "mv", "cp", "cp_a", "ln_sf", "mkdir_p", "rm_f", "rm_rf"),
        *("chmod", "chown", "touch", "truncate_size", "copy_attributes", "lsetxattr"),
        *("command", "sh"),
    }
)


class Failing:
    """An appliance's handle whose write number ``at`` fails; 0 never does."""

    def __init__(self, handle: Any, at: int) -> None:
        self.handle = handle
        self.at = at
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.handle, name)
        if name not in WRITES:
            return call

        def counted(*arguments: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                raise RuntimeError(f"injected: {name}")
            return call(*arguments, **more)

        return counted
