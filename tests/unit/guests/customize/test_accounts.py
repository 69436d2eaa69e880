# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords and keys: set in place, and never seen."""

import logging
import os
from pathlib import Path

import pytest

import guest_folder
from guest_folder import handle
from v2v.document import Guest
from v2v.errors import GuestError, UsageError
from v2v.guests import customize
from v2v.guests.customize import Place, accounts
from v2v.operations import Operation

GUEST = Guest(type="linux", init="systemd")
SHADOW = "# x\nroot:!:19000:0:99999:7:::\r\nanna:$6$old$hash:19000:0:::::\nbob:*:1:\n"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPw anna@example"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1001::/srv/anna/:/bin/sh\nbad:x\n"


def customised(
    root: Path,
    files: dict[str, str],
    *options: tuple[str, str],
    work: Path | None = None,
) -> dict[str, str]:
    appliance = guest_folder.guest(root, files)
    works = customize.parsed(Operation(name=n, value=v) for n, v in options)
    place = Place(appliance=appliance, guest=GUEST, folder=work)
    for each in works:
        for action in each.actions(place):
            action.apply(appliance)
    return guest_folder.texts(root)


def fields(text: str, user: str) -> list[str]:
    [line] = [n for n in text.splitlines() if n.startswith(f"{user}:")]
    return line.split(":")


@pytest.mark.parametrize("method", ["md5", "sha256", "sha512", "yescrypt"])
def test_a_hash_is_what_the_password_gives_with_its_salt(method: str) -> None:
    import ctypes

    first, second = (accounts.hashed("geheim ä", method) for _ in range(2))
    assert first != second
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    assert library.crypt("geheim ä".encode(), first.encode()) == first.encode()


def test_a_password_comes_from_a_file_and_the_other_lines_stay(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim\nnot this\n")
    files = {"/etc/shadow": SHADOW}
    made = customised(tmp_path / "g", files, ("password", f"anna:file:{secret}"))
    text = made["/etc/shadow"]
    changed = fields(text, "anna")
    assert changed[1].startswith("$6$") and changed[1] != "$6$old$hash"
    assert int(changed[2]) > 20_000 and changed[3:] == ["0", "", "", "", "", ""]
    assert [n for n in text.splitlines(keepends=True) if "anna" not in n] == [
        n for n in SHADOW.splitlines(keepends=True) if "anna" not in n
    ]


@pytest.mark.parametrize(
    ("files", "start"),
    [
        ({}, "$6$"),
        ({"/etc/pam.d/common-password": "password pam_unix.so yescrypt\n"}, "$y$"),
        ({"/etc/login.defs": "# ENCRYPT_METHOD YESCRYPT\n"}, "$6$"),
        ({"/etc/login.defs": "ENCRYPT_METHOD YESCRYPT\n"}, "$y$"),
    ],
)
def test_the_hash_is_one_that_the_guest_itself_makes(
    tmp_path: Path, files: dict[str, str], start: str
) -> None:
    secret = tmp_path / "s"
    secret.write_text("x")
    files = {"/etc/shadow": SHADOW, **files}
    made = customised(tmp_path / "g", files, ("root-password", f"file:{secret}"))
    assert fields(made["/etc/shadow"], "root")[1].startswith(start)
    named = (("password-crypto", "sha256"), ("root-password", f"file:{secret}"))
    made = customised(tmp_path / "g", files, *named)
    assert fields(made["/etc/shadow"], "root")[1].startswith("$5$")


@pytest.mark.parametrize(
    ("selector", "field"),
    [("locked", "!$6$old$hash"), ("disabled", "*")],
)
def test_an_account_is_locked_so_that_it_can_be_unlocked(
    tmp_path: Path, selector: str, field: str
) -> None:
    option = ("password", f"anna:{selector}")
    made = customised(tmp_path, {"/etc/shadow": SHADOW}, option, option)
    assert fields(made["/etc/shadow"], "anna")[1:3] == [field, "19000"]


def test_a_random_password_is_in_one_file_that_only_we_can_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    caplog.set_level(logging.DEBUG)
    option = ("root-password", "locked:random")
    made = customised(tmp_path / "g", {"/etc/shadow": SHADOW}, option, work=work)
    [file] = work.iterdir()
    assert file.name == "root.password"
    assert file.stat().st_mode & 0o777 == 0o600
    password = file.read_text().strip()
    assert len(password) == 20 and password not in caplog.text
    field = fields(made["/etc/shadow"], "root")[1]
    import ctypes

    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    hashed = field.removeprefix("!").encode()
    assert field[0] == "!" and library.crypt(password.encode(), hashed) == hashed


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[
            ("root-password", v)
            for v in ("password:hunter2", "locked:password:hunter2")
        ],
        *[("root-password", v) for v in ("hunter2", "", "locked:locked", "random:x")],
        *[
            ("password", v)
            for v in ("hunter2", "anna:hunter2", "a/b:random", "file:/no/such:x")
        ],
        *[("password-crypto", "des"), ("root-password", "file:/no/such")],
        *[("ssh-inject", v) for v in ("a:key:x", "../x", "anna:string:hunter2")],
    ],
)
def test_what_is_no_selector_is_refused_and_not_repeated(
    option: str, value: str
) -> None:
    with pytest.raises(UsageError, match=f"--{option}") as caught:
        customize.parsed([Operation(name=option, value=value)])
    assert "hunter2" not in f"{caught.value.message} {caught.value.remedy}"


