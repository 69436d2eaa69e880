# SPDX-License-Identifier: GPL-2.0-or-later
"""What is left for a Windows guest's first boots, and how Windows is told of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import batch_checker
import guest_folder
import hives
import windows_registry
import windows_runner
import windows_store
from v2v.document import VM, Disk, Guest, Source, Windows
from v2v.errors import GuestError
from v2v.guests.plan import Action
from v2v.guests.wanted import Firstboot, Wanted
from v2v.guests.windows import customized, security
from v2v.guests.windows.firstboot import Step, agents, plan, restore
from v2v.guests.windows.firstboot.planning import IMAGE, NAME
from v2v.guests.windows.firstboot.steps import crlf
from v2v.guests.windows.hive import Value, dword, sz
from v2v.guests.windows.place import Work
from v2v.operations import Operation

SET = "ControlSet001"
CRASH = rf"{SET}\Control\CrashControl"
PARTMGR = rf"{SET}\Services\partmgr\Parameters"
SERVICE = rf"{SET}\Services\{NAME}"
SYSTEM: hives.Keys = {CRASH: {"AutoReboot": 1}, PARTMGR: {"SanPolicy": 2}}
HOME = "/Windows/v2v/firstboot"
VMWARE = "{4EB1C0D7-55A8-4BD4-B2D4-9E3E2B5E9E11}"
ONE_SWAP = "https://github.com/OpenNebula/one-swap/issues/45"
DISKS = "https://github.com/FuturFusion/migration-manager/issues/481"


def work(
    folder: Path,
    *,
    keys: hives.Keys | None = None,
    disks: int = 1,
    build: int = 20348,
    method: Firstboot = "service",
    bcd: Path | None = None,
) -> Work:
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    (folder / "hives").mkdir(exist_ok=True)
    (files / "Windows").mkdir(exist_ok=True)
    registry = windows_registry.registry(
        folder / "hives", system=SYSTEM if keys is None else keys, bcd=bcd
    )
    own = tuple(Disk(id=f"sd{chr(97 + n)}", size=2**30) for n in range(disks))
    return Work(
        appliance=guest_folder.guest(files, {}),
        registry=registry,
        vm=VM(
            id="x",
            name="x",
            memory=2**30,
            source=Source(kind="disk", location="/x"),
            disks=own,
        ),
        guest=Guest(type="windows", windows=Windows(id="win2k22", build=build)),
        wanted=Wanted(firstboot=method),
        root="/Windows",
    )


def written(actions: Iterator[Action]) -> list[str]:
    return [action.change.path for action in actions]


def every_script() -> Iterator[tuple[str, str]]:
    for name in ("run.cmd", "one.cmd"):
        yield name, (windows_runner.SOURCES / name).read_text()
    for build in (7601, 26100):
        for step in agents.drivers(["viostor", "netkvm", "viofs"], build):
            yield step.name, step.script
    yield "agent", agents.installer("qemu-ga", b"", "qemu-ga.msi").script
    yield "balloon", agents.balloon().script


@pytest.mark.parametrize(
    "script", [pytest.param(text, id=name) for name, text in every_script()]
)
def test_the_scripts_are_what_cmd_exe_can_read(script: str) -> None:
    assert list(batch_checker.faults(crlf(script).encode())) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("goto nowhere", "no label nowhere"),
        ("call :nowhere", "no label nowhere"),
        ('echo "open', "a quote is left open"),
        ("curl x", "'curl' is no command"),
        ("if exist x (echo y)", "a block"),
        ('call "%SYS%\\timeout" 5', "timeout is not in every Windows"),
        ("echo %DATE%", "text of the guest"),
        ("echo !X!", "delayed expansion"),
        ("if errorlevel 1 echo a\nif errorlevel 2 echo b", "errorlevel 2 after 1"),
        ("echo \N{EURO SIGN}", "not ASCII"),
    ],
)
def test_the_checker_finds_faults(line: str, fault: str) -> None:
    text = crlf(f"@echo off\n{line}\nexit /b 0\n")
    assert any(fault in found for found in batch_checker.faults(text.encode()))
    assert "do not all end" in next(batch_checker.faults(b"@echo off\nexit\n"))


def test_windows_starts_it_with_a_service_that_is_cmd_exe(tmp_path: Path) -> None:
    own = work(tmp_path)
    own.steps.append(Step(name="A step", script="exit /b 0\n", required=True))
    assert f"{HOME}/scripts/2-5000-01-a-step.cmd" in written(plan(own))
    system = own.registry.system
    assert system.text(SERVICE, "ImagePath") == IMAGE
    assert system.number(SERVICE, "ErrorControl") == 0
    assert system.texts(SERVICE, "DependOnService") == ("RpcSs", "PlugPlay")
    assert IMAGE.count(r"\System32\cmd.exe") == 2


def test_setups_command_line_names_the_guests_own_drive(tmp_path: Path) -> None:
    own = work(tmp_path, method="setup")
    at_d = Windows(id="win2k22", build=20348, system_root=r"D:\WINNT")
    own = Work(
        **{**own.__dict__, "guest": own.guest.having(windows=at_d)},
    )
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    assert f"{HOME}/setup" in written(plan(own))
    system = own.registry.system
    command = r"D:\WINNT\System32\cmd.exe /c D:\WINNT\v2v\firstboot\run.cmd"
    assert system.text("Setup", "CmdLine") == command
    assert system.number("Setup", "SetupType") == 2
    assert not system.exists(SERVICE)


def test_without_a_first_boot_nothing_is_left_or_changed(tmp_path: Path) -> None:
    own = work(tmp_path, method="none", disks=2)
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    assert list(plan(own)) == []
    assert own.registry.system.changes == []
    own.steps.append(Step(name="y", script="exit\n", shown="y.cmd of this host"))
    with pytest.raises(GuestError, match="--firstboot-method none"):
        list(plan(own))


@pytest.mark.report("https://github.com/FuturFusion/migration-manager/issues/481")
def test_data_disks_come_online_and_the_policy_is_put_back(tmp_path: Path) -> None:
    own = work(tmp_path, disks=2)
    lines = restore.lines(own, "")
    assert own.registry.system.number(PARTMGR, "SanPolicy") == 1
    assert own.registry.system.number(CRASH, "AutoReboot") == 0
    add, kind = r'call "%SYS%\reg" add "HKLM\SYSTEM', "/t REG_DWORD"
    assert lines == [
        rf'{add}\{CRASH}" /v AutoReboot {kind} /d 1 /f',
        rf'{add}\{PARTMGR}" /v SanPolicy {kind} /d 2 /f',
    ]
    text = restore.text(lines)
    assert list(batch_checker.faults(text.encode())) == []
    # A second run finds what the first one set, and must not save that.
    assert restore.lines(own, text) == lines
    assert restore.lines(own, text + "format c:\r\n") == lines


@pytest.mark.parametrize("service", ["ClusDisk", "ClusSvc"])
def test_a_clusters_disks_are_left_to_it(tmp_path: Path, service: str) -> None:
    keys = hives.with_keys(SYSTEM, {rf"{SET}\Services\{service}": {"Start": 0}})
    own = work(tmp_path, keys=keys, disks=3)
    restore.lines(own, "")
    assert own.registry.system.number(PARTMGR, "SanPolicy") == 2


def test_nothing_to_do_makes_no_first_boots(tmp_path: Path) -> None:
    """AutoReboot, and the boot policy, are for the sake of first boots alone."""
    keys = windows_store.keys(windows_store.mbr(1, 2**20), efi=False)
    own = work(tmp_path, bcd=hives.made(tmp_path / "BCD", keys))
    assert list(plan(own)) == []
    assert [hive for hive in own.registry.hives if hive.changes] == []
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    assert f"{HOME}/restore.cmd" in written(plan(own))
    changed = {c.path for hive in own.registry.hives for c in hive.changes}
    assert rf"SYSTEM\{CRASH}\AutoReboot" in changed
    assert any(path.endswith("250000E0\\Element") for path in changed)


def test_the_service_is_in_what_is_booted_next(tmp_path: Path) -> None:
    """The loader takes Default, which need not be what ran last."""
    keys = hives.with_keys(
        SYSTEM, {"Select": {"Current": 1, "Default": 3}, "ControlSet003": {}}
    )
    own = work(tmp_path, keys=keys)
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    list(plan(own))
    assert own.registry.system.text(SERVICE, "ImagePath") == IMAGE
    other = SERVICE.replace(SET, "ControlSet003")
    assert own.registry.system.text(other, "ImagePath") == IMAGE


def test_a_value_that_was_not_there_is_deleted_again(tmp_path: Path) -> None:
    own = work(tmp_path, keys={}, disks=2)
    assert restore.lines(own, "") == [
        rf'call "%SYS%\reg" delete "HKLM\SYSTEM\{PARTMGR}" /v SanPolicy /f'
    ]


@pytest.mark.parametrize(("build", "add"), [(7601, "-i -a"), (26100, "/add-driver")])
def test_drivers_are_in_their_order_without_the_cosmetic(build: int, add: str) -> None:
    names = ["smbus", "viofs", "netkvm", "balloon", "viostor"]
    made = list(agents.drivers(names, build))
    assert [step.name.split()[1] for step in made] == [
        *("viostor", "netkvm", "balloon", "viofs")
    ]
    assert [step.required for step in made] == [True, True, False, False]
    assert all(add in step.script and step.phase == 1 for step in made)


def test_a_driver_with_a_name_for_cmd_exe_is_refused() -> None:
    with pytest.raises(GuestError, match="cannot be called"):
        list(agents.drivers(["x & del"], 26100))
    with pytest.raises(GuestError, match="cannot be the name"):
        agents.installer("x", b"", 'a" & del "b.msi')
    assert list(agents.drivers(["netkvm"], 2600)) == []


@pytest.mark.report("https://github.com/OpenNebula/one-swap/issues/45")
def test_tools_are_removed_by_their_guid_alone(tmp_path: Path) -> None:
    place = r"Microsoft\Windows\CurrentVersion\Uninstall"
    software = {
        rf"{place}\{VMWARE}": {"DisplayName": "VMware Tools"},
        rf"{place}\{VMWARE[:-1]} & x": {"DisplayName": "VMware Tools"},
        rf"{place}\Other": {"DisplayName": "VMware Tools", "UninstallString": "x"},
    }
    registry = windows_registry.registry(
        tmp_path, software=hives.with_keys(hives.SOFTWARE, software)
    )
    (step,) = agents.removals(registry.software)
    line = rf'call "%SYS%\msiexec" /x {VMWARE} /qn /norestart'
    assert f"{line} REBOOT=ReallySuppress REMOVE=ALL" in step.script.splitlines()
    assert list(batch_checker.faults(crlf(step.script).encode())) == []
    assert not step.required


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    own = work(tmp_path, disks=2)
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    for action in plan(own):
        if action.change.after != "SYSTEM and Administrators: all":
            action.apply(own.appliance)
    before = len(own.registry.system.changes)
    assert list(plan(own)) == []
    assert len(own.registry.system.changes) == before


def test_the_descriptor_lets_two_in_and_inherits_nothing() -> None:
    data = security.descriptor()
    control, owner, group, _, acl = struct.unpack_from("<2xHIIII", data)
    assert control == 0x9004
    count = struct.unpack_from("<H", data, acl + 4)[0]
    assert count == 2
    assert data[owner:group] == bytes.fromhex("01020000000000052000000020020000")
    assert data[group:] == bytes.fromhex("010100000000000512000000")


def test_a_batch_file_and_a_command_of_the_user_are_steps(tmp_path: Path) -> None:
    script = tmp_path / "Set Up.CMD"
    script.write_text("@echo off\nver\n")
    asked = (
        Operation(name="firstboot-command", value=r"C:\\tools\\x.exe /quiet"),
        Operation(name="firstboot", value=str(script)),
    )
    command, file = customized.steps(asked)
    assert (command.label, file.label) == ("x-exe", "set-up")
    assert r"C:\\tools\\x.exe /quiet" in command.script.splitlines()
    assert file.script == script.read_text()
    assert file.shown == "Set Up.CMD of this host"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("password", "root:random", "--password is for others"),
        ("run-command", "true", "--run-command is for others"),
        ("firstboot", "/tmp/x.sh", "no batch file"),
    ],
)
def test_what_windows_cannot_be_asked_for_is_refused(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(GuestError, match=said):
        list(customized.steps([Operation(name=name, value=value)]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SystemSetupInProgress", dword(1)),
        ("OOBEInProgress", dword(1)),
        ("CmdLine", sz(r"oobe\windeploy.exe")),
    ],
)
def test_setup_s_own_command_line_is_not_taken_away(
    tmp_path: Path, name: str, value: Value
) -> None:
    own = work(tmp_path, method="setup")
    own.registry.system.set("Setup", name, value, "")
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    with pytest.raises(GuestError, match="is not set up yet"):
        list(plan(own))


def test_boots_are_counted_anew_after_a_first_boot_that_is_over(tmp_path: Path) -> None:
    own = work(tmp_path)
    for path in ("complete", "state/boot.5", "state/result"):
        guest_folder.put(tmp_path / "files", f"{HOME[1:]}/{path}", "1")
    own.steps.append(Step(name="x", script="exit /b 0\n"))
    actions = list(plan(own))
    assert f"{HOME}/state" in written(iter(actions))
    for action in actions:
        if action.change.kind == "delete":
            action.apply(own.appliance)
    assert not (tmp_path / "files" / HOME[1:] / "state").exists()
    assert not (tmp_path / "files" / HOME[1:] / "complete").exists()
