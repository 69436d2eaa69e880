# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of the guest: found whatever the case of their names, read, and put there.

NTFS, as the appliance mounts it, tells names in capitals from others; Windows does not.
So every path is looked up component by component.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from v2v.document import Change
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action

_PIECE = 2**20  # bytes; a message to the appliance is 4 MiB at most
_MAX_PARTS = 8
_NEW = ".v2v-new"


def child(appliance: Appliance, folder: str, name: str) -> str | None:
    """Return the path of *name*, in any case, in *folder*; None if it is not there."""
    names = appliance.names(folder or "/")
    if name in names:
        return f"{folder}/{name}"
    wanted = name.lower()
    return next((f"{folder}/{own}" for own in names if own.lower() == wanted), None)


def below(appliance: Appliance, folder: str, path: str) -> str | None:
    """Return where *path*, with backslashes, is in *folder*, in any case.

    None if it is not there, or leads over a link.
    """
    parts = [part for part in path.split("\\") if part]
    if len(parts) > _MAX_PARTS or {".", ".."} & set(parts):
        return None
    here: str | None = folder.rstrip("/")
    for part in parts:
        if here is None or (here and not appliance.g.is_dir(here)):
            return None
        here = child(appliance, here, part)
    return here


def spelled(
    appliance: Appliance, folder: str, relative: str, known: dict[str, str]
) -> str:
    """Return the path of *relative*, of slashes or backslashes, in *folder*.

    What does not exist keeps the spelling given.  ``known`` are paths that were found
    before, by their lower-case form.
    """
    path = folder.rstrip("/")
    for name in relative.replace("\\", "/").split("/"):
        if not name:
            continue
        wanted = f"{path}/{name}"
        found = known.get(wanted.lower())
        if found is None:
            found = _looked_up(appliance, wanted)
            if appliance.g.exists(found):
                known[wanted.lower()] = found
        path = found
    return path


def _looked_up(appliance: Appliance, path: str) -> str:
    if appliance.g.exists(path):
        return path
    try:
        return appliance.g.case_sensitive_path(path)
    except RuntimeError:
        return path  # its folder is not there either


def read(appliance: Appliance, path: str) -> bytes:
    """Return the content of the file *path*, whatever its size."""
    size = appliance.g.filesize(path)
    pieces = (appliance.g.pread(path, _PIECE, at) for at in range(0, size, _PIECE))
    return b"".join(map(bytes, pieces))


def written(
    appliance: Appliance, path: str, content: bytes, reason: str, *, links: bool = True
) -> Iterator[Action]:
    """Yield what makes the file *path* have *content*, unless it has it already.

    With *links* it may be one to a file.  Raises GuestError if something else is there.
    """
    g = appliance.g
    is_file = g.is_file(path, followsymlinks=links)
    if not is_file and (g.exists(path) or (not links and g.is_symlink(path))):
        raise GuestError(
            f"{path} in the guest is no file, and one must be made there",
            "remove it on the source",
        )
    if is_file and _is(appliance, path, content):
        return
    change = Change(
        path=path,
        kind="edit" if is_file else "create",
        reason=reason,
        before=f"{g.filesize(path)} bytes" if is_file else None,
        after=f"{len(content)} bytes",
    )
    yield Action(change=change, apply=_put(path, content), space=len(content))


def _is(appliance: Appliance, path: str, content: bytes) -> bool:
    return appliance.g.filesize(path) == len(content) and all(
        appliance.g.pread(path, _PIECE, at) == content[at : at + _PIECE]
        for at in range(0, len(content), _PIECE)
    )


def _put(path: str, content: bytes) -> Callable[[Appliance], None]:
    def apply(appliance: Appliance) -> None:
        g = appliance.g
        g.mkdir_p(path.rpartition("/")[0])
        # Never over what is there: it may be a hard link, as Windows makes them of
        # drivers, whose other name is in the driver store.
        g.rm_f(path + _NEW)
        with tempfile.NamedTemporaryFile(prefix="v2v-") as file:
            Path(file.name).write_bytes(content)
            g.upload(file.name, path + _NEW)
        g.mv(path + _NEW, path)

    return apply