def test_a_user_who_is_not_there_is_an_error(tmp_path: Path) -> None:
    files = {"/etc/shadow": SHADOW, "/etc/passwd": PASSWD}
    for option in (("password", "eve:locked"), ("ssh-inject", f"eve:string:{KEY}")):
        with pytest.raises(GuestError, match="no user eve"):
            customised(tmp_path, files, option)


def test_a_key_is_added_once_for_its_owner_alone(tmp_path: Path) -> None:
    option = ("ssh-inject", f"anna:string:{KEY}")
    path = "/srv/anna/.ssh/authorized_keys"
    appliance = guest_folder.guest(tmp_path, {"/etc/passwd": PASSWD, "/srv/anna/": ""})
    [work] = customize.parsed([Operation(name=option[0], value=option[1])])
    place = Place(appliance=appliance, guest=GUEST, folder=None)
    for _ in range(2):
        [action] = work.actions(place)
        assert (action.change.path, action.change.after) == (path, "anna: 1 key(s)")
        action.apply(appliance)
    assert guest_folder.texts(tmp_path)[path] == f"{KEY}\n"
    assert handle(appliance).owners == {
        "/srv/anna/.ssh": (1000, 1001),
        path: (1000, 1001),
    }
    folder = tmp_path / "srv/anna/.ssh"
    modes = [p.stat().st_mode & 0o777 for p in (folder, folder / "authorized_keys")]
    assert modes == [0o700, 0o600]


def test_your_own_key_is_the_one_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    option = ("ssh-inject", "root")
    with pytest.raises(UsageError, match="no public key"):
        customize.parsed([Operation(name=option[0], value=option[1])])
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_rsa.pub").write_text(f"{KEY}\n")
    files = {"/etc/passwd": PASSWD, "/root/.ssh/authorized_keys": "other"}
    made = customised(tmp_path / "g", files, option)
    assert made["/root/.ssh/authorized_keys"] == f"other\n{KEY}\n"
    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    "there",
    [
        {"/srv/anna/.ssh": "-> /root/.ssh"},
        {"/srv/anna/.ssh/authorized_keys": "-> /etc/ld.so.preload"},
    ],
)
def test_a_key_does_not_follow_a_link_that_its_user_made(
    tmp_path: Path, there: dict[str, str]
) -> None:
    """The file would become the user's."""
    files = {"/etc/passwd": PASSWD, "/root/.ssh/": "", "/srv/anna/": "", **there}
    with pytest.raises(GuestError, match="is a link"):
        customised(tmp_path, files, ("ssh-inject", f"anna:string:{KEY}"))
    made = guest_folder.texts(tmp_path)
    assert made == {path: text for path, text in files.items() if text}


def test_an_id_that_libguestfs_cannot_take_is_no_traceback(tmp_path: Path) -> None:
    files = {"/etc/passwd": "big:x:4294967294:1::/srv/big:/bin/sh\n"}
    with pytest.raises(GuestError, match="no user big"):
        customised(tmp_path, files, ("ssh-inject", f"big:string:{KEY}"))
