# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk bundles of Parallels: a folder NAME.hdd with DiskDescriptor.xml and images.

Each image belongs to a snapshot, known by its GUID; the disk is as of the topmost one.
Source: block/parallels of the Virtuozzo documentation (DiskDescriptor.xml).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from v2v import formats
from v2v.document import File, Format, Layer
from v2v.errors import SourceError
from v2v.ovf import text
from v2v.ovf.text import Element, children, content, descendants
from v2v.sources import descriptions, placing

DESCRIPTOR = "DiskDescriptor.xml"
KIND = text.Kind(
    root="Parallels_disk_image",
    what="disk descriptor of Parallels",
    remedy="name the folder .hdd of the disk, or the .pvm of the machine",
)
# The topmost snapshot where nothing says another.
_TOP = "5fbaabe3-6958-40ff-92a7-860e329aab41"
_NONE = "00000000-0000-0000-0000-000000000000"
_EXPANDING = "parallels"
_MAX_CHAIN = 256
_MERGE = "delete the snapshots in Parallels, or copy the VM by prlctl clone"


class UnreadError(SourceError):
    """A disk that is whole, and can only be described."""


def layer(bundle: Path, places: placing.Places) -> Layer:
    """Return the layer for the disk in the folder *bundle*, or the one file that it is.

    Raises UnreadError if it is of a kind that is not read here, and SourceError if it
    is broken, or names what must not be opened.
    """
    if bundle.is_file():
        return _stack([File(path=str(bundle), format=_expanding(str(bundle)))])
    descriptor = places.checked(bundle / DESCRIPTOR)
    data = descriptions.content(descriptor, text.MAX_SIZE, KIND.what)
    inside = placing.Places(folder=bundle, root=places.root, allow=places.allow)
    files = [
        file.having(path=str(placing.find(file.path, inside)))
        for file in parse(data, str(descriptor))
    ]
    return _stack(files)


def parse(data: bytes, where: str) -> list[File]:
    """Return the images of the disk that the descriptor *data* of *where* describes,
    the newest first.

    Raises UnreadError and SourceError as layer() does.
    """
    root, _ = text.tree(data, where, KIND)
    if any(True for _ in descendants(root, "Encryption")) and _encrypted(root):
        raise UnreadError(f"{where}: it is encrypted", "decrypt it in Parallels")
    storages = list(descendants(root, "Storage"))
    if len(storages) != 1:
        raise UnreadError(
            f"{where}: it is split into {len(storages)} parts",
            "make it one file: prl_disk_tool merge, or prlctl set --split no",
        )
    images = {_guid(content(i, "GUID")): i for i in children(storages[0], "Image")}
    found = []
    for guid in _chain(root, where):
        if guid not in images:
            raise SourceError(
                f"{where} has no image for the snapshot {guid}", "copy the disk again"
            )
        found.append(_file(images[guid], where))
    return found


def _encrypted(root: Element) -> bool:
    words = (content(e, "Engine") for e in descendants(root, "Encryption"))
    return any(_guid(word) not in ("", _NONE) for word in words)


def _guid(word: str) -> str:
    return word.strip().strip("{}").lower()


def _chain(root: Element, where: str) -> Iterator[str]:
    """Yield the snapshots from the topmost to the first."""
    tops = [_guid(top.text or "") for top in descendants(root, "TopGUID")]
    parents = {
        _guid(content(shot, "GUID")): _guid(content(shot, "ParentGUID"))
        for shot in descendants(root, "Shot")
    }
    guid, seen = (tops or [_TOP])[0], set[str]()
    while guid not in ("", _NONE):
        if guid in seen or len(seen) >= _MAX_CHAIN:
            raise SourceError(
                f"{where}: the chain of snapshots runs in a circle, or has no end",
                "copy the disk again",
            )
        seen.add(guid)
        yield guid
        guid = parents.get(guid, "")


def _file(image: Element, where: str) -> File:
    name = content(image, "File")
    kind = content(image, "Type").lower()
    if kind == "plain":
        return File(path=name, format="raw")
    if kind != "compressed":
        raise UnreadError(
            f"{where}: {name:.100} is of type {kind!r:.40}, which is not read", _MERGE
        )
    return File(path=name, format=_expanding(name))


def _expanding(name: str) -> Format:
    """Return the format of an expanding image, if there is one that reads it."""
    if _EXPANDING not in formats.names():
        raise UnreadError(
            f"{name:.300} is an expanding disk of Parallels, which is not read",
            "make it plain: prl_disk_tool convert --plain --hdd DISK.hdd",
        )
    return cast(Format, _EXPANDING)


def _stack(files: list[File]) -> Layer:
    if not files:
        raise SourceError("a disk bundle names no image", "copy the disk again")
    top, *backing = files
    return Layer(
        server="file" if top.format == "raw" else "qemu",
        path=top.path,
        format=top.format,
        backing=tuple(backing),
    )
