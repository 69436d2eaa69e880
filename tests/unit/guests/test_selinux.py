# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels of the files that were touched, and of no others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import guest_folder
from guest_folder import handle
from v2v.document import Change, Filesystem, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import fixes, selinux
from v2v.guests.plan import Action, create, edit, link

FILES = "/etc/selinux/targeted/contexts/files/file_contexts"
GUEST = Guest(
    type="linux",
    filesystems=(
        Filesystem(device="/dev/sda2", type="xfs", mountpoint="/"),
        Filesystem(device="/dev/sda1", type="vfat", mountpoint="/boot/efi"),
    ),
)
POLICY = """\
/etc(/.*)?\tu:r:etc_t:s0
/etc/systemd/system(/.*)?\tu:r:unit_t:s0
/usr/lib/.*\tu:r:lib_t:s0
/var/lib(/.*)?\tu:r:var_lib_t:s0
/boot(/.*)?\tu:r:boot_t:s0
"""
BASE = {
    "/etc/selinux/config": "# a comment\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
    FILES: POLICY,
    "/etc/fstab": "old\n",
    "/boot/efi/": "",
    "/var/lib/": "",
}
ETC, OWN = b"u:r:etc_t:s0\0", b"u:r:own_t:s0\0"


def guest_with(tmp_path: Path, **files: str) -> Appliance:
    appliance = guest_folder.guest(tmp_path, {**BASE, **files})
    handle(appliance).labels.update({"/etc": ETC, "/etc/fstab": OWN, "/boot": OWN})
    return appliance


def labels(appliance: Appliance, actions: Sequence[Action]) -> dict[str, bytes]:
    """Do *actions*; return the labels that are new."""
    before = dict(handle(appliance).labels)
    fixes.apply(appliance, GUEST, actions)
    after = handle(appliance).labels
    return {path: text for path, text in after.items() if before.get(path) != text}


def test_new_files_and_the_folders_made_for_them_are_labelled(tmp_path: Path) -> None:
    appliance = guest_with(tmp_path)
    unit = "/etc/systemd/system/a.wants/a.service"
    actions = [create("/var/lib/v2v/run", "x", "y"), link(unit, "/etc/a", "y")]
    assert labels(appliance, actions) == {
        "/etc/systemd": b"u:r:etc_t:s0\0",
        "/etc/systemd/system": b"u:r:unit_t:s0\0",
        "/etc/systemd/system/a.wants": b"u:r:unit_t:s0\0",
        unit: b"u:r:unit_t:s0\0",
        "/var/lib": b"u:r:var_lib_t:s0\0",
        "/var/lib/v2v": b"u:r:var_lib_t:s0\0",
        "/var/lib/v2v/run": b"u:r:var_lib_t:s0\0",
    }


def test_a_file_that_was_replaced_keeps_the_label_it_had(tmp_path: Path) -> None:
    appliance = guest_with(tmp_path)

    def replace(appliance: Appliance) -> None:
        del handle(appliance).labels["/etc/fstab"]  # as another inode has none

    change = Change(path="/etc/fstab", kind="edit", reason="x")
    fixes.apply(appliance, GUEST, [Action(change=change, apply=replace)])
    assert handle(appliance).labels["/etc/fstab"] == OWN


def test_what_was_edited_in_place_is_not_touched_again(tmp_path: Path) -> None:
    appliance = guest_with(tmp_path)
    assert labels(appliance, list(edit("/etc/fstab", "old\n", "new\n", "x"))) == {}


def test_links_to_folders_are_seen_through(tmp_path: Path) -> None:
    appliance = guest_with(tmp_path, **{"/usr/lib/": "", "/lib": "-> usr/lib"})
    assert (
        labels(appliance, [create("/lib/x", "", "y")])["/usr/lib/x"]
        == b"u:r:lib_t:s0\0"
    )


