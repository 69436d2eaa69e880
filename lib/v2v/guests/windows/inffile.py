# SPDX-License-Identifier: GPL-2.0-or-later
r"""The text of an INF file: sections, their lines, and the fields of each.

As SetupAPI reads it (Microsoft, "General Syntax Rules for INF Files"): sections of any
case, those of one name being one; ``;`` begins a comment, ``\`` at the end of a line
continues it, quotes keep what is special, ``""`` within them is a quote, and
``%name%`` stands for a string.  What is too large is refused: an INF has some KiB.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_SIZE = 2**20  # bytes of a file
_MAX_LINES = 20_000
_MAX_FIELD = 4096  # characters with its strings filled in, as SetupAPI has it
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLANKS = " \t"
# The language that the strings are wanted in: English of the United States.
_ENGLISH = "strings.0409"


class InfError(ValueError):
    """The file is no INF that can be read; its text says why."""


@dataclass(frozen=True)
class Line:
    """A line of a section: ``key`` is what stands left of "=", or None."""

    key: str | None
    fields: tuple[str, ...]

    def field(self, number: int) -> str:
        """Return a field, counted from 0; "" if there is none."""
        return self.fields[number] if number < len(self.fields) else ""


@dataclass(frozen=True)
class InfFile:
    """The sections by their name in lower case, with ``strings`` filled in."""

    sections: Mapping[str, tuple[Line, ...]]
    strings: Mapping[str, str]

    def lines(self, section: str) -> tuple[Line, ...]:
        """Return the lines of *section*, none if it is not there."""
        return self.sections.get(section.lower(), ())

    def entry(self, section: str, key: str) -> Line | None:
        """Return the first line of *section* that is for *key*."""
        found = (line for line in self.lines(section) if line.key)
        return next((x for x in found if (x.key or "").lower() == key.lower()), None)

    def text(self, section: str, key: str) -> str:
        """Return the first field of that line; "" if there is none."""
        line = self.entry(section, key)
        return line.field(0) if line else ""


def read(content: bytes) -> InfFile:
    """Return what an INF's *content* says.  Raises InfError."""
    raw: dict[str, list[str]] = {}
    section: list[str] | None = None
    for line in _logical(text(content)):
        if line.startswith("["):
            name, closed, _ = line[1:].partition("]")
            if not closed:
                raise InfError("the name of a section does not end")
            section = raw.setdefault(name.strip(_BLANKS).strip('"').lower(), [])
        elif section is None:
            raise InfError("it begins with something that is in no section")
        else:
            section.append(line)
    strings = _strings(raw)
    return InfFile(
        sections={
            name: tuple(_line(line, strings) for line in lines)
            for name, lines in raw.items()
            if not _is_strings(name)
        },
        strings=strings,
    )


def text(content: bytes) -> str:
    """Return *content* as text: UTF-16 or UTF-8 by its mark, else the old code page.

    Raises InfError if it is too large or none.
    """
    if len(content) > MAX_SIZE:
        raise InfError(f"it has {len(content)} bytes, of at most {MAX_SIZE}")
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            try:
                found = content[len(mark) :].decode(encoding)
            except UnicodeDecodeError as e:
                raise InfError(f"it is no text: {e.reason}") from e
            break
    else:
        found = content.decode("cp1252", "replace")
    if "\0" in found:
        raise InfError("it is no text")
    return found


def _logical(content: str) -> Iterator[str]:
    """Yield the lines that say something, continued ones put together."""
    kept = ""
    count = 0
    for raw in content.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        bare = _without_comment(raw).strip(_BLANKS)
        continues = bare.endswith("\\") and not _ends_within_quotes(bare)
        if continues:
            # Only at the end of what was given; C:\ in quotes is none.
            bare = bare[:-1]
        kept += bare
        if len(kept) > MAX_SIZE:
            raise InfError("a line is too long")
        if continues:
            continue
        if kept.strip(_BLANKS):
            count += 1
            if count > _MAX_LINES:
                raise InfError(f"it has more than {_MAX_LINES} lines")
            yield kept.strip(_BLANKS)
        kept = ""
    if kept.strip(_BLANKS):
        yield kept.strip(_BLANKS)


def _without_comment(line: str) -> str:
    """Return *line* up to a ";" that is in no quotes; a quote ends with the line."""
    parts = line.split('"')
    for number, part in enumerate(parts[::2]):
        if ";" in part:
            before = parts[: 2 * number]
            return '"'.join([*before, part.partition(";")[0]])
    return line


def _ends_within_quotes(line: str) -> bool:
    return line.count('"') % 2 == 1


def _strings(raw: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the strings by their name in lower case: English before the common ones.

    Those of other languages are taken only if there are no others.
    """
    found: dict[str, str] = {}
    others = sorted({*filter(_is_strings, raw)} - {"strings", _ENGLISH})
    for name in (*others, "strings", _ENGLISH):
        for line in raw.get(name, ()):
            key, value = _halves(line)
            if key is not None:
                found[_unquoted(key).lower()] = _unquoted(value)
    return found


def _is_strings(section: str) -> bool:
    return section == "strings" or section.startswith("strings.")


def _line(line: str, strings: Mapping[str, str]) -> Line:
    key, rest = _halves(line)
    fields = tuple(_field(field, strings) for field in _split(rest, ","))
    return Line(key=None if key is None else _field(key, strings), fields=fields)


def _halves(line: str) -> tuple[str | None, str]:
    """Return what is left and right of the first "=" that is in no quotes."""
    first = next(_split(line, "="))
    if len(first) == len(line):
        return None, line
    return first.strip(_BLANKS), line[len(first) + 1 :]


def _split(line: str, sign: str) -> Iterator[str]:
    """Yield the parts of *line* between signs that are in no quotes."""
    start, quoted = 0, False
    for at, char in enumerate(line):
        if char == '"':
            quoted = not quoted
        elif char == sign and not quoted:
            yield line[start:at]
            start = at + 1
    yield line[start:]


def _field(raw: str, strings: Mapping[str, str]) -> str:
    return _filled(_unquoted(raw), strings)


def _unquoted(raw: str) -> str:
    """Return *raw* without blanks around it and quotes; two of them are one."""
    parts = raw.strip(_BLANKS).split('""')
    if parts == ["", ""]:
        return ""
    return '"'.join(part.replace('"', "") for part in parts)


def _filled(field: str, strings: Mapping[str, str]) -> str:
    """Return *field* with its %strings%; %% is %, and what is none stays.

    %12% and its like, which stand for folders, stay too.
    """
    if "%" not in field:
        return field
    parts = field.split("%")
    done = parts[0]
    at = 1
    while at < len(parts):
        if at + 1 == len(parts):
            done += "%" + parts[at]
            break
        name = parts[at]
        done += strings.get(name.lower(), f"%{name}%") if name else "%"
        done += parts[at + 1]
        if len(done) > _MAX_FIELD:
            raise InfError("a value is too long with its strings filled in")
        at += 2
    return done
