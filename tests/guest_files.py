# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is a few files in memory, where an appliance would have its disks."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from v2v.guests import appliance
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action


class Files:
    """The calls of libguestfs that reading and changing a guest takes."""

    def __init__(
        self,
        files: Mapping[str, str | bytes],
        links: Mapping[str, str],
        answers: Mapping[tuple[str, str], Any],
    ) -> None:
        """Take the regular files and the symbolic links, by path; one with "/" at its
        end is a folder.  *answers* has what other calls return, by name and argument.
        """
        self.files = {
            p: t.encode() if isinstance(t, str) else t
            for p, t in files.items()
            if not p.endswith("/")
        }
        self.folders = {path for path in files if path.endswith("/")}
        self.links = dict(links)
        self.answers = dict(answers)
        self.asked = 0

    def __getattr__(self, name: str) -> Callable[[str], Any]:
        def answer(argument: str) -> Any:
            found = self.answers[name, argument]
            if isinstance(found, Exception):
                raise found
            return found

        return answer

    def is_file(self, path: str, followsymlinks: bool = False) -> bool:
        return path in self.files

    def is_symlink(self, path: str) -> bool:
        return path in self.links

    def is_dir(self, path: str, followsymlinks: bool = False) -> bool:
        there = (*self._all(), *self.folders)
        return any(p.startswith(path.rstrip("/") + "/") for p in there)

    def exists(self, path: str) -> bool:
        return path in self._all() or self.is_dir(path)

    def ls0(self, folder: str, to: str) -> None:
        start = folder.rstrip("/") + "/"
        inside = [p.removeprefix(start) for p in self._all() if p.startswith(start)]
        names = {path.partition("/")[0] for path in inside}
        Path(to).write_bytes(b"".join(name.encode() + b"\0" for name in names))

    def mount_ro(self, device: str, point: str) -> None:
        pass  # all devices show the same files

    def mount_options(self, options: str, device: str, point: str) -> None:
        pass

    def umount_all(self) -> None:
        pass

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
    files: Mapping[str, str | bytes] | None = None,
    links: Mapping[str, str] | None = None,
    answers: Mapping[tuple[str, str], Any] | None = None,
) -> Appliance:
    """Return an appliance whose guest has *files* and *links*; see Files."""
    return Appliance(cast(Any, Files(files or {}, links or {}, answers or {})))


def texts(guest: Appliance) -> dict[str, str]:
    """Return what is in all files now, by path."""
    files = cast(Files, guest.g).files
    return {p: data.decode("utf-8", "surrogateescape") for p, data in files.items()}


def done(guest: Appliance, actions: Iterable[Action]) -> list[Action]:
    """Plan all, then do it, as v2v-fixup does; return what was done."""
    planned = list(actions)
    for action in planned:
        action.apply(guest)
    return planned


def paths(actions: Iterable[Action]) -> list[str]:
    return [action.change.path for action in actions]
