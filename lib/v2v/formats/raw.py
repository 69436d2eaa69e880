# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw images: no header, so nothing that a guest wrote there is obeyed."""

from __future__ import annotations

import os
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import Checked, Image


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat; a raw image has no mark of its own."""
    return False


def examine(
    path: Path, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}") from e
    return Image(size=end - offset if length is None else length)
