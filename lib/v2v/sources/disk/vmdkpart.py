# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are a part of a VMDK, and are named in place of its descriptor."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from v2v.document import Finding
from v2v.errors import SourceError
from v2v.formats import vmdk
from v2v.sources import descriptions

# Flat data, a delta, a piece, changed blocks, a raw device.
_PART = re.compile(
    r"(?P<stem>.+)-(?P<kind>flat|delta|sesparse|ctk|rdmp?|[fs][0-9]{3})\.vmdk",
    re.IGNORECASE,
)
_MAX_FILES = 1000
_MAX_TEXT = 2**16
_WHAT = {
    "delta": "what a snapshot of VMware changed",
    "sesparse": "what a snapshot of VMware changed",
    "ctk": "VMware's record of changed blocks",
    "rdm": "a raw device of a host of VMware",
    "rdmp": "a raw device of a host of VMware",
}


def matches(name: str) -> bool:
    """Whether a file called *name* is a part of a VMDK."""
    return _PART.fullmatch(name) is not None


def is_flat(name: str) -> bool:
    """Whether a file called *name* holds all bytes of a disk of VMware, and no more."""
    match = _PART.fullmatch(name)
    return match is not None and match["kind"].lower() == "flat"


def check(path: Path) -> None:
    """Raise SourceError if *path* is a part of a VMDK; but not for flat data without a
    descriptor, which can be read as they are."""
    match = _PART.fullmatch(path.name)
    if not match:
        return
    owner = _owner(path)
    if owner:
        raise SourceError(f"{path} is a part of the disk {owner}", f"name {owner.name}")
    kind = match["kind"].lower()
    if kind == "flat":
        return
    what = _WHAT.get(kind, "one of several files of a disk of VMware")
    raise SourceError(
        f"{path} is {what}, and the disk's descriptor is not beside it",
        f"copy the small file {match['stem']}.vmdk to it, and name that",
    )


def bare(disk: str, path: Path) -> Finding:
    """Return what is to be said of the flat data *path*, which are read as raw."""
    return Finding(
        code="format-assumed",
        severity="info",
        message=f"{disk}: {path.name} has no descriptor beside it, and is read as raw",
        disk=disk,
    )


def _owner(path: Path) -> Path | None:
    """Return the descriptor beside *path* that names it, if there is one."""
    try:
        files = sorted(islice(path.parent.glob("*.[vV][mM][dD][kK]"), _MAX_FILES))
    except OSError:
        return None
    for file in files:
        if file != path and not is_flat(file.name) and _names(file, path.name):
            return file
    return None


def _names(file: Path, name: str) -> bool:
    data = descriptions.head(file, _MAX_TEXT)
    if not vmdk.matches(data, b"") or data[:4] in (b"KDMV", b"COWD"):
        return False
    try:
        extents = vmdk.parse(file, data).extents
    except SourceError:
        return False  # it is told when it is named itself
    changes = re.search(rb'changeTrackPath\s{0,9}=\s{0,9}"([^"\n]{1,255})"', data)
    tracked = changes[1].decode("utf-8", "replace") if changes else ""
    return name in (tracked, *(extent.name for extent in extents))
