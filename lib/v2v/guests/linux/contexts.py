# SPDX-License-Identifier: GPL-2.0-or-later
"""What SELinux label a path has by the guest's file_contexts; see file_contexts(5).

As libselinux finds it (label_file.c): the last line that fits wins, and a line that is
no pattern goes before all that are.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from v2v.guests.linux import patterns
from v2v.guests.linux.patterns import Budget, PatternError

_META = set(".^$?*+|[({")
_TYPES = {
    "--": stat.S_IFREG,
    "-d": stat.S_IFDIR,
    "-l": stat.S_IFLNK,
    "-c": stat.S_IFCHR,
    "-b": stat.S_IFBLK,
    "-p": stat.S_IFIFO,
    "-s": stat.S_IFSOCK,
}
# Fedora's policy has some 7000.
_MAX_LINES = 50_000
_MAX_ALIASES = 1000
_CONTEXT = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True)
class Line:
    """One line: paths that match ``pattern`` have the label ``context``, or none.

    ``stem`` is what they all begin with; if ``exact``, it is all of the path.
    """

    pattern: str
    type: int | None
    context: str | None
    stem: str
    exact: bool

    def fits(self, path: str, mode: int, budget: Budget) -> bool:
        """Whether the line is for *path*.  Raises PatternError if that is not known."""
        if self.type is not None and self.type != stat.S_IFMT(mode):
            return False
        if self.exact:
            return path == self.stem
        if not path.startswith(self.stem):
            return False
        return patterns.matches(self.pattern, path, budget)


@dataclass(frozen=True)
class Contexts:
    """The labels of a policy: its files' texts, in the order in which they are read.

    ``texts`` are file_contexts, .homedirs and .local; ``substitutions`` what .subs and
    .subs_dist say.
    """

    texts: Sequence[str]
    substitutions: Sequence[str] = ()
    budget: Budget = field(default_factory=Budget)

    def of(self, path: str, mode: int) -> str | None:
        """Return the label of *path*; None if it is to have none.

        *mode* is as of stat(2).  Raises PatternError if a line cannot be understood on
        which it depends, or if there are too many.
        """
        path = self._substituted(path)
        for line in self._lines:
            if line.fits(path, mode, self.budget):
                return line.context
        return None

    @cached_property
    def _lines(self) -> list[Line]:
        """The lines, in the order in which they are tried."""
        if sum(text.count("\n") for text in self.texts) > _MAX_LINES:
            raise PatternError("the policy has too many lines")
        lines = [line for text in self.texts for line in _lines(text)]
        lines.reverse()
        return sorted(lines, key=lambda line: not line.exact)

    @cached_property
    def _aliases(self) -> list[list[tuple[str, str]]]:
        if any(text.count("\n") > _MAX_ALIASES for text in self.substitutions):
            raise PatternError("the policy has too many substitutions")
        return [list(_aliases(text)) for text in self.substitutions]

    def _substituted(self, path: str) -> str:
        """Return the path whose label *path* shall have."""
        for aliases in self._aliases:
            for alias, target in aliases:
                if path == alias or path.startswith(alias.rstrip("/") + "/"):
                    path = posixpath.normpath(f"{target}/{path[len(alias) :]}")
                    break
        return path


def _lines(text: str) -> Iterator[Line]:
    """Yield what file_contexts *text* says; what is malformed is passed over."""
    for words in map(str.split, text.split("\n")):
        if not words or words[0].startswith("#"):
            continue
        pattern, context = words[0], words[-1]
        if len(words) == 3 and words[1] in _TYPES:
            kind: int | None = _TYPES[words[1]]
        elif len(words) == 2:
            kind = None
        else:
            continue
        if context == "<<none>>":
            yield Line(pattern, kind, None, *_stem(pattern))
        elif _CONTEXT.fullmatch(context):
            yield Line(pattern, kind, context, *_stem(pattern))


def _stem(pattern: str) -> tuple[str, bool]:
    """Return what each path that matches *pattern* begins with, and if that is all."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character in _META:
            # What is before "?", "*" or "{" need not be there.
            known = found if character not in "?*{" else found[:-1]
            return ("" if _is_choice(pattern) else "".join(known)), False
        if character == "\\":
            at += 1
            if pattern[at : at + 1].isalnum():
                return "".join(found), False
        found.append(pattern[at : at + 1])
        at += 1
    return "".join(found), True


def _is_choice(pattern: str) -> bool:
    """Whether *pattern* has a "|" outside of all parentheses."""
    bare = re.sub(r"\\.", "", pattern)
    depth = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if character == "|" and depth <= 0:
            return True
    return False


def _aliases(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of .subs or .subs_dist; of two for one path the last holds."""
    for words in map(str.split, reversed(text.split("\n"))):
        if len(words) == 2 and all(word.startswith("/") for word in words):
            yield words[0], words[1]
