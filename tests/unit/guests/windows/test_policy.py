# SPDX-License-Identifier: GPL-2.0-or-later
"""What in a guest may stand in the way, with the values that say so."""

from collections.abc import Collection
from pathlib import Path

import pytest

import hives
from v2v.document import Finding
from v2v.guests.windows import policy
from windows_registry import registry

POLICIES = r"Policies\Microsoft\Windows"
RESTRICTIONS = rf"{POLICIES}\DeviceInstall\Restrictions"
SERVICES = r"ControlSet001\Services"
MANAGER = r"ControlSet001\Control\Session Manager"


def found(
    folder: Path,
    system: hives.Keys | None = None,
    software: hives.Keys | None = None,
    files: Collection[str] = (),
) -> dict[str, Finding]:
    keys = hives.with_keys(hives.SOFTWARE, software or {})
    there = registry(folder, system=system, software=keys)
    all_ = list(policy.findings(there, lambda path: path in files))
    assert {finding.code for finding in all_} <= set(policy.FINDINGS)
    return {finding.code: finding for finding in all_}


def test_of_a_plain_guest_there_is_nothing_to_say(tmp_path: Path) -> None:
    history = r"Microsoft\Windows\CurrentVersion\Group Policy\History"
    software: hives.Keys = {rf"{history}\{{31B2F340-016D}}": {}, RESTRICTIONS: {}}
    assert found(tmp_path, software=software) == {}


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/13")
def test_a_device_policy_is_named_with_its_values(tmp_path: Path) -> None:
    keys: hives.Keys = {
        RESTRICTIONS: {
            "DenyUnspecified": 1,
            "DenyDeviceIDs": 0,
            "AllowDeviceIDs": 1,
            "DenyRemovableDevices": 1,
        }
    }
    one = found(tmp_path, software=keys)["windows-device-policy"]
    assert "DenyUnspecified=0x1 in SOFTWARE" in one.message
    assert one.severity == "warn"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"EnableScripts": 1, "ExecutionPolicy": "AllSigned"}, "AllSigned"),
        ({"EnableScripts": 0}, "EnableScripts=0"),
        ({"EnableScripts": 1, "ExecutionPolicy": "Unrestricted"}, None),
        ({}, None),
    ],
)
def test_a_script_policy_is_told(
    tmp_path: Path, values: dict[str, hives.Content], says: str | None
) -> None:
    there = found(tmp_path, software={rf"{POLICIES}\PowerShell": values})
    message = there["windows-script-policy"].message if says else ""
    assert (says or "") in message
    assert bool(says) == ("windows-script-policy" in there)


def test_what_restricts_code_is_listed(tmp_path: Path) -> None:
    system: hives.Keys = {
        rf"ControlSet001\{policy._HVCI}": {"Enabled": 1},
    }
    software: hives.Keys = {
        rf"{POLICIES}\SrpV2\Exe": {"EnforcementMode": 1},
        rf"{POLICIES}\SrpV2\Dll": {"EnforcementMode": 0},
    }
    active = r"System32\CodeIntegrity\CiPolicies\Active"
    one = found(tmp_path, system, software, [active])["windows-code-policy"]
    for word in ("AppLocker", f"WDAC ({active})", "HVCI"):
        assert word in one.message


def test_a_policy_that_only_watches_restricts_nothing(tmp_path: Path) -> None:
    software: hives.Keys = {rf"{POLICIES}\SrpV2\Exe": {"EnforcementMode": 0}}
    assert found(tmp_path, software=software) == {}


def test_virus_scanners_are_known_by_their_filters(tmp_path: Path) -> None:
    group: dict[str, hives.Content] = {"Group": "FSFilter Anti-Virus", "Start": 0}
    system: hives.Keys = {
        rf"{SERVICES}\WdFilter": group,
        rf"{SERVICES}\savonaccess": group,
        rf"{SERVICES}\old": {**group, "Start": 4},
        rf"{SERVICES}\luafv": {"Group": "FSFilter Virtualization", "Start": 2},
    }
    one = found(tmp_path, system)["windows-antivirus"]
    assert "(savonaccess)" in one.message


def test_updates_that_wait_are_told(tmp_path: Path) -> None:
    system: hives.Keys = {
        MANAGER: {"PendingFileRenameOperations": [r"\??\C:\a", "", r"\??\C:\b", "!c"]}
    }
    software: hives.Keys = {key: {} for key in policy._PENDING}
    there = found(tmp_path, system, software, [r"WinSxS\pending.xml"])
    assert "Windows Update, component servicing, WinSxS" in (
        there["windows-update-pending"].message
    )
    assert there["windows-renames-pending"].message.startswith("2 files")


def test_a_system_on_another_drive_and_a_cluster_are_told(tmp_path: Path) -> None:
    software: hives.Keys = {
        r"Microsoft\Windows NT\CurrentVersion": {"SystemRoot": r"D:\Windows"}
    }
    there = found(tmp_path, {rf"{SERVICES}\ClusDisk": {"Start": 0}}, software)
    assert set(there) == {"windows-drive", "windows-cluster"}
    assert "drive D:" in there["windows-drive"].message


def test_other_systems_are_named() -> None:
    names = ["/dev/sda2", "/dev/sdb1"]
    (one,) = policy.other_systems(names, "/dev/sda2")
    assert one.message.startswith("/dev/sdb1: other")
    assert list(policy.other_systems(names[:1], "/dev/sda2")) == []


# How many files are to be renamed, by the strings' NULs; and McAfee's service.
REAL: dict[str, tuple[int, list[str]]] = {
    "win7-x86-vmware-static": (0, ["mfehidk"]),
    "win81-x64-virtualbox": (2, []),
    "win10-x64-vmware": (101, []),
    "win10-1709-x64-physical-dirty": (8, []),
}


@pytest.mark.parametrize("name", REAL)
def test_real_hives_are_judged(shared: Path, tmp_path: Path, name: str) -> None:
    system = hives.real(shared, f"{name}-SYSTEM", tmp_path)
    there = registry(tmp_path, file=system)
    count, scanners = REAL[name]
    assert (policy.renames(there), policy.antivirus(there)) == (count, scanners)
    codes = {f.code for f in policy.findings(there, lambda _: False)}
    expected = {"windows-renames-pending"} if count else {"windows-antivirus"}
    assert codes == expected
