# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user wants of a guest, besides that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2v.guests.customize import Work
from v2v.guests.linux.addresses import Address
from v2v.operations import Operation

Firstboot = Literal["service", "setup", "none"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user wants to be done besides.

    ``made_for`` is the target, ``agent`` whether the guest agent is wanted.
    ``packages`` is the folder with the agent's packages; ``works`` are what the guest
    is customised by, with ``folder`` for their secrets; ``operations`` are the options
    that they were made of.

    Of Windows: ``virtio_win`` is the ISO or folder with its drivers, whose publisher is
    to be trusted there or not; ``firstboot`` is how a script is started.
    """

    made_for: str = "libvirt"
    agent: bool = True
    packages: Path | None = None
    addresses: Sequence[Address] = ()
    works: Sequence[Work] = ()
    operations: Sequence[Operation] = ()
    remove_tools: bool = False
    folder: Path | None = None
    virtio_win: Path | None = None
    trust_publisher: bool = False
    firstboot: Firstboot = "service"
