# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what with the files that are made in a guest.

What ntfs-3g makes is everybody's to write: a driver, an installer that SYSTEM runs, the
registry itself.  Any user of the guest would be its master.  So what is written over
gets back the security descriptor that it had, and what is new may be written by SYSTEM
and Administrators alone.  Both by ntfs-3g's attribute system.ntfs_acl: libguestfs'
setxattr takes no NUL bytes, so setfattr in the appliance does it.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence

from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action

_SYSTEM = b"\1\1\0\0\0\0\0\5" + struct.pack("<I", 18)
_ADMINISTRATORS = b"\1\2\0\0\0\0\0\5" + struct.pack("<II", 32, 544)
_USERS = b"\1\2\0\0\0\0\0\5" + struct.pack("<II", 32, 545)
_EVERYONE = b"\1\1\0\0\0\0\0\1" + bytes(4)
_FULL, _READ = 0x1F01FF, 0x1200A9  # FILE_ALL_ACCESS; to read and to execute
_INHERITED_BELOW = 0x03  # OI and CI
# SE_SELF_RELATIVE, SE_DACL_PROTECTED (nothing is inherited), SE_DACL_PRESENT
_CONTROL = 0x8000 | 0x1000 | 0x0004
_ACL_PRESENT, _ALLOWED = 0x0004, 0
_NAME = "system.ntfs_acl"
_AT_ONCE = 40  # paths of one command, which may be 128 KiB long


def descriptor(*, users: bool = False) -> bytes:
    """Return a security descriptor, self-relative, as [MS-DTYP] 2.4.6 lays it out.

    SYSTEM and Administrators may do all; *users* may read and execute, or nothing.
    """
    rights = [(_SYSTEM, _FULL), (_ADMINISTRATORS, _FULL)]
    if users:
        rights.append((_USERS, _READ))
    entries = b"".join(
        struct.pack("<BBHI", _ALLOWED, _INHERITED_BELOW, 8 + len(sid), mask) + sid
        for sid, mask in rights
    )
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), len(rights), 0) + entries
    owner = 20 + len(acl)
    group = owner + len(_ADMINISTRATORS)
    head = struct.pack("<BBHIIII", 1, 0, _CONTROL, owner, group, 0, 20)
    return head + acl + _ADMINISTRATORS + _SYSTEM


def is_open(own: bytes) -> bool:
    """Whether the descriptor *own* lets everyone in, or cannot be read."""
    if len(own) < 20:
        return True
    control, at = struct.unpack_from("<H12xI", own, 2)
    if not control & _ACL_PRESENT or not 20 <= at <= len(own) - 8:
        return True  # without a list all is allowed to all
    entry = at + 8
    for _ in range(struct.unpack_from("<H", own, at + 4)[0]):
        if entry + 8 > len(own):
            return True
        kind, _, size = struct.unpack_from("<BBH", own, entry)
        if entry + size > len(own):
            return True
        if kind == _ALLOWED and own[entry + 8 : entry + size] == _EVERYONE:
            return True
        entry += max(size, 8)
    return False


def noted(appliance: Appliance, actions: Sequence[Action]) -> dict[str, bytes | None]:
    """Return the descriptors of what *actions* write, and of the folders above.

    To be asked before they are done.  None for what does not exist, or is on a file
    system without descriptors.
    """
    paths: dict[str, None] = {}
    for action in actions:
        for path in (action.change.path, *action.also):
            if path.startswith("/") and action.change.kind in ("edit", "create"):
                paths.update(dict.fromkeys(_with_folders(path)))
    return dict(zip(paths, _shown(appliance, list(paths)), strict=True))


def closed(appliance: Appliance, before: Mapping[str, bytes | None]) -> None:
    """Close what was left open to everyone since *before*, which noted() returned.

    Raises GuestError if it cannot be done.
    """
    now = _shown(appliance, list(before))
    wanted: dict[bytes, list[str]] = {}
    for (path, old), new in zip(before.items(), now, strict=True):
        if new is not None and new != old and is_open(new):
            wanted.setdefault(old or descriptor(users=True), []).append(path)
    for own, paths in wanted.items():
        give(appliance, paths, own)


def give(appliance: Appliance, paths: Sequence[str], own: bytes) -> None:
    """Give *paths*, folders or files on NTFS, the descriptor *own*, and prove it.

    Raises GuestError if it cannot be done.
    """
    set_ = f"setfattr -h -n {_NAME} -v 0x{own.hex()}"
    for some in _portions(paths):
        try:
            appliance.g.debug("sh", [f"{set_} {' '.join(map(_inside, some))}"])
        except RuntimeError as e:
            raise _refused(some[0], str(e)) from e
    for path, found in zip(paths, _shown(appliance, paths), strict=True):
        if found != own:
            raise _refused(path, "the descriptor reads back as another one")


def _with_folders(path: str) -> Iterator[str]:
    while path.strip("/"):
        yield path
        path = path.rpartition("/")[0]


def _shown(appliance: Appliance, paths: Sequence[str]) -> list[bytes | None]:
    found: list[bytes | None] = []
    for some in _portions(paths):
        inside = " ".join(map(_inside, some))
        show = f'getfattr -h --absolute-names -e hex -n {_NAME} "$f" 2>/dev/null'
        said = appliance.g.debug(
            "sh",
            [f"for f in {inside}; do {show} | grep ^{_NAME}=0x || echo none; done"],
        )
        found += [_value(line) for line in said.split()]
    if len(found) != len(paths):
        raise _refused(paths[0], "their descriptors cannot be read")
    return found


def _value(line: str) -> bytes | None:
    return None if line == "none" else bytes.fromhex(line.partition("=0x")[2])


def _portions(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[at : at + _AT_ONCE] for at in range(0, len(paths), _AT_ONCE))


def _inside(path: str) -> str:
    return shlex.quote(f"/sysroot{path}")


def _refused(path: str, why: str) -> GuestError:
    line = (why.strip().splitlines() or ["for no reason that is told"])[0]
    return GuestError(
        f"{path} in the guest cannot be kept from its users: {line[:200]}",
        "see that its volume is NTFS, and run chkdsk /f there; or leave out what runs "
        "at the first boot with --firstboot-method none",
    )
