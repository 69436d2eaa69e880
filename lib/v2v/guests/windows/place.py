# SPDX-License-Identifier: GPL-2.0-or-later
"""What the planners of a Windows guest work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from v2v.document import VM, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.wanted import Wanted
from v2v.guests.windows import files
from v2v.guests.windows.registry import Registry

if TYPE_CHECKING:
    from v2v.guests.windows.firstboot import Step
    from v2v.guests.windows.selection import Selection


@dataclass(frozen=True, kw_only=True)
class Work:
    """One guest that is being planned for.

    ``root`` is the system's folder as it is spelled in the appliance ("/Windows"),
    ``esp`` where the ESP is mounted there.  ``drivers`` are those chosen of virtio-win;
    planners append to ``steps`` what the guest does when it starts first.
    """

    appliance: Appliance
    registry: Registry
    vm: VM
    guest: Guest
    wanted: Wanted
    root: str
    esp: str | None = None
    drivers: Selection | None = None
    steps: list[Step] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict, repr=False)

    def path(self, relative: str) -> str:
        """Return where *relative* to the system's folder is, as the guest spells it.

        What does not exist keeps the spelling given.
        """
        return files.spelled(self.appliance, self.root, relative, self._known)
