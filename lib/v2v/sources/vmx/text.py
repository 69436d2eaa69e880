# SPDX-License-Identifier: GPL-2.0-or-later
r"""The text of VMware's .vmx files: lines of ``key = "value"``.

Keys have no case, and the first of two equal keys holds.  Quotes may be missing in
what people write by hand.  ``|`` and two digits stand for a byte of the file's charset,
which ``.encoding`` names.  Source: files in the wild, and libvirt's src/vmx.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from v2v import charsets
from v2v.document import Finding
from v2v.errors import SourceError
from v2v.sources import descriptions

MAX_FILE = 4 * 2**20
# A file without any of these is something else.
_MARKS = ("config.version", "virtualhw.version", "displayname", "memsize")
_ENCODING = re.compile(
    rb'(?:\A|\n)[ \t]{0,9}\.encoding[ \t]{0,9}=[ \t]{0,9}"?([\w.-]{1,40})', re.I
)
_ESCAPE = re.compile(r"\|([0-9A-Fa-f]{2})")
_TYPOGRAPHIC = ("“", "”", "„", "‟", "\uff02")

# By the keys in lower case; escapes are resolved.
Settings = Mapping[str, str]


def settings(data: bytes, path: Path) -> tuple[Settings, list[Finding]]:
    """Return what the .vmx text *data* of *path* sets, and what is odd of it.

    Raises SourceError if this is no VMX file, or an encrypted one.
    """
    values, odd = pairs(data, path)
    _refuse(values, path)
    return values, odd


def pairs(data: bytes, path: Path) -> tuple[Settings, list[Finding]]:
    """Return what *data* of *path* sets, be it a .vmx or another file of that grammar.

    Raises SourceError where a line breaks the grammar.
    """
    named = _ENCODING.search(data.replace(b"\0", b"")[:MAX_FILE])
    asked = named[1].decode() if named else None
    text, charset = charsets.decoded(data, asked)
    values: dict[str, str] = {}
    twice: dict[str, None] = {}
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        key, equals, value = line.partition("=")
        key = key.strip().lower()
        if not equals or not key or key.startswith("#"):
            continue
        given = _unescaped(_unquoted(value, path, number), charset)
        if values.setdefault(key, given) != given:
            twice[key] = None
    return values, [*_repeated(list(twice)), *_doubtful(asked, charset)]


def _refuse(values: Settings, path: Path) -> None:
    """Raise SourceError unless these are settings of a VM, and to be read.

    What can still be read of an encrypted one would pass for 32 MiB without disks.
    """
    locked = "encryption.keysafe" in values and "memsize" not in values
    if locked or "encryption.data" in values:
        kinds = ("vmx.encryptiontype", "encryption.type")
        if any(word(values, kind) == "partial" for kind in kinds):
            raise SourceError(
                f"{path} is encrypted, though not its disks",
                "remove the TPM and then the encryption of the VM in VMware first",
            )
        raise SourceError(
            f"{path} is encrypted", "remove the VM's encryption in VMware first"
        )
    if not any(mark in values for mark in _MARKS):
        raise SourceError(
            f"{path} is no VMX file: it has none of VMware's keys",
            "name the .vmx of the VM, not one of its disks or logs",
        )


def _repeated(keys: list[str]) -> list[Finding]:
    """VMware calls a file with two different values corrupt, or takes the first."""
    if not keys:
        return []
    shown = ", ".join(f"{key:.60}" for key in keys[:5])
    more = " …" if len(keys) > 5 else ""
    text = f"given twice, with different values: {shown}{more}; the first value holds"
    return [descriptions.caution("vmx-duplicate", text)]


def _doubtful(asked: str | None, charset: str) -> list[Finding]:
    meant = charsets.known(asked) if asked else "utf-8"
    if charset in (meant, "utf-16"):
        return []
    return [
        descriptions.caution(
            "charset-doubtful",
            f"the text is not in {asked or 'UTF-8'}; it is read as {charset}",
            "compare the names of disks and networks with the source",
        )
    ]


def _unquoted(value: str, path: Path, line: int) -> str:
    """Cut at the first and the last quote: a value may hold quotes itself.

    Raises SourceError for quotes of an editor that knows better.
    """
    value = value.strip()
    if value.startswith(_TYPOGRAPHIC):
        raise SourceError(
            f"{path}, line {line}: the value stands in typographic quotes",
            'write plain ones: "',
        )
    if not value.startswith('"'):
        return value
    end = value.rfind('"')
    return value[1:end] if end > 0 else value[1:]


def _unescaped(value: str, charset: str) -> str:
    """Return *value* with |0A as the byte that it stands for.

    A character of several bytes may be written as several escapes.
    """
    if "|" not in value:
        return value
    if charset == "utf-16":
        charset = "utf-8"
    # Text and digits in turn: a plain "|" may be the second byte of a character.
    pieces = _ESCAPE.split(value)
    raw = b"".join(
        bytes.fromhex(piece) if at % 2 else piece.encode(charset, "replace")
        for at, piece in enumerate(pieces)
    )
    return raw.decode(charset, "replace")


def name(values: Settings) -> str:
    """Return the display name; vCenter writes /, \\ and % in it as %2f, %5c and %25."""
    given = values.get("displayname", "")
    return re.sub(
        r"%(2f|5c|25)", lambda m: chr(int(m[1], 16)), given, flags=re.IGNORECASE
    )


def true(values: Settings, key: str, *, default: bool = False) -> bool:
    """Whether *key* is TRUE, in any case; what is neither it nor FALSE is not."""
    return values.get(key, str(default)).strip().lower() in ("true", "yes", "1")


def word(values: Settings, key: str) -> str:
    """Return the value of *key*, one of a few words, in lower case."""
    return values.get(key, "").strip().lower()


def number(values: Settings, key: str) -> int | None:
    """Return the value of *key* as a number that is not negative; else None."""
    return descriptions.number(values.get(key))
