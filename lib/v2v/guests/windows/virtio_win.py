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
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import HostError

DEFAULTS = (
    Path("/usr/share/virtio-win/virtio-win.iso"),
    Path("/usr/share/virtio-win"),
)
WHERE = "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/"
MAX_FILE = 128 * 2**20  # bytes; the largest are installers
MAX_FILES = 20000
_MAX_DEPTH = 12
_RELEASE = re.compile(r"virtio-win-(\d{1,4}(?:\.\d{1,6}){1,3})")


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
            raise unusable(self.where, f"{path} is larger than {MAX_FILE >> 20} MiB")
        try:
            with entry.file.open("rb") as opened:
                opened.seek(entry.offset)
                data = opened.read(entry.size)
        except OSError as e:
            raise unusable(self.where, f"{path}: {e.strerror}") from e
        if len(data) < entry.size:
            raise unusable(self.where, f"{path} is cut off")
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
        made = _folder(path) if path.is_dir() else _image(path)
    except OSError as e:
        raise unusable(path, e.strerror or str(e)) from e
    if not any(name.endswith(".inf") for name in made.entries):
        raise unusable(path, "there is no driver (INF file) in it")
    return made


def _image(path: Path) -> Media:
    # pycdlib is loaded only where there is an ISO: start-up counts.
    from v2v.guests.windows import iso

    return iso.media(path)


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
        if len(entries) > MAX_FILES:
            raise unusable(path, f"it has more than {MAX_FILES} files")
    return Media(where=path, label="", entries=entries)


def unusable(path: Path, why: str) -> HostError:
    """Return the error that *path* is no virtio-win, and *why*."""
    return HostError(
        f"virtio-win at {path} cannot be used: {why}",
        f"download it whole from {WHERE}, and name it with --virtio-win",
    )
