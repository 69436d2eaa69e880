# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hostile source is, and what must come of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB, GIB, TIB = 2**20, 2**30, 2**40


@dataclass(frozen=True, kw_only=True)
class Forbidden:
    """What nobody may touch: the file ``path``, and the port of this host."""

    path: Path
    port: int


# Writes the source into the folder, and returns what the user would name.
Make = Callable[[Path, Forbidden], Path]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A hostile source, and the answer to it.

    ``refused``: what its one error says, a pattern.  Else it may be described, and
    ``found`` is what a finding or an error says.  ``options`` are of v2v-inspect.
    """

    make: Make
    refused: str = ""
    found: str = ""
    options: tuple[str, ...] = ()


Cases = Mapping[str, Case]


# Text, or what makes it when it is needed: some are large.
Content = str | Callable[[], str]


def text(name: str, content: Content) -> Make:
    """Return what writes *content* to the file *name*."""

    def make(folder: Path, forbidden: Forbidden) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = (content if isinstance(content, str) else content()).encode()
        secret = str(forbidden.path).encode()
        plain = plain.replace(b"@SECRET@", secret)
        path.write_bytes(plain.replace(b"@PORT@", str(forbidden.port).encode()))
        return path

    return make


def listening() -> socket.socket:
    """Return a socket to which nobody may connect."""
    found = socket.create_server(("127.0.0.1", 0))
    found.setblocking(False)
    return found
