# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for the members of every archive: how many, and how they are called."""

from __future__ import annotations

import re
from pathlib import Path

from v2v.errors import SourceError

MAX_MEMBERS = 10_000
REMEDY = "do not trust this file; export the VM again, or copy it again from there"
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST = 4096


def check_name(path: Path, name: str) -> None:
    """Raise SourceError if *name*, of a member of *path*, is not below a folder."""
    parts = name.replace("\\", "/").split("/")
    away = name.startswith(("/", "\\")) or ".." in parts or _DRIVE.match(name)
    if away or not name or "\0" in name or len(name) > _LONGEST:
        raise SourceError(
            f"{path}: the name of its member {name!r:.300} leads outside", REMEDY
        )


def is_litter(name: str) -> bool:
    """Whether *name* is of what macOS adds of its own to each file."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")


def twice(path: Path, name: str) -> SourceError:
    """Return the error for two members of *path* called *name*."""
    return SourceError(f"{path} has two members called {name!r:.300}", REMEDY)
