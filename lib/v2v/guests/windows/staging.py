# SPDX-License-Identifier: GPL-2.0-or-later
"""Driver packages' files where Windows keeps them: the driver store, the INF folder.

A record in the DriverDatabase without them is half of one: pnputil, and an upgrade,
read the INF of each package that is published (facts 2.4, 2.6).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from v2v.document import Change
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.windows.packages import Package

_STORE = r"System32\DriverStore\FileRepository"
_REASON = "Windows keeps the files of a driver package there"
_PIECE = 2**20  # bytes; a message to the appliance is 4 MiB at most


def staged(
    appliance: Appliance,
    path: Callable[[str], str],
    package: Package,
    published: str,
    files: Mapping[str, bytes],
) -> Iterator[Action]:
    """Yield what puts *files* of *package*, by their names, into the driver store.

    *path* finds what is in the system's folder.  What is there already, with the same
    content, needs nothing.
    """
    wanted = {
        rf"{_STORE}\{package.label}\{name.lower()}": content
        for name, content in sorted(files.items())
    }
    wanted[rf"INF\{published}"] = package.content
    for relative, content in wanted.items():
        yield from written(appliance, path(relative), content, _REASON)


def is_published(appliance: Appliance, path: Callable[[str], str], name: str) -> bool:
    """Whether the INF folder has a file *name*."""
    return appliance.g.exists(path(rf"INF\{name}"))


def written(
    appliance: Appliance, path: str, content: bytes, reason: str
) -> Iterator[Action]:
    """Yield what makes the file *path* have *content*, unless it has it already.

    Raises GuestError if something else is there.
    """
    g = appliance.g
    is_file = g.is_file(path, followsymlinks=True)
    if not is_file and g.exists(path):
        raise GuestError(
            f"{path} in the guest is no file, and one must be made there",
            "remove it on the source",
        )
    if is_file and g.filesize(path) == len(content) and _is(appliance, path, content):
        return
    change = Change(
        path=path, kind="create", reason=reason, after=f"{len(content)} bytes"
    )
    yield Action(change=change, apply=_put(path, content), space=len(content))


def read(appliance: Appliance, path: str) -> bytes:
    """Return the content of the file *path*, whatever its size."""
    size = appliance.g.filesize(path)
    return b"".join(
        appliance.g.pread(path, _PIECE, at) for at in range(0, size, _PIECE)
    )


def _is(appliance: Appliance, path: str, content: bytes) -> bool:
    return all(
        appliance.g.pread(path, _PIECE, at) == content[at : at + _PIECE]
        for at in range(0, len(content), _PIECE)
    )


def _put(path: str, content: bytes) -> Callable[[Appliance], None]:
    def apply(appliance: Appliance) -> None:
        appliance.g.mkdir_p(path.rpartition("/")[0])
        with tempfile.NamedTemporaryFile(prefix="v2v-") as file:
            Path(file.name).write_bytes(content)
            appliance.g.upload(file.name, path)

    return apply
