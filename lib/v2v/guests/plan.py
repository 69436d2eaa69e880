# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be done to a guest, before any of it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from v2v.document import Change
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance

_SHOWN = 2000  # characters of a change that the document keeps


@dataclass(frozen=True, kw_only=True)
class Action:
    """One change, as people see it and as it is done.

    ``space`` is what it needs, in bytes, on the file system of the change's path.
    ``also`` are other paths that it makes; ``tree``: it makes files under its path.
    """

    change: Change
    apply: Callable[[Appliance], None]
    space: int = 0
    also: tuple[str, ...] = ()
    tree: bool = False


def edit(path: str, before: str, after: str, reason: str) -> Iterator[Action]:
    """Yield the action that makes *before*, the text at *path*, into *after*.

    It raises GuestError, when it is done, if the text is neither of them any more.
    """
    if before == after:
        return
    old, new = _differing(before.splitlines(), after.splitlines())
    change = Change(
        path=path, kind="edit", reason=reason, before=_shown(old), after=_shown(new)
    )

    def apply(appliance: Appliance) -> None:
        now = appliance.read(path)
        if now == after:
            # By another name: Debian's modules-load.d/modules.conf leads to modules.
            return
        if now != before:
            raise GuestError(
                f"{path} in the guest is changed for two reasons; one would be lost",
                "this is a bug of v2v; please report it, with the file",
            )
        appliance.write(path, after)

    yield Action(change=change, apply=apply, space=len(after))


def _differing(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """Return the lines that differ, of each.

    Edits replace lines, or add some in one place; difflib would take minutes for a
    file that was made to be hard.
    """
    if len(before) == len(after):
        pairs = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
        return [b for b, _ in pairs], [a for _, a in pairs]
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    shorter = min(len(before), len(after)) - start
    while end < shorter and before[-1 - end] == after[-1 - end]:
        end += 1
    return before[start : len(before) - end], after[start : len(after) - end]


def create(path: str, text: str, reason: str, mode: int = 0o644) -> Action:
    """Return the action that makes the file *path* with *text*, folders included.

    It raises GuestError, when it is done, if something else is there.
    """

    def apply(appliance: Appliance) -> None:
        appliance.g.mkdir_p(path.rpartition("/")[0] or "/")
        is_file = appliance.g.is_file(path, followsymlinks=True)
        if not is_file and appliance.g.exists(path):
            # Into a FIFO we would write for ever.
            raise GuestError(
                f"{path} in the guest is no file, and one must be made there",
                "remove it on the source",
            )
        appliance.write(path, text, mode)

    change = Change(path=path, kind="create", reason=reason, after=_shown([text]))
    return Action(change=change, apply=apply, space=len(text))


def link(path: str, target: str, reason: str) -> Action:
    """Return the action that makes *path* a symbolic link to *target*."""
    change = Change(path=path, kind="link", reason=reason, after=target)

    def apply(appliance: Appliance) -> None:
        appliance.g.mkdir_p(path.rpartition("/")[0] or "/")
        appliance.g.ln_sf(target, path)

    return Action(change=change, apply=apply, space=4096)


def remove(path: str, reason: str) -> Action:
    """Return the action that removes the file or link *path*."""
    change = Change(path=path, kind="delete", reason=reason)
    return Action(change=change, apply=lambda a: a.g.rm_f(path))


def _shown(lines: list[str]) -> str:
    text = "\n".join(lines).encode("utf-8", "replace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
