# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with SELinux is changed in a real appliance: its labels are read back."""

from collections.abc import Iterator
from typing import Any

import pytest

import programs
from v2v.document import Change, Filesystem, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import fixes, selinux
from v2v.guests.plan import Action, create, link

pytestmark = pytest.mark.smoke

GUEST = Guest(
    type="linux",
    filesystems=(Filesystem(device="/dev/sda", type="ext4", mountpoint="/"),),
)
CONTEXTS = """\
/etc(/.*)?\tsystem_u:object_r:etc_t:s0
/etc/[^/]*\\.conf\t--\tsystem_u:object_r:conf_t:s0
/usr/bin(/.*)?\tsystem_u:object_r:bin_t:s0
"""
FILES = {
    "etc/selinux/config": "SELINUX=permissive\nSELINUXTYPE=targeted\n",
    "etc/selinux/targeted/contexts/files/file_contexts": CONTEXTS,
    "etc/old.conf": "old\n",
    "usr/bin/old": "",
}
OWN = "system_u:object_r:own_t:s0"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("selinux")
    with programs.opened(folder, FILES, "sh", "find", "cp", "mv") as running:
        yield running


def label(running: Appliance, path: str) -> bytes | None:
    """Return the label of *path* as the guest's kernel will read it."""
    g: Any = running.g
    found = {each["attrname"]: each["attrval"] for each in g.lgetxattrs(path)}
    value = found.get("security.selinux")
    return bytes(value) if value else None


def test_what_is_touched_is_labelled_and_nothing_else(opened: Appliance) -> None:
    opened.g.lsetxattr("security.selinux", OWN, len(OWN) + 1, "/etc/old.conf")
    script = "echo x > /usr/bin/made; cp /etc/old.conf /etc/n; mv /etc/n /etc/old.conf"

    def apply(running: Appliance) -> None:
        running.g.sh(script)

    run = Action(
        change=Change(path="/etc/old.conf", kind="run", reason="x"), apply=apply
    )
    actions = [
        create("/etc/v2v.conf", "x", "y"),
        link("/etc/v2v", "old.conf", "y"),
        run,
    ]
    fixes.apply(opened, GUEST, actions)
    assert label(opened, "/etc/v2v.conf") == b"system_u:object_r:conf_t:s0\0"
    assert label(opened, "/etc/v2v") == b"system_u:object_r:etc_t:s0\0"
    assert label(opened, "/usr/bin/made") == b"system_u:object_r:bin_t:s0\0"
    # Another inode, made by a program of the guest: it has the label it had.
    assert label(opened, "/etc/old.conf") == f"{OWN}\0".encode()
    assert label(opened, "/usr/bin/old") is None
    assert opened.glob("/.v2v*") == []
    assert list(selinux.findings(opened)) == []
