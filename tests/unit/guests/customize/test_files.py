# SPDX-License-Identifier: GPL-2.0-or-later
"""Files are written, copied and removed as virt-customize does it, in order."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

import guest_folder
from guest_folder import handle
from v2v.document import Guest
from v2v.errors import GuestError, UsageError
from v2v.guests import customize
from v2v.guests.appliance import Appliance
from v2v.guests.customize import Place
from v2v.guests.plan import Action
from v2v.operations import Operation

GUEST = Guest(type="linux", init="systemd", package_format="deb")


def planned(
    appliance: Appliance, *options: tuple[str, str], guest: Guest = GUEST
) -> list[Action]:
    works = customize.parsed(Operation(name=n, value=v) for n, v in options)
    place = Place(appliance=appliance, guest=guest, folder=None)
    return [action for work in works for action in work.actions(place)]


def done(
    root: Path, files: dict[str, str], *options: tuple[str, str]
) -> dict[str, str]:
    """Customise a guest of *files*; return all that is there then."""
    appliance = guest_folder.guest(root, files)
    for action in planned(appliance, *options):
        action.apply(appliance)
    return guest_folder.texts(root)


def test_each_sees_what_those_before_it_did(tmp_path: Path) -> None:
    assert done(
        tmp_path,
        {"/etc/old": "a"},
        ("mkdir", "/srv/x"),
        ("write", "/srv/x/f:one:two"),
        ("append-line", "/srv/x/f:three"),
        ("copy", "/srv/x:/srv/y"),
        ("move", "/srv/y/f:/srv/y/g"),
        ("link", "../f:/srv/y/l:/srv/y/m"),
        ("touch", "/srv/y/t"),
        ("delete", "/etc/o*"),
    ) == {
        "/srv/x/f": "one:two\nthree\n",
        "/srv/y/g": "one:two\nthree\n",
        "/srv/y/l": "-> ../f",
        "/srv/y/m": "-> ../f",
        "/srv/y/t": "",
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "x\n"), ("a", "a\nx\n"), ("a\n", "a\nx\n"), ("a\r\n", "a\r\nx\r\n")],
)
def test_a_line_is_added_as_the_file_ends_its_own(
    tmp_path: Path, before: str, after: str
) -> None:
    assert done(tmp_path, {"/f": before}, ("append-line", "/f:x")) == {"/f": after}


def test_bytes_that_are_no_utf8_survive(tmp_path: Path) -> None:
    found = done(tmp_path, {"/f": "\udcff\n"}, ("append-line", "/f:x"))
    assert found == {"/f": "\udcff\nx\n"}


def test_files_are_emptied_but_links_in_a_tree_are_not_followed(tmp_path: Path) -> None:
    files = {
        "/a/b": "x",
        "/a/l": "-> /etc/keep",
        "/etc/keep": "k",
        "/f": "y",
        "/s": "z",
    }
    assert done(tmp_path, files, ("truncate-recursive", "/a"), ("truncate", "/f")) == {
        **files,
        "/a/b": "",
        "/f": "",
    }


def test_what_is_scrubbed_is_overwritten_before_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance = guest_folder.guest(tmp_path, {"/s": "secret"})
    written: list[tuple[str, bytes, int]] = []
    g: Any = appliance.g
    monkeypatch.setattr(
        g, "pwrite", lambda *words: written.append(words), raising=False
    )
    monkeypatch.setattr(g, "sync", lambda: None, raising=False)
    [action] = planned(appliance, ("scrub", "/s"))
    action.apply(appliance)
    assert written == [("/s", bytes(6), 0)]
    assert guest_folder.texts(tmp_path) == {}


def test_modes_and_owners_are_set(tmp_path: Path) -> None:
    appliance = guest_folder.guest(tmp_path, {"/f": "x"})
    options = (("chmod", "0640:/f"), ("chown", "7:8:/f"), ("chown", "9.10:/f"))
    owners: list[tuple[int, int, str]] = []
    g: Any = appliance.g
    g.lchown = lambda *words: owners.append(words)
    for action in planned(appliance, *options):
        action.apply(appliance)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
    assert owners == [(7, 8, "/f"), (9, 10, "/f")]


def test_a_file_keeps_its_mode_and_may_go_into_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "script.sh"
    source.write_text("x")
    source.chmod(0o750)
    root = tmp_path / "guest"
    appliance = guest_folder.guest(root, {"/opt/": ""})
    uploads = (("upload", f"{source}:{to}") for to in ("/opt", "/b", "/new"))
    actions = planned(appliance, ("mkdir", "/new"), *uploads)
    paths = [a.change.path for a in actions]
    assert paths == ["/new", "/opt/script.sh", "/b", "/new"]
    for action in actions:
        action.apply(appliance)
    for name in ("opt/script.sh", "b", "new/script.sh"):
        assert (root / name).stat().st_mode & 0o777 == 0o750


def test_the_document_shows_what_is_done_but_no_contents(tmp_path: Path) -> None:
    appliance = guest_folder.guest(tmp_path, {"/f": "x"})
    actions = planned(appliance, ("write", "/f:hunter2"), ("append-line", "/f:hunter2"))
    assert [a.change.kind for a in actions] == ["create", "edit"]
    assert [a.change.reason for a in actions] == [
        "asked for by --write",
        "asked for by --append-line",
    ]
    assert not [a for a in actions if "hunter2" in a.change.model_dump_json()]


def test_the_plan_knows_what_an_archive_holds(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "f", "./etc/f")
    [action] = planned(
        guest_folder.guest(tmp_path / "g", {"/": ""}), ("tar-in", f"{archive}:/")
    )
    assert (action.change.path, action.also) == ("/", ("/etc/f",))
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "f", "../f", filter=lambda m: m)
    with pytest.raises(UsageError, match="outside"):
        planned(guest_folder.guest(tmp_path / "g", {}), ("tar-in", f"{archive}:/etc"))


def test_an_error_names_the_option_and_what_to_do(tmp_path: Path) -> None:
    appliance = guest_folder.guest(tmp_path, {})
    [action] = planned(appliance, ("append-line", "/none:x"))
    with pytest.raises(GuestError, match="--append-line /none: there is no such file"):
        action.apply(appliance)

    def refused(path: str) -> None:
        raise RuntimeError("touch: Read-only file system\nmore")

    handle(appliance).touch = refused  # type: ignore[method-assign]
    [action] = planned(appliance, ("touch", "/x"))
    with pytest.raises(GuestError, match=r"^--touch /x: touch: Read-only file system$"):
        action.apply(appliance)


def test_without_perl_an_edit_is_refused(tmp_path: Path) -> None:
    appliance = guest_folder.guest(tmp_path, {"/f": "x"})
    [action] = planned(appliance, ("edit", "/f:s/x/y/"))
    with pytest.raises(GuestError, match="no Perl"):
        action.apply(appliance)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("write", "relative:x"), ("write", "/f"), ("write", "/:x"), ("write", "")],
        *[("chmod", "+x:/f"), ("chmod", "99999:/f"), ("chown", "root:root:/f")],
        ("chown", "4294967295:0:/f"),
        *[("delete", "/"), ("delete", "/.."), ("delete", ""), ("mkdir", "x")],
        *[("upload", "/no/such/file:/x"), ("copy-in", "/no/such:/x"), ("link", "x")],
        *[("tar-in", "/etc/hostname:/x"), ("copy", "/a"), ("edit", "/f")],
    ],
)
def test_what_makes_no_sense_is_refused_before_a_guest_is_opened(
    option: str, value: str
) -> None:
    with pytest.raises(UsageError, match=f"--{option}"):
        customize.parsed([Operation(name=option, value=value)])


def test_commands_come_from_a_file_in_their_place(tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text(
        "# a comment\n\nwrite /b:two \\\nwords\nmkdir /d\n  run-command true\nupdate\n"
    )
    works = customize.parsed(
        [
            Operation(name="touch", value="/a"),
            Operation(name="commands-from-file", value=str(commands)),
            Operation(name="touch", value="/c"),
        ]
    )
    place = Place(
        appliance=guest_folder.guest(tmp_path / "g", {}), guest=GUEST, folder=None
    )
    actions = [a for work in works for a in work.actions(place)]
    paths = [a.change.path for a in actions]
    assert paths == ["/a", "/b", "/d", "/bin/sh", "/c"]
    assert actions[1].change.after == "9 bytes"
    assert [step.name for work in works for step in work.steps] == ["update"]


@pytest.mark.parametrize(
    "text", ["commands-from-file x", "no-such x", "write", "update x", "a" * 2**21]
)
def test_a_file_of_commands_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "commands").write_text(text)
    with pytest.raises(UsageError, match="--commands-from-file"):
        customize.parsed(
            [Operation(name="commands-from-file", value=str(tmp_path / "commands"))]
        )
