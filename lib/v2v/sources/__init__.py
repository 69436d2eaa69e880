# SPDX-License-Identifier: GPL-2.0-or-later
"""Where VMs come from: one module for each kind of source.

A module reads a description and nothing else: it opens disk images only to read
their headers, and changes nothing.
"""

from __future__ import annotations

import os
import pkgutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast
from uuid import uuid4

from v2v import paths
from v2v.document import VM, Format
from v2v.errors import SourceError, UsageError


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked of a source.

    ``format`` is the format that the user vouches for (plain disk images only);
    ``allow`` are folders that may be read besides the source's own; ``digests_now``:
    all that a manifest lists is compared now, and no disk when it is copied.
    """

    location: str
    format: Format | None = None
    allow: tuple[Path, ...] = ()
    name: str | None = None
    verify_manifest: bool = True
    trust: str = ""
    option: str = ""
    digests_now: bool = False


class Source(Protocol):
    """What every module of this package offers."""

    def claims(self, location: str) -> bool:
        """Whether *location*, no folder, is of this kind; reads its start at most."""
        ...

    def read(self, request: Request) -> Iterator[VM]:
        """Yield the VMs that the source describes.

        A disk whose file is missing is described, with a finding (sources.disks).
        Raises SourceError if there is no description to be had, or a hostile one.
        """
        ...


# Asked in this order: a plain disk claims every file that no other wanted.
_ORDER = (
    *("nbd", "vmx", "xva", "vma", "ovf", "vbox", "parallels", "hyperv"),
    *("libvirtxml", "proxmox", "xl", "disk"),
)

_DESCRIPTIONS = (".vmx", ".vmtx", ".ovf", ".ova", ".vbox", ".pvs", ".xva", ".vma")
# Of a description that people write; targets take it as it is.
_MAX_TEXT = 2**16
# Those of them that are one file, and so may be packed.
_ARCHIVES = (".ova", ".xva", ".vma")
# These may hold anything.
_FOLDERS = (".zip", ".tar")
# Modules of this package that are no source: what several of them share.
_HELPERS = {"bare", "descriptions", "disks", "images", "macs", "placing"}


def names() -> list[str]:
    """Return the kinds of source there are."""
    found = {module.name for module in pkgutil.iter_modules(__path__)} - _HELPERS
    return sorted(found, key=lambda name: (_ORDER.index(name), name))


def load(name: str) -> Source:
    """Return the source called *name*."""
    return cast(Source, import_module(f"{__name__}.{name}"))


def detect(location: str) -> str:
    """Return the kind of source that *location* is.

    Raises SourceError if it is none, or does not exist.
    """
    location = resolve(location)
    for name in names():
        if load(name).claims(location):
            return name
    raise SourceError(
        f"{location} is no source that is known: {', '.join(names())}",
        "name the description (.vmx, .ovf, .ova, .xml) or a disk image",
    )


def read(request: Request, kind: str = "") -> Iterator[VM]:
    """Yield the VMs of *request*, which is of *kind* if that is not plain.

    Raises UsageError for a kind that there is not, and SourceError as the source does.
    """
    if kind and kind not in names():
        raise UsageError(f"{kind} is no kind of source", f"one of {', '.join(names())}")
    from v2v.sources.disk import mistaken

    request = replace(request, location=resolve(request.location))
    if request.format is None and "://" not in request.location:
        mistaken.check(Path(request.location))
    kind = kind or detect(request.location)
    if kind != "ovf" and (request.trust or request.option):
        given = "--verify-certificate" if request.trust else "--deployment-option"
        raise SourceError(
            f"{request.location} is no OVF, and only OVFs have what {given} is for",
            f"describe it without {given}",
        )
    for vm in load(kind).read(request):
        text = vm.description or ""
        yield vm if len(text) <= _MAX_TEXT else vm.having(description=text[:_MAX_TEXT])


def resolve(location: str) -> str:
    """Return the source that *location* means: of a folder, the one VM in it.

    Descriptions go before disks, and of a disk in pieces it is the first.  Raises
    SourceError if *location* does not exist, or is a folder with no VM or several.
    """
    from v2v.sources.disk import split

    try:
        # A document is UTF-8, and names the source.
        location.encode()
        if "://" in location:
            return location
        mode = Path(location).stat().st_mode
        if stat.S_ISREG(mode):
            return os.fspath(split.first(Path(location)))
        if stat.S_ISBLK(mode):
            return location
        if not stat.S_ISDIR(mode):
            raise SourceError(
                f"{location} is {paths.WAITING}", "name a file, or a folder with one"
            )
        files = [f for f in Path(location).iterdir() if not f.name.startswith(".")]
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "a name that is not UTF-8"
        raise SourceError(f"{location!r:.300}: {reason}", "check the path") from e
    return _one(location, files)


def _one(location: str, files: list[Path]) -> str:
    """Return the one VM in the folder *location*, which holds *files*.

    Raises SourceError as resolve does.
    """
    from v2v.sources.disk import mistaken

    for found in _wanted(sorted(files)):
        if len(found) > 1:
            shown = ", ".join(file.name for file in found[:10])
            raise SourceError(f"{location} holds several VMs: {shown}", "name one")
        if found:
            return str(found[0])
    raise mistaken.folder(location, files) or SourceError(
        f"{location} holds no VM: no .vmx, .ovf, .ova, libvirt XML or disk image",
        "name the description or the disk image itself",
    )


def _wanted(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield which of *files* can be meant: descriptions, libvirt's, disk images.

    What is packed comes behind what is not.
    """
    from v2v.sources import disk, hyperv, libvirtxml, parallels, proxmox, xl
    from v2v.sources.disk import split, vmdkpart
    from v2v.sources.xva import folder as xvafolder
    from v2v.views import packings

    files = list(files)
    exports = [f for f in files if f.name.lower() == hyperv.MACHINES and f.is_dir()]
    files = [file for file in files if file.is_file()]
    yield [f for f in files if f.suffix.lower() in _DESCRIPTIONS]
    # VirtualBox's previous copy, where the newest is gone.
    yield [f for f in files if f.suffix.lower() == ".vbox-prev"]
    yield [f for f in files if parallels.claims(str(f))]
    inside = [f for folder in exports for f in sorted(folder.iterdir())]
    yield [f for f in (*files, *inside) if hyperv.claims(str(f))]
    yield [f for f in files if xvafolder.claims(f)]
    yield [f for f in files if libvirtxml.is_domain(f)]
    yield [f for f in files if proxmox.claims(str(f)) or xl.claims(str(f))]
    packed = [f for f in files if packings.inner(f) != f.name]
    yield [f for f in packed if _inner(f) in _ARCHIVES]
    images = (*disk.SUFFIXES, *disk.RAW_SUFFIXES)
    whole = [f for f in files if not vmdkpart.matches(packings.inner(f))]
    found = [f for f in whole if f.suffix.lower() in images]
    yield [*found, *split.firsts(files)]
    yield [f for f in packed if f in whole and _inner(f) in images]
    yield [f for f in files if vmdkpart.is_flat(f.name)]
    yield [f for f in files if _inner(f) in _FOLDERS]


def _inner(file: Path) -> str:
    """Return how the name of what is packed in *file* ends."""
    from v2v.views import packings

    return Path(packings.inner(file)).suffix.lower()


def new_id() -> str:
    """Return an id that no other document has."""
    return str(uuid4())
