# SPDX-License-Identifier: GPL-2.0-or-later
"""All that fixup does to a Windows guest, as text that a person can review.

Each file and each value of the registry bears the section of the facts on Windows
guests (../shared/facts) that demands it, by the table here; a reason that is not in it
has none, and is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from golden import Fixed, Table, section
from v2v.document import Change, Devices, Finding, Guest
from v2v.errors import GuestError
from v2v.guests import inspection
from v2v.guests.appliance import Appliance
from v2v.guests.windows import entering, family
from v2v.guests.windows.family import Job
from windows_guest import Phony

# The reason as fixup gives it, the path, and the sections that say why.
SECTIONS: Table = (
    ("Windows needs the driver to find its disk", r"SYSTEM\\.*\\Services\\.*", "§2.5"),
    ("Windows finds the driver by this id", r"SYSTEM\\.*\\Critical.*", "§2.6, A8"),
    ("Windows finds the driver by this id", r"SYSTEM\\DriverDatabase\\.*", "§2.6, A9"),
    ("Windows finds the driver by this id", r"DRIVERS\\DriverDatabase\\.*", "§2.6, A9"),
    ("it held the driver back", r"SYSTEM\\.*\\StartOverride", "§2.5, A6, A10"),
    ("Windows finds a driver by its package", r"SYSTEM\\DriverDatabase\\.*", "§2.6"),
    ("Windows finds a driver by its package", r"DRIVERS\\DriverDatabase\\.*", "§2.6"),
    ("Windows keeps the files of a driver", r"/.*", "§2.4"),
    ("Windows installs virtio's drivers from", r".*/Drivers/VirtIO/.*", "§2.4"),
    ("Windows loads the drivers of its disk", r".*/drivers/vio.*\.sys", "§2.4"),
    ("Windows asks nobody whether", r"SOFTWARE\\.*\\Blob", "§3.4, B4"),
    ("Windows looks there for drivers", r"SOFTWARE\\.*\\DevicePath", "§2.4, B1"),
    ("the guest agent is installed from there", r".*/qemu-ga/.*", "§5.1"),
    ("the guest does what is left", r".*/v2v/firstboot/.*", "§3.3, §3.4"),
    ("the guest does what is left", r"SYSTEM\\.*\\Services\\.*", "§3.3 A, A15"),
    ("the guest does what is left", r"SYSTEM\\Setup\\.*", "§3.3 B"),
    ("SYSTEM runs what is there", r".*/v2v.*", "§3.4 ACL"),
    ("it tells of an earlier first boot", r".*/v2v/firstboot/.*", "§3.4"),
    ("a crash at the first boots must", r"SYSTEM\\.*\\AutoReboot", "§4.6, A12"),
    ("Windows leaves disks on a new", r"SYSTEM\\.*\\SanPolicy", "§5.4, A11"),
    ("nobody is there to answer", r"SYSTEM\\.*\\SuppressUI", "§3.4, A16"),
    ("nobody is there to answer", r"SOFTWARE\\.*\\SuppressNewHWUI", "§3.4, B2"),
    ("vmware-tools: of no use on KVM", r"(SYSTEM|SOFTWARE)\\.*", "§4.1, A13, A14, B3"),
    ("virtualbox: of no use on KVM", r"(SYSTEM|SOFTWARE)\\.*", "§4.2, A13, A14, B3"),
    ("xen: of no use on KVM", r"(SYSTEM|SOFTWARE)\\.*", "§4.3, A13, A14"),
    ("parallels: of no use on KVM", r"(SYSTEM|SOFTWARE)\\.*", "§4.4, A13, A14"),
    ("the boot code of Windows 5.x", r"/dev/sda2:/\$Boot", "§4.6 heads"),
    ("it crashes Windows 5.x", r"SYSTEM\\.*\\Services\\.*\\Start", "§4.5"),
    ("the address goes to the new card", r"SYSTEM\\.*\\Tcpip6?\\.*", "§5.2"),
    ("the console has no picture", r"BCD\\.*\\16000046", "§6, C1"),
    ("a reset in the first boots", r"BCD\\.*\\250000E0\\Element", "§4.6, C2"),
    ("the firmware of a new machine", r".*/(?i:EFI/Boot)/boot.*\.efi", "§6 NVRAM"),
    (r"\d+ values? or keys? of the hive", r".*/(?i:SYSTEM|SOFTWARE|DRIVERS)", "§0"),
    (r"\d+ values? or keys? of the hive", r".*/BCD", "§0, §6"),
)
_SHOWN = 200  # characters of a value


def job(
    appliance: Appliance, phony: Phony, folder: Path
) -> tuple[Job, Sequence[Finding]]:
    """Look into the guest and plan, as v2v-fixup does; hives are copied to *folder*."""
    vm = phony.vm
    wanted = phony.wanted(folder / "virtio-win")
    asked = inspection.Asked(disks=vm.disks, nics=vm.nics, folder=folder)
    begun = inspection.begun(appliance, asked)
    assert begun.windows, "no Windows was found"
    made = family.job(appliance, vm, begun.windows, begun.guest, wanted)
    return made, begun.found


def fixed(appliance: Appliance, phony: Phony, folder: Path) -> Fixed:
    """Do all that v2v-fixup does, and show it."""
    made, found = job(appliance, phony, folder)
    guest = made.write()
    findings = [*found, *made.findings(guest)]
    shown = [*_head(guest, made.devices, findings), *map(_shown, made.changes)]
    shown += _scripts(appliance, [action.change for action in made.actions])
    return Fixed(
        guest=guest,
        devices=made.devices,
        actions=made.actions,
        findings=findings,
        text="".join(f"{line}\n" for line in shown),
    )


def refused(appliance: Appliance, phony: Phony, folder: Path) -> str:
    """Return what v2v-inspect says of a guest, and why v2v-fixup leaves it alone."""
    vm = phony.vm
    asked = inspection.Asked(disks=vm.disks, nics=vm.nics, folder=folder)
    guest, found = inspection.look(appliance, asked)
    name = guest.windows.id if guest.windows else guest.type
    lines = [f"# v2v-inspect: {name}"]
    for finding in found:
        lines += [f"{finding.code} ({finding.severity}): {finding.message}"]
        lines += [f"    {finding.remedy}"]
    appliance.g.umount_all()
    appliance.known.clear()
    lines += ["", "# v2v-fixup"]
    try:
        begun = inspection.begun(appliance, asked)
    except GuestError as e:
        lines += [f"refused: {e.message}", f"    {e.remedy}"]
    else:
        assert begun.windows is None, "nothing stands in its way"
        lines += ["no system is found: safe hardware, nothing is changed"]
    return "".join(f"{line}\n" for line in lines)


def _head(guest: Guest, devices: Devices, findings: Sequence[Finding]) -> Iterator[str]:
    assert guest.windows
    facts = guest.windows
    edition = facts.edition or "of no edition"
    patched = f".{facts.patch} ({facts.release})" if facts.patch else ""
    yield f"# {facts.id} build {facts.build}{patched} {facts.installation} {edition}"
    yield f"# {guest.arch} {guest.firmware} {facts.system_root} {facts.timezone}"
    for drive in facts.drives:
        by = drive.partition or f"{drive.signature:08x} at {drive.offset}"
        yield f"# drive {drive.letter} {by}"
    for verdict in guest.verdicts:
        yes = "yes" if verdict.boots else "no"
        yield f"# verdict {verdict.bus}: {yes}, {verdict.reason}"
    yield f"# hardware: {' '.join(_words(devices))}"
    assert entering.BOOT not in str(guest)
    for finding in findings:
        yield f"# finding {finding.code} ({finding.severity}): {finding.message}"
    yield ""


def _words(devices: Devices) -> Iterator[str]:
    yield from (devices.machine, devices.block, devices.net, devices.video)
    yield from (devices.clock, devices.usb)
    flags = ("transitional", "rng", "balloon", "pvpanic", "agent", "hyperv", "tpm")
    yield from (name for name in flags if getattr(devices, name))
    if devices.sockets:
        yield f"sockets={devices.sockets}"


def _shown(change: Change) -> str:
    """Return one line: what, where, from what to what, and why."""
    before, after = _value(change.before), _value(change.after)
    values = f"{before} -> {after}" if before and after else before or after
    what = f": {values}" if values else ""
    why = f"{section(change, SECTIONS)}: {change.reason}"
    return f"{change.kind} {change.path}{what} — {why}"


def _scripts(appliance: Appliance, changes: Sequence[Change]) -> Iterator[str]:
    """Yield the scripts that were made for this guest; two are the same for all."""
    for change in changes:
        name = change.path.rpartition("/")[2].lower()
        if name.endswith((".cmd", ".txt")) and name not in ("run.cmd", "one.cmd"):
            yield f"\n# {change.path}"
            text = (appliance.read(change.path) or "").replace("\r\n", "\n")
            yield from (f"| {line}".rstrip() for line in text.splitlines())


def _value(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
