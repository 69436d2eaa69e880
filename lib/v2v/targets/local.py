# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain files: the disks in a folder, and beside them the libvirt XML of the VM."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

from v2v import kvm, names
from v2v.document import VM, Defined
from v2v.errors import TargetError
from v2v.targets import Wish, domain, machine, networks
from v2v.targets.domain import VSOCK, Host
from v2v.targets.networks import Place, Plan

log = logging.getLogger(__name__)

_LONGEST = 2**20  # bytes that a domain's XML or a script of ours has at most


def check(wish: Wish) -> None:
    """See targets.Target."""
    networks.rules(wish.networks)
    domain.check_schema()


def preflight(vm: VM, wish: Wish) -> None:
    """See targets.Target."""
    machine.refuse(vm)
    _networks(vm, wish)
    _refuse_foreign(place(vm, wish, ".xml"), vm, wish)


def define(vm: VM, wish: Wish) -> Defined:
    """See targets.Target."""
    host = Host(
        kvm=kvm.usable(),
        tpm=shutil.which("swtpm") is not None,
        vsock=VSOCK.exists(),
    )
    made = machine.of(vm, _networks(vm, wish))
    element = domain.domain(made, host)
    domain.validate(element)
    path = place(vm, wish, ".xml")
    _refuse_foreign(path, vm, wish)
    write(path, domain.written(element))
    for text in domain.warnings(made, host):
        log.warning("%s: warning: %s", vm.name, text)
    return Defined(
        kind="local", name=names.safe(vm.name), location=str(path), uuid=made.uuid
    )


def _networks(vm: VM, wish: Wish) -> Plan:
    """Return where the cards go: where they were, if a libvirt said so."""

    def known(place: Place) -> bool:
        return vm.source.kind == "libvirtxml"

    return networks.plan(vm, wish.networks, known, networks.DEFAULT)


def place(vm: VM, wish: Wish, suffix: str) -> Path:
    """Return the name of the file of *vm* that ends in *suffix*.

    It is in the folder that the user wishes, or in that of the first disk.
    """
    disks = [disk.target.path for disk in vm.disks if disk.target and disk.target.path]
    folder = wish.output or Path(disks[0] if disks else ".").parent
    return folder.absolute() / f"{names.safe(vm.name)}{suffix}"


def content(path: Path) -> bytes | None:
    """Return the content of *path*, None if there is no such file; 1 MiB at most.

    Raises TargetError if it is no file, or cannot be read.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            return file.read(_LONGEST) or b""
    except FileNotFoundError:
        return None
    except OSError as e:
        raise TargetError(f"{path}: {e.strerror}", "name another folder with -o") from e


def _at_once(path: str, flags: int) -> int:
    """Open *path* without waiting, in case somebody put a FIFO there."""
    return os.open(path, flags | os.O_NONBLOCK)


def _refuse_foreign(path: Path, vm: VM, wish: Wish) -> None:
    """Raise TargetError if *path* exists and was not made from this document."""
    there = content(path)
    if there is not None and domain.owner(there) != vm.id and not wish.force:
        raise foreign(path)


def foreign(path: Path) -> TargetError:
    """Return the error for a file at *path* that is not of the VM to define."""
    return TargetError(
        f"{path} exists already and is not of this VM",
        "give the VM another name with --name, another folder with -o, or replace "
        "the file with --force",
    )


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write *data* to *path*, which appears once it is whole and on the disk.

    Raises TargetError.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        # A link of that name, laid by somebody else, is not followed.
        with part.open("xb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        _flush(path.parent)
    except OSError as e:
        raise TargetError(
            f"{path}: {e.strerror}", "make room, or name another folder with -o"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
