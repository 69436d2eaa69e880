# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain files: the disks in a folder, and beside them the libvirt XML of the VM."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from v2v import kvm, names
from v2v.document import VM, Defined
from v2v.errors import TargetError
from v2v.targets import Wish
from v2v.targets import domain as domains
from v2v.targets import networks


def check(wish: Wish) -> None:
    """See targets.Target."""
    networks.rules(wish.networks)


def preflight(vm: VM, wish: Wish) -> None:
    """See targets.Target."""
    networks.check(vm, wish.networks)
    refuse_foreign(_path(vm, wish, ".xml"), vm, wish)


def define(vm: VM, wish: Wish) -> Defined:
    """See targets.Target."""
    root = domains.domain(vm, networks.rules(wish.networks), kvm=kvm.usable())
    domains.validate(root)
    path = _path(vm, wish, ".xml")
    write(path, domains.text(root))
    return Defined(
        kind="local",
        name=names.safe(vm.name),
        location=str(path),
        uuid=domains.valid_uuid(vm),
    )


def _path(vm: VM, wish: Wish, suffix: str) -> Path:
    return folder(vm, wish) / f"{names.safe(vm.name)}{suffix}"


def folder(vm: VM, wish: Wish) -> Path:
    """Return where the files that describe *vm* go."""
    placed = [disk.target.path for disk in vm.disks if disk.target and disk.target.path]
    return (wish.output or Path(placed[0] if placed else "x").parent).absolute()


def refuse_foreign(path: Path, vm: VM, wish: Wish) -> None:
    """Raise TargetError if *path* exists and was not made from this document."""
    if wish.force or not path.exists():
        return
    try:
        known = path.read_text(errors="replace")
    except OSError as e:
        raise TargetError(f"{path}: {e.strerror}", "name another folder") from e
    if vm.id not in known:
        raise TargetError(
            f"{path} exists already and is not of this VM",
            "give the VM another name with --name, or replace the file with --force",
        )


def write(path: Path, content: str, mode: int = 0o644) -> None:
    """Write *content* to *path*, which appears once it is whole.  Raises TargetError."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as e:
        raise TargetError(
            f"{path}: {e.strerror}", "make room, or name another folder with -o"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
