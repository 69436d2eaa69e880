# SPDX-License-Identifier: GPL-2.0-or-later
"""The members of a zip archive: where each one lies.

Source: PKWARE's APPNOTE.TXT 6.3.10.  Python reads the directory at the end, and takes
its word for all; but what is unpacked is what the headers in front of the data say, and
the two can be made to disagree.  So each header is read as well, and what no archive of
a VM has is refused: links, two members of one name, members that overlap.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from v2v.errors import SourceError
from v2v.mapping.members import MAX_MEMBERS, REMEDY, check_name, is_litter, twice

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
MAGIC = b"PK\3\4"
HEADER = struct.Struct("<4s5H3I2H")
DESCRIPTOR = b"PK\7\x08"
# Of the whole directory, bytes; Python holds ten times as much.
_MAX_DIRECTORY = 2**22
# Flags of a member: encrypted, strongly so; its sizes follow it; its name is UTF-8.
_ENCRYPTED, STREAMED, _UTF8 = 0x41, 0x08, 0x800
_SYMBOLIC = 0xFFFFFFFF  # the number is in the zip64 field
_UNIX = 3


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in the archive: from ``start`` to ``end``, its data at ``data_at``.

    ``packed`` and ``size`` are its bytes there, and unpacked.
    """

    name: str
    method: int
    encrypted: bool
    crc: int
    start: int
    data_at: int
    packed: int
    size: int
    end: int


def is_zip(head: bytes) -> bool:
    """Whether a file that starts with *head* is a zip archive, and no empty one."""
    return head.startswith(MAGIC)


def members(path: Path) -> dict[str, Member]:
    """Return the files in the archive *path*, by name and in their order in it.

    Raises SourceError if it is cut off, broken or hostile.
    """
    try:
        with path.open("rb") as raw:
            with zipfile.ZipFile(cast(IO[bytes], _Directory(raw))) as archive:
                entries, end = archive.infolist(), archive.start_dir
            if len(entries) > MAX_MEMBERS:
                raise SourceError(f"{path} has too many members", REMEDY)
            return _files(path, raw, entries, end)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as e:
        raise _broken(path, _reason(e)) from e
    except (EOFError, OverflowError, struct.error) as e:
        raise _broken(path, "its directory is cut off") from e
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the file") from e


def unreadable(path: Path, member: Member) -> SourceError:
    """Return the error for *member* of *path*, which we cannot unpack."""
    how = f"packed in a way that is not known (method {member.method})"
    return SourceError(
        f"{path}: its member {member.name!r:.300} is "
        f"{'encrypted' if member.encrypted else how}",
        "unpack it with unzip or 7z, which ask for a password, and name the "
        "description of the VM",
    )


def wrong_size(path: Path, name: str, found: int, said: int) -> SourceError:
    """Return the error for the member *name* of *path*, which holds *found* bytes."""
    return SourceError(
        f"{path} is damaged: its member {name!r:.300} holds {found} bytes, and its "
        f"directory says {said}",
        "copy it again from the source",
    )


def _reason(e: Exception) -> str:
    if str(e).startswith("File is not a zip file"):
        return "its directory, at its end, is not there: it is cut off"
    return str(e) or "its directory is broken"


def _broken(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"{path} is a broken zip archive: {reason:.300}",
        "copy it again from the source and compare the sizes",
    )


