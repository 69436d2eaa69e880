# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks in an XVA, the export of XenServer and XCP-ng: chunks in a tar archive.

Source: ocaml/xapi/stream_vdi.ml of xapi.  A disk is a folder of members 00000000,
00000001 …; chunks of zeroes are left out, but for the first and the last.  A member
of length zero only keeps a connection alive: it has a number, and no place in the
disk.  After each comes its checksum, as a member of its name and ".checksum" (SHA-1) or
".xxhash" (XXH64): see v2v.mapping.xvasums.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from v2v.errors import SourceError
from v2v.formats import read
from v2v.mapping import tar
from v2v.mapping.pieces import Mapped, Piece, within

_DESCRIPTION = "ova.xml"
_EXPORT = "export the VM again: xe vm-export"
# As a tree it takes forty times that; of real ones the largest has 1 MiB.
_MAX_DESCRIPTION = 8 * 2**20
_CHUNK = re.compile(r"(?:\./)?([^/]{1,60})/(\d{8,12})")
_MAX_DISKS = 1000

# By folder: number, offset in the file and length of each chunk, one after another.
Index = dict[str, "array[int]"]


def description(path: Path) -> bytes:
    """Return the ova.xml of the archive *path*, its first member.

    Raises SourceError if there is none.
    """
    first = next(tar.members(path), None)
    if first is None or first.name.removeprefix("./") != _DESCRIPTION:
        raise SourceError(
            f"{path} is no XVA: it does not begin with {_DESCRIPTION}",
            _EXPORT,
        )
    if first.size > _MAX_DESCRIPTION:
        raise SourceError(
            f"{path}: its {_DESCRIPTION} of {first.size} bytes is none", _EXPORT
        )
    return read(path, first.offset, first.size)


def disks(path: Path) -> frozenset[str]:
    """Return the names of the disks in the archive *path*.  Raises SourceError."""
    return frozenset(_index(path))


def mapped(path: Path, name: str, size: int) -> Mapped:
    """Return where the disk *name* of *size* bytes lies.

    Raises SourceError if there is no such disk in the archive, or it is broken.
    """
    found = _index(path)
    if name not in found:
        raise SourceError(
            f"{path} has no data of the disk {name}", "export the VM again with it"
        )

    def pieces() -> Iterator[Piece]:
        return within(_pieces(path, found[name]), size)

    return Mapped(file=path, size=size, pieces=pieces, label=name)


def _pieces(path: Path, chunks: array[int]) -> Iterator[Piece]:
    length = chunks[2]
    at, before = 0, -1
    for first in range(0, len(chunks), 3):
        number, offset, size = chunks[first : first + 3]
        if number <= before:
            raise SourceError(f"{path} is broken: its chunks are in no order", _EXPORT)
        at += (number - before - 1) * length
        if size:
            yield Piece(at, size, offset)
        at, before = at + size, number


def _index(path: Path) -> Index:
    facts = path.stat()
    return _indexed(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=2)
def _indexed(path: Path, size: int, changed: int) -> Index:
    """Return the chunks of *path*, read once as long as it stays as it is."""
    found: Index = {}
    for member in tar.members(path):
        match = _CHUNK.fullmatch(member.name)
        if not match:
            continue  # ova.xml, and the checksums of chunks
        chunks = found.setdefault(match[1], array("Q"))
        chunks.extend((int(match[2]), member.offset, member.size))
        if len(found) > _MAX_DISKS:
            raise SourceError(f"{path} holds more disks than any VM has", _EXPORT)
    return found
