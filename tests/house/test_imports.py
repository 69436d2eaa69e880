# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports point one way: tools -> stage, steps -> rooms -> document, errors."""

import ast
from pathlib import Path

import pytest

LIB = Path(__file__).parents[2] / "lib" / "v2v"
TOOLS = LIB.parents[1] / "tools"
ROOMS = ("sources", "servers", "guests", "targets", "copying")
ABOVE = (
    "stage",
    "steps",
    "compose",
    "conversion",
    "borrowed",
    "ordered",
    "options",
    "summary",
)
# What may import a library that is foreign, slow or dangerous.
HOMES = {
    "subprocess": {"process", "server", "lease"},
    "guestfs": {"guests.appliance"},
    "libvirt": {"targets.libvirt"},
    "typer": {"options", "borrowed", "ordered"},
}


def imported(path: Path) -> set[str]:
    """Return the dotted names that the module at *path* imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def module(path: Path) -> str:
    return ".".join(path.relative_to(LIB).with_suffix("").parts)


def parts(names: set[str]) -> set[str]:
    """Return the rooms or modules of ours among *names*."""
    return {name.split(".")[1] for name in names if name.startswith("v2v.")}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_know_neither_each_other_nor_what_is_above(room: str) -> None:
    forbidden = {*ROOMS, *ABOVE} - {room}
    if room == "copying":
        forbidden -= {"servers"}  # a block graph is what a copy is made from
    for path in (LIB / room).rglob("*.py"):
        assert not parts(imported(path)) & forbidden, path


@pytest.mark.parametrize("library", HOMES)
def test_each_foreign_library_has_one_home(library: str) -> None:
    users = {
        module(path)
        for path in LIB.rglob("*.py")
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users <= HOMES[library]


def test_the_core_knows_no_room() -> None:
    for name in ("document", "errors", "stream", "lease", "process", "names"):
        known = parts(imported(LIB / f"{name}.py"))
        assert not known & {*ROOMS, "formats", "steps"}, name


def test_a_command_is_its_options() -> None:
    """Tools load the library when they run, so that --help is quick."""
    for path in TOOLS.glob("*.py"):
        top = ast.parse(path.read_text()).body
        names = {
            f"{node.module}.{alias.name}"
            for node in top
            if isinstance(node, ast.ImportFrom) and node.module == "v2v"
            for alias in node.names
        }
        assert names <= {
            f"v2v.{name}" for name in ("options", "borrowed", "ordered")
        }, path
