# SPDX-License-Identifier: GPL-2.0-or-later
"""Stores of Hyper-V whose tables overlap, or share what they hold."""

import resource
import struct
import time
from pathlib import Path

import pytest

from v2v.errors import SourceError
from v2v.sources.hyperv import vmcx

_ENTRY = struct.Struct("<BBIHIIIB")


def store(tables: list[tuple[int, int]], rest: bytes) -> bytes:
    """Return a store with *tables*, each a place and a size."""
    head = struct.pack("<IIHIQIQQI", 0x0128_2014, 0, 1, 0x0400, 0, 0, 0x1000, 0, 0)
    objects = struct.pack("<II", 0x0111_0001, len(tables))
    objects += b"".join(struct.pack("<BIQIB", 2, 0, *table, 1) for table in tables)
    return head.ljust(0x2000, b"\0") + objects + rest


def key(value: bytes, *, elsewhere: bool = False) -> bytes:
    """Return a key "a", a string."""
    raw = b"a\0" + value
    length = _ENTRY.size + len(raw)
    return _ENTRY.pack(6, elsewhere, length, 0, 0, 0, 0, 2) + raw


def test_tables_that_overlap_are_no_work_without_end() -> None:
    """A thousand tables, of which each goes on with the entries of all others."""
    count, head = 1000, 10 + _ENTRY.size
    at = 0x2000 + 8 + count * 18
    common = at + count * head
    # A free entry, which goes up to those that all have in common.
    heads = b"".join(
        struct.pack("<HHHI", 2, n, 1, 0)
        + _ENTRY.pack(1, 0, common - at - n * head - 10, 0, 0, 0, 0, 0)
        for n in range(count)
    )
    rest = heads + key(struct.pack("<I", 0)) * 100_000
    end = at + len(rest)
    tables = [(at + n * head, end - at - n * head) for n in range(count)]
    began = time.process_time()
    with pytest.raises(SourceError, match="broken"):
        vmcx.parse(store(tables, rest), "a.vmcx")
    assert time.process_time() - began < 10
    # It is their number alone that is wrong.
    [found] = vmcx.parse(store(tables[:1] * count, rest), "a.vmcx").items()
    assert found == ("a", "")


def test_a_value_that_is_shared_by_all_keys_takes_no_memory_without_end() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 2**16
    entries = key(struct.pack("<IQ", size, 0x2000), elsewhere=True) * 100_000
    rest = struct.pack("<HHHI", 2, 1, 1, 0) + entries
    data = store([(0x2000 + 8 + 18, len(rest))], rest)
    with pytest.raises(SourceError, match="broken"):
        vmcx.parse(data, "a.vmcx")
    # Kibibytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_what_is_written_here_is_such_a_store(tmp_path: Path) -> None:
    value = "x".encode("utf-16-le")
    rest = struct.pack("<HHHI", 2, 1, 1, 0) + key(struct.pack("<I", 2) + value)
    data = store([(0x2000 + 8 + 18, len(rest))], rest)
    assert vmcx.parse(data, "a.vmcx") == {"a": "x"}
