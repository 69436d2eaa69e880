# SPDX-License-Identifier: GPL-2.0-or-later
"""GRUB before version 2: menu.lst, which Red Hat calls grub.conf.

RHEL until 6, SLES until 11, Debian until 5, the first Amazon Linux.
"""

from __future__ import annotations

import re
from dataclasses import replace

from v2v.errors import GuestError
from v2v.guests.linux.loaders.menu import MAX_ENTRIES, Entry, Files, Menu, inside

# Red Hat's GRUB reads grub.conf, all others menu.lst; where both are there, one is a
# link to the other.
_CONFIG = re.compile(r"/(?:grub\.conf|menu\.lst)$")
_LINE = re.compile(r"^[ \t]*(title|kernel|module|initrd|default)(?:[ \t]+|=)(.*)", re.I)
_DEFAULT = re.compile(
    r"^([ \t]*default(?:[ \t]*=[ \t]*|[ \t]+))([^\s=]\S*)", re.MULTILINE
)
_SAVED = "/boot/grub/default"
_XEN = re.compile(r"/xen[^/]*$")


def config(files: Files) -> str | None:
    """Return the path of the file with the menu."""
    return next((path for path in sorted(files.texts) if _CONFIG.search(path)), None)


def menu(files: Files) -> Menu | None:
    """Return the menu; None if there is none."""
    path = config(files)
    if path is None:
        return None
    entries, wanted = _read(path, files.texts[path])
    if wanted == "saved":
        wanted = (files.texts.get(_SAVED, "").split() or ["0"])[0]
    number = int(wanted) if re.fullmatch(r"[0-9]{1,5}", wanted) else 0
    ranked = [*entries[number : number + 1], *entries]
    return Menu(
        loader="grub-legacy",
        entries=tuple(entries),
        default=ranked[0] if ranked else None,
    )


def _read(path: str, text: str) -> tuple[list[Entry], str]:
    """Return the entries in the order of their numbers, and the default as written."""
    entries: list[Entry] = []
    wanted = "0"
    for number, line in enumerate(text.splitlines()):
        match = _LINE.match(line)
        if not match:
            continue
        word, rest = match[1].lower(), match[2].strip()
        if word == "title":
            if len(entries) == MAX_ENTRIES:
                break
            entries.append(Entry(name=str(len(entries)), file=path))
        elif word == "default" and not entries:
            wanted = rest.lstrip("= \t")
        elif entries and rest:
            entries[-1] = _with(entries[-1], word, rest.split(), number)
    return entries, wanted


def _with(entry: Entry, word: str, words: list[str], number: int) -> Entry:
    """Return *entry* with what line *number* starts."""
    # "kernel --no-mem-option /vmlinuz"
    plain = [w for w in words if not w.startswith("--")]
    path = inside("/boot", plain[0]) if plain else None
    if word == "kernel" and path and _XEN.search(path):
        return replace(entry, xen=True)
    if word == "kernel" or (word == "module" and entry.xen and not entry.kernel):
        return replace(entry, kernel=path, options=" ".join(plain[1:]), line=number)
    if word in ("initrd", "module"):
        return replace(entry, initramfs=path)
    return entry


def chosen(files: Files, entry: Entry) -> dict[str, str]:
    """Return the texts that make *entry* the default, by path.

    Raises GuestError if the menu has no line that says which it is.
    """
    changed = {}
    for path, text in files.texts.items():
        if _CONFIG.search(path):
            match = _DEFAULT.search(text)
            if match:
                start, end = match.span(2)
                changed[path] = text[:start] + entry.name + text[end:]
    if not changed:
        raise GuestError(
            "GRUB's default cannot be changed: its menu has no line for it",
            'add a line "default 0" to menu.lst on the source',
        )
    return changed
