# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may write what SYSTEM runs: SYSTEM and Administrators, nobody else.

What ntfs-3g makes is everybody's to write: in a script for SYSTEM that would hand the
guest to each of its users.  So folders and files get a security descriptor, through
ntfs-3g's attribute system.ntfs_acl; libguestfs' setxattr takes no NUL bytes, and
setfattr in the appliance does it.
"""

from __future__ import annotations

import shlex
import struct

from v2v.errors import GuestError
from v2v.guests.appliance import Appliance

_SYSTEM = b"\1\1\0\0\0\0\0\5" + struct.pack("<I", 18)
_ADMINISTRATORS = b"\1\2\0\0\0\0\0\5" + struct.pack("<II", 32, 544)
_FULL, _INHERITED_BELOW = 0x1F01FF, 0x03  # FILE_ALL_ACCESS; OI and CI
# SE_SELF_RELATIVE, SE_DACL_PROTECTED (nothing is inherited), SE_DACL_PRESENT
_CONTROL = 0x8000 | 0x1000 | 0x0004
_NAME = "system.ntfs_acl"


def descriptor() -> bytes:
    """Return the security descriptor, self-relative, as [MS-DTYP] 2.4.6 lays it out."""
    entries = b"".join(
        struct.pack("<BBHI", 0, _INHERITED_BELOW, 8 + len(sid), _FULL) + sid
        for sid in (_SYSTEM, _ADMINISTRATORS)
    )
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), 2, 0) + entries
    owner = 20 + len(acl)
    group = owner + len(_ADMINISTRATORS)
    head = struct.pack("<BBHIIII", 1, 0, _CONTROL, owner, group, 0, 20)
    return head + acl + _ADMINISTRATORS + _SYSTEM


def restrict(appliance: Appliance, path: str) -> None:
    """Let SYSTEM and Administrators alone use *path*, and prove it.

    A folder or file on NTFS.  Raises GuestError if it cannot be done.
    """
    wanted = f"0x{descriptor().hex()}"
    inside = shlex.quote(f"/sysroot{path}")
    show = f"getfattr --absolute-names -e hex -n {_NAME} {inside}"
    try:
        appliance.g.debug("sh", [f"setfattr -n {_NAME} -v {wanted} {inside}"])
        said = appliance.g.debug("sh", [show])
    except RuntimeError as e:
        raise _refused(path, str(e)) from e
    if f"{_NAME}={wanted}" not in said.split():
        raise _refused(path, "the descriptor reads back as another one")


def _refused(path: str, why: str) -> GuestError:
    line = (why.strip().splitlines() or ["for no reason that is told"])[0]
    return GuestError(
        f"{path} in the guest cannot be kept from its users: {line[:200]}",
        "use --firstboot-method none: then nothing is left there to be run",
    )
