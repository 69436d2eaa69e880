# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever writes a parser of what strangers write has to say which target fuzzes it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
ROOMS = ("formats", "mapping", "ovf", "sources", "views")


def targets() -> ModuleType:
    place = ROOT / "tests" / "fuzz" / "targets.py"
    spec = importlib.util.spec_from_file_location("targets_of_house", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_each_module_that_reads_has_a_target() -> None:
    found = targets()
    modules = {
        f"{room}.{path.stem}"
        for room in ROOMS
        for path in (ROOT / "lib" / "v2v" / room).glob("*.py")
        if path.stem != "__init__"
    }
    assert modules == found.COVERED.keys()
    named = {name for name in found.COVERED.values() if name}
    assert named <= found.TARGETS.keys()
    elsewhere = {"record", "initramfs", "hive"}
    assert found.TARGETS.keys() - named == elsewhere
