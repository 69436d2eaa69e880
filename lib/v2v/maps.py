# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the folders of another host are on this one, as the user says (``--map``).

Descriptions, and images that name their parents, have paths of the host that they
were made on: ``C:\\VMs``, ``\\\\server\\share``, ``[datastore1]``, ``/vmfs/volumes/x``,
``local:`` of Proxmox.  What the user mapped holds for every source of the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from v2v import paths
from v2v.document import VM
from v2v.errors import UsageError

# Windows' way around its own rules for paths: \\?\C:\x, \\?\UNC\server\share.
_VERBATIM = re.compile(r"^//[?.]/(UNC/)?", re.IGNORECASE)
_DATASTORE = re.compile(r"^(\[[^\]]*\]) *")
_LONGEST = 4096


@dataclass(frozen=True, kw_only=True)
class Map:
    """A folder or file as another host calls it, and where it is here."""

    said: str
    place: Path


@dataclass
class Known:
    """What the user mapped, for the whole process; the longest path decides."""

    maps: list[Map] = field(default_factory=list)


known = Known()


def use(words: Iterable[str]) -> tuple[Path, ...]:
    """Let the maps *words*, FROM=TO each, hold from now on; return where they lead.

    Raises UsageError for one that is none, or leads to nothing.
    """
    known.maps = sorted(map(_parsed, words), key=lambda m: len(m.said), reverse=True)
    return tuple(found.place for found in known.maps)


def _parsed(word: str) -> Map:
    said, equals, place = word.partition("=")
    if not (said.strip() and equals and place):
        raise UsageError(
            f"--map {word!r:.300} is no FROM=TO", r"write --map 'C:\Disks=/mnt/disks'"
        )
    found = Path(place).absolute()
    if not found.exists():
        raise UsageError(f"--map {word!r:.300}: there is no {str(found)!r}", "mount it")
    return Map(said=_plain(said), place=found)


def _plain(name: str) -> str:
    """Return *name* with slashes, without what only Windows or VMware put before."""
    name = name.strip().replace("\\", "/")
    name = _VERBATIM.sub(lambda match: "//" if match[1] else "", name)
    name = _DATASTORE.sub(r"\1/", name)
    unc = "/" if name.startswith("//") else ""
    return unc + re.sub("/+", "/", name).rstrip("/")


def find(name: str) -> Path | None:
    """Return where the user says that *name* is, be there a file or not.

    None if *name* is in nothing that was mapped, or leads out of that again.
    """
    if not known.maps or len(name) > _LONGEST or "\0" in name:
        return None
    plain = _plain(name)
    for found in known.maps:
        rest = _rest(plain, found.said)
        if rest is not None:
            return _walked(found.place, rest)
    return None


def _rest(name: str, said: str) -> list[str] | None:
    """Return the parts of *name* below *said*; None if it is not there."""
    if name[: len(said)].lower() != said.lower():
        return None
    rest = name[len(said) :]
    if rest and not (rest.startswith("/") or said.endswith((":", "/"))):
        return None  # C:/VMs2 is not in C:/VMs
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    return None if ".." in parts else parts


def _walked(place: Path, parts: list[str]) -> Path:
    """Return *parts* below *place*; in another case where just one is called so."""
    for part in parts:
        place = _child(place, part)
    return place


def _child(folder: Path, name: str) -> Path:
    exact = folder / name
    try:
        if exact.exists():
            return exact
        same = [f for f in folder.iterdir() if f.name.lower() == name.lower()]
    except (OSError, ValueError):
        return exact
    return same[0] if len(same) == 1 else exact


def granted(vm: VM) -> VM:
    """Return *vm* with the grant to open what was mapped, if a file of it is there."""
    layers = [disk.source for disk in vm.disks if disk.source]
    names = [layer.path for layer in layers if layer.path]
    names += [file.path for layer in layers for file in layer.backing]
    for found in known.maps:
        place = found.place.resolve()
        if any(Path(name).is_relative_to(place) for name in names):
            vm = paths.granted(vm, place)
    return vm
