# SPDX-License-Identifier: GPL-2.0-or-later
"""How what is at a URL is reached: a module for each family of schemes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from v2v.views.means import Means
from v2v.views.transports.found import Found
from v2v.views.urls import Url

_MODULES = {"http": "web", "https": "web", "ssh": "ssh", "s3": "s3"}


class Transport(Protocol):
    """What every module of this package that reaches files offers."""

    def look(self, url: Url, means: Means) -> Found | None:
        """Return what is at *url*; None if nothing is.

        Raises SourceError if it cannot be said, or must not be read.
        """
        ...

    def server(self, found: Found, means: Means) -> list[str]:
        """Return the argv of an NBD server of *found*, without a secret in it."""
        ...

    def walls(self, means: Means) -> list[str]:
        """Return the argv that shuts such a server in."""
        ...

    def pieces(self, found: Found, means: Means, start: int) -> Iterator[bytes]:
        """Yield what *found* holds from byte *start* on, at most 1 MiB at once.

        Raises transports.BrokenOffError if it ends too early, SourceError if there is
        no more to be had.
        """
        ...


def of(url: Url) -> Transport:
    """Return the transport for *url*."""
    return cast(Transport, import_module(f"{__name__}.{_MODULES[url.scheme]}"))
