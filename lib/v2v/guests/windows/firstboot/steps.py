# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Windows guest does at its first boots: steps, each a script for cmd.exe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from v2v.errors import GuestError

# Steps below this are of drivers: one restart for all of them, if any asks for it.
OTHERS = 3000
DRIVERS, NETWORK, AGENTS, TOOLS, USER = 2000, 3500, 4000, 4500, 5000
MOST = 99  # steps of one priority
_SLUG = re.compile(r"[^a-z0-9]+")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}", re.A)
_REASON = "the guest does what is left at its first boots"


@dataclass(frozen=True, kw_only=True)
class Step:
    r"""A script for cmd.exe, as SYSTEM, that is run until it succeeds: 3 times at most.

    It ends with 0 or 250 (done), 3010 or 1641 (done, to be restarted), 249 (again
    after a restart); all else is failure.  It may use %SYS% (programs of Windows) and
    %FILES%, the folder with ``files`` (by plain names; bytes, or a file of this host).
    ``required``: without it the whole has failed.  Lower ``priority`` is earlier.
    Text of a guest in ``script`` must have been checked: cmd.exe knows no safe quotes.
    ``script`` may hold bytes that are no UTF-8, as surrogates.
    """

    name: str
    script: str
    required: bool = False
    priority: int = USER
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    reason: str = _REASON
    shown: str | None = None

    def __post_init__(self) -> None:
        """Raise GuestError for a payload whose name could not be used in a script."""
        for name in self.files:
            if not _FILE.fullmatch(name):
                raise GuestError(
                    f"first boot: {name[:60]!r} cannot be the name of a file there",
                    "letters, digits, dots, - and _ are what it may have",
                )

    @property
    def label(self) -> str:
        """The name as a file's, and in JSON and batch: a-z, 0-9 and dashes."""
        return _SLUG.sub("-", self.name.lower()[:40]).strip("-") or "step"

    @property
    def phase(self) -> int:
        """1 for drivers, 2 for all that comes after them."""
        return 1 if self.priority < OTHERS else 2


def crlf(text: str) -> str:
    """Return *text* with the ends of lines that cmd.exe wants: labels need them."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return lines.replace("\n", "\r\n") + "\r\n"
