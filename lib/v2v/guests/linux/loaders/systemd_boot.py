# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd-boot: entries and unified kernel images on the ESP, loader.conf(5).

What was chosen by a key in the menu lies in the NVRAM, and that is lost.
"""

from __future__ import annotations

import fnmatch
import re

from v2v.guests.linux.loaders import bls
from v2v.guests.linux.loaders.menu import Entry, Files, Menu, newness

PLACES = ("/boot/efi", "/efi", "/boot")
_CONFIG = re.compile(r"^(?:/boot|/efi|/boot/efi)/loader/loader\.conf$")
_BINARY = re.compile(r"/EFI/systemd/systemd-boot\w+\.efi$")
_IMAGE = re.compile(r"/EFI/Linux/([^/]+\.efi)$", re.IGNORECASE)
_DEFAULT = re.compile(r"^([ \t]*default[ \t]+)(\S+)", re.MULTILINE)
_LONGEST = 255  # of a file's name, and of what stands for it
# Boot counting: NAME+3-1.conf has three tries left, and had one.
_TRIES = re.compile(r"\+\d+(?:-\d+)?$")


def is_installed(files: Files) -> bool:
    """Whether the ESP has the loader itself."""
    return any(_BINARY.search(path) for path in files.paths)


def menu(files: Files) -> Menu | None:
    """Return the menu; None if there is none."""
    found = [*bls.entries(files, PLACES, {}), *images(files)]
    if not found:
        return None
    default = _default(files, found)
    name = "systemd-boot" if is_installed(files) or _said(files) else "uki"
    if any(not entry.sealed for entry in found):
        name = "systemd-boot"
    return Menu(loader=name, entries=tuple(found), default=default)


def images(files: Files) -> list[Entry]:
    """Return the unified kernel images, the newest first."""
    found = [
        Entry(name=match[1], kernel=path, initramfs=path, file=path, sealed=True)
        for path in files.paths
        if (match := _IMAGE.search(path))
    ]
    return sorted(found, key=lambda entry: newness(entry.name), reverse=True)


def _said(files: Files) -> list[str]:
    """Return the paths of loader.conf."""
    return [path for path in files.texts if _CONFIG.match(path)]


def _default(files: Files, entries: list[Entry]) -> Entry:
    for path in _said(files):
        match = _DEFAULT.search(files.texts[path])
        if match and not match[2].startswith("@") and len(match[2]) <= _LONGEST:
            pattern = match[2].lower()
            for entry in entries:
                if fnmatch.fnmatchcase(_id(entry).lower(), pattern) or (
                    # Before systemd 246 the suffix was left out.
                    fnmatch.fnmatchcase(_id(entry).lower().rpartition(".")[0], pattern)
                ):
                    return entry
    return entries[0]


def _id(entry: Entry) -> str:
    if entry.name.lower().endswith(".efi"):
        return entry.name
    return f"{_TRIES.sub('', entry.name)}.conf"


def chosen(files: Files, entry: Entry) -> dict[str, str]:
    """Return the texts that make *entry* the default, by path."""
    place = next((p for p in PLACES if entry.file.startswith(f"{p}/")), PLACES[0])
    path = (_said(files) or [f"{place}/loader/loader.conf"])[0]
    text = files.texts.get(path, "")
    match = _DEFAULT.search(text)
    if match:
        return {path: text[: match.start(2)] + _id(entry) + text[match.end(2) :]}
    gap = "" if not text or text.endswith("\n") else "\n"
    return {path: f"{text}{gap}default {_id(entry)}\n"}
