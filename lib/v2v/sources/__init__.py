# SPDX-License-Identifier: GPL-2.0-or-later
"""Where VMs come from: one module for each kind of source.

A module reads a description and nothing else: it opens disk images only to read
their headers, and changes nothing.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast
from uuid import uuid4

from v2v.document import VM, Format
from v2v.errors import SourceError


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked of a source.

    ``format`` is the format that the user vouches for (plain disk images only);
    ``allow`` are folders that may be read besides the source's own.
    """

    location: str
    format: Format | None = None
    allow: tuple[Path, ...] = ()
    name: str | None = None
    verify_manifest: bool = True


class Source(Protocol):
    """What every module of this package offers."""

    def claims(self, location: str) -> bool:
        """Whether *location* is a source of this kind; reads its first bytes at most."""
        ...

    def read(self, request: Request) -> Iterator[VM]:
        """Yield the VMs that the source describes.

        A disk whose file is missing is described, with a finding; see v2v.sources.disks.
        Raises SourceError if there is no description to be had, or a hostile one.
        """
        ...


# Asked in this order: a plain disk claims every file that no other wanted.
_ORDER = ("nbd", "vmx", "ovf", "libvirtxml", "disk")


def names() -> list[str]:
    """Return the kinds of source there are."""
    helpers = {"disks", "macs"}
    found = {module.name for module in pkgutil.iter_modules(__path__)} - helpers
    return sorted(found, key=lambda name: (_ORDER.index(name), name))


def load(name: str) -> Source:
    """Return the source called *name*."""
    return cast(Source, import_module(f"{__name__}.{name}"))


def detect(location: str) -> str:
    """Return the kind of source that *location* is.

    Raises SourceError if it is none, or does not exist.
    """
    if "://" not in location and not Path(location).exists():
        raise SourceError(f"{location}: no such file or folder", "check the path")
    for name in names():
        if load(name).claims(location):
            return name
    raise SourceError(
        f"{location} is no source that is known: {', '.join(names())}",
        "name the description (.vmx, .ovf, .ova, .xml) or a disk image",
    )


def read(request: Request, kind: str = "") -> Iterator[VM]:
    """Yield the VMs of *request*, which is of *kind* if that is not plain."""
    yield from load(kind or detect(request.location)).read(request)


def new_id() -> str:
    """Return an id that no other document has."""
    return str(uuid4())
