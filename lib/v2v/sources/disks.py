# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the file of a disk that a description names.

Descriptions carry paths of other machines: backslashes, drive letters, datastores.
What the user mapped (v2v.maps) is taken from there.  A relative name lies beside the
description.  An absolute one is used if it may be read (v2v.paths); else the same base
name beside the description is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from v2v import maps, paths, views
from v2v.document import Finding
from v2v.errors import SourceError

_ABSOLUTE = re.compile(r"^(/|[A-Za-z]:/|\[[^\]]*\] ?)")


def find(name: str, folder: Path, allow: Sequence[Path]) -> Path:
    """Return the file that *name*, found in a description in *folder*, means.

    Raises SourceError if there is none, or it is outside *folder* and *allow*.
    """
    roots = tuple(place.resolve() for place in (folder, *allow))
    if mapped := maps.find(name):
        return paths.checked(mapped, roots)
    plain = name.replace("\\", "/")
    if not _ABSOLUTE.match(plain):
        return paths.checked(beside(folder, plain), roots)
    if plain.startswith("/") and there(Path(plain)):
        try:
            return paths.checked(plain, roots)
        except SourceError:
            if not there(beside(folder, base(name))):
                raise
    return paths.checked(beside(folder, base(name)), roots)


def base(name: str) -> str:
    """Return the last part of *name*, a path of whatever system."""
    return PurePosixPath(_ABSOLUTE.sub("", name.replace("\\", "/"))).name


def exists(name: str, folder: Path) -> bool:
    """Whether *name* means a file of this host, be it allowed or not."""
    plain = name.replace("\\", "/")
    if (mapped := maps.find(name)) and there(mapped):
        return True
    # As find() does: beside the description only what was elsewhere is looked for.
    moved = bool(_ABSOLUTE.match(plain)) and there(folder / Path(plain).name)
    return there(folder / plain) or moved


def beside(folder: Path, name: str) -> Path:
    """Return *name* in *folder*; in another case if just one such file is there."""
    exact = folder / name
    if there(exact):
        return exact
    try:
        files = list(exact.parent.iterdir())
    except (OSError, ValueError):
        return exact
    same = [f for f in files if f.name.lower() == exact.name.lower()]
    return same[0] if len(same) == 1 else exact


def there(path: Path) -> bool:
    """Whether *path* exists, or could be made to: as the view of another file.

    Path.exists() raises where a folder may not be searched or a name is too long.
    """
    try:
        return path.exists() or views.bring(path)
    except (OSError, ValueError):
        return False


def missing(disk: str, name: str, error: SourceError) -> Finding:
    """Return the finding that *disk* cannot be had; *name* is the description's."""
    remedy = error.remedy
    if _ABSOLUTE.match(name.replace("\\", "/")) and not maps.find(name):
        remedy += "; or say where its folder is here: --map FROM=TO"
    return Finding(
        code="disk-missing",
        severity="block",
        message=f"{disk}: the file {name:.300} cannot be opened: {error.message:.600}",
        remedy=remedy,
        disk=disk,
    )
