# SPDX-License-Identifier: GPL-2.0-or-later
"""What Debian's packages remember of the answers they were given.

An update of GRUB goes by these and not by what is installed: debconf-devel(7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action, edit

PATH = "/var/cache/debconf/config.dat"

log = logging.getLogger(__name__)


def plan(
    appliance: Appliance, name: str, change: Callable[[str], str], reason: str
) -> Iterator[Action]:
    """Yield the edit that makes *change* to the answer to question *name*."""
    try:
        text = appliance.read(PATH)
    except GuestError as e:
        # The guest boots all the same.
        log.warning("warning: %s; %s is not answered there", e.message, name)
        return
    if text is None:
        return

    def apply(running: Appliance) -> None:
        # Another action may have changed another answer.
        running.write(PATH, changed(running.read(PATH) or "", name, change))

    for action in edit(PATH, text, changed(text, name, change), reason):
        yield replace(action, apply=apply)


def changed(text: str, name: str, change: Callable[[str], str]) -> str:
    """Return the database *text* with *change* made to the value of question *name*.

    A question without a value has "".  One that is not there is not added.
    """
    records = text.split("\n\n")
    for index, record in enumerate(records):
        lines = record.split("\n")
        if f"Name: {name}" in lines:
            records[index] = _with_value(record, lines, change)
    return "\n\n".join(records)


def _with_value(record: str, lines: list[str], change: Callable[[str], str]) -> str:
    for index, line in enumerate(lines):
        if line.startswith("Value:"):
            before = line.removeprefix("Value:").strip()
            lines[index] = f"Value: {change(before)}"
            return record if change(before) == before else "\n".join(lines)
    value = change("")
    if value:
        after = next(
            (i for i, line in enumerate(lines) if line.startswith("Template:")), 0
        )
        lines.insert(after + 1, f"Value: {value}")
    return "\n".join(lines)
