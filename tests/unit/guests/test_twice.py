# SPDX-License-Identifier: GPL-2.0-or-later
"""One file under two names, which two planners may find: it is changed once."""

from pathlib import Path

import pytest

from guest_folder import applied, guest
from v2v.document import Guest
from v2v.errors import GuestError
from v2v.guests.linux import leftovers
from v2v.guests.linux.plan import edit


def test_debians_link_to_the_list_of_modules_is_no_second_file(tmp_path: Path) -> None:
    """/etc/modules-load.d/modules.conf leads to ../modules on every Debian."""
    there = guest(tmp_path, {"/etc/modules": "loop\nvmhgfs\n"}, {})
    link = tmp_path / "etc/modules-load.d/modules.conf"
    link.parent.mkdir()
    link.symlink_to("../modules")
    found = Guest(type="linux", init="systemd")
    applied(there, leftovers.plan(there, found))
    assert (tmp_path / "etc/modules").read_text() == "loop\n# not on KVM: vmhgfs\n"
    assert link.is_symlink()
    assert list(leftovers.plan(there, found)) == []


def test_two_different_changes_of_one_file_are_still_refused(tmp_path: Path) -> None:
    there = guest(tmp_path, {"/etc/a": "x\n"}, {})
    both = [*edit("/etc/a", "x\n", "y\n", "one"), *edit("/etc/a", "x\n", "z\n", "two")]
    with pytest.raises(GuestError, match="changed for two reasons"):
        applied(there, both)
