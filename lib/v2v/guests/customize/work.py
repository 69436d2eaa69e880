# SPDX-License-Identifier: GPL-2.0-or-later
"""What one option comes to, and how its value is taken apart."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2v.document import Change, Guest
from v2v.errors import GuestError, UsageError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux.firstboot import Step
from v2v.guests.plan import Action

Kind = Literal["edit", "create", "delete", "link", "run"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for all options: the hash for passwords, if one was named."""

    crypto: str | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """The guest that is worked on, and the folder of this host for its secrets.

    ``appliance`` is for asking what is there before anything is done.
    """

    appliance: Appliance
    guest: Guest
    folder: Path | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one option comes to: actions now, and steps for the first boot.

    ``warning`` is what the user should know of it.
    """

    actions: Callable[[Place], Iterable[Action]] = lambda place: ()
    steps: tuple[Step, ...] = ()
    warning: str | None = None


# From an option's value; raises UsageError if it makes no sense.
Parser = Callable[[str, Settings], Work]
Parsers = Mapping[str, Parser]


def now(*actions: Action) -> Work:
    """Return the work of *actions*, the same in every guest."""
    return Work(actions=lambda place: actions)


def action(
    option: str,
    path: str,
    kind: Kind,
    apply: Callable[[Appliance], None],
    *,
    after: str | None = None,
    space: int = 4096,
    also: tuple[str, ...] = (),
    tree: bool = False,
) -> Action:
    """Return the action of --*option* on *path*, by *apply*.

    Its errors name the option; ``after`` is what people may see: no secrets.
    """

    def guarded(appliance: Appliance) -> None:
        try:
            apply(appliance)
        except RuntimeError as e:
            lines = str(e).strip().splitlines() or [type(e).__name__]
            raise GuestError(
                f"--{option} {path}: {printable(lines[0])}",
                "see what is there in the guest, and the order of the options",
            ) from e
        # What was made of files before may not hold any more.
        appliance.known.pop(path, None)
        if tree or kind == "run":
            appliance.known.clear()

    change = Change(path=path, kind=kind, reason=f"asked for by --{option}")
    if after is not None:
        change = change.having(after=printable(after, 2000))
    return Action(change=change, apply=guarded, space=space, also=also, tree=tree)


def edited(option: str, path: str, edit: Callable[[str], str], *, after: str) -> Action:
    """Return the action that makes the text at *path* what *edit* makes of it."""

    def apply(appliance: Appliance) -> None:
        text = appliance.read(path)
        if text is None:
            raise GuestError(
                f"--{option} {path}: there is no such file in the guest",
                "see how it is called there",
            )
        new = edit(text)
        if new != text:
            appliance.write(path, new)

    return action(option, path, "edit", apply, after=after)


def split(option: str, value: str, form: str) -> list[str]:
    """Return the parts of *value* that *form* (A:B or A:B:C) names.

    The last may have more colons.  Raises UsageError if there are too few.
    """
    count = form.count(":")
    parts = value.split(":", count)
    if len(parts) <= count or not all(parts[:-1]):
        raise UsageError(
            f"--{option} {value}: not of the form {form}", "see v2v-fixup(1)"
        )
    return parts


def guest_path(option: str, path: str, *, root: bool = False) -> str:
    """Return *path* if it can be one of the guest's, without "." and "..".

    Raises UsageError; of "/" as well, unless *root* may be meant.
    """
    plain = posixpath.normpath(path)
    if not path.startswith("/") or not (plain.strip("/") or root) or "\0" in path:
        raise UsageError(
            f"--{option} {path}: a path in the guest is wanted", "it begins with /"
        )
    return f"/{plain.lstrip('/')}"


def host_file(option: str, name: str) -> Path:
    """Return the file called *name* of this host.  Raises UsageError."""
    path = Path(name).expanduser()
    try:
        with path.open("rb"):
            return path.absolute()
    except OSError as e:
        raise UsageError(
            f"--{option} {name}: {e.strerror}", "a file of this host is wanted"
        ) from e


def host_text(option: str, name: str, most: int = 2**20) -> str:
    """Return the text of a file of this host; other bytes as surrogates."""
    path = host_file(option, name)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UsageError(f"--{option} {name}: it is too large", f"at most {most} bytes")
    return data.decode("utf-8", "surrogateescape")
