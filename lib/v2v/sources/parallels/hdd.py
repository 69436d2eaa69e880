# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk bundles of Parallels: a folder NAME.hdd with DiskDescriptor.xml and images.

Each image belongs to a snapshot, known by its GUID; the disk is as of the topmost one.
Source: block/parallels of the Virtuozzo documentation (DiskDescriptor.xml).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from v2v import formats
from v2v.document import Chunk, File, Format, Layer
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE
from v2v.mapping import strung
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
_ENDS = ("Start", "End")
_MERGE = "delete the snapshots in Parallels, or copy the VM by prlctl clone"


class UnreadError(SourceError):
    """A disk that is whole, and can only be described."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of the disk in bytes, and the images that hold it, the newest first.

    It has a length only if the disk is split.
    """

    at: int
    length: int
    files: tuple[File, ...]


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
    parts = [
        replace(part, files=_found(part.files, inside))
        for part in parse(data, str(descriptor))
    ]
    return _stack(parts[0].files) if len(parts) == 1 else _split(parts)


def _found(files: Iterable[File], inside: placing.Places) -> tuple[File, ...]:
    return tuple(
        file.having(path=str(placing.find(file.path, inside))) for file in files
    )


def parse(data: bytes, where: str) -> list[Part]:
    """Return the parts of the disk that the descriptor *data* of *where* describes, in
    the order of the disk; usually it is one.

    Raises UnreadError and SourceError as layer() does.
    """
    root, _ = text.tree(data, where, KIND)
    if any(True for _ in descendants(root, "Encryption")) and _encrypted(root):
        raise UnreadError(f"{where}: it is encrypted", "decrypt it in Parallels")
    storages = list(descendants(root, "Storage"))
    chain = list(_chain(root, where))
    if len(storages) * len(chain) > strung.MAX_PIECES:
        raise UnreadError(
            f"{where}: it is split into {len(storages)} parts, too many to be read",
            "make it one file: prl_disk_tool merge, or prlctl set --split no",
        )
    parts = [_part(storage, chain, root, where) for storage in storages]
    if not any(part.files for part in parts):
        raise SourceError(f"{where} names no image", "copy the disk again")
    if len(parts) > 1:
        parts.sort(key=lambda part: part.at)
        _check(parts, root, where)
    return parts


def _part(storage: Element, chain: list[str], root: Element, where: str) -> Part:
    images = {_guid(content(i, "GUID")): i for i in children(storage, "Image")}
    files = []
    for guid in chain:
        if guid not in images:
            raise SourceError(
                f"{where} has no image for the snapshot {guid}", "copy the disk again"
            )
        files.append(_file(images[guid], where))
    start, end = (descriptions.number(content(storage, n)) or 0 for n in _ENDS)
    sector = _sector(root)
    return Part(at=start * sector, length=(end - start) * sector, files=tuple(files))


def _sector(root: Element) -> int:
    """Return how many bytes the sectors have that the descriptor counts."""
    found = next(descendants(root, "LogicSectorSize"), None)
    return 4096 if found is not None and (found.text or "").strip() == "4096" else 512


def _check(parts: list[Part], root: Element, where: str) -> None:
    """Raise SourceError unless *parts* follow each other and are all of the disk."""
    at = 0
    for number, part in enumerate(parts, 1):
        if part.at != at or part.length <= 0:
            raise SourceError(
                f"{where}: part {number} of {len(parts)}, {part.length} bytes at "
                f"{part.at}, does not follow the one before, which ends at {at}",
                "copy the disk again",
            )
        at += part.length
    named = next(descendants(root, "Disk_size"), None)
    count = descriptions.number(named.text) if named is not None else None
    size = (count or 0) * _sector(root)
    if at > MAX_SIZE or size > at:
        raise SourceError(
            f"{where}: its {len(parts)} parts hold {at} bytes, and the disk has {size}",
            "copy the disk again",
        )


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


def _split(parts: list[Part]) -> Layer:
    """Return the layer for the disk that *parts* are together."""
    chunks = [
        Chunk(path=file.path, format=file.format, at=part.at, length=part.length)
        for part in parts
        for file in part.files
    ]
    plain = all(file.format == "raw" for part in parts for file in part.files)
    if plain and len(chunks) == len(parts):
        raw = tuple(chunk.having(at=None) for chunk in chunks)
        return Layer(server="file", path=raw[0].path, parts=raw)
    return Layer(
        server="split",
        path=chunks[0].path,
        format=chunks[0].format,
        length=sum(part.length for part in parts),
        parts=tuple(chunks),
    )


def _stack(files: Sequence[File]) -> Layer:
    top, *backing = files
    return Layer(
        server="file" if top.format == "raw" else "qemu",
        path=top.path,
        format=top.format,
        backing=tuple(backing),
    )
