# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a Xen domain's configuration: xl's, or the older xm's.

xm ran its files as Python, and xl keeps the look of it (libxlu_cfg_l.l of Xen).  Here
only literals are read, and nothing is ever run: names, = or +=, and a string, a word
or a list of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from v2v.errors import SourceError

Value = str | list["Value"]
Settings = Mapping[str, Value]

_DEPTH = 8
# xm's examples have a dozen such lines.
_MAX_UNREAD = 200
_BLANK = re.compile(r"(?:[ \t\r\f]|\\\r?\n|#[^\n]*)*")
_WORD = re.compile(r"[^\s\[\]=,;#\"'+()\\]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"[^\n]*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Values by name; and what was not read, for it is no literal: line and start.

    ``indented`` says where in the text those values begin whose lines do with blanks.
    """

    values: Settings
    unread: tuple[tuple[int, str], ...] = ()
    indented: Mapping[str, int] = field(default_factory=dict)


class _NotLiteralError(Exception):
    """A statement that only Python could understand."""


def parse(text: str, where: str) -> Configuration:
    """Return what *text* assigns; *where* is for messages.

    Raises SourceError for a string that is not closed, and for what is mostly no
    literals.
    """
    reader = _Reader(text=text, where=where)
    values: dict[str, Value] = {}
    unread: list[tuple[int, str]] = []
    indented: dict[str, int] = {}
    while reader.begin():
        start = reader.at
        try:
            name, adds, value = reader.assignment()
        except _NotLiteralError:
            reader.at = _end_of_line(text, max(start, reader.at))
            if len(unread) >= _MAX_UNREAD:
                raise SourceError(
                    f"{where} is no configuration of a Xen domain",
                    "name the file that xl create takes",
                ) from None
            unread.append((reader.line(start), text[start : start + 60].split("\n")[0]))
            continue
        values[name] = _sum(values[name], value) if adds and name in values else value
        if reader.indented:
            indented[name] = start
    return Configuration(values=values, unread=tuple(unread), indented=indented)


def _end_of_line(text: str, at: int) -> int:
    match = _LINE.match(text, at)
    return match.end() if match else len(text)


def _sum(old: Value, new: Value) -> Value:
    if isinstance(old, str) and isinstance(new, str):
        return old + new
    # In place: a file may add to a list very often.
    total = _listed(old)
    total.extend(_listed(new))
    return total


def _listed(value: Value) -> list[Value]:
    return value if isinstance(value, list) else [value]


def strings(value: Value | None) -> Iterator[str]:
    """Yield the strings of *value*, a list or a single one."""
    for item in _listed(value) if value is not None else ():
        if isinstance(item, str):
            yield item


def word(settings: Settings, *names: str) -> str:
    """Return the first of the values *names* that is there, if it is no list."""
    for name in names:
        value = settings.get(name)
        if isinstance(value, str):
            return value.strip()
    return ""


def true(settings: Settings, name: str) -> bool:
    """Whether *name* is set to something that is not false."""
    return word(settings, name).lower() not in ("", "0", "false", "none", "no")


@dataclass(kw_only=True)
class _Reader:
    """A place in the text, which only moves on: reading takes linear time."""

    text: str
    where: str
    at: int = field(default=0)
    # Whether blanks stand before the statement, in its line.
    indented: bool = field(default=False)

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def begin(self) -> bool:
        """Move to the next statement; whether there is one."""
        separator = "\n"
        while self.at < len(self.text):
            self._blank()
            if self._next() not in ("\n", ";"):
                break
            separator = self._next()
            self.at += 1
        before = self.text[max(0, self.at - 1) : self.at]
        self.indented = separator == "\n" and before in (" ", "\t")
        return self.at < len(self.text)

    def assignment(self) -> tuple[str, bool, Value]:
        """Return name, whether the value is added, and value.

        Raises _NotLiteralError.
        """
        match = _NAME.match(self.text, self.at)
        if not match:
            raise _NotLiteralError
        self.at = match.end()
        self._blank()
        adds = self.text.startswith("+=", self.at)
        if not adds and (self._next() != "=" or self.text.startswith("==", self.at)):
            raise _NotLiteralError
        self.at += 2 if adds else 1
        self._blank()
        value = self._value(0)
        self._blank()
        if self._next() not in ("", "\n", ";"):
            raise _NotLiteralError
        return match[0], adds, value

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _value(self, depth: int) -> Value:
        if self._next() == "[":
            return self._list(depth)
        if self._next() in ('"', "'"):
            return self._string()
        match = _WORD.match(self.text, self.at)
        if not match:
            raise _NotLiteralError
        self.at = match.end()
        return match[0]

    def _list(self, depth: int) -> list[Value]:
        if depth >= _DEPTH:
            raise _NotLiteralError
        self.at += 1
        items: list[Value] = []
        while True:
            self._blank_lines()
            if self._next() == "]":
                self.at += 1
                return items
            items.append(self._value(depth + 1))
            self._blank_lines()
            if self._next() == ",":
                self.at += 1
            elif self._next() != "]":
                raise _NotLiteralError

    def _blank_lines(self) -> None:
        self._blank()
        while self._next() == "\n":
            self.at += 1
            self._blank()

    def _string(self) -> str:
        """Return the string that begins here: in one quote, or three, with escapes."""
        quote = self._next()
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        start = self.at
        self.at += len(mark)
        stop = re.compile(rf"\\.|{mark}" + (r"|\n" if mark == quote else ""), re.DOTALL)
        parts = []
        while match := stop.search(self.text, self.at):
            parts.append(self.text[self.at : match.start()])
            self.at = match.end()
            if match[0] == mark:
                return "".join(parts)
            if match[0] == "\n":
                break
            # As in Python: an escape that is none keeps its backslash.
            letter = match[0][1]
            plain = letter if letter in "\\'\"" else match[0]
            parts.append(_ESCAPES.get(letter, plain))
        raise SourceError(
            f"{self.where}, line {self.line(start)}: a string is not closed",
            "correct the file",
        )
