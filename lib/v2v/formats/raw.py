# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw images: no header, so nothing that a guest wrote there is obeyed.

But its partition table shows of how many bytes its sectors were: a GPT is in the second
one, and the numbers in it count sectors.
"""

from __future__ import annotations

from pathlib import Path

from v2v.document import BlockSize
from v2v.formats import Checked, Image, Part, part

GPT = b"EFI PART"
_PROTECTIVE = 0xEE  # the type of the MBR's partition that stands for a GPT
# Up to here a disk is read for block_size(): bytes.
HEAD = 4096 + len(GPT)


def matches(head: bytes, tail: bytes) -> bool:
    """See formats.ImageFormat; a raw image has no mark of its own."""
    return False


def examine(
    place: Path | Part, checked: Checked, offset: int = 0, length: int | None = None
) -> Image:
    """See formats.ImageFormat."""
    # A member of an OVA may end before its last sector does, and the archive with it.
    image = part(place, offset, None)
    size = image.length if length is None else length
    head = image.read(0, min(HEAD, size, image.length))
    return Image(size=size, logical_block_size=block_size(head) or 512)


def block_size(head: bytes) -> BlockSize | None:
    """Return of how many bytes the sectors are of a disk that begins with *head*.

    None: it has no GPT.  One for large sectors counts only if the MBR says that there
    is one, as for Linux (block/partitions/efi.c), and if there is none for small ones:
    it would be part of that.
    """
    if head[512:].startswith(GPT):
        return 512
    has_gpt = head[510:512] == b"\x55\xaa" and _PROTECTIVE in head[450:510:16]
    return 4096 if has_gpt and head[4096:].startswith(GPT) else None
