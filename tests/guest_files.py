# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is a few files in memory, where an appliance would have its disks."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, cast

from v2v.guests import appliance
from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action


class Files:
    """The calls of libguestfs that reading and changing a guest takes."""

    def __init__(
        self, files: Mapping[str, str | bytes], links: Mapping[str, str]
    ) -> None:
        """Take the regular files and the symbolic links, by path."""
        self.files = {
            p: t.encode() if isinstance(t, str) else t for p, t in files.items()
        }
        self.links = dict(links)
        self.asked = 0

    def is_file(self, path: str, followsymlinks: bool = False) -> bool:
        return path in self.files

    def is_symlink(self, path: str) -> bool:
        return path in self.links

    def is_dir(self, path: str, followsymlinks: bool = False) -> bool:
        return any(p.startswith(path.rstrip("/") + "/") for p in self._all())

    def exists(self, path: str) -> bool:
        return path in self._all() or self.is_dir(path)

    def filesize(self, path: str) -> int:
        return len(self.files[path])

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self.files[path][offset : offset + count]

    def read_file(self, path: str) -> bytes:
        return self.files[path]

    def realpath(self, path: str) -> str:
        return path  # these guests have no links to folders

    def readlink(self, path: str) -> str:
        return self.links[path]

    def glob_expand(self, pattern: str) -> list[str]:
        self.asked += 1
        folders = {
            "/".join(p.split("/")[:i])
            for p in self._all()
            for i in range(2, p.count("/") + 1)
        }
        return sorted(
            path
            for plain in set(appliance.expanded(pattern))
            for path in (*self._all(), *folders)
            if path.count("/") == plain.count("/") and fnmatch.fnmatchcase(path, plain)
        )

    def write(self, path: str, data: bytes) -> None:
        assert path not in self.links
        self.files[path] = bytes(data)

    def mkdir_p(self, path: str) -> None:
        assert path not in self.files

    def ln_sf(self, target: str, path: str) -> None:
        self.files.pop(path, None)
        self.links[path] = target

    def rm_f(self, path: str) -> None:
        self.files.pop(path, None)
        self.links.pop(path, None)

    def chmod(self, mode: int, path: str) -> None:
        assert path in self.files

    def _all(self) -> list[str]:
        return [*self.files, *self.links]


def guest_with(
    files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None
) -> Appliance:
    """Return an appliance whose guest has *files* and *links*."""
    return Appliance(cast(Any, Files(files, links or {})))


def done(guest: Appliance, actions: Iterable[Action]) -> list[Action]:
    """Plan all, then do it, as v2v-fixup does; return what was done."""
    planned = list(actions)
    for action in planned:
        action.apply(guest)
    return planned


def paths(actions: Iterable[Action]) -> list[str]:
    return [action.change.path for action in actions]
