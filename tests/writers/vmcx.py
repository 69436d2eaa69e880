# SPDX-License-Identifier: GPL-2.0-or-later
"""Hyper-V's .vmcx: the tree of keys in tables, as facts say that real files have it.

Two headers, of which one is older; an object table that names another; a table that
is there in two versions; free entries; long strings in file objects.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

from v2v.document import VM
from writers import hyperv_xml
from writers.hyperv_xml import Tree

UNSAID = hyperv_xml.UNSAID
_SIGNATURE, _OBJECTS = 0x1282014, 0x1110001
_LOG_AT, _MORE_AT, _TABLES_AT = 0x2800, 0x3000, 0x10000
_LONG = 100  # bytes; what is longer lies elsewhere
_TABLE, _KEYS, _FILE = 1, 2, 3


@dataclass(kw_only=True)
class _Store:
    """What is written so far: the tables of keys, and long values."""

    per_table: int
    tables: list[bytearray] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    count: int = 0

    def put(self, name: str, value: Any, parent: tuple[int, int]) -> None:
        """Add the key *name* below *parent*, and what is below it."""
        if self.count % self.per_table == 0:
            number = len(self.tables) + 1
            self.tables.append(bytearray(struct.pack("<HHHI", 2, number, 7, 0)))
        self.count += 1
        table, number = self.tables[-1], len(self.tables)
        kind, flags, data = self._encoded(value)
        word = name.encode() + b"\0"
        place = len(table)
        table += _entry(kind, flags, parent, word, data)
        if self.count % 5 == 0:  # what was deleted
            table += _entry(1, 0, (0, 0), b"old\0", b"x" * 7)
        for key, child in value.items() if isinstance(value, dict) else ():
            self.put(key, child, (number, place))

    def _encoded(self, value: Any) -> tuple[int, int, bytes]:
        if isinstance(value, dict):
            return 9, 0, b""
        if isinstance(value, bool):
            return 8, 0, struct.pack("<I", value)
        if isinstance(value, int):
            return (3, 0, struct.pack("<q", value))
        data = (value + "\0").encode("utf-16-le", "surrogatepass")
        if len(data) < _LONG:
            return 6, 0, struct.pack("<I", len(data)) + data
        at = _TABLES_AT + sum(map(len, self.files))
        self.files.append(data)
        return 6, 1, struct.pack("<IQ", len(data), at)


def _entry(
    kind: int, flags: int, parent: tuple[int, int], word: bytes, data: bytes
) -> bytes:
    size = 21 + len(word) + len(data)
    head = struct.pack("<BBIHIIIB", kind, flags, size, *parent, 0, 0, len(word))
    return head + word + data


def write(vm: VM, per_table: int = 20) -> bytes:
    """Return the .vmcx of *vm*, with *per_table* keys in a table."""
    return store(hyperv_xml.tree(vm), per_table=per_table)


def store(
    keys: Tree, *, log: int = 0, version: int = 0x400, per_table: int = 10**6
) -> bytes:
    """Return the .vmcx of the tree *keys*; *log*: how many entries are not replayed."""
    made = _Store(per_table=per_table)
    made.put("configuration", keys, (0, 0))
    body = bytearray(b"".join(made.files))
    first, more = [(_TABLE, _MORE_AT, 0x1000)], list[tuple[int, int, int]]()
    if body:
        more.append((_FILE, _TABLES_AT, len(body)))
    for table in made.tables:
        more.append((_KEYS, _TABLES_AT + len(body), len(table)))
        body += table
    # The first table in an older version: what it holds is no longer so.
    number = struct.unpack_from("<H", made.tables[0], 2)[0]
    old = struct.pack("<HHHI", 2, number, 6, 0)
    old += _entry(9, 0, (0, 0), b"stale\0", b"")
    more.append((_KEYS, _TABLES_AT + len(body), len(old)))
    body += old
    return _laid_out(first, more, body, log, version)


def _laid_out(
    first: list[tuple[int, int, int]],
    more: list[tuple[int, int, int]],
    body: bytearray,
    log: int,
    version: int,
) -> bytes:
    head = (_SIGNATURE, 0)
    newer = struct.pack("<IIHIQIQQI", *head, 3, version, 0, 1, _LOG_AT, 0x100, 0)
    older = struct.pack("<IIHIQIQQI", *head, 2, 1, 0, 1, 0, 0, 0)
    data = bytearray(_TABLES_AT) + body
    for at, piece in (
        (0, older),
        (0x1000, newer),
        (0x2000, _table([*first, (_KEYS, 0x9999999, 10)], unused=1)),
        (_LOG_AT, struct.pack("<III", 0, 0, log)),
        (_MORE_AT, _table(more)),
    ):
        assert at + len(piece) <= _TABLES_AT
        data[at : at + len(piece)] = piece
    return bytes(data)


def _table(objects: list[tuple[int, int, int]], unused: int = 0) -> bytes:
    """Return a table of *objects*, kind, place and size each; the last are unused."""
    used = len(objects) - unused
    entries = (
        struct.pack("<BIQIB", kind, 0, at, size, index < used)
        for index, (kind, at, size) in enumerate(objects)
    )
    return struct.pack("<II", _OBJECTS, len(objects)) + b"".join(entries)
