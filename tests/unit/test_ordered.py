# SPDX-License-Identifier: GPL-2.0-or-later
"""Options whose order counts are done, and passed on, in the order they were given."""

from typing import Any

import pytest
import typer.main

import v2v_all
import v2v_fixup
from v2v import borrowed, ordered
from v2v.operations import OPTIONS, Operation

GIVEN = [
    *("--mkdir", "/a", "--write", "/a/b:x=1", "--root", "/dev/sda1"),
    *("--append-line", "/a/b:--y", "--write=/c:-d", "--update", "--mkdir", "/e"),
]
WANTED = [
    ("mkdir", "/a"),
    ("write", "/a/b:x=1"),
    ("append-line", "/a/b:--y"),
    ("write", "/c:-d"),
    ("update", ""),
    ("mkdir", "/e"),
]


def context(app: typer.Typer, *words: str) -> Any:
    return typer.main.get_command(app).make_context("test", list(words))


def test_fixup_knows_in_which_order_they_were_given() -> None:
    found = ordered.operations(context(v2v_fixup.app, *GIVEN))
    assert found == tuple(Operation(name=n, value=v) for n, v in WANTED)


def test_v2v_passes_them_on_to_fixup_in_that_order() -> None:
    made = context(v2v_all.app, "a.vmx", "-o", "out", *GIVEN)
    passed = borrowed.arguments(made)
    assert not passed["inspect"] and not passed["convert"]
    assert "--root" in passed["fixup"]
    again = ordered.operations(context(v2v_fixup.app, *passed["fixup"]))
    assert again == tuple(Operation(name=n, value=v) for n, v in WANTED)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_accepted(name: str) -> None:
    words = [f"--{name}"] + (["x:y"] if OPTIONS[name][0] else [])
    [found] = ordered.operations(context(v2v_fixup.app, *words))
    assert found.name == name


def test_other_options_are_as_before() -> None:
    made = context(
        v2v_all.app, "a.vmx", "-o", "out", "--allow", "x", "--allow", "y", "--again"
    )
    assert borrowed.arguments(made)["convert"] == (
        *("--allow", "x", "--allow", "y", "--again"),
    )


def test_an_option_of_v2v_goes_to_no_other_of_the_same_name() -> None:
    """--input-format of v2v-inspect went to v2v-convert as --format, too."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for stage in borrowed.STAGES:
        for option in borrowed._of_stage(stage):
            found.setdefault(option.name or "", set()).add(tuple(option.opts))
    assert {name: words for name, words in found.items() if len(words) > 1} == {}
