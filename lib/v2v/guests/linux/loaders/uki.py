# SPDX-License-Identifier: GPL-2.0-or-later
"""Unified kernel images: a PE file with the kernel, its initramfs and parameters.

They may be signed, and are only looked at.  The format: PE/COFF of Microsoft, and the
sections of the unified kernel image specification (uapi-group.org).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# What of the file's start holds its headers, bytes.
HEAD = 4096
_MAX_SECTIONS = 60
_COFF, _SECTION = 24, 40


@dataclass(frozen=True, kw_only=True)
class Section:
    """Where a section's content lies in the file: bytes."""

    offset: int
    size: int


def sections(head: bytes) -> dict[str, Section]:
    """Return the sections, by name, of the PE file that starts with *head*.

    Those of what is no PE file, or of one whose headers are longer, are none.
    """
    if head[:2] != b"MZ" or len(head) < 0x40:
        return {}
    at = int.from_bytes(head[0x3C:0x40], "little")
    if head[at : at + 4] != b"PE\0\0" or len(head) < at + _COFF:
        return {}
    count, optional = struct.unpack_from("<2xH12xH", head, at + 4)
    found = {}
    for index in range(min(count, _MAX_SECTIONS)):
        start = at + _COFF + optional + index * _SECTION
        if len(head) < start + _SECTION:
            break
        name, virtual, _, size, offset = struct.unpack_from("<8sIIII", head, start)
        # The raw size is padded; the virtual one says what there is.
        length = min(virtual, size) if virtual else size
        text = name.rstrip(b"\0").decode("ascii", "replace")
        found[text] = Section(offset=offset, size=length)
    return found


def is_one(found: dict[str, Section]) -> bool:
    """Whether a file of these sections is a unified kernel image."""
    return {".linux", ".initrd"} <= set(found)
