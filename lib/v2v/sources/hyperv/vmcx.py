# SPDX-License-Identifier: GPL-2.0-or-later
"""Hyper-V's key-value store: .vmcx files, in which machines are from 2016 on.

Microsoft has not published the format; what is here was found in real files.  All is
little-endian and packed: two headers, a replay log, tables of objects, and tables of
keys, of which each names its parent.  Checksums are not known, and not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from v2v.errors import SourceError

Value = int | float | bool | str | bytes | dict[str, "Value"]
Node = dict[str, Value]

MAX_SIZE = 32 * 2**20
_SIGNATURE = 0x0128_2014
_VERSION = 0x0400
_HEADERS = (0, 0x1000)
_HEADER = struct.Struct("<IIHIQIQQI")
_OBJECTS_AT = 0x2000
_OBJECTS = 0x0111_0001
_OBJECT = struct.Struct("<BIQIB")
_OBJECT_TABLE, _KEY_TABLE = 1, 2
_KEYS = struct.Struct("<HHHI")
_ENTRY = struct.Struct("<BBIHIIIB")
_ELSEWHERE = 1
_MAX_OBJECTS = 2**16
# Longer strings are no names and paths, and other bytes are not needed.
_MAX_VALUE = 2**16
# Real files have about a thousand keys.  Tables that overlap, and keys that share one
# value, can make many of a small file.
_MAX_KEYS = 2**17
_MAX_TEXT = 2**25
_DEEPEST = 256
_FREE, _INT, _UINT, _DOUBLE, _STRING, _BYTES, _BOOL, _NODE = (1, 3, 4, 5, 6, 7, 8, 9)


@dataclass(kw_only=True)
class _Key:
    """An entry of a key table, with the place of its parent."""

    name: str
    parent: tuple[int, int]
    value: Value = field(default_factory=dict)


def matches(head: bytes) -> bool:
    """Whether a file that begins with *head* is such a store."""
    starts = (head[at : at + 4] for at in _HEADERS)
    return any(start == struct.pack("<I", _SIGNATURE) for start in starts)


def parse(data: bytes, where: str) -> Node:
    """Return the tree of keys in *data*, in lower case; *where* is for messages.

    Raises SourceError if this is no such store, a broken one, or one with changes that
    are not in their places.
    """
    try:
        _check_header(data, where)
        keys = _all_keys(data)
    except (struct.error, OverflowError, UnicodeDecodeError, IndexError) as e:
        raise _broken(where) from e
    root: Node = {}
    for key in keys.values():
        above = keys[key.parent].value if key.parent in keys else None
        if key.parent[0] == 0:
            above = root
        # A parent that is no node holds nothing; a circle hangs from no root.
        if isinstance(above, dict):
            above.setdefault(key.name.lower(), key.value)
    if not root or _depth(root) > _DEEPEST:
        raise _broken(where)
    return root


def _all_keys(data: bytes) -> dict[tuple[int, int], _Key]:
    """Return the keys of all tables.  Raises IndexError if they are too many."""
    keys: dict[tuple[int, int], _Key] = {}
    text = 0
    for table, at, size in _key_tables(data):
        for place, key in _keys(data, table, at, size):
            keys[place] = key
            text += len(key.name) + (
                len(key.value) if isinstance(key.value, str) else 0
            )
            if len(keys) > _MAX_KEYS or text > _MAX_TEXT:
                raise IndexError(at)
    return keys


def _depth(root: Node) -> int:
    """Return how deep the keys of *root* lie, counted to one more than is allowed."""
    level, depth = [root], 0
    while level and depth <= _DEEPEST:
        depth += 1
        values = (value for node in level for value in node.values())
        level = [value for value in values if isinstance(value, dict)]
    return depth


def _broken(where: str) -> SourceError:
    return SourceError(
        f"{where} is broken: its tables do not hold together",
        "export the machine again: Export-VM",
    )


def _check_header(data: bytes, where: str) -> None:
    found = [
        header
        for header in (_HEADER.unpack_from(data, at) for at in _HEADERS)
        if header[0] == _SIGNATURE
    ]
    if not found:
        raise SourceError(
            f"{where} is no configuration of Hyper-V",
            "name the .vmcx in the folder Virtual Machines of the export",
        )
    # Signature, checksum, sequence, version, ?, alignment, replay log, size, ?.
    newest = max(found, key=lambda header: header[2])
    if newest[3] != _VERSION:
        raise SourceError(
            f"{where} is of version {newest[3]:#x}, not {_VERSION:#x}",
            "export the machine from Windows Server 2016 to 2022: Export-VM",
        )
    if struct.unpack_from("<III", data, newest[6])[2]:
        raise SourceError(
            f"{where} was not closed: its log has changes that are not in place",
            "shut the machine down on the source, and export it again",
        )


def _key_tables(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield index, place and size of each key table, in its newest version."""
    newest: dict[int, tuple[int, int, int]] = {}
    for kind, at, size in _objects(data):
        if kind != _KEY_TABLE:
            continue
        signature, index, sequence, _ = _KEYS.unpack_from(data, at)
        if signature != _KEY_TABLE:
            raise IndexError(at)
        if index not in newest or newest[index][0] < sequence:
            newest[index] = (sequence, at, size)
    for index, (_, at, size) in newest.items():
        yield index, at, size


def _objects(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, place and size of each object.  Tables of them may name others."""
    tables, seen, count = [_OBJECTS_AT], set[int](), 0
    while tables:
        at = tables.pop()
        if at in seen:
            continue
        seen.add(at)
        signature, entries = struct.unpack_from("<II", data, at)
        count += entries
        if signature != _OBJECTS or count > _MAX_OBJECTS:
            raise IndexError(at)
        for n in range(entries):
            place = at + 8 + n * _OBJECT.size
            kind, _, start, size, used = _OBJECT.unpack_from(data, place)
            if used:
                yield kind, start, size
                tables += [start] if kind == _OBJECT_TABLE else []


def _keys(
    data: bytes, table: int, start: int, size: int
) -> Iterator[tuple[tuple[int, int], _Key]]:
    """Yield the keys of a table, by the table's index and their places in it."""
    at = _KEYS.size
    while at + _ENTRY.size <= size:
        kind, flags, length, above, place, _, _, data_at = _ENTRY.unpack_from(
            data, start + at
        )
        if not length:
            return
        if length < _ENTRY.size or at + length > size:
            raise IndexError(at)
        if kind != _FREE:
            raw = data[start + at + _ENTRY.size : start + at + length]
            name = raw[: max(0, data_at - 1)].decode()
            value = _value(data, kind, flags, raw[data_at:])
            yield (table, at), _Key(name=name, parent=(above, place), value=value)
        at += length


def _value(data: bytes, kind: int, flags: int, raw: bytes) -> Value:
    if kind == _NODE:
        return {}
    if kind in (_INT, _UINT, _DOUBLE):
        form = {_INT: "<q", _UINT: "<Q", _DOUBLE: "<d"}[kind]
        number: int | float = struct.unpack_from(form, raw)[0]
        return number
    if kind == _BOOL:
        return bool(struct.unpack_from("<I", raw)[0])
    if flags & _ELSEWHERE:
        size, at = struct.unpack_from("<IQ", raw)
        found = data[at : at + min(size, _MAX_VALUE)]
    else:
        (size,) = struct.unpack_from("<I", raw)
        found = raw[4 : 4 + min(size, _MAX_VALUE)]
    if kind == _STRING:
        return found.decode("utf-16-le", "replace").rstrip("\0")
    return b""
