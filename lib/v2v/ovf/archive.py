# SPDX-License-Identifier: GPL-2.0-or-later
"""The members of an OVA, which is a tar archive: where each one lies.

Read once from the headers and never unpacked.  An archive is refused as a whole if
it holds what no export writes and what tricks a reader: names that lead elsewhere,
links, devices, sparse members, two members of one name.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from v2v.errors import SourceError
from v2v.formats import Part
from v2v.mapping.members import MAX_MEMBERS, REMEDY, check_name, is_litter, twice

_BLOCK = 512
# Of one extended header: a name or the like.
_MAX_HEADER = 2**16


def is_tar(head: bytes) -> bool:
    """Whether a file that starts with *head* (512 bytes) is a tar archive."""
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "replace")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def first_name(head: bytes) -> str:
    """Return the name of the member whose header is *head*, which is_tar."""
    name = tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "replace").name
    return name.removeprefix("./")


def index(path: Path) -> dict[str, Part]:
    """Return the files in the archive *path* by their names.

    Raises SourceError if it is cut off, broken or hostile.
    """
    found: dict[str, Part] = {}
    for member in _members(path):
        name = _plain(member.name)
        if member.isdir() or is_litter(name):
            continue
        _refuse(path, member, name)
        if name in found:
            raise twice(path, name)
        found[name] = Part(path=path, offset=member.offset_data, length=member.size)
    return found


def _plain(name: str) -> str:
    """Return *name* without ./ in front, as text that a document can hold."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.removeprefix("./")


def _refuse(path: Path, member: tarfile.TarInfo, name: str) -> None:
    if not member.isreg() or member.issparse():
        kind = "sparse" if member.isreg() else "a link or a device"
        raise SourceError(f"{path}: its member {name!r:.300} is {kind}", REMEDY)
    check_name(path, name)


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the members of *path*.  Raises SourceError, as index does."""
    count = 0
    try:
        with path.open("rb") as raw:
            source = _Headers(raw)
            with tarfile.open(fileobj=cast(IO[bytes], source), mode="r:") as tar:
                while member := tar.next():
                    count += 1
                    if count > MAX_MEMBERS:
                        raise SourceError(f"{path} has too many members", REMEDY)
                    source.check(member)
                    yield member
                source.check_end(tar.offset)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as e:
        reason = str(e) or "a header is broken"
        raise SourceError(f"{path} is a broken archive: {reason}", REMEDY) from e
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the file") from e


class _Headers:
    """What tarfile may read of a file: headers of a sensible size, ever onwards.

    tarfile trusts sizes in headers: it would read gigabytes as one name and, before
    the fix of CVE-2025-8194, go back and read the same member for ever.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= _MAX_HEADER:
            raise tarfile.ReadError("a header is larger than any name")
        return self._file.read(count)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        if position > self._end:
            raise tarfile.ReadError("it is cut off")
        # One back: that is how tarfile looks whether a member is whole.
        if position < self._file.tell() - 1:
            raise tarfile.ReadError("a member has a negative size")
        return self._file.seek(position)

    def check(self, member: tarfile.TarInfo) -> None:
        """Raise ReadError if *member*, padded to whole blocks, is not in the file."""
        size = -(-member.size // _BLOCK) * _BLOCK
        if member.size < 0 or (
            member.isreg() and member.offset_data + size > self._end
        ):
            raise tarfile.ReadError(f"its member {member.name!r:.300} is cut off")

    def check_end(self, position: int) -> None:
        """Raise ReadError if what is at *position* is neither the end nor zeroes.

        tarfile stops without a word at a header that is broken or cut off.
        """
        self._file.seek(position)
        if self._file.read(_BLOCK).strip(b"\0"):
            raise tarfile.ReadError("a header is broken or cut off")
