# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is a folder of this host: what an appliance answers, without one.

Only for tests that need no kernel and no program of a guest.  Links are resolved within
the folder, as libguestfs does it; who owns a file is noted, not done.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from v2v.guests import appliance
from v2v.guests.appliance import Appliance


class Handle:
    """The calls to libguestfs that v2v uses, on the folder *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0
        self.ran: list[list[str]] = []
        self.owners: dict[str, tuple[int, int]] = {}
        self.labels: dict[str, bytes] = {}

    def _at(self, path: str, *, follow: bool = True) -> Path:
        """Return where the guest's *path* lies: never outside of the folder."""
        self.calls += 1
        parts = [part for part in path.split("/") if part]
        place = self.root
        for number, part in enumerate(parts):
            place = place.parent if part == ".." and place != self.root else place
            place = place if part == ".." else place / part
            last = number == len(parts) - 1
            if place.is_symlink() and (follow or not last):
                target = str(place.readlink())
                rest = "/".join(parts[number + 1 :])
                if not target.startswith("/"):
                    target = f"/{place.parent.relative_to(self.root)}/{target}"
                return self._at(f"{target}/{rest}".rstrip("/"), follow=follow)
        return place

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def is_file(self, path: str, *, followsymlinks: bool = False) -> bool:
        place = self._at(path, follow=followsymlinks)
        return place.is_file() and not place.is_symlink()

    def is_dir(self, path: str, *, followsymlinks: bool = False) -> bool:
        place = self._at(path, follow=followsymlinks)
        return place.is_dir() and not place.is_symlink()

    def is_symlink(self, path: str) -> bool:
        return self._at(path, follow=False).is_symlink()

    def readlink(self, path: str) -> str:
        return str(self._at(path, follow=False).readlink())

    def realpath(self, path: str) -> str:
        return f"/{self._at(path).relative_to(self.root)}".replace("/.", "/")

    def glob_expand(self, pattern: str) -> list[str]:
        """As GLOB_BRACE has it."""
        self.calls += 1
        found: set[str] = set()
        for each in appliance.expanded(pattern):
            found |= set(glob.glob(each.lstrip("/"), root_dir=self.root))  # noqa: PTH207
        return sorted(f"/{path}" for path in found)

    def filesize(self, path: str) -> int:
        return self._at(path).stat().st_size

    def read_file(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self._at(path).read_bytes()[offset : offset + count]

    def write(self, path: str, content: bytes) -> None:
        self._at(path).write_bytes(content)

    def upload(self, file: str, path: str) -> None:
        self._at(path).write_bytes(Path(file).read_bytes())

    def mkdir_p(self, path: str) -> None:
        self._at(path).mkdir(parents=True, exist_ok=True)

    def mv(self, source: str, to: str) -> None:
        self._at(source, follow=False).rename(self._at(to, follow=False))

    def cp_a(self, source: str, to: str) -> None:
        if self._at(source).is_dir():
            shutil.copytree(self._at(source), self._at(to), symlinks=True)
        else:
            shutil.copy2(self._at(source), self._at(to))

    def rm_f(self, path: str) -> None:
        self._at(path, follow=False).unlink(missing_ok=True)

    def rm_rf(self, path: str) -> None:
        place = self._at(path, follow=False)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)

    def ln_sf(self, target: str, link: str) -> None:
        place = self._at(link, follow=False)
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def touch(self, path: str) -> None:
        self._at(path).touch()

    def truncate(self, path: str) -> None:
        self._at(path).write_bytes(b"")

    def chmod(self, mode: int, path: str) -> None:
        self._at(path).chmod(mode)

    def chown(self, owner: int, group: int, path: str) -> None:
        assert self._at(path).exists(), path
        self.owners[path] = (owner, group)

    def find(self, folder: str) -> list[str]:
        place = self._at(folder)
        return sorted(str(path.relative_to(place)) for path in place.rglob("*"))

    def lgetxattr(self, path: str, name: str) -> bytes:
        if path not in self.labels or not os.path.lexists(self._at(path, follow=False)):
            raise RuntimeError(f"lgetxattr: {name}: No data available")
        return self.labels[path]

    def lsetxattr(self, name: str, value: str, length: int, path: str) -> None:
        assert name == "security.selinux"
        assert os.path.lexists(self._at(path, follow=False)), path
        self.labels[path] = value.encode().ljust(length, b"\0")

    def lstatns(self, path: str) -> dict[str, int]:
        place = self._at(path, follow=False)
        if not os.path.lexists(place):
            raise RuntimeError(f"lstatns: {path}: No such file or directory")
        return {"st_mode": place.lstat().st_mode}

    def find0(self, folder: str, files: str) -> None:
        names = (name.encode() + b"\0" for name in self.find(folder))
        Path(files).write_bytes(b"".join(names))

    def download(self, path: str, to: str) -> None:
        Path(to).write_bytes(self._at(path).read_bytes())

    def command(self, arguments: list[str]) -> str:
        self.ran.append(arguments)
        return ""


def made(root: Path, files: Mapping[str, str]) -> Appliance:
    """Return an appliance on the folder *root*, where *files* are made: path, text.

    A text that starts with "-> " is a link; a path that ends in "/" a folder.
    """
    for path, text in files.items():
        place = root / path.lstrip("/")
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            place.symlink_to(text.removeprefix("-> "))
        else:
            place.write_bytes(text.encode("utf-8", "surrogateescape"))
    return Appliance(cast(Any, Handle(root)))


def handle(guest: Appliance) -> Handle:
    """Return what stands in for libguestfs in *guest*."""
    return cast(Handle, guest.g)


def tree(root: Path) -> dict[str, str]:
    """Return the files of *root*: path -> text, or "-> target" of a link."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes().decode("utf-8", "surrogateescape")
    return found
