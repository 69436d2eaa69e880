# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries by the boot loader specification (uapi-group.org), type 1.

GRUB of Fedora and of RHEL since 8 reads them from /boot, systemd-boot from the ESP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from v2v.guests.linux.loaders.menu import MAX_ENTRIES, Entry, Files, inside, newness

_ENTRY = re.compile(r"^(/boot|/efi|/boot/efi)/loader/entries/([^/]+)\.conf$")
_VARIABLE = re.compile(r"\$(\w{1,40})")
# Variables in one line, and characters of a value: GRUB's block has 1024 bytes.
_MAX_USES, _MAX_VALUE = 20, 4096


def entries(
    files: Files, places: tuple[str, ...], known: dict[str, str]
) -> list[Entry]:
    """Return the entries on the file systems at *places*, the newest first.

    *known* has the values of GRUB's variables.
    """
    found: list[Entry] = []
    for path, text in files.texts.items():
        match = _ENTRY.match(path)
        if match and match[1] in places and len(found) < MAX_ENTRIES:
            found.append(_entry(path, text, match, known))
    return sorted(found, key=lambda entry: newness(entry.name), reverse=True)


def _entry(path: str, text: str, match: re.Match[str], known: dict[str, str]) -> Entry:
    place = match[1]
    fields = list(_fields(text))
    options = [(number, words) for number, key, words in fields if key == "options"]
    images = [word for _, key, words in fields if key == "initrd" for word in words]
    first = {key: words for _, key, words in reversed(fields) if words}
    kernel = first.get("linux") or first.get("efi")
    line = " ".join(word for _, words in options for word in words)

    def value(found: re.Match[str]) -> str:
        return known.get(found[1], found[0])[:_MAX_VALUE]

    return Entry(
        name=match[2],
        kernel=inside(place, kernel[0]) if kernel else None,
        # The last: those before hold microcode.  $tuned_initrd is empty, or more.
        initramfs=next(
            (found for i in reversed(images) if (found := inside(place, i))), None
        ),
        options=_VARIABLE.sub(value, line, count=_MAX_USES),
        file=path,
        line=options[0][0] if options else -1,
        sealed="efi" in first,
    )


def _fields(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each line's number, key and words; none of comments."""
    for number, line in enumerate(text.splitlines()):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words[0], words[1:]
