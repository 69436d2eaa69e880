# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes as OVF writes them: a number, and a unit in one of many spellings."""

from __future__ import annotations

import re

# Longer than any number that means something; int() is slow on very long ones.
_DIGITS = re.compile(r"[0-9]{1,20}")
# DSP0004, "Programmatic Units": byte * 2^30, byte * 1024 * 1024, byte * 10^9.
_BYTES = re.compile(r"bytes?((?:\*[0-9]{1,12}(?:\^[0-9]{1,2})?){0,4})")
_FACTOR = re.compile(r"\*([0-9]+)(?:\^([0-9]+))?")
# Binary, whatever SI says: VirtualBox and older VMware products mean 2^20 here.
_WORDS = {
    **dict.fromkeys(("kilobyte", "kilobytes", "kb", "kib"), 2**10),
    **dict.fromkeys(("megabyte", "megabytes", "mb", "mib"), 2**20),
    **dict.fromkeys(("gigabyte", "gigabytes", "gb", "gib"), 2**30),
    **dict.fromkeys(("terabyte", "terabytes", "tb", "tib"), 2**40),
}
_LARGEST = 2**60


def number(text: str) -> int | None:
    """Return *text* as a number that is not negative; None if it is none."""
    text = text.strip()
    return int(text) if _DIGITS.fullmatch(text) else None


def factor(text: str) -> int | None:
    """Return how many bytes one unit of *text* is; None if it is no unit of size."""
    plain = re.sub(r"\s+", "", text).lower()
    if plain in _WORDS:
        return _WORDS[plain]
    match = _BYTES.fullmatch(plain)
    if not match:
        return None
    product = 1
    for base, exponent in _FACTOR.findall(match[1]):
        product *= int(base) ** int(exponent or 1)
    return product if 0 < product <= _LARGEST else None


def size(quantity: str, unit: str, *, default: int, largest: int) -> int | None:
    """Return *quantity* of *unit* in bytes; without a unit, of *default* bytes.

    None if that is no number, or not between 1 and *largest*.
    """
    count = number(quantity)
    bytes_each = factor(unit) if unit.strip() else default
    if count is None or bytes_each is None or not 0 < count * bytes_each <= largest:
        return None
    return count * bytes_each