def test_a_file_system_that_knows_no_labels_gets_none(tmp_path: Path) -> None:
    """But for the folder under the mount point, where it does no harm."""
    appliance = guest_with(tmp_path)
    done = labels(appliance, [create("/boot/efi/EFI/x", "", "y")])
    assert done == {"/boot/efi": b"u:r:boot_t:s0\0"}


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/selinux/config": "SELINUX=disabled\nSELINUXTYPE=targeted\n"},
        {"/etc/selinux/config": "# SELINUX=enforcing\n"},
        {"/etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=other\n"},
        {"/etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=../x\n"},
    ],
)
def test_nothing_is_labelled_where_selinux_is_off_or_without_policy(
    tmp_path: Path, files: dict[str, str]
) -> None:
    appliance = guest_with(tmp_path, **files)
    actions = [create("/etc/a", "x", "y")]
    assert labels(appliance, actions) == {}
    assert list(selinux.plan(appliance, actions)) == []


def test_what_lies_in_a_tree_is_labelled_too(tmp_path: Path) -> None:
    appliance = guest_with(tmp_path)

    def apply(appliance: Appliance) -> None:
        for path in ("/etc/d/e/", "/etc/d/f"):
            guest_folder.guest(tmp_path, {path: ""})

    change = Change(path="/etc/d", kind="create", reason="x")
    done = labels(appliance, [Action(change=change, apply=apply, tree=True)])
    assert done == dict.fromkeys(("/etc/d", "/etc/d/e", "/etc/d/f"), ETC)


def running(appliance: Appliance, *made: str) -> Action:
    """Return what a program of the guest does, which makes files."""

    def apply(_: Appliance) -> None:
        guest_folder.guest(handle(appliance).host("/"), dict.fromkeys(made, "x"))

    change = Change(path="/var/lib/rpm", kind="run", reason="x", after="rpm")
    return Action(change=change, apply=apply)


def test_what_the_guests_own_programs_make_is_found_by_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance = guest_with(tmp_path)
    g: Any = appliance.g
    asked: list[str] = []

    def sh(command: str) -> str:
        asked.append(command)
        g.write("/.v2v-touched", b"/etc/new\0/etc\0/gone\0/etc/../x\0/etc/\xff\0")
        return ""

    monkeypatch.setattr(g, "sh", sh, raising=False)
    assert labels(appliance, [running(appliance, "/etc/new")])["/etc/new"] == ETC
    assert asked == ["find / -xdev -cnewer /.v2v-stamp -print0 > /.v2v-touched"]
    assert not [path for path in guest_folder.texts(tmp_path) if ".v2v" in path]
    assert list(selinux.findings(appliance)) == []


def test_where_they_cannot_be_found_the_guest_relabels_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    appliance = guest_with(tmp_path)

    def sh(command: str) -> str:
        raise RuntimeError("find: not found")

    monkeypatch.setattr(appliance.g, "sh", sh, raising=False)
    fixes.apply(appliance, GUEST, [running(appliance)])
    assert "/.autorelabel" in guest_folder.texts(tmp_path)
    assert "find: not found" in caplog.text
    [finding] = selinux.findings(appliance)
    assert finding.code in fixes.FINDINGS


def test_a_policy_that_is_not_understood_is_left_to_the_guest(tmp_path: Path) -> None:
    """That is in the plan, for all to see."""
    appliance = guest_with(tmp_path, **{FILES: "/etc/(?!x).*\tu:r:t:s0\n"})
    actions = [create("/etc/a", "x", "y")]
    [more] = selinux.plan(appliance, actions)
    assert more.change.path == "/.autorelabel"
    assert list(selinux.plan(appliance, [])) == []
    fixes.apply(appliance, GUEST, [*actions, more])
    assert list(selinux.plan(appliance, actions)) == []
    assert len(list(selinux.findings(appliance))) == 1


def test_a_list_of_any_size_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest's own find makes it; it may be as large as the guest's disk."""
    appliance = guest_with(tmp_path)
    g: Any = appliance.g

    def sh(command: str) -> str:
        g.write("/.v2v-touched", bytes(5_000_000))
        return ""

    def download(path: str, to: str) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(g, "sh", sh, raising=False)
    monkeypatch.setattr(g, "download", download)
    fixes.apply(appliance, GUEST, [running(appliance)])
    assert "/.autorelabel" in guest_folder.texts(tmp_path)
