# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw images: no header, so nothing that a guest wrote there is obeyed."""

from __future__ import annotations

from pathlib import Path

from v2v.formats import Checked, Image, Part, part


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat; a raw image has no mark of its own."""
    return False


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    # A member of an OVA may end before its last sector does, and the archive with it.
    image = part(place, offset, None)
    return Image(size=image.length if length is None else length)
