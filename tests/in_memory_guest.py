# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's files in memory, in place of an appliance: for what only reads."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any, cast

from v2v.guests.appliance import Appliance
from v2v.guests.linux.plan import Action

_LINK = "-> "


class InMemoryGuest:
    """What of an Appliance is needed to read ``files`` (path -> text).

    A path that ends in "/" is a folder; a text that starts with "-> " is a link to what
    follows, and leads nowhere.  ``answers`` has what calls to libguestfs return, by
    name and argument.  All devices show the same files.
    """

    def __init__(
        self,
        files: Mapping[str, str] | None = None,
        answers: Mapping[tuple[str, str], Any] | None = None,
    ) -> None:
        self.files = dict(files or {})
        self.answers = dict(answers or {})
        self.known: dict[str, object] = {}
        self.g = self

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        self.files[path] = text

    def glob(self, pattern: str) -> list[str]:
        patterns = _braces(pattern)
        return sorted(
            path
            for path in self.files
            if any(fnmatch.fnmatchcase(path, one) for one in patterns)
        )

    def names(self, folder: str) -> list[str]:
        return []

    def is_file(self, path: str, *, followsymlinks: bool = False) -> bool:
        return path in self.files and not self.is_symlink(path)

    def is_dir(self, path: str, *, followsymlinks: bool = False) -> bool:
        return any(file.startswith(f"{path}/") for file in self.files)

    def is_symlink(self, path: str) -> bool:
        return self.files.get(path, "").startswith(_LINK)

    def readlink(self, path: str) -> str:
        return self.files[path].removeprefix(_LINK)

    def mount_ro(self, device: str, point: str) -> None:
        pass

    def mount_options(self, options: str, device: str, point: str) -> None:
        pass

    def umount_all(self) -> None:
        pass

    def exists(self, path: str) -> bool:
        return self.is_file(path) or self.is_dir(path)

    def rm_f(self, path: str) -> None:
        self.files.pop(path, None)

    def __getattr__(self, name: str) -> Any:
        def answer(argument: str) -> Any:
            found = self.answers[name, argument]
            if isinstance(found, Exception):
                raise found
            return found

        return answer


def guest(
    files: Mapping[str, str] | None = None,
    answers: Mapping[tuple[str, str], Any] | None = None,
) -> Appliance:
    """Return a guest with *files*, as code that takes an Appliance wants it."""
    return cast(Appliance, InMemoryGuest(files, answers))


def done(appliance: Appliance, actions: list[Action]) -> dict[str, str]:
    """Do *actions*; return the files as they are then."""
    for action in actions:
        action.apply(appliance)
    return cast(InMemoryGuest, appliance).files


def _braces(pattern: str) -> list[str]:
    """Return what *pattern* means without its braces, the innermost first."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [p for word in match[1].split(",") for p in _braces(head + word + tail)]
