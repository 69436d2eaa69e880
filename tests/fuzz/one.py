# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzz one target by atheris.

    python tests/fuzz/one.py TARGET FOLDER [LIBFUZZER ARGUMENT | INPUT]...

FOLDER is where the inputs are put for the reader.  Only a Problem may come out, and no
Python code may open a file elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

import atheris

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(ROOT / "lib"), str(TESTS)]

with atheris.instrument_imports(include=["v2v"]):
    from v2v.errors import Problem

    spec = importlib.util.spec_from_file_location(
        "targets", TESTS / "fuzz" / "targets.py"
    )
    assert spec and spec.loader
    targets = importlib.util.module_from_spec(spec)
    sys.modules["targets"] = targets
    spec.loader.exec_module(targets)
    # Readers are loaded when they are first needed, which would be too late.
    for package in ("formats", "mapping", "ovf", "sources", "views"):
        folder = importlib.import_module(f"v2v.{package}").__path__
        for module in pkgutil.iter_modules(folder, f"v2v.{package}."):
            importlib.import_module(module.name)
    importlib.import_module("v2v.guests.linux.initramfs")
    importlib.import_module("v2v.guests.windows.replay")


def main(name: str, folder: Path, arguments: list[str]) -> None:
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    target = targets.TARGETS[name]
    path = folder / target.name
    # What Python itself reads, and temporary files of ours.
    own = (
        *(str(folder), str(ROOT), sysconfig.get_path("stdlib"), sys.prefix, "/usr"),
        *("/tmp", "/dev/null", "/etc/libvirt/storage"),
    )

    def watched(event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(values[0], str | bytes):
            place = values[0] if isinstance(values[0], str) else values[0].decode()
            if place.startswith("/") and not place.startswith(own):
                raise AssertionError(f"{name} opens {place}")

    def one(data: bytes) -> None:
        path.write_bytes(data[: target.largest])
        try:
            target.read(path)
        except Problem as e:
            assert "\n" not in e.message

    sys.addaudithook(watched)
    atheris.Setup([sys.argv[0], *arguments, f"-max_len={target.largest}"], one)
    atheris.Fuzz()


main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
