# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever writes a parser of what strangers write has to say which target fuzzes it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
ROOMS = ("formats", "mapping", "ovf", "sources", "views")


def loaded(name: str) -> ModuleType:
    place = ROOT / "tests" / "fuzz" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_of_house", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_each_module_that_reads_has_a_target() -> None:
    targets, covered = loaded("targets").TARGETS, loaded("covered").COVERED
    modules = {
        f"{room}.{path.stem}"
        for room in ROOMS
        for path in (ROOT / "lib" / "v2v" / room).glob("*.py")
        if path.stem != "__init__"
    }
    assert modules == covered.keys()
    named = {name for name in covered.values() if name}
    assert named <= targets.keys()
    elsewhere = {"record", "initramfs", "hive"}
    assert targets.keys() - named == elsewhere
