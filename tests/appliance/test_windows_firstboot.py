# SPDX-License-Identifier: GPL-2.0-or-later
"""What SYSTEM runs at the first boots can be written by no user: on a real NTFS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from served_image import for_ntfs
from v2v.guests.windows.firstboot import access

EVERYONE = "010100000000000100000000"  # S-1-1-0


def test_only_system_and_administrators_may_write(tmp_path: Path) -> None:
    with for_ntfs(tmp_path, 64) as own:
        handle: Any = own.g  # the stubs have what v2v calls
        handle.mkfs("ntfs", "/dev/sda")
        own.g.mount("/dev/sda", "/")
        own.g.mkdir_p("/Windows/v2v")
        own.g.write("/Windows/v2v/it's a.cmd", b"x")
        paths = ("/Windows/v2v", "/Windows/v2v/it's a.cmd")
        for path in paths:
            access.restrict(own, path)
        own.g.umount_all()
        own.g.mount("/dev/sda", "/")
        for path in paths:
            said = own.g.debug(
                "sh", [f'getfattr -e hex -n system.ntfs_acl "/sysroot{path}"']
            )
            assert access.descriptor().hex() in said
            assert EVERYONE not in said
