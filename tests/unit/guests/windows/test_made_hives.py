# SPDX-License-Identifier: GPL-2.0-or-later
"""The hives that tests make are hives for those who know them."""

from pathlib import Path
from typing import Any

import pytest
from regipy.registry import RegistryHive

import hives

KEYS: hives.Keys = {
    "": {"": "root"},
    r"A\B": {"number": 7, "text": "é", "list": ["x", "", "y"], "raw": b"\0\1"},
    r"a\b": {"more": hives.qword(2**40), "path": hives.expand("%SystemRoot%")},
}


def test_a_made_hive_has_what_was_said(tmp_path: Path) -> None:
    file = hives.made(tmp_path / "SYSTEM", KEYS)
    found = hives.dump(file)
    assert list(found) == ["", "A", r"A\B"]
    assert found[r"A\B"] == {
        "number": (hives.DWORD, b"\7\0\0\0"),
        "text": (hives.SZ, b"\xe9\0\0\0"),
        "list": (hives.MULTI_SZ, b"x\0\0\0\0\0y\0\0\0\0\0"),
        "raw": (hives.BINARY, b"\0\1"),
        "more": (hives.QWORD, b"\0\0\0\0\0\1\0\0"),
        "path": (hives.EXPAND_SZ, "%SystemRoot%\0".encode("utf-16-le")),
    }
    assert hives.dump(file, r"a\B")[""] == found[r"A\B"]


def test_regipy_reads_a_made_hive_too(tmp_path: Path) -> None:
    open_: Any = RegistryHive  # regipy has no types
    hive = open_(str(hives.made(tmp_path / "SYSTEM", KEYS)))
    assert [key.name for key in hive.root.iter_subkeys()] == ["A"]
    assert hive.get_key(r"\A\B").get_value("text") == "é"


def test_keys_that_are_added_leave_others(tmp_path: Path) -> None:
    file = hives.made(tmp_path / "SOFTWARE", KEYS)
    hives.extended(file, {r"A\C": {"x": 1}})
    assert hives.dump(file)[r"A\B"]["more"] == (hives.QWORD, b"\0\0\0\0\0\1\0\0")
    assert hives.dump(file, "A")["C"] == {"x": (hives.DWORD, b"\1\0\0\0")}


@pytest.mark.parametrize("name", ["win7-x86-vmware-static-SYSTEM", "winpe-efi-BCD"])
def test_a_real_hive_is_unpacked(shared: Path, tmp_path: Path, name: str) -> None:
    assert len(hives.dump(hives.real(shared, name, tmp_path))) > 10
