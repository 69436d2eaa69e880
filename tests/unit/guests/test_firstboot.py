# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left for the first boots: planned once, run by any sh, gone when done."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import guest_folder
from v2v.document import Guest
from v2v.errors import GuestError
from v2v.guests.linux import firstboot, startpar
from v2v.guests.linux.firstboot import Step

DRIVER = Path(firstboot.__file__).with_suffix(".sh")
SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]]
SYSTEMD = Guest(type="linux", init="systemd")
UNIT = "/etc/systemd/system/v2v-firstboot.service"


def step(script: str, *, name: str = "one", network: bool = False) -> Step:
    return Step(name=name, script=f"#!/bin/sh\n{script}\n", network=network)


def left(root: Path, *steps: Step, guest: Guest = SYSTEMD) -> dict[str, str]:
    """Leave *steps* in the guest at *root*; return its files."""
    appliance = guest_folder.guest(root, {})
    for action in list(firstboot.plan(appliance, guest, steps)):
        action.apply(appliance)
    return guest_folder.texts(root)


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    return words


def boot(root: Path, shell: list[str], **settings: int | Path) -> dict[str, Any]:
    """Let the guest at *root* boot; return its status.json."""
    quick = {"BOOTS": 2, "TRIES": 2, "PAUSE": 0, "LIMIT": 20, "PATIENCE": 0}
    values = {"ROOT": root, "PROC": root / "proc", **quick, **settings}
    env = {f"V2V_{key}": str(value) for key, value in values.items()}
    driver = root / "var/lib/v2v/firstboot/run"
    done = subprocess.run(
        [*shell, str(driver)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    status: dict[str, Any] = json.loads((root / "var/lib/v2v/status.json").read_text())
    return status


def states(status: dict[str, Any]) -> list[str]:
    return [each["state"] for each in status["steps"]]


def test_what_is_done_is_done_once_and_leaves_no_trace(
    tmp_path: Path, shell: list[str]
) -> None:
    files = left(tmp_path, step(f"echo done >> {tmp_path}/proof"))
    assert UNIT in files
    status = boot(tmp_path, shell)
    assert status == {
        "v2v": 1,
        "done": True,
        "steps": [{"name": "one", "state": "ok", "boots": 1, "exit": 0}],
    }
    assert (tmp_path / "proof").read_text() == "done\n"
    assert set(guest_folder.texts(tmp_path)) == {
        *("/proof", "/var/lib/v2v/status.json", "/var/lib/v2v/firstboot.log"),
    }
    assert "one: status 0" in (tmp_path / "var/lib/v2v/firstboot.log").read_text()


def test_what_fails_is_tried_at_the_next_boot_and_given_up_at_last(
    tmp_path: Path, shell: list[str]
) -> None:
    """The other steps are done meanwhile, in their order."""
    proof = tmp_path / "proof"
    left(
        tmp_path,
        step(f"echo bad >> {proof}; exit 7", name="bad"),
        step(f"echo good >> {proof}", name="good"),
    )
    status = boot(tmp_path, shell)
    assert states(status) == ["pending", "ok"] and not status["done"]
    assert status["steps"][0]["exit"] == 7
    assert (tmp_path / UNIT.lstrip("/")).exists()
    status = boot(tmp_path, shell)
    assert states(status) == ["failed", "ok"] and status["done"]
    assert proof.read_text().split() == ["bad", "good", "bad"]
    assert not (tmp_path / UNIT.lstrip("/")).exists()


def test_a_step_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, shell: list[str]
) -> None:
    left(tmp_path, step(f"echo $$ > {tmp_path}/pid; sleep 300 & sleep 300"))
    before = time.monotonic()
    status = boot(tmp_path, shell, LIMIT=1, BOOTS=1)
    assert states(status) == ["failed"]
    assert status["steps"][0]["exit"] > 128
    assert time.monotonic() - before < 15
    group = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - before < 20:
            os.killpg(group, 0)


ROUTES = "Iface Destination Gateway Flags\neth0 0000A8C0 00000000 0001\n"
DEFAULT = "eth0 00000000 0100A8C0 0003\n"
NOWHERE = "0" * 32
SIX = f"{NOWHERE} 00 {NOWHERE} 00 {NOWHERE} ffffffff 00000001 00000000 00200200"


@pytest.mark.parametrize(
    ("route", "route6", "connected"),
    [
        (ROUTES, "", False),
        (ROUTES + DEFAULT, "", True),
        ("", f"{SIX}       lo\n", False),
        ("", f"{SIX}       lo\n{SIX}     eth0\n", True),
    ],
)
def test_a_step_for_the_network_is_not_run_without_one(
    tmp_path: Path, shell: list[str], route: str, route6: str, connected: bool
) -> None:
    left(tmp_path, step("exit 0", network=True))
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    (net / "route").write_text(route)
    (net / "ipv6_route").write_text(route6)
    status = boot(tmp_path, shell)
    assert states(status) == ["ok" if connected else "pending"]


def test_what_may_work_at_a_second_try_gets_one(
    tmp_path: Path, shell: list[str]
) -> None:
    mark = tmp_path / "mark"
    left(tmp_path, step(f"[ -e {mark} ] || {{ : > {mark}; exit 1; }}", network=True))
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    (net / "route").write_text(ROUTES + DEFAULT)
    assert states(boot(tmp_path, shell)) == ["ok"]


def test_nothing_is_run_when_its_count_cannot_be_kept(
    tmp_path: Path, shell: list[str]
) -> None:
    """A disk that is full must not have it run at every boot for ever."""
    left(tmp_path, step(f": > {tmp_path}/proof"))
    (tmp_path / "var/lib/v2v/firstboot/01-one/count.new").mkdir()
    with pytest.raises((AssertionError, FileNotFoundError)):
        boot(tmp_path, shell)
    assert not (tmp_path / "proof").exists()


def test_a_script_in_another_language_is_run_by_it(
    tmp_path: Path, shell: list[str]
) -> None:
    script = f"#!/usr/bin/perl\nopen my $f, '>', '{tmp_path}/proof'; print $f 'x';\n"
    left(tmp_path, Step(name="p", script=script), Step(name="q", script="exit 0\n"))
    assert states(boot(tmp_path, shell)) == ["ok", "ok"]
    assert (tmp_path / "proof").read_text() == "x"


def test_a_second_plan_leaves_what_is_there_and_adds_what_is_new(
    tmp_path: Path,
) -> None:
    one, two = step("true"), step("false", name='../"Two" €')
    before = left(tmp_path, one)
    assert left(tmp_path, one) == before
    after = left(tmp_path, one, two)
    added = {path: after[path] for path in after.keys() - before.keys()}
    assert added == {"/var/lib/v2v/firstboot/02-two/script": two.script}


SERVICE = "/etc/init.d/v2v-firstboot"
LINK = "-> /etc/init.d/v2v-firstboot"


@pytest.mark.parametrize(
    ("init", "folders", "links"),
    [
        ("sysv", ["/etc/rc.d/rc3.d/", "/etc/rc.d/rc5.d/"], "/etc/rc.d/rc{}.d"),
        ("sysv", ["/etc/init.d/rc3.d/", "/etc/init.d/rc5.d/"], "/etc/init.d/rc{}.d"),
        ("sysv", ["/etc/rc3.d/", "/etc/rc5.d/"], "/etc/rc{}.d"),
        ("openrc", [], None),
    ],
)
def test_each_init_starts_it_in_its_own_way_and_it_takes_its_links_along(
    tmp_path: Path, init: str, folders: list[str], links: str | None
) -> None:
    guest_folder.guest(tmp_path, dict.fromkeys(folders, ""))
    files = left(tmp_path, step("true"), guest=Guest(type="linux", init=init))
    assert files[SERVICE].startswith("#!")
    expected = (
        {f"{links.format(n)}/S99v2v-firstboot" for n in "35"}
        if links
        else {"/etc/runlevels/default/v2v-firstboot"}
    )
    assert {path for path, text in files.items() if text == LINK} == expected
    assert states(boot(tmp_path, ["sh"])) == ["ok"]
    assert not [path for path in guest_folder.texts(tmp_path) if "/etc" in path]


def test_the_boot_does_not_wait_for_an_init_script(tmp_path: Path) -> None:
    guest_folder.guest(tmp_path, {"/etc/rc3.d/": ""})
    left(tmp_path, step("sleep 60"), guest=Guest(type="linux", init="sysv"))
    service = tmp_path / "service"
    text = (tmp_path / SERVICE.lstrip("/")).read_text()
    service.write_text(text.replace("/var/lib/v2v", f"{tmp_path}/none"))
    subprocess.run(["dash", str(service), "start"], check=True, timeout=10)


def test_an_init_that_is_not_known_is_refused(tmp_path: Path) -> None:
    guest = Guest(type="linux", init="sysv")
    appliance = guest_folder.guest(tmp_path, {})
    assert not firstboot.can_start(appliance, guest)
    with pytest.raises(GuestError, match="init"):
        list(firstboot.plan(appliance, guest, [step("true")]))


@pytest.mark.parametrize("text", [firstboot._SYSV, DRIVER.read_text()])
def test_shellcheck_finds_nothing(text: str) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_startpar_is_told_since_it_sees_no_mere_links(tmp_path: Path) -> None:
    """Seen with startpar 0.65: it starts what .depend.start lists and has a link."""
    path = "/etc/init.d/.depend.start"
    text = "TARGETS = rsyslog ssh\nINTERACTIVE =\nssh: rsyslog\n"
    guest_folder.guest(tmp_path, {"/etc/rc2.d/": "", path: text})
    guest = Guest(type="linux", init="sysv")
    after = (
        "TARGETS = rsyslog ssh v2v-firstboot\nINTERACTIVE =\nssh: rsyslog\n"
        "v2v-firstboot: rsyslog ssh\n"
    )
    files = left(tmp_path, step("true"), guest=guest)
    assert files[path] == after
    assert left(tmp_path, step("true"), step("false"), guest=guest)[path] == after


def test_two_scripts_for_startpar_do_not_undo_each_other(tmp_path: Path) -> None:
    path = "/etc/init.d/.depend.start"
    guest = guest_folder.guest(tmp_path, {path: "TARGETS =\n"})
    for action in [a for name in "ab" for a in list(startpar.plan(guest, name, "x"))]:
        action.apply(guest)
    assert guest.read(path) == "TARGETS = a b\na:\nb: a\n"
    assert list(startpar.plan(guest, "b", "x")) == []
    assert startpar.added("no list\n", "a") == "no list\n"
