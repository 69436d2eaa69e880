# SPDX-License-Identifier: GPL-2.0-or-later
"""Give ``v2v`` the options of the stages, and pass each to the stages that own it.

No list of options is kept here: the commands themselves are asked.
"""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperOption

STAGES = ("inspect", "export", "fixup", "convert", "define")
# What v2v decides itself, for every stage or for the one that has it.
_OWN = {
    *("metadata", "state", "run", "verbose", "version", "json_", "no_guest"),
    *("print_source", "overlay", "listen", "advertise", "insecure", "ahead", "only"),
    *("work", "target", "output", "network", "disk", "progress", "made_for", "dry_run"),
    *("name", "keep_overlay"),
}
_KEPT = {"inspect": {"only", "name"}, "convert": {"keep_overlay"}}


class Command(TyperCommand):
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
            lent.callback = cast(Any, _remember)
            lent.rich_help_panel = f"Options of v2v-{stage}"
            found.append(lent)
    return found


def _remember(context: typer.Context, param: TyperOption, value: Any) -> Any:
    """Note *value* if the user gave it, for arguments()."""
    source = context.get_parameter_source(param.name or "")
    if source is not None and source.name == "COMMANDLINE":
        context.meta.setdefault(__name__, {})[param.name] = value
    return value


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
    """Return the arguments for each stage that the user gave to v2v."""
    given = context.meta.get(__name__, {})
    return {
        stage: tuple(
            word
            for option in _of_stage(stage)
            if option.name in given
            for word in _words(option, given[option.name])
        )
        for stage in STAGES
    }


def _words(option: TyperOption, value: Any) -> list[str]:
    word = option.opts[-1]
    if option.is_flag:
        return [word]
    values = value if isinstance(value, list | tuple) else [value]
    return [part for each in values for part in (word, str(each))]
