# SPDX-License-Identifier: GPL-2.0-or-later
"""Every family of distributions, and the exact edits that each gets.

V2V_REGENERATE=1 writes the golden files anew: read each hunk against the facts then.
"""

import inspect
import os
import re
from pathlib import Path

import pytest

import golden
import phony
from guest_folder import tree
from v2v.errors import GuestError
from v2v.guests.linux import fixes

NAMES = phony.names()
REGENERATE = "V2V_REGENERATE" in os.environ
# What fixes.plan() asks, as it is written there.
PLANNERS = sorted(
    set(re.findall(r"\b(\w+\.\w+)\(\s*appliance", inspect.getsource(fixes.plan)))
)


def fixed(name: str, folder: Path) -> golden.Fixed:
    guest = phony.load(name)
    appliance = phony.opened(guest, folder)
    return golden.fixed(appliance, guest)


def expected(name: str) -> Path:
    return phony.FOLDER / f"{name}.diff"


@pytest.mark.parametrize("name", NAMES)
def test_each_guest_gets_exactly_the_edits_it_needs(name: str, tmp_path: Path) -> None:
    guest = phony.load(name)
    appliance = phony.opened(guest, tmp_path)
    before = tree(tmp_path)
    made = golden.fixed(appliance, guest)
    if REGENERATE:
        expected(name).write_text(made.text)
    assert made.text == expected(name).read_text()
    # Nothing else was touched, and another run has nothing to do.
    after = tree(tmp_path)
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert len(changed) == len({action.change.path for action in made.actions})
    appliance.g.umount_all()
    appliance.known.clear()
    again = golden.planned(appliance, guest)
    assert [action.change for action in again.actions] == []


@pytest.mark.parametrize("planner", PLANNERS)
def test_each_feature_is_held_by_a_golden(
    planner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, function = planner.partition(".")
    monkeypatch.setattr(getattr(fixes, module), function, lambda *_, **__: ())
    assert any(differs(name, tmp_path / name) for name in NAMES)


def differs(name: str, folder: Path) -> bool:
    folder.mkdir()
    try:
        return fixed(name, folder).text != expected(name).read_text()
    except GuestError:
        return True  # what is not done is missed by the proof
