# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of an INF file: its sections, lines, values and %strings%.

Whoever made the file, reading it takes time and memory by its size alone.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from v2v.errors import HostError

MAX_SIZE = 2**20  # bytes
_MAX_LINES = 20000
_MAX_LINE = 2**15  # characters, with what continues it
_MAX_VALUE = 4096  # characters: SetupAPI's MAX_INF_STRING_LENGTH
# What is no file of a table of strings stays: %12% is a folder's number.
_TOKEN = re.compile(r"%([^%\n]{0,255})%")
_ENGLISH = "strings.0409"


@dataclass(frozen=True)
class Line:
    """A line ``key = values``; without a key the line is values alone."""

    key: str | None
    values: tuple[str, ...]

    def at(self, index: int) -> str:
        """Return a value; "" where the line ends before it."""
        return self.values[index] if index < len(self.values) else ""


def broken(name: str, why: str) -> HostError:
    """Return the error that the INF *name* cannot be used."""
    return HostError(
        f"{name} of virtio-win cannot be used: {why}",
        "see that the ISO is whole, or use another release with --virtio-win",
    )


def parsed(
    name: str, data: bytes
) -> tuple[dict[str, tuple[Line, ...]], dict[str, str]]:
    """Return the lines of *data* by section, in lower case, and the strings.

    Raises HostError if it is no text, or too large.
    """
    raw: dict[str, list[Line]] = {}
    section = ""
    for line in _whole_lines(name, _text(name, data)):
        if line.startswith("["):
            section = line[1:].partition("]")[0].strip().lower()
            raw.setdefault(section, [])
        else:
            raw.setdefault(section, []).append(_split(line))
    strings = _strings(raw)
    sections = {
        key: tuple(_filled(name, line, strings) for line in lines)
        for key, lines in raw.items()
        if not key.startswith("strings")
    }
    return sections, strings


def _text(name: str, data: bytes) -> str:
    if len(data) > MAX_SIZE:
        raise broken(name, f"it is larger than {MAX_SIZE // 2**20} MiB")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    elif data[1:2] == b"\0":
        text = data.decode("utf-16-le", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise broken(name, "it is no text")
    return text


def _whole_lines(name: str, text: str) -> Iterator[str]:
    """Yield the lines that say something, put together where a \\ continues them."""
    parts: list[str] = []
    lines = re.split(r"\r\n|\r|\n", text)
    if len(lines) > _MAX_LINES:
        raise broken(name, f"it has more than {_MAX_LINES} lines")
    for line in lines:
        piece = _without_comment(line).strip()
        parts.append(piece.removesuffix("\\"))
        if sum(map(len, parts)) > _MAX_LINE or len(parts) > _MAX_LINES // 100:
            raise broken(name, "a line is too long")
        if piece.endswith("\\"):
            continue
        whole = "".join(parts).strip()
        parts = []
        if whole:
            yield whole
    if last := "".join(parts).strip():
        yield last


def _without_comment(line: str) -> str:
    """Return *line* up to a semicolon that is outside of quotes."""
    quoted = False
    for at, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == ";" and not quoted:
            return line[:at]
    return line


def _split(line: str) -> Line:
    """Return the key and values of *line*; quotes are taken off, "" in them is one."""
    key: str | None = None
    values: list[str] = []
    word: list[str] = []
    kept = 0  # up to where blanks at the end were quoted, and so count
    quoted = False
    at = 0
    while at < len(line):
        letter = line[at]
        if letter == '"' and quoted and line[at + 1 : at + 2] == '"':
            word.append('"')
            at += 1
        elif letter == '"':
            quoted = not quoted
            kept = len(word)
        elif quoted or letter not in ",=" or (letter == "=" and _is_value(key, values)):
            if word or quoted or not letter.isspace():
                word.append(letter)
        elif letter == "=":
            key, word, kept = _joined(word, kept), [], 0
        else:
            values.append(_joined(word, kept))
            word, kept = [], 0
        at += 1
    return Line(key, (*values, _joined(word, kept)))


def _is_value(key: str | None, values: list[str]) -> bool:
    """Whether an equals sign belongs to a value: there is one key, and it is first."""
    return key is not None or bool(values)


def _joined(word: list[str], kept: int) -> str:
    return "".join(word[:kept]) + "".join(word[kept:]).rstrip()


def _strings(raw: dict[str, list[Line]]) -> dict[str, str]:
    """Return the strings by name in lower case, the English ones if there are any.

    What English lacks is taken from the table for all languages; failing that, from
    the first that is there.
    """
    tables = sorted(key for key in raw if key.startswith("strings"))
    order = [key for key in tables if key not in ("strings", _ENGLISH)][:1]
    found: dict[str, str] = {}
    for table in (*order, "strings", _ENGLISH):
        for line in raw.get(table, []):
            if line.key:
                found[line.key.lower()] = ",".join(line.values)[:_MAX_VALUE]
    return found


def _filled(name: str, line: Line, strings: dict[str, str]) -> Line:
    key = line.key and _replaced(name, line.key, strings)
    return Line(key, tuple(_replaced(name, v, strings) for v in line.values))


def _replaced(name: str, text: str, strings: dict[str, str]) -> str:
    """Return *text* with its %strings%; one that nobody has stays, %% is a sign."""
    if "%" not in text:
        return text
    if text.count("%") > 64:
        raise broken(name, "a value has too many strings in it")

    def known(match: re.Match[str]) -> str:
        return strings.get(match[1].lower(), match[0]) if match[1] else "%"

    return _TOKEN.sub(known, text)[:_MAX_VALUE]
