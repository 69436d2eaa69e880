# SPDX-License-Identifier: GPL-2.0-or-later
"""The first boots of a Windows guest, as wine's cmd.exe runs them: nothing loops."""

from __future__ import annotations

from pathlib import Path

import pytest

import windows_runner
from windows_runner import Machine

KEPT = ["complete", "log.txt", "ran"]

pytestmark = pytest.mark.skipif(
    not windows_runner.has_wine(), reason="needs wine (contrib/packages.txt)"
)


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return windows_runner.prefix(tmp_path_factory.mktemp("wine"))


@pytest.fixture
def machine(tmp_path: Path, wine: Path) -> Machine:
    return Machine(tmp_path, wine)


def states(machine: Machine) -> dict[str, tuple[str, int, int | None]]:
    return {
        step["name"]: (step["state"], step["tries"], step["exit"])
        for step in machine.result["steps"]
    }


def test_all_is_done_in_one_boot_and_nothing_is_left(machine: Machine) -> None:
    machine.step("1-2000-01-a", "exit /b 0", required=True)
    machine.step("2-4000-01-b", "exit 250")
    (machine.home / "files" / "x.msi").write_bytes(b"x")
    restore = '@echo off\r\ncall "%SYS%\\reg" add "HKLM\\SYSTEM\\X" /v Y /f\r\n'
    (machine.home / "restore.cmd").write_text(restore)
    assert machine.boots() == 1
    assert machine.ran == ["1-2000-01-a", "2-4000-01-b"]
    assert machine.result["state"] == "ok"
    assert machine.result["boots"] == 1
    assert states(machine) == {
        "1-2000-01-a": ("ok", 1, 0),
        "2-4000-01-b": ("ok", 1, 250),
    }
    assert sorted(path.name for path in machine.home.iterdir()) == KEPT
    assert machine.calls("shutdown") == []
    assert machine.calls("sc") == ["sc delete v2v-firstboot"]
    assert 'reg add "HKLM\\SYSTEM\\X" /v Y /f' in machine.calls("reg")
    assert [(t["step"], t["state"]) for t in machine.told] == [
        ("firstboot", "started"),
        ("1-2000-01-a", "running"),
        ("1-2000-01-a", "ok"),
        ("2-4000-01-b", "running"),
        ("2-4000-01-b", "ok"),
        ("firstboot", "complete"),
    ]


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/159")
def test_a_step_that_always_asks_again_is_tried_three_times(machine: Machine) -> None:
    machine.step("1-2000-01-driver", "exit /b 249", required=True)
    machine.step("2-4000-01-agent", "exit /b 0")
    assert machine.boots() == 3
    assert machine.ran.count("1-2000-01-driver") == 3
    assert machine.ran.count("2-4000-01-agent") == 1
    assert states(machine)["1-2000-01-driver"] == ("failed", 3, 249)
    assert machine.result["state"] == "failed"
    assert len(machine.calls("shutdown")) == 2


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/178")
def test_an_inf_that_fails_and_may_is_no_failure(machine: Machine) -> None:
    machine.step("1-2000-01-driver-smbus", "exit /b 2")
    machine.step("1-2000-02-driver-netkvm", "exit /b 0", required=True)
    assert machine.boots() == 1
    assert machine.result["state"] == "ok"
    assert states(machine)["1-2000-01-driver-smbus"] == ("failed", 1, 2)


@pytest.mark.report("https://github.com/vexxhost/migratekit/issues/136")
def test_one_restart_serves_all_drivers(machine: Machine) -> None:
    for number in range(4):
        machine.step(f"1-2000-0{number}-driver", f"exit /b {3010 if number else 1641}")
    machine.step("2-4000-01-agent", "exit /b 0")
    assert machine.boots() == 2
    assert machine.ran[-1] == "2-4000-01-agent"
    assert len(machine.ran) == 5
    # The one at the end is for what asked at that boot: nothing did.
    assert len(machine.calls("shutdown")) == 1
    assert machine.result["state"] == "ok"


def test_what_asks_for_a_restart_at_the_end_gets_it(machine: Machine) -> None:
    machine.step("2-4000-01-agent", "exit /b 3010")
    assert machine.boots() == 1
    assert len(machine.calls("shutdown")) == 1
    assert machine.result["state"] == "ok"


def test_a_step_that_hangs_is_left_behind_and_the_others_are_done(
    machine: Machine,
) -> None:
    hang = '"%SystemRoot%\\System32\\ping.exe" -n 6 127.0.0.1 >nul\nexit /b 0'
    machine.step("2-5000-01-hangs", hang)
    machine.step("2-5000-02-after", "exit /b 0")
    assert machine.boots(limit=2) == 4
    assert states(machine)["2-5000-01-hangs"] == ("failed", 3, 249)
    assert states(machine)["2-5000-02-after"] == ("ok", 1, 0)


def test_five_boots_are_the_most(machine: Machine) -> None:
    for number in range(3):
        # The machine goes down in each of them, before the runner can note a status.
        machine.step(f"2-5000-0{number}-crash", "exit /b 0")
    for boot in range(1, 6):
        (machine.home / "state").mkdir(exist_ok=True)
        (machine.home / "state" / f"boot.{boot}").write_text("x")
    (machine.home / "scripts" / "2-5000-00-crash.required").write_text("x")
    restore = '@echo off\r\ncall "%SYS%\\reg" add "HKLM\\SYSTEM\\X" /v Y /f\r\n'
    (machine.home / "restore.cmd").write_text(restore)
    assert machine.boots() == 1
    assert machine.ran == []
    assert machine.result["state"] == "incomplete"
    assert set(states(machine).values()) == {("pending", 0, None)}
    assert sorted(path.name for path in machine.home.iterdir()) == KEPT[:2]
    assert 'reg add "HKLM\\SYSTEM\\X" /v Y /f' in machine.calls("reg")


def test_a_step_that_took_the_machine_down_three_times_is_not_run(
    machine: Machine,
) -> None:
    machine.step("1-2000-01-crash", "exit /b 0")
    (machine.home / "state").mkdir()
    for number in (1, 2, 3):
        (machine.home / "state" / f"1-2000-01-crash.try{number}").write_text("x")
    assert machine.boots() == 1
    assert machine.ran == []
    assert states(machine) == {"1-2000-01-crash": ("failed", 3, 249)}


def test_setup_starts_it_again_only_while_there_is_something_to_do(
    machine: Machine,
) -> None:
    (machine.home / "setup").write_text("1")
    machine.step(
        "2-5000-01-again",
        'if not exist "%HERE%twice" goto once\nexit /b 0\n'
        ':once\n>"%HERE%twice" echo 1\nexit /b 249',
    )
    assert machine.boots() == 2
    types = [
        call.split(" /d ")[1][0] for call in machine.calls("reg") if "SetupType" in call
    ]
    assert types == ["0", "2", "0"]