class _Directory:
    """What Python may read of a file: no more than a directory has."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, count: int = -1) -> bytes:
        if count > _MAX_DIRECTORY:
            raise zipfile.BadZipFile("its directory is larger than any")
        return self._file.read(count if count >= 0 else _MAX_DIRECTORY)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


def _files(
    path: Path, raw: IO[bytes], entries: list[zipfile.ZipInfo], end: int
) -> dict[str, Member]:
    found: dict[str, Member] = {}
    last = 0
    for entry in sorted(entries, key=lambda one: one.header_offset):
        name = _name(entry)
        if entry.volume or entry.header_offset < 0:
            raise _broken(path, "it is one of several parts, or not whole")
        member = _member(path, raw, entry, name)
        if member.start < last or member.end > end:
            raise _broken(path, f"its member {name!r:.200} lies over something else")
        last = member.end
        if name.endswith("/") or is_litter(name):
            continue
        check_name(path, name)
        _check_kind(path, entry, name)
        if name in found:
            raise twice(path, name)
        found[name] = member
    return found


def _name(entry: zipfile.ZipInfo) -> str:
    """Return the name of *entry*; many write UTF-8 and do not say so."""
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8:
        name = _raw_name(entry).decode("utf-8", "replace")
        name = entry.orig_filename if "\N{REPLACEMENT CHARACTER}" in name else name
    return name.replace("\\", "/").removeprefix("./")


def _raw_name(entry: zipfile.ZipInfo) -> bytes:
    coding = "utf-8" if entry.flag_bits & _UTF8 else "cp437"
    return entry.orig_filename.encode(coding)


def _check_kind(path: Path, entry: zipfile.ZipInfo, name: str) -> None:
    """Raise SourceError if *entry* is neither a file nor of a system without kinds."""
    kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == _UNIX else 0
    if kind not in (0, stat.S_IFREG):
        raise SourceError(
            f"{path}: its member {name!r:.300} is a link or a device", REMEDY
        )


def _member(path: Path, raw: IO[bytes], entry: zipfile.ZipInfo, name: str) -> Member:
    """Return *entry*, called *name*, after a look at the header of its own."""
    raw.seek(entry.header_offset)
    fixed = raw.read(HEADER.size)
    if len(fixed) != HEADER.size or not fixed.startswith(MAGIC):
        raise _broken(path, f"its member {name!r:.200} is not where it should be")
    _, _, flags, method, _, _, crc, packed, size, length, more = HEADER.unpack(fixed)
    own, extra = raw.read(length), raw.read(more)
    streamed = bool(flags & STREAMED)
    packed, size = _large(extra, packed, size)
    same = (own, method, flags & _ENCRYPTED) == (
        *(_raw_name(entry), entry.compress_type),
        entry.flag_bits & _ENCRYPTED,
    )
    told = (crc, packed, size) == (entry.CRC, entry.compress_size, entry.file_size)
    if not same or not (told or streamed):
        raise _broken(path, f"its directory and its member {name!r:.200} disagree")
    if method == STORED and entry.compress_size != entry.file_size and not flags & 1:
        raise _broken(path, f"its member {name!r:.200} has two sizes")
    data_at = entry.header_offset + HEADER.size + length + more
    stop = data_at + entry.compress_size
    return Member(
        name=name,
        method=method,
        encrypted=bool(flags & _ENCRYPTED),
        crc=entry.CRC,
        start=entry.header_offset,
        data_at=data_at,
        packed=entry.compress_size,
        size=entry.file_size,
        end=_behind(path, raw, entry, stop) if streamed else stop,
    )


def _large(extra: bytes, packed: int, size: int) -> tuple[int, int]:
    """Return the sizes in a header, which may be in its zip64 field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1 and length >= 16 and at + 20 <= len(extra):
            first, second = struct.unpack_from("<QQ", extra, at + 4)
            return (
                second if packed == _SYMBOLIC else packed,
                first if size == _SYMBOLIC else size,
            )
        at += 4 + length
    return packed, size


def _behind(path: Path, raw: IO[bytes], entry: zipfile.ZipInfo, stop: int) -> int:
    """Return where the sizes that follow *entry*, whose data end at *stop*, end."""
    raw.seek(stop)
    data = raw.read(24)
    start = 4 if data.startswith(DESCRIPTOR) else 0
    for layout in ("<I2Q", "<3I"):
        try:
            found = struct.unpack_from(layout, data, start)
        except struct.error:
            continue
        if found == (entry.CRC, entry.compress_size, entry.file_size):
            return stop + start + struct.calcsize(layout)
    raise _broken(path, "what follows a member is not its sizes")
