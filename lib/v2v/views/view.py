# SPDX-License-Identifier: GPL-2.0-or-later
"""A local file that stands for something that is not one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from v2v.document import Finding, Stretch


@dataclass(frozen=True, kw_only=True)
class View:
    """The file ``path``, which this process can read, and what it is a view of.

    ``place`` is how a document calls it: always the same, though each process has a
    mount of its own.  ``stretch`` is the part of the origin that was packed, where
    that is not all of it; ``mark`` changes when the origin does, if no file of its own
    tells.  ``finding`` is what the user must know of it, if anything.  ``inside`` are
    those of the files in it, if it is a folder.
    """

    origin: str
    path: Path
    place: Path
    stretch: Stretch | None = None
    mark: str = ""
    finding: Finding | None = None
    inside: tuple[View, ...] = ()
