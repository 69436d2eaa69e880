# SPDX-License-Identifier: GPL-2.0-or-later
"""What a boot loader offers, in the terms that all loaders share."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Of a file that was made to be hard: more is no menu.
MAX_ENTRIES = 200
_DEVICE = re.compile(r"^\([^)]{0,100}\)")
_SUBVOLUME = re.compile(r"^/@[^/]*/")
_PARTS = re.compile(r"\d+|[A-Za-z]+|~")


@dataclass(frozen=True, kw_only=True)
class Files:
    """The loaders' files of a guest: all paths, and what is in those that are text."""

    paths: Sequence[str] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that a loader starts; paths are the guest's.

    ``name`` is what the loader's configuration calls it; ``kernel`` is None for what
    starts no Linux, or one whose path is computed.  ``options`` are the kernel's
    parameters, on line number ``line`` of ``file``.  ``xen``: the hypervisor is
    started, and the kernel by it.  ``sealed``: kernel and initramfs are one file,
    which may be signed.
    """

    name: str
    kernel: str | None = None
    initramfs: str | None = None
    options: str = ""
    file: str = ""
    line: int = -1
    xen: bool = False
    sealed: bool = False


@dataclass(frozen=True, kw_only=True)
class Menu:
    """The entries of one loader, and the one that it starts if nobody chooses."""

    loader: str
    entries: tuple[Entry, ...]
    default: Entry | None = None


def inside(place: str, name: str) -> str | None:
    """Return the guest's path of the file *name* on the file system at *place*.

    None if the name is computed.  It may start with a device; what is on /boot may be
    named from the root as well, or from that of a btrfs subvolume.
    """
    name = _DEVICE.sub("", name.strip("\"'"))
    if not name or "$" in name:
        return None
    if place == "/boot":
        _, boot, rest = name.rpartition("/boot/")
        # A /boot that is a subvolume of its own is mostly called @boot.
        name = rest if boot else _SUBVOLUME.sub("/", name)
    # normpath keeps ".." from leading out of "/", and no link is followed.
    return posixpath.normpath(f"{place}/{name.lstrip('/')}")


def newness(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts versions as RPM does, the oldest first."""
    parts = []
    for part in _PARTS.findall(version[:200]):
        if part == "~":
            parts.append((-1, 0, ""))
        elif part.isdigit():
            # As text: int() of a thousand digits is slow, and of more an error.
            digits = part.lstrip("0")
            parts.append((2, len(digits), digits))
        else:
            parts.append((1, 0, part))
    return (*parts, (0, 0, ""))
