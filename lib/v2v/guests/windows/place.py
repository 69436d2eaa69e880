# SPDX-License-Identifier: GPL-2.0-or-later
"""What the planners of a Windows guest work on, and where its files are.

NTFS, as the appliance mounts it, tells names in capitals from others; Windows does not.
So every path is looked up component by component.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from v2v.document import VM, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.wanted import Wanted
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
        return spelled(self.appliance, self.root, relative, self._known)


def spelled(
    appliance: Appliance, folder: str, relative: str, known: dict[str, str]
) -> str:
    """Return the path of *relative*, of slashes or backslashes, in *folder*.

    ``known`` are folders that were found before, by their lower-case path.
    """
    path = folder.rstrip("/")
    for name in relative.replace("\\", "/").split("/"):
        if not name:
            continue
        wanted = f"{path}/{name}"
        found = known.get(wanted.lower())
        if found is None:
            found = _looked_up(appliance, wanted)
            if appliance.g.exists(found):
                known[wanted.lower()] = found
        path = found
    return path


def _looked_up(appliance: Appliance, path: str) -> str:
    if appliance.g.exists(path):
        return path
    try:
        return appliance.g.case_sensitive_path(path)
    except RuntimeError:
        return path  # its folder is not there either
