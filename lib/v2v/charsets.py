# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts in the charset that they name themselves: VMware's .vmx files and descriptors.

Only charsets of text: Python's codecs also include some that run away from their input
(idna, unicode_escape), and a file must not choose those.
"""

from __future__ import annotations

import codecs
import re

# What Windows calls by the name of the standard has more characters than that.
_SUPERSETS = {
    "shift_jis": "cp932",
    "gb2312": "gbk",
    "big5": "cp950",
    "euc_kr": "cp949",
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
}
_KNOWN = re.compile(
    r"utf-8|cp(125\d|437|85\d|866|874|932|949|950)|gbk|gb18030|big5hkscs|euc_j\w+"
    r"|shift_jis\w+|johab|iso8859-\d+|iso2022_\w+|koi8-\w|mac-\w+|hz"
)
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def known(name: str) -> str | None:
    """Return Python's name for the charset called *name*; None if it is none."""
    try:
        found = codecs.lookup(name[:40]).name
    except (LookupError, ValueError):
        return None
    found = _SUPERSETS.get(found, found)
    return found if _KNOWN.fullmatch(found) else None


def decoded(data: bytes, named: str | None) -> tuple[str, str]:
    """Return *data* as text, and the charset that it turned out to be in.

    That is the one of a byte order mark, else the one *named*, else UTF-8, else
    windows-1252, in which some bytes may be replaced.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    asked = [_BOMS.get(data[:2]), known(named) if named else None, "utf-8"]
    for charset in filter(None, asked):
        try:
            return data.decode(charset), charset
        except UnicodeError:
            continue
    return data.decode("cp1252", "replace"), "cp1252"
