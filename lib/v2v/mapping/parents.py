# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the parents of a disk that holds only differences, by what its header says.

Names in headers are of other hosts, and must not be trusted: a parent is looked for
beside its child, goes through the check of what may be read, and must be the very
one that the child was made on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from v2v import maps, paths, views
from v2v.document import File, Format
from v2v.errors import SourceError
from v2v.formats import Checked

_DEEPEST = 256
# Where Hyper-V keeps the disks, seen from the folder of the checkpoints.
_FOLDERS = (".", "..", "../Virtual Hard Disks")


def chain(
    path: Path, format: Format, parent: Callable[[Path], Path | None]
) -> tuple[File, ...]:
    """Return the parents of *path*, nearest first, as *parent* finds each.

    Raises SourceError if the chain runs in a circle, or has no end.
    """
    found: list[File] = []
    seen = {path}
    while above := parent(path):
        if above in seen or len(found) >= _DEEPEST:
            raise SourceError(
                f"{path}: the chain of its parents runs in a circle, or has no end",
                "merge the snapshots or checkpoints on the source, then copy again",
            )
        seen.add(above)
        found.append(File(path=os.fspath(above), format=format))
        path = above
    return tuple(found)


def beside(path: Path, names: Iterable[str], checked: Checked) -> Path:
    """Return the parent of *path* that one of *names* (of Windows) means.

    Raises SourceError if there is none, or it must not be opened.
    """
    names = [name.replace("\\", "/") for name in names if name and "\0" not in name]
    for name in names:
        mapped = maps.find(name)
        if mapped and _is_other(mapped, path):
            return checked(mapped)
        base = name.rpartition("/")[2]
        views.beside(path, base)
        near = [path.parent / folder / base for folder in _FOLDERS]
        # ./base.vhdx or ../disks/base.vhdx; not C:/disks/base.vhdx
        if name.startswith("."):
            near.insert(0, path.parent / name)
        for file in near:
            if _is_other(file, path):
                return checked(file)
    shown = names[0] if names else "a parent"
    raise SourceError(
        f"{path} holds only the differences to {shown}, which is not beside it",
        "put the parent into the same folder, or say where it is: --map FROM=TO; or "
        "merge the checkpoints or snapshots on the source",
    )


def _is_other(file: Path, child: Path) -> bool:
    """Whether *file* is there, and is not *child* itself."""
    return paths.is_file(file) and not (child.exists() and file.samefile(child))


def changed(path: Path, parent: Path) -> SourceError:
    """Return the error for a *parent* that is not the one that *path* was made on."""
    return SourceError(
        f"{path} was not made on {parent} as that is now: their identifiers differ",
        "find the parent that belongs to it, or merge them on the source",
    )
