# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk image that was cut into files: disk.001 disk.002 …, by split(1) or an imager.

Any of the files may be named.  A name alone proves nothing: disk.0 and disk.1 are two
disks of OpenNebula.  So files are pieces only if there are several, and not each of
them begins like a disk of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

from v2v import formats, paths, views
from v2v.document import Finding
from v2v.errors import SourceError
from v2v.mapping import strung
from v2v.sources.disk import filesystem

# disk.001, disk.img.00, disk.img.part1, disk.part-01; disk.1 may be anything.
_NUMBERED = re.compile(
    r"(?P<stem>.+?)(?P<mark>[._ -]part[._ -]?|\.(?=[0-9]{2}))(?P<number>[0-9]{1,9})",
    re.IGNORECASE,
)
# xaa, disk.img.aa, disk.img.partaa: what split(1) does by itself.
_LETTERS = (3, 2)
_PART = re.compile(r"[._ -](?:part[._ -]?)?$", re.IGNORECASE)
# These end names, and count nothing.
_SUFFIXES = {
    *("bin", "gz", "hdd", "hds", "img", "iso", "ova", "ovf", "raw", "vdi", "vhd"),
    *("vma", "xva", "xz"),
}
_FIRST_WORDS = 26  # aa to az
# What is no disk, even if it is put together.
_PACKED = re.compile(
    r"\.(ova|xva|vma|tar|t?gz|t?xz|t?bz2|t?zst|zstd|lz4|lzo|zip|7z|rar)$", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The ``files``, in order, that ``whole``, a name without a file, was cut into."""

    whole: Path
    files: tuple[Path, ...]

    def finding(self, disk: str) -> Finding:
        """Return what the user must know of it."""
        first, last = self.files[0].name, self.files[-1].name
        return Finding(
            code="disk-joined",
            severity="info",
            message=f"{disk}: {len(self.files)} files, {first} to {last}, are read as "
            "its pieces",
            disk=disk,
        )


def of(path: Path) -> Pieces | None:
    """Return the pieces of which *path* is one; None if it is a file of its own.

    Raises SourceError if one of them is missing, or is not as long as it must be.
    """
    series = _series(path)
    if series is None:
        return None
    if series.problem:
        raise series.problem
    files = tuple(series.files[number] for number in sorted(series.files))
    if _PACKED.search(series.whole.name):
        raise SourceError(
            f"{files[0]} is the first of {len(files)} pieces of an archive or of a "
            "packed file",
            "put them together first: cat PIECES > FILE, in the order of their names",
        )
    strung.check_count(files[0], len(files))
    _check_lengths(files)
    return Pieces(whole=series.whole, files=files)


def first(path: Path) -> Path:
    """Return the first piece of what *path* is a piece of; or else *path*."""
    series = _series(path)
    return series.files[min(series.files)] if series else path


def firsts(files: Iterable[Path]) -> list[Path]:
    """Return the first piece of each image that *files* of one folder are pieces of."""
    groups: dict[_Key, list[Path]] = {}
    for file in files:
        for key in _keys(file.name):
            groups.setdefault(key, []).append(file)
    several = {key: sorted(group) for key, group in groups.items() if len(group) > 1}
    found = (_judged(group[0], key, group) for key, group in several.items())
    return sorted({s.files[min(s.files)] for s in found if s})


class _Key(NamedTuple):
    """What the names of pieces have in common: how they begin, and how many letters
    follow; 0 if it is a number."""

    start: str
    letters: int


@dataclass(frozen=True, kw_only=True)
class _Series:
    """Files by their numbers, and what forbids to put them together, if anything."""

    whole: Path
    files: dict[int, Path]
    problem: SourceError | None = None


def _keys(name: str) -> list[_Key]:
    """Return the series to which a file called *name* may belong."""
    found = []
    if match := _NUMBERED.fullmatch(name):
        found.append(_Key(f"{match['stem']}{match['mark']}", 0))
    for count in _LETTERS:
        start, letters = name[:-count], name[-count:]
        if start and re.fullmatch(r"[a-z]+", letters) and letters not in _SUFFIXES:
            found.append(_Key(start, count))
    return found


def _series(path: Path) -> _Series | None:
    """Return the files of the folder that go on counting as *path*."""
    keys = _keys(path.name)
    near = [path, *_beside(path, [key.start for key in keys])] if keys else []
    for key in keys:
        group = sorted({file for file in near if key in _keys(file.name)})
        if series := _judged(path, key, group):
            return series
    return None


def _beside(path: Path, starts: Sequence[str]) -> Iterator[Path]:
    try:
        yield from (
            f for f in path.parent.iterdir() if f.name.startswith(tuple(starts))
        )
    except (OSError, ValueError):
        return


def _judged(path: Path, key: _Key, group: Sequence[Path]) -> _Series | None:
    """Return *group*, whose names have *key* in common, if that are pieces."""
    series = _lettered(path, key, group) if key.letters else _numbered(path, key, group)
    if series is None or len(series.files) < 2 or _are_disks(series.files.values()):
        return None
    return series


def _numbered(path: Path, key: _Key, group: Sequence[Path]) -> _Series | None:
    width = len(path.name) - len(key.start)
    files: dict[int, Path] = {}
    problem = None
    for file in (*group, *_brought(path, key, group)):
        if paths.is_file(file):
            one = files.setdefault(int(file.name[len(key.start) :]), file)
            if one.name != file.name:
                problem = SourceError(
                    f"{one} and {file.name} would be the same piece of a disk",
                    "move the one away that is not of it",
                )
    # A date or a serial number is at the end of many names.
    if not files or (min(files) > 1 and width > 3):
        return None
    missing = _gap(files, min(*files, 1))
    if missing is not None:
        problem = _missing(path, path.with_name(f"{key.start}{missing:0{width}}"))
    return _Series(whole=_whole(path, key), files=files, problem=problem)


def _whole(path: Path, key: _Key) -> Path:
    """Return what the image of the pieces is called, disk.img of disk.img.001."""
    return path.with_name(_PART.sub("", key.start) or key.start)


def _gap(files: Iterable[int], start: int) -> int | None:
    """Return the first number from *start* on that *files* lack below the last one."""
    numbers = sorted(files)
    pairs = enumerate(numbers, start)
    return next((n for n, number in pairs if n != number), None)


def _missing(path: Path, piece: Path) -> SourceError:
    return SourceError(
        f"{path} is a piece of a disk, of which the piece {piece.name} is missing",
        f"copy it to {piece.parent}; or rename the file, if it is a whole disk",
    )


def _brought(path: Path, key: _Key, group: Sequence[Path]) -> Iterator[Path]:
    """Yield the pieces beside *path* at a URL, where no folder can be listed."""
    known = {file.name for file in group}
    number = path.name[len(key.start) :]
    here = int(number)
    for step in (-1, 1):
        at = here + step
        while 0 <= at <= here + strung.MAX_PIECES:
            file = path.with_name(f"{key.start}{at:0{len(number)}}")
            if file.name not in known and not views.bring(file):
                break
            yield file
            at += step


def _lettered(path: Path, key: _Key, group: Sequence[Path]) -> _Series | None:
    """Any name ends with letters: so these must begin to count, from aa on."""
    words = ["".join(word) for word in product(ascii_lowercase, repeat=key.letters)]
    known = {file.name[len(key.start) :]: file for file in group}
    files = {
        number: known[word]
        for number, word in enumerate(words)
        if word in known and paths.is_file(known[word])
    }
    begins = {0, 1} <= files.keys() or (_PART.search(key.start) and len(files) > 1)
    if path not in files.values() or not begins or min(files) >= _FIRST_WORDS:
        return None
    missing = _gap(files, 0)
    problem = None
    more = path.with_name(f"{key.start}z{'a' * (key.letters + 1)}")
    if missing is not None:
        problem = _missing(path, path.with_name(f"{key.start}{words[missing]}"))
    elif more.exists():
        problem = SourceError(
            f"{path} is one of more pieces than {key.letters} letters can count",
            "join them with cat, in the order of their names",
        )
    return _Series(whole=_whole(path, key), files=files, problem=problem)


def _are_disks(files: Iterable[Path]) -> bool:
    """Whether each of *files* begins like a whole image or disk."""
    try:
        return all(_is_disk(file) for file in files)
    except SourceError:
        return False  # told by who reads them


def _is_disk(file: Path) -> bool:
    if formats.recognise(file):
        return True
    return filesystem.has_table(file) or filesystem.name(file) != ""


def _check_lengths(files: Sequence[Path]) -> None:
    """Raise SourceError unless all are as long as the first, and the last no longer."""
    lengths = [formats.part(file).length for file in files]
    usual = lengths[0]
    for file, length in zip(files, lengths, strict=True):
        is_last = file is files[-1]
        if length > usual or not length or (length < usual and not is_last):
            raise SourceError(
                f"{file} has {length} bytes, and {files[0].name}, the first piece of "
                f"that disk, has {usual}",
                "copy the pieces again: one of them is not whole; or rename the file, "
                "if it is a disk of its own",
            )
