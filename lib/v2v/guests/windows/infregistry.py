# SPDX-License-Identifier: GPL-2.0-or-later
"""The values that AddReg of an INF sets, by its flags (FLG_ADDREG_ of setupapi.h)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from v2v.guests.windows import inftext
from v2v.guests.windows.hive import (
    MAX_WRITTEN,
    Value,
    binary,
    dword,
    expand_sz,
    multi_sz,
    qword,
    sz,
)

_TYPE = 0xFFFF0001
_BINARY, _DWORD, _QWORD, _NONE = 0x1, 0x10001, 0xB0001, 0x20001
_MULTI, _EXPAND = 0x10000, 0x20000
_DELETES = 0x4
_KEY_ONLY = 0x10


def value(fields: Sequence[str], name: str) -> Value | None:
    """Return the value of *fields*: flags, then what it is set to.

    None if nothing is set: a key alone, or a value that is removed.  Raises HostError,
    naming the INF *name*, if they are no value.
    """
    flags = number(fields[0], name) if fields and fields[0] else 0
    data = list(fields[1:])
    if flags & (_DELETES | _KEY_ONLY):
        return None
    made = _made(flags & _TYPE, data, name)
    if len(made.data) > MAX_WRITTEN:
        raise inftext.broken(name, "it sets a value that is too large")
    return made


def _made(kind: int, data: list[str], name: str) -> Value:
    text = data[0] if data else ""
    if kind == 0:
        return sz(text)
    if kind == _EXPAND:
        return expand_sz(text)
    if kind == _MULTI:
        return multi_sz([one for one in data if one])
    if kind in (_DWORD, _QWORD):
        return _counted(kind, data, name)
    octets = bytes(_octet(one, name) for one in data if one)
    if kind == _BINARY:
        return binary(octets)
    if kind == _NONE:
        return Value(0, octets)
    return Value(kind >> 16, octets)


def _counted(kind: int, data: list[str], name: str) -> Value:
    """Return a number; it may also be given as its bytes, lowest first."""
    size = 4 if kind == _DWORD else 8
    if len(data) == size:
        whole = int.from_bytes(bytes(_octet(one, name) for one in data), "little")
    else:
        whole = number(data[0], name) if data and data[0] else 0
    whole &= (1 << 8 * size) - 1
    return dword(whole) if kind == _DWORD else qword(whole)


def _octet(text: str, name: str) -> int:
    """Return a byte, which INFs write in hexadecimal, with 0x or without."""
    if not re.fullmatch(r"(0x)?[0-9a-f]{1,2}", text, re.I):
        raise inftext.broken(name, f"{text[:20]!r} is no byte")
    return int(text, 16)


def number(text: str, name: str) -> int:
    """Return a number of an INF, decimal or hexadecimal.

    Raises HostError, naming the INF *name*, if *text* is none.
    """
    if re.fullmatch(r"0x[0-9a-f]{1,16}", text, re.I):
        return int(text, 16)
    if re.fullmatch(r"-?[0-9]{1,19}", text):
        return int(text)
    raise inftext.broken(name, f"{text[:20]!r} is no number")
