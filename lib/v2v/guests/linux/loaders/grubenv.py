# SPDX-License-Identifier: GPL-2.0-or-later
"""GRUB's environment block: 1024 bytes of "name=value" lines, filled up with "#".

GRUB writes to it by block number, so its size must never change (grub-editenv(1)).
"""

from __future__ import annotations

import re

from v2v.errors import GuestError

_HEADER = "# GRUB Environment Block\n"


def value(text: str, name: str) -> str | None:
    """Return the value of variable *name* of the block *text*, if it has it."""
    for line in text.splitlines():
        if line.startswith(f"{name}="):
            return re.sub(r"\\(.)", r"\1", line.partition("=")[2])
    return None


def with_value(text: str, name: str, new: str) -> str:
    """Return the block *text* with variable *name* set to *new*.

    Raises GuestError if there is no room for it.
    """
    escaped = re.sub(r"([\\])", r"\\\1", new)
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith(f"{name}="):
            lines[index] = f"{name}={escaped}\n"
            break
    else:
        end = next((i for i, s in enumerate(lines) if s.startswith("##")), len(lines))
        lines.insert(end, f"{name}={escaped}\n")
    return resized(text, "".join(lines))


def resized(before: str, after: str) -> str:
    """Return *after* filled up with "#" to the size of *before*.

    What is no environment block is left as it is.  Raises GuestError if it is full.
    """
    if not before.startswith(_HEADER) or before == after:
        return after
    size = _length(before)
    body = after.rstrip("#")
    if not body.endswith("\n"):
        body += "\n"
    if _length(body) > size:
        raise GuestError(
            "GRUB's environment block is full",
            "remove variables from it on the source: grub2-editenv - unset NAME",
        )
    return body + "#" * (size - _length(body))


def _length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
