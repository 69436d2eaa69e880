# SPDX-License-Identifier: GPL-2.0-or-later
"""MAC addresses: read in every spelling, and made where the source has none."""

from __future__ import annotations

import hashlib
import re


def parse(text: str | None) -> str | None:
    """Return *text* as ``00:50:56:ab:cd:ef``; None if it is no address of a card.

    Separators may be colons, dashes, dots or none.  All-zero and multicast addresses
    are placeholders (a template that never ran), not addresses.
    """
    digits = re.sub(r"[:.\-\s]", "", text or "").lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits) or digits == "0" * 12:
        return None
    if int(digits[:2], 16) & 1:
        return None
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def made(vm_id: str, index: int) -> str:
    """Return an address for card *index* of VM *vm_id*: always the same one.

    52:54:00 is the prefix that QEMU and libvirt use for made-up addresses.
    """
    digest = hashlib.sha256(f"{vm_id}/{index}".encode()).hexdigest()
    return f"52:54:00:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
