# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for files and domains, from names that people and other systems chose."""

from __future__ import annotations

import re

_LONGEST = 200  # bytes; file systems allow 255 and we add suffixes


def safe(name: str) -> str:
    """Return *name* as it can be the name of a file and of a libvirt domain.

    No slash, control character, leading dash or dot; no blank at the ends; at most
    200 bytes.  libvirt refuses "/" and newlines, and writes NAME.xml.new.
    """
    # XML has no control characters at all, nor U+FFFE and U+FFFF.
    text = re.sub(r"[/\\\x00-\x1f\x7f-\x9f\ufffe\uffff]", "_", name)
    text = re.sub(r"^[-.\s]+", "", text).rstrip(" .\t")
    cut = text.encode("utf-8", "replace")[:_LONGEST]
    return cut.decode("utf-8", "ignore") or "unnamed"
