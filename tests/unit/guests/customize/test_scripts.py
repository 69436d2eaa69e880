# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts and packages: now, or at the first boots."""

import logging
import shlex
from pathlib import Path
from typing import Any

import pytest

import guest_folder
from guest_folder import handle
from v2v.document import Guest
from v2v.errors import GuestError, UsageError
from v2v.guests import customize
from v2v.guests.customize import Place, Work
from v2v.operations import Operation

DEBIAN = Guest(type="linux", init="systemd", package_format="deb", arch="x86_64")


def parsed(option: str, value: str) -> Work:
    [work] = customize.parsed([Operation(name=option, value=value)])
    return work


def place(root: Path, guest: Guest = DEBIAN) -> Place:
    appliance = guest_folder.guest(root, {"/var/tmp/": "", "/usr/sbin/": ""})
    return Place(appliance=appliance, guest=guest, folder=None)


def test_what_is_for_the_first_boot_is_a_step(tmp_path: Path) -> None:
    script = tmp_path / "My Script.py"
    script.write_bytes(b"#!/usr/bin/python3\n# \xff\n")
    [one] = parsed("firstboot", str(script)).steps
    assert one.script == "#!/usr/bin/python3\n# \udcff\n"
    assert (one.name, one.shown) == ("My Script.py", "My Script.py of this host")
    [two] = parsed("firstboot-command", "/bin/echo 'a b' > /x").steps
    assert (two.name, two.script) == ("echo", "#!/bin/sh\n/bin/echo 'a b' > /x\n")
    [three] = parsed("firstboot-install", "nginx, g++").steps
    assert three.network and "apt-get" in three.script and "nginx g++" in three.script


@pytest.mark.parametrize(("option", "value"), [("install", "nginx"), ("update", "")])
def test_what_needs_a_network_is_left_to_the_guest_with_a_warning(
    option: str, value: str
) -> None:
    work = parsed(option, value)
    assert [step.network for step in work.steps] == [True]
    assert work.warning and "at its first boot" in work.warning


def test_packages_that_are_files_are_installed_now(tmp_path: Path) -> None:
    package = tmp_path / "x_1_all.deb"
    package.write_text("deb")
    work = parsed("install", str(package))
    assert not work.steps
    where = place(tmp_path / "g")
    [action] = work.actions(where)
    action.apply(where.appliance)
    assert handle(where.appliance).ran == [
        ["dpkg", "-i", "/var/tmp/v2v-packages/x_1_all.deb"]
    ]
    with pytest.raises(GuestError, match="kind rpm"):
        list(work.actions(place(tmp_path / "h", DEBIAN.having(package_format="rpm"))))


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("deb", ["dpkg", "--remove", "a", "b"]),
        ("rpm", ["rpm", "-e", "a", "b"]),
        ("apk", ["apk", "del", "--no-network", "a", "b"]),
    ],
)
def test_just_the_named_packages_are_removed(
    tmp_path: Path, kind: str, command: list[str]
) -> None:
    where = place(tmp_path, DEBIAN.having(package_format=kind))
    [action] = parsed("uninstall", "a,b").actions(where)
    action.apply(where.appliance)
    assert handle(where.appliance).ran == [command]
    assert guest_folder.texts(tmp_path) == {}


def test_a_package_that_others_need_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place(tmp_path)
    [action] = parsed("uninstall", "libc6").actions(where)

    def command(words: list[str]) -> str:
        raise RuntimeError("dependency problems")

    monkeypatch.setattr(where.appliance.g, "command", command)
    with pytest.raises(GuestError, match="dpkg failed in the guest: dependency"):
        action.apply(where.appliance)
    assert (
        guest_folder.texts(tmp_path) == {}
    )  # the policy that no service starts is gone


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[
            ("install", "-y"),
            ("install", "a;b"),
            ("uninstall", ""),
            ("run-command", " "),
        ],
        *[
            ("firstboot-install", "$(x)"),
            ("firstboot-command", ""),
            ("run-script", "x"),
        ],
        *[("install", "/no/such.deb"), ("firstboot", "/no/such")],
    ],
)
def test_what_cannot_be_run_is_refused_at_once(option: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}"):
        parsed(option, value)


def test_what_a_script_says_is_logged_and_its_failure_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    where = place(tmp_path)
    g: Any = where.appliance.g
    asked: list[str] = []

    def sh(command: str) -> str:
        asked.append(command)
        g.write("/var/tmp/v2v-run.log", b"first\nno such \xff file\n")
        if "bad" in command:
            raise RuntimeError("exit status 1")
        return ""

    monkeypatch.setattr(g, "sh", sh, raising=False)
    [good] = parsed("run-command", "echo 'a'; true").actions(where)
    good.apply(where.appliance)
    [command] = asked
    assert shlex.split(command)[:3] == ["/bin/sh", "-c", "cd /tmp\necho 'a'; true\n"]
    assert command.endswith("> /var/tmp/v2v-run.log 2>&1 < /dev/null")
    assert "--run-command: first" in caplog.text
    [bad] = parsed("run-command", "bad").actions(where)
    with pytest.raises(GuestError, match=r"bad failed in the guest: no such \? file"):
        bad.apply(where.appliance)
    assert guest_folder.texts(tmp_path) == {}


def test_a_script_may_say_as_much_as_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place(tmp_path)
    g: Any = where.appliance.g

    def sh(command: str) -> str:
        g.write("/var/tmp/v2v-run.log", b"x" * 100 + b"\n" * 9_000_000 + b"last\n")
        raise RuntimeError("exit status 1")

    monkeypatch.setattr(g, "sh", sh, raising=False)
    [action] = parsed("run-command", "x").actions(where)
    with pytest.raises(GuestError, match="failed in the guest: last"):
        action.apply(where.appliance)


@pytest.mark.parametrize("name", ["v2v-run", "v2v-run.log", "v2v-packages"])
def test_links_that_anybody_may_have_left_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    script, package = tmp_path / "x.sh", tmp_path / "x.deb"
    script.write_text("true\n")
    package.write_text("deb")
    where = place(tmp_path / "g")
    there = {"/etc/shadow": "root:*:1:\n", f"/var/tmp/{name}": "-> /etc/shadow"}
    for path, content in there.items():
        guest_folder.put(tmp_path / "g", path, content)
    g: Any = where.appliance.g

    def sh(command: str) -> str:
        g.write("/var/tmp/v2v-run.log", b"said\n")
        return ""

    monkeypatch.setattr(g, "sh", sh, raising=False)
    for option, value in (("run-script", script), ("install", package)):
        [action] = parsed(option, str(value)).actions(where)
        action.apply(where.appliance)
    assert guest_folder.texts(tmp_path / "g") == {"/etc/shadow": "root:*:1:\n"}
