# SPDX-License-Identifier: GPL-2.0-or-later
"""Which local files a stage may open.

A description (a .vmx, an OVF, a document from a pipe) may name any path, and so may
a disk image that names its parts.  All but these are refused: the tree of the folder
that holds the source which the user named, existing libvirt pools, and the user's
own --allow-path.  The first is carried in the document as a grant, sealed with a key
of this user on this host; a document from elsewhere therefore grants nothing.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from v2v.document import VM, Grant
from v2v.errors import HostError, SourceError

_POOLS = Path("/etc/libvirt/storage")
_OWN = "set XDG_STATE_HOME to a folder of your own"
# What a file is that is none on a disk: opening a FIFO would wait for ever.
WAITING = "a pipe, a socket or a character device, and no file"
_WAITING_REMEDY = "do not trust this source; or put a plain copy in its place"


def state_home() -> Path:
    """Return the folder in which this user's v2v keeps what outlives a process."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "v2v"


def own_state() -> Path:
    """Return state_home(), made if need be.

    Raises HostError if another user could put into it what we would trust: a key of his
    own, or a view of another file.
    """
    home = state_home()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = home.stat()
    except OSError as e:
        raise HostError(f"{home}: {e.strerror}", _OWN) from e
    if facts.st_uid != os.geteuid() or facts.st_mode & stat.S_IWOTH:
        raise HostError(f"{home} belongs to another user, or all may write to it", _OWN)
    return home


def work_folder(vm: VM, work: Path | None) -> Path:
    """Return, made if need be, the folder for the overlays of *vm*.

    Raises HostError if it cannot be made.
    """
    if work is None:
        own_state()
    folder = work_place(vm, work)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise HostError(
            f"{folder}: {e.strerror}", "name a writable folder with --work"
        ) from e
    return folder.resolve()


def work_place(vm: VM, work: Path | None) -> Path:
    """Return where the overlays of *vm* go."""
    return (work or state_home() / "work") / vm.id


def granted(vm: VM, folder: Path) -> VM:
    """Return *vm* with the grant to open what lies under *folder*."""
    grant = _grant(folder.resolve())
    if grant in vm.grants:
        return vm
    return vm.having(grants=(*vm.grants, grant))


def roots(vm: VM, allow: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return the folders, resolved, under which files of *vm* may be opened."""
    valid = [grant.folder for grant in vm.grants if _is_ours(grant)]
    places = [*map(Path, valid), *_pools(), *allow]
    return tuple(dict.fromkeys(place.resolve() for place in places))


def checked(path: str | Path, allowed: Iterable[Path]) -> Path:
    """Return *path* with all links resolved, if that lies under one of *allowed*.

    Raises SourceError for a path elsewhere and for one that does not exist.
    """
    try:
        real = Path(path).resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, ValueError, RuntimeError) as e:
        raise SourceError(
            f"{_shown(path)}: {_reason(e)}",
            "put the file there, or correct the description",
        ) from e
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise SourceError(
            f"{path} is outside the folders that may be read",
            f"if it really belongs to this VM, add --allow-path {real.parent}",
        )
    if not _holds_data(mode):
        raise SourceError(f"{path} is {WAITING}", _WAITING_REMEDY)
    return real


def _reason(e: Exception) -> str:
    """Return why a path leads nowhere.  From Python 3.13 on a circle is an OSError."""
    if isinstance(e, RuntimeError) or getattr(e, "errno", None) == errno.ELOOP:
        return "a link to itself"
    return getattr(e, "strerror", None) or "not a path"


def is_file(path: Path) -> bool:
    """Whether *path* is a file.  Path.is_file() raises for a name that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _holds_data(mode: int) -> bool:
    """Whether a file of *mode* can be opened without waiting for another process."""
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode)


def _shown(path: str | Path) -> str:
    text = str(path)
    return f"{text[:300]} …" if len(text) > 300 else text


def _grant(folder: Path) -> Grant:
    return Grant(folder=str(folder), seal=_seal(str(folder)))


def _is_ours(grant: Grant) -> bool:
    """Whether this user has granted it.  Of a stranger the seal may be any text."""
    seal = _seal(grant.folder)
    return grant.seal.isascii() and hmac.compare_digest(grant.seal, seal)


def _seal(folder: str) -> str:
    name = os.fsencode(folder)
    return hmac.new(_key(), name, hashlib.sha256).hexdigest()


@cache
def _key() -> bytes:
    """Return this user's key; two first runs at once agree on one."""
    path = own_state() / "key"
    try:
        if not path.exists():
            fresh = path.with_name(f"key.{os.getpid()}")
            with open(fresh, "xb", opener=_private) as file:
                file.write(secrets.token_bytes(32))
            # link(2) fails if another process was first: then that key holds.
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_bytes()
    except OSError as e:
        raise HostError(f"{path}: {e.strerror}", _OWN) from e


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@cache
def _pools() -> tuple[Path, ...]:
    """Return the folders of libvirt's storage pools, as far as we may read of them."""
    from lxml import etree

    found = []
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    for file in sorted(_POOLS.glob("*.xml")) if os.access(_POOLS, os.R_OK) else ():
        try:
            place = etree.parse(file, parser).findtext("target/path")
        except (OSError, etree.XMLSyntaxError):
            continue
        # A pool of block devices (/dev/vg) must not open all of /dev.
        if place and Path(place).is_dir() and not place.startswith("/dev"):
            found.append(Path(place))
    default = Path("/var/lib/libvirt/images")
    return (*found, default) if default.is_dir() else tuple(found)
