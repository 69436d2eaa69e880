# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a partition is, as boot stores and MountedDevices name it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Place:
    """A partition: by GUIDs (GPT), or its disk's signature and its offset (MBR).

    The offset is in bytes; GUIDs are in lower case, without braces.  Not all that name
    one tell its ``disk``.
    """

    partition: str | None = None
    disk: str | None = None
    signature: int | None = None
    offset: int | None = None

    @property
    def volume(self) -> Place:
        """The partition alone, whatever its disk is called."""
        return replace(self, disk=None)
