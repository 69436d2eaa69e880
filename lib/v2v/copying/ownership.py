# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose an output file is: a note beside it, in the folder .v2v.

A file that we made for this VM, and that nobody has changed since, may be made again:
that is how the same command resumes.  Any other file under the wanted name is
somebody's disk, perhaps of a VM that runs, and is never replaced unasked.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from v2v.errors import LockedError, TargetError

FOLDER = ".v2v"


@contextmanager
def claimed(path: Path, vm_id: str, *, force: bool) -> Iterator[None]:
    """Hold the name *path* for VM *vm_id*; on leaving well, note that it is whole.

    Raises TargetError if the file there is not this VM's or was changed since,
    LockedError if another process makes it now.
    """
    try:
        note = _note(path)
        note.parent.mkdir(exist_ok=True)
        fd = os.open(note, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise TargetError(
            f"{path.parent}: {e.strerror}", "name a folder that can be written with -o"
        ) from e
    try:
        _lock(fd, path)
        if not force:
            _check(path, vm_id, os.pread(fd, 4096, 0))
        yield
        _write(fd, {"id": vm_id, **_facts(path)})
    finally:
        os.close(fd)


def noted(path: Path, vm_id: str) -> None:
    """Note that *path* as it is now is this VM's: after we changed it ourselves."""
    note = _note(path)
    if note.exists():
        fd = os.open(note, os.O_RDWR | os.O_CLOEXEC)
        try:
            _write(fd, {"id": vm_id, **_facts(path)})
        finally:
            os.close(fd)


def _note(path: Path) -> Path:
    return path.parent / FOLDER / f"{path.name}.made"


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise LockedError(
            f"{path} is being written by another process",
            "wait for it, or give this VM another name with --name",
        ) from e


def _check(path: Path, vm_id: str, data: bytes) -> None:
    if not path.exists():
        return
    known = _parsed(data)
    if known.get("id") != vm_id:
        raise TargetError(
            f"{path} exists already and is not of this VM",
            "give the VM another name with --name, another folder with -o, or "
            "replace the file with --force",
        )
    if _facts(path) != {key: known.get(key) for key in ("size", "mtime_ns")}:
        raise TargetError(
            f"{path} was changed since it was converted: its VM has run",
            "keep it and name another folder with -o, or replace it with --force",
        )


def _parsed(data: bytes) -> dict[str, Any]:
    """Return the note; one that was cut off says nothing of whose the file is."""
    try:
        known = json.loads(data)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _facts(path: Path) -> dict[str, Any]:
    facts = path.stat()
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _write(fd: int, note: dict[str, Any]) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(note).encode() + b"\n", 0)
    os.fsync(fd)
