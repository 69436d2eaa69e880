# SPDX-License-Identifier: GPL-2.0-or-later
"""What in a Windows guest may stand in the way of drivers, scripts and a first start.

Each finding names the values that it is drawn from: "a policy is set" helps nobody
(https://github.com/libguestfs/virt-v2v/issues/13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from v2v.document import Finding, Severity
from v2v.guests.appliance import printable
from v2v.guests.windows import facts
from v2v.guests.windows.hive import Hive, Value
from v2v.guests.windows.registry import Registry

FINDINGS = (
    *("windows-device-policy", "windows-script-policy", "windows-code-policy"),
    *("windows-antivirus", "windows-drive", "windows-update-pending"),
    *("windows-renames-pending", "windows-cluster", "windows-other-system"),
)
# Whether there is a file or folder, by its path in the system's folder.
Present = Callable[[str], bool]

_POLICIES = r"Policies\Microsoft\Windows"
_DEVICES = rf"{_POLICIES}\DeviceInstall\Restrictions"
_DENIES = ("denyunspecified", "denydeviceclasses", "denydeviceids")
_POWERSHELL = rf"{_POLICIES}\PowerShell"
_BLOCKING = ("allsigned", "restricted", "remotesigned")
_APPLOCKER = rf"{_POLICIES}\SrpV2"
_HVCI = r"Control\DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity"
_WDAC = (
    r"System32\CodeIntegrity\SIPolicy.p7b",
    r"System32\CodeIntegrity\CiPolicies\Active",
)
_PENDING = {
    r"Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired": (
        "Windows Update"
    ),
    r"Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending": (
        "component servicing"
    ),
}
_PENDING_FILE = r"WinSxS\pending.xml"
_RENAMES = "PendingFileRenameOperations"
# In Windows itself: it knows the drivers of its maker.
_OWN_FILTERS = frozenset({"wdfilter", "wdboot"})
_ANTIVIRUS = "fsfilter anti-virus"
_DISABLED = 4
_MAX_SERVICES = 5000
_SHOWN = 10


def findings(registry: Registry, present: Present) -> Iterator[Finding]:
    """Yield what is worth knowing of a guest before it is changed; see FINDINGS."""
    yield from _device_policy(registry.software)
    yield from _script_policy(registry.software)
    yield from _code_policy(registry, present)
    yield from _antivirus(registry)
    yield from _pending(registry, present)
    yield from _disks(registry)


def _device_policy(software: Hive) -> Iterator[Finding]:
    """Drivers that Windows would refuse to install."""
    values = software.values(_DEVICES)
    denied = [
        f"{printable(name)}={value}"
        for name, value in sorted(values.items())
        if name.lower() in _DENIES and value.number != 0
    ]
    if denied:
        yield _finding(
            "windows-device-policy",
            "warn",
            f"a group policy restricts which devices are installed: "
            f"{', '.join(denied)} in SOFTWARE\\{_DEVICES}",
            "see that it allows virtio's devices (PCI\\VEN_1AF4), or lift it on the "
            "source until the guest has started on KVM",
        )


def _script_policy(software: Hive) -> Iterator[Finding]:
    """A policy goes before what a script asks for itself."""
    policy = software.text(_POWERSHELL, "ExecutionPolicy") or ""
    enabled = software.number(_POWERSHELL, "EnableScripts")
    if enabled == 0 or policy.lower() in _BLOCKING:
        said = (
            f"EnableScripts={enabled}" if enabled == 0 else f"ExecutionPolicy={policy}"
        )
        yield _finding(
            "windows-script-policy",
            "info",
            f"a group policy restricts PowerShell: {printable(said)}; scripts of yours "
            "at the first boot may not run, those of v2v are batch files",
            "use --firstboot with .bat files, or sign the scripts",
        )


def _code_policy(registry: Registry, present: Present) -> Iterator[Finding]:
    """Drivers or programs that the kernel would not load."""
    found = []
    groups = registry.software.keys(_APPLOCKER)
    modes = [
        registry.software.number(rf"{_APPLOCKER}\{g}", "EnforcementMode")
        for g in groups
    ]
    if 1 in modes:
        found.append(f"AppLocker (SOFTWARE\\{_APPLOCKER})")
    found += [f"WDAC ({path})" for path in _WDAC if present(path)]
    key = rf"{registry.current}\{_HVCI}"
    if registry.system.number(key, "Enabled") == 1:
        found.append("memory integrity (HVCI)")
    if found:
        yield _finding(
            "windows-code-policy",
            "warn",
            f"what may run is restricted: {', '.join(found)}",
            "use drivers that are signed by Microsoft (virtio-win of a distribution's "
            "subscription), and allow batch files of the system",
        )


def antivirus(registry: Registry) -> list[str]:
    """Return the services of virus scanners that run, but Windows' own.

    By the group that their filter of the file system loads in.
    """
    services = rf"{registry.current}\Services"
    return [
        name
        for name in registry.system.keys(services)[:_MAX_SERVICES]
        if name.lower() not in _OWN_FILTERS
        and (registry.system.text(rf"{services}\{name}", "Group") or "").lower()
        == _ANTIVIRUS
        and registry.system.number(rf"{services}\{name}", "Start") != _DISABLED
    ]


def _antivirus(registry: Registry) -> Iterator[Finding]:
    names = antivirus(registry)
    if names:
        yield _finding(
            "windows-antivirus",
            "info",
            f"a virus scanner is installed ({printable(', '.join(names[:_SHOWN]))}); "
            "it may hold up or remove what is put into the guest",
            "let it pass C:\\Windows\\v2v, or see its log if the first boot is slow",
        )


def _pending(registry: Registry, present: Present) -> Iterator[Finding]:
    """Updates that wait for a restart: better finished where they were begun."""
    waiting = [what for key, what in _PENDING.items() if registry.software.exists(key)]
    if present(_PENDING_FILE):
        waiting.append(_PENDING_FILE)
    if waiting:
        yield _finding(
            "windows-update-pending",
            "warn",
            f"updates wait for a restart ({', '.join(waiting)})",
            "restart the guest on the source until none is left, then shut it down",
        )
    count = renames(registry)
    if count:
        yield _finding(
            "windows-renames-pending",
            "info",
            f"{count} files are to be renamed or removed at the next start",
            "restart the guest on the source, if a program was just removed there",
        )


def renames(registry: Registry) -> int:
    """Return how many files are to be renamed: pairs, of which the second may be ""."""
    key = rf"{registry.current}\Control\Session Manager"
    value: Value | None = registry.system.value(key, _RENAMES)
    return (len(value.texts) + 1) // 2 if value else 0


def _disks(registry: Registry) -> Iterator[Finding]:
    drive = facts.drive(registry)
    if drive != "C:":
        yield _finding(
            "windows-drive",
            "info",
            f"the system is on drive {drive}, by its own account",
            "",
        )
    if registry.system.exists(rf"{registry.current}\Services\ClusDisk"):
        yield _finding(
            "windows-cluster",
            "warn",
            "the guest is a node of a failover cluster, whose shared disks are not "
            "looked after",
            "attach the shared disks to the new VM, and check them before they go "
            "online",
        )


def other_systems(names: list[str], chosen: str) -> Iterator[Finding]:
    """Yield that there are systems on the disks beside the *chosen* root's."""
    others = [name for name in names if name != chosen]
    if others:
        yield _finding(
            "windows-other-system",
            "info",
            f"{', '.join(others[:_SHOWN])}: other systems, which are left as they are",
            "convert each in a run of its own, with --root",
        )


def _finding(code: str, severity: Severity, message: str, remedy: str) -> Finding:
    return Finding(code=code, severity=severity, message=message, remedy=remedy)
