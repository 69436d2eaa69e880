# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that know in which order their options were given.

virt-customize's options are done in that order, across different ones.
"""

from __future__ import annotations

import inspect
from collections import Counter
from copy import copy
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperOption

from v2v.operations import OPTIONS, Operation

PANEL = "Customise the guest, in the order given"


class Command(TyperCommand):
    """A command that notes its options in their order."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note what is given, then parse *args* as ever."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen: Counter[str] = Counter()
        noted = ctx.meta.setdefault(__name__, [])
        for param in order:
            name = param.name or ""
            value = values.get(name)
            if isinstance(value, list):
                value = value[seen[name]]
                seen[name] += 1
            noted.append((name, value))
        return super().parse_args(ctx, args)


class Customizable(Command):
    """A command that has virt-customize's options besides its own."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Add the options."""
        super().__init__(*args, **settings)
        for option in _options():
            lent = copy(option)
            lent.expose_value = False
            self.params.append(lent)


def given(context: typer.Context) -> list[tuple[str, Any]]:
    """Return the parameters that were given, by name, with their values as typed."""
    return list(context.meta.get(__name__, []))


def operations(context: typer.Context) -> tuple[Operation, ...]:
    """Return what the guest is to be customised by."""
    names = {name.replace("-", "_"): name for name in OPTIONS}
    return tuple(
        Operation(name=names[name], value=value if isinstance(value, str) else "")
        for name, value in given(context)
        if name in names
    )


def _options() -> list[TyperOption]:
    """Return the options as typer makes them: of a function that has them all."""

    def customise(**values: Any) -> None:
        raise AssertionError

    parameters = [
        inspect.Parameter(
            name.replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=None if metavar else False,
            annotation=_annotation(name, metavar, text),
        )
        for name, (metavar, text) in OPTIONS.items()
    ]
    cast(Any, customise).__signature__ = inspect.Signature(parameters)
    customise.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(customise)
    made = typer.main.get_command(app).params
    return [p for p in made if isinstance(p, TyperOption) and p.name != "help"]


def _annotation(name: str, metavar: str, text: str) -> Any:
    word = f"--{name}"
    if not metavar:
        return Annotated[bool, typer.Option(word, help=text, rich_help_panel=PANEL)]
    option = typer.Option(word, metavar=metavar, help=text, rich_help_panel=PANEL)
    return Annotated[list[str] | None, option]
