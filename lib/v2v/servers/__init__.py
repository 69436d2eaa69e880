# SPDX-License-Identifier: GPL-2.0-or-later
"""How the bytes of a layer are reached: one module for each kind of address.

A module turns an address into a node of qemu's block graph.  One graph serves every
use: given to qemu-nbd it makes an endpoint, to qemu-img a copy without a socket in
between.  Every node names its driver, so that nothing is ever probed, and the last
one of a chain says that there is no backing file, so that no image header is obeyed.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any, Protocol, cast

from v2v.document import Layer

Node = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Where this host's secrets for TLS are: never in a document.

    ``psk`` is a file of user:key lines, ``folder`` has ca-cert.pem and the others as
    qemu names them; ``verify_peer`` whether the server's certificate is checked.
    """

    psk: Path | None = None
    folder: Path | None = None
    verify_peer: bool = True


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a stage may open, and with what it proves itself to a remote endpoint.

    ``checked`` returns a path resolved, or raises SourceError if it must not be
    opened; ``private`` is a folder of this process.
    """

    checked: Callable[[str | Path], Path]
    private: Callable[[], Path]
    keys: Keys = field(default_factory=Keys)


@dataclass(kw_only=True)
class Graph:
    """A node, and the objects (TLS credentials) that qemu needs besides."""

    node: Node
    objects: list[str] = field(default_factory=list)
    # Whether reading it crosses a network or another process.
    remote: bool = False


class Server(Protocol):
    """What every module of this package offers."""

    def graph(self, address: Layer, access: Access, *, write: bool) -> Graph:
        """Return the node that reads (and writes) *address*.

        Raises SourceError if it names something that must not be opened.
        """
        ...


class Verify(Protocol):
    """What a module offers as ``verify``, if what it reads carries checksums."""

    def __call__(self, address: Layer, access: Access, given_up: Event, /) -> None:
        """Compare the data of *address* with the checksums beside them.

        Ends early once *given_up* is set.  Raises SourceError for the first part that
        differs.
        """
        ...


def names() -> list[str]:
    """Return the kinds of address there are."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def load(name: str) -> Server:
    """Return the module called *name*."""
    return cast(Server, import_module(f"{__name__}.{name}"))


def verifier(name: str) -> Verify | None:
    """Return how the module called *name* verifies; None if there are no checksums."""
    return cast("Verify | None", getattr(load(name), "verify", None))
