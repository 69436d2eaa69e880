# SPDX-License-Identifier: GPL-2.0-or-later
"""What virtio-win holds: the ISO, or a folder with what is in it or in its package.

Names are in lower case throughout: the layouts differ in it (facts 2.1).  An ISO is
read here, without an appliance; what it names is looked up once and read when needed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from v2v.errors import HostError

DEFAULTS = (
    Path("/usr/share/virtio-win/virtio-win.iso"),
    Path("/usr/share/virtio-win"),
)
WHERE = "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/"
MAX_FILE = 128 * 2**20  # bytes; the largest are installers
_MAX_FILES = 20000
_MAX_DEPTH = 12
_SECTOR = 2048
_RELEASE = re.compile(r"virtio-win-(\d{1,4}(?:\.\d{1,6}){1,3})")
# What pycdlib raises for an image that is none, or broken.
_BROKEN = (
    PyCdlibException,
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    AttributeError,
    TypeError,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file: at ``offset`` of ``file`` with ``size`` bytes."""

    file: Path
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Media:
    """What is in virtio-win, by path in lower case: viostor/w10/amd64/viostor.inf."""

    where: Path
    label: str
    entries: dict[str, Entry]

    def read(self, path: str) -> bytes:
        """Return the content of the file at *path*.

        Raises HostError if it cannot be read, or is too large.
        """
        entry = self.entries[path]
        if entry.size > MAX_FILE:
            raise _unusable(self.where, f"{path} is larger than {MAX_FILE >> 20} MiB")
        try:
            with entry.file.open("rb") as opened:
                opened.seek(entry.offset)
                data = opened.read(entry.size)
        except OSError as e:
            raise _unusable(self.where, f"{path}: {e.strerror}") from e
        if len(data) < entry.size:
            raise _unusable(self.where, f"{path} is cut off")
        return data

    @functools.cached_property
    def release(self) -> tuple[int, ...] | None:
        """The release (0, 1, 173), by the volume's label, its list or its name."""
        names = [self.label, self._listed(), self.where.resolve().name]
        for name in names:
            if match := _RELEASE.search(name.lower()):
                return tuple(map(int, match[1].split(".")))
        return None

    def _listed(self) -> str:
        """Return the text of data/info.json, if it is there and is one."""
        if "data/info.json" not in self.entries:
            return ""
        try:
            data = json.loads(self.read("data/info.json"))
        except (ValueError, RecursionError):
            return ""  # it only adds what the label has not said
        if not isinstance(data, dict):
            return ""
        said = [v for v in data.values() if isinstance(v, str) and len(v) < 200]
        return " ".join(said)


def media(given: Path | None) -> Media | None:
    """Return virtio-win as *given*, or where packages put it; None if it is not there.

    Raises HostError if it is given, and is none.
    """
    if given:
        return _opened(given.absolute())
    for path in DEFAULTS:
        if path.exists():
            return _opened(path)
    return None


@functools.lru_cache(maxsize=4)
def _opened(path: Path) -> Media:
    """Return what is in *path*; it is looked through once in a run."""
    try:
        made = _folder(path) if path.is_dir() else _iso(path)
    except OSError as e:
        raise _unusable(path, e.strerror or str(e)) from e
    if not any(name.endswith(".inf") for name in made.entries):
        raise _unusable(path, "there is no driver (INF file) in it")
    return made


def _folder(path: Path) -> Media:
    entries: dict[str, Entry] = {}
    for here, folders, names in os.walk(path):
        folder = Path(here)
        relative = folder.relative_to(path)
        if len(relative.parts) >= _MAX_DEPTH:
            folders.clear()
        folders.sort()
        for name in sorted(names):
            file = folder / name
            if not file.is_file():  # a link to nowhere, a FIFO
                continue
            size = file.stat().st_size
            key = (relative / name).as_posix().lower()
            entries.setdefault(key, Entry(file=file, offset=0, size=size))
        if len(entries) > _MAX_FILES:
            raise _unusable(path, f"it has more than {_MAX_FILES} files")
    return Media(where=path, label="", entries=entries)


def _iso(path: Path) -> Media:
    iso = pycdlib.PyCdlib()
    try:
        with path.open("rb") as file:
            iso.open_fp(file)
            try:
                label = iso.pvd.volume_identifier.decode("ascii", "replace").strip()
                entries = dict(_listed(path, iso))
            finally:
                iso.close()
    except _BROKEN as e:
        raise _unusable(path, "it is no ISO image that can be read") from e
    return Media(where=path, label=label, entries=entries)


def _listed(path: Path, iso: pycdlib.PyCdlib) -> Iterator[tuple[str, Entry]]:
    """Yield the files of *iso* by their best names: Rock Ridge, Joliet, its own."""
    kind = "iso_path"
    if iso.has_rock_ridge():
        kind = "rr_path"
    elif iso.has_joliet():
        kind = "joliet_path"
    size = path.stat().st_size if path.is_file() else None
    # pycdlib makes files shorter that reach beyond the end, without a word.
    if size is not None and iso.pvd.space_size * _SECTOR > size:
        raise _unusable(path, "it is cut off")
    count = 0
    for folder, _, names in iso.walk(**{kind: "/"}):
        for name in names:
            count += 1
            if count > _MAX_FILES:
                raise _unusable(path, f"it has more than {_MAX_FILES} files")
            own = f"{folder.rstrip('/')}/{name}"
            record = iso.get_record(**{kind: own})
            start = record.extent_location() * _SECTOR
            length = record.get_data_length()
            if size is not None and start + length > size:
                raise _unusable(path, f"{own} is cut off")
            key = own.lstrip("/").partition(";")[0].lower()
            yield key, Entry(file=path, offset=start, size=length)


def _unusable(path: Path, why: str) -> HostError:
    return HostError(
        f"virtio-win at {path} cannot be used: {why}",
        f"download it whole from {WHERE}, and name it with --virtio-win",
    )
