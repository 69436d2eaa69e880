# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever writes a parser of what strangers write has to say which target fuzzes it."""

import importlib.util
import sys
from collections.abc import Iterator
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


def modules(room: str) -> Iterator[str]:
    """Yield the modules of *room*; a source may be a package of several."""
    lib = ROOT / "lib" / "v2v"
    inner = [*(lib / room).glob("*/*.py")] if room == "sources" else []
    for path in [*(lib / room).glob("*.py"), *inner]:
        name = ".".join(path.relative_to(lib).with_suffix("").parts)
        if name != f"{room}.__init__":
            yield name.removesuffix(".__init__")


def test_each_module_that_reads_has_a_target() -> None:
    targets, covered = loaded("targets").TARGETS, loaded("covered").COVERED
    assert {name for room in ROOMS for name in modules(room)} == covered.keys()
    named = {name for name in covered.values() if name}
    assert named <= targets.keys()
    elsewhere = {"record", "initramfs", "hive"}
    assert targets.keys() - named == elsewhere
