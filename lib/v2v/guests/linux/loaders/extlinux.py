# SPDX-License-Identifier: GPL-2.0-or-later
"""extlinux and syslinux; Alpine's update-extlinux.conf besides."""

from __future__ import annotations

import re
from dataclasses import replace

from v2v.errors import GuestError
from v2v.guests.linux.loaders.menu import MAX_ENTRIES, Entry, Files, Menu, inside

_CONFIG = re.compile(r"/(?:ext|sys)linux\.(?:conf|cfg)$")
_LINE = re.compile(
    r"^[ \t]*(label|kernel|linux|initrd|append|default|menu[ \t]+default)"
    r"(?:[ \t]+(.*))?$",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"(?:^|\s)initrd=(\S+)")
_UPDATE = "/etc/update-extlinux.conf"
_FLAVOUR = re.compile(r"^(default=).*$", re.MULTILINE)


def config(files: Files) -> str | None:
    """Return the path of the file with the menu."""
    there = [p for p in files.texts if _CONFIG.search(p) and p != _UPDATE]
    return there[0] if there else None


def menu(files: Files) -> Menu | None:
    """Return the menu; None if there is none."""
    path = config(files)
    if path is None:
        return None
    entries, wanted = _read(path, files.texts[path])
    ranked = sorted(entries, key=lambda e: e.name.lower() != wanted.lower())
    return Menu(
        loader="extlinux",
        entries=tuple(entries),
        default=ranked[0] if ranked else None,
    )


def _read(path: str, text: str) -> tuple[list[Entry], str]:
    entries: list[Entry] = []
    wanted = marked = ""
    for number, line in enumerate(text.splitlines()):
        match = _LINE.match(line)
        if not match:
            continue
        word, rest = " ".join(match[1].lower().split()), (match[2] or "").strip()
        if word == "label" and len(entries) < MAX_ENTRIES:
            entries.append(Entry(name=rest, file=path))
        elif word == "default":
            wanted = rest
        elif word == "menu default" and entries:
            marked = entries[-1].name
        elif entries and rest:
            entries[-1] = _with(entries[-1], word, rest, number)
    return entries, marked or wanted


def _with(entry: Entry, word: str, rest: str, number: int) -> Entry:
    """Return *entry* with what line *number* says."""
    folder = entry.file.rpartition("/")[0]
    if word in ("kernel", "linux"):
        return replace(entry, kernel=_path(folder, rest.split()[0]))
    if word == "initrd":
        return replace(entry, initramfs=_path(folder, rest.split(",")[-1].strip()))
    images = _IMAGE.findall(rest)
    image = _path(folder, images[-1].split(",")[-1]) if images else entry.initramfs
    return replace(entry, options=rest, line=number, initramfs=image)


def _path(folder: str, name: str) -> str | None:
    return inside("/boot" if name.startswith("/") else folder, name)


def chosen(files: Files, entry: Entry) -> dict[str, str]:
    """Return the texts that make *entry* the default, by path.

    Raises GuestError if the menu does not say which it is.
    """
    path = config(files) or ""
    lines = files.texts[path].splitlines(keepends=True)
    said = False
    for number, line in enumerate(lines):
        plain = line.rstrip("\r\n")
        match = _LINE.match(plain)
        word = " ".join(match[1].lower().split()) if match else ""
        if match and word == "menu default":
            # It goes before DEFAULT, and would be in the wrong entry now.
            lines[number] = ""
        elif match and word == "default" and match[2]:
            end = line[len(plain) :]
            lines[number] = f"{line[: match.start(2)]}{entry.name}{end}"
            said = True
    if not said:
        raise GuestError(
            f"the default of {path} cannot be changed: it has no line for it",
            f"add a line DEFAULT to {path} on the source",
        )
    changed = {path: "".join(lines)}
    if _UPDATE in files.texts:
        text = files.texts[_UPDATE]
        changed[_UPDATE] = _FLAVOUR.sub(lambda m: f"{m[1]}{entry.name}", text)
    return changed
