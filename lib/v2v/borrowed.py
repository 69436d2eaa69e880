# SPDX-License-Identifier: GPL-2.0-or-later
"""Give ``v2v`` the options of the stages, and pass each to the stages that own it.

No list of options is kept here: the commands themselves are asked.
"""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperOption

from v2v import ordered

STAGES = ("inspect", "export", "fixup", "convert", "define")
# What v2v decides itself, for every stage or for the one that has it.
_OWN = {
    *("metadata", "state", "run", "verbose", "version", "json_", "no_guest", "check"),
    *("print_source", "overlay", "listen", "advertise", "insecure", "ahead", "only"),
    *("work", "target", "output", "network", "disk", "progress", "made_for", "dry_run"),
    *("name", "keep_overlay", "sources_from"),
}
_KEPT = {"inspect": {"only", "name"}, "convert": {"keep_overlay"}}


class Command(ordered.Command):
    """A command that accepts the stages' options besides its own."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Take the options from the commands of all stages."""
        super().__init__(*args, **settings)
        own = {word for param in self.params for word in param.opts}
        for option in _options():
            if not own & set(option.opts):
                self.params.append(option)
                own |= set(option.opts)


def _options() -> list[TyperOption]:
    found = []
    for stage in STAGES:
        for option in _of_stage(stage):
            lent = copy(option)
            lent.expose_value = False
            lent.rich_help_panel = (
                f"Options of v2v-{stage}"
                if option.expose_value
                else "Customise the guest (v2v-fixup)"
            )
            found.append(lent)
    return found


def _of_stage(stage: str) -> list[TyperOption]:
    """Return the options of v2v-*stage* that v2v accepts in its place."""
    app = import_module(f"v2v_{stage}").app
    withheld = _OWN - _KEPT.get(stage, set())
    return [
        param
        for param in typer.main.get_command(app).params
        if isinstance(param, TyperOption) and param.name not in withheld
    ]


def arguments(context: typer.Context) -> dict[str, tuple[str, ...]]:
    """Return the arguments for each stage that the user gave to v2v, in their order."""
    given = ordered.given(context)
    found = {}
    for stage in STAGES:
        options = {option.name: option for option in _of_stage(stage)}
        found[stage] = tuple(
            word
            for name, value in given
            if name in options
            for word in _words(options[name], value)
        )
    return found


def _words(option: TyperOption, value: Any) -> list[str]:
    word = option.opts[-1]
    return [word] if option.is_flag else [word, str(value)]
