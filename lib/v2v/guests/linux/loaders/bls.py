# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries by the boot loader specification (uapi-group.org), type 1.

GRUB of Fedora and of RHEL since 8 reads them from /boot, systemd-boot from the ESP.
"""

from __future__ import annotations

import re

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
    options = [(n, words) for n, key, words in _fields(text) if key == "options"]
    images = [w for _, key, words in _fields(text) if key == "initrd" for w in words]
    kernel = _field(text, "linux") or _field(text, "efi")
    line = " ".join(word for _, words in options for word in words)

    def value(found: re.Match[str]) -> str:
        return known.get(found[1], found[0])[:_MAX_VALUE]

    return Entry(
        name=match[2],
        kernel=inside(place, kernel.split()[0]) if kernel else None,
        # The last: those before hold microcode.  $tuned_initrd is empty, or more.
        initramfs=next(
            (found for i in reversed(images) if (found := inside(place, i))), None
        ),
        options=_VARIABLE.sub(value, line, count=_MAX_USES),
        file=path,
        line=options[0][0] if options else -1,
        sealed=bool(_field(text, "efi")),
    )


def _fields(text: str) -> list[tuple[int, str, list[str]]]:
    found = []
    for number, line in enumerate(text.splitlines()):
        words = line.split()
        if words and not words[0].startswith("#"):
            found.append((number, words[0], words[1:]))
    return found


def _field(text: str, name: str) -> str:
    """Return the first value of field *name*; "" if there is none."""
    return next((" ".join(words) for _, key, words in _fields(text) if key == name), "")
