# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of VMs, in files: --metadata FILE and --state DIR.

A file holds a stream (or one bare VM object) and is replaced atomically after every
VM.  The lock covers one read-merge-replace only; a VM that somebody works on carries
``busy`` meanwhile, and others leave that VM alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from v2v.document import VM, Busy, End
from v2v.errors import LockedError, TargetError, UsageError
from v2v.stream import Reader, Writer


@dataclass(frozen=True, kw_only=True)
class Store:
    """Documents in one file (``is_folder`` false), or one file for each in a folder."""

    path: Path
    is_folder: bool = False

    def file(self, vm_id: str) -> Path:
        """Return the file that holds the VM with *vm_id*."""
        return self.path / f"{vm_id}.json" if self.is_folder else self.path


def vms(store: Store) -> list[VM]:
    """Return all VMs of *store*.  Raises UsageError or StreamError."""
    if not store.is_folder:
        if not store.path.exists():
            raise UsageError(
                f"{store.path}: no such file", "make it with v2v-inspect … > FILE"
            )
        return _read(store.path)
    return [vm for file in sorted(store.path.glob("*.json")) for vm in _read(file)]


def find(store: Store, vm_id: str) -> VM | None:
    """Return what *store* knows of the VM with *vm_id*."""
    file = store.file(vm_id)
    known = _read(file) if file.exists() else []
    return next((vm for vm in known if vm.id == vm_id), None)


def save(store: Store, vm: VM) -> None:
    """Put *vm* in the place of the VM with its id, or behind all others."""
    with _locked(store):
        _replace(store, vm)


def claim(store: Store, vm: VM, stage: str, *, force: bool = False) -> VM:
    """Mark *vm* as being worked on by us; return it as *store* knows it now.

    Raises LockedError if somebody else works on it.
    """
    with _locked(store):
        known = find(store, vm.id) or vm
        if known.busy and not force and _is_alive(known.busy):
            busy = known.busy
            raise LockedError(
                f"{busy.stage} works on it since {busy.since} "
                f"(host {busy.host}, process {busy.pid})",
                "wait for it; if that process is surely gone, use --again",
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        busy = Busy(stage=stage, host=socket.gethostname(), pid=os.getpid(), since=now)
        _replace(store, known.having(busy=busy))
    return known.having(busy=None)


def _is_alive(busy: Busy) -> bool:
    """Whether the process may still be there; of another host nobody can tell."""
    if busy.host != socket.gethostname():
        return True
    if busy.pid == os.getpid():
        return False
    try:
        os.kill(busy.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(file: Path) -> list[VM]:
    """Return the VMs in *file*.  Raises UsageError if it is none, or StreamError."""
    try:
        with file.open("rb") as opened:
            return list(Reader(opened.fileno()).vms())
    except OSError as e:
        raise UsageError(
            f"{str(file)!r}: {e.strerror}", "name a file with documents"
        ) from e


def _replace(store: Store, vm: VM) -> None:
    file = store.file(vm.id)
    known = _read(file) if file.exists() else []
    merged = [vm if old.id == vm.id else old for old in known]
    if vm.id not in {old.id for old in known}:
        merged.append(vm)
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("w") as out:
            writer = Writer(out)
            for each in merged:
                writer.vm(each)
            failed = sum(each.error is not None for each in merged)
            writer.end(End(vms=len(merged), failed=failed))
            os.fsync(out.fileno())
        part.rename(file)
    except OSError as e:
        raise TargetError(
            f"{file}: {e.strerror}", "make room, or name another place"
        ) from e


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """Hold the lock of *store*.  It is a file of its own, since FILE is replaced."""
    folder = store.path if store.is_folder else store.path.parent
    name = ".lock" if store.is_folder else f".{store.path.name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise TargetError(
            f"{folder}: {e.strerror}", "name a folder that can be written"
        ) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
