# SPDX-License-Identifier: GPL-2.0-or-later
"""All that is done to a Windows guest: planned, applied, proved."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from v2v.document import VM, Change, Devices, Finding, Guest, Verdict
from v2v.errors import GuestError
from v2v.guests import gates
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.wanted import Wanted
from v2v.guests.windows import (
    addresses,
    bcd,
    bootsector,
    buses,
    customized,
    disks,
    entering,
    esp,
    facts,
    firstboot,
    hardware,
    opening,
    placing,
    registry,
    security,
    tools,
)
from v2v.guests.windows.entering import Entered
from v2v.guests.windows.firstboot import Step, agents
from v2v.guests.windows.place import Work

# All that findings() may yield, besides inspection's.
FINDINGS = frozenset(
    {
        *(*buses.FINDINGS, *tools.FINDINGS, *esp.FINDINGS, *entering.FINDINGS),
        *(*placing.FINDINGS, *firstboot.FINDINGS),
    }
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done to one guest; ``guest`` has the room that it takes.

    ``mounted`` is it as the appliance has it: with all that is mounted.
    """

    guest: Guest
    mounted: Guest
    devices: Devices
    actions: Sequence[Action]
    work: Work
    entered: Entered
    found: Sequence[Finding] = ()

    def write(self) -> Guest:
        """Do it, and return the guest as it is then.

        Raises GuestError if Windows would not find its disk; the verdicts come from
        what is in the guest now, read again.
        """
        appliance = self.work.appliance
        gates.prove_writable(appliance, self.mounted, self.actions)
        before = security.noted(appliance, self.actions)
        for action in self.actions:
            action.apply(appliance)
        security.closed(appliance, before)
        with tempfile.TemporaryDirectory(dir=self.entered.folder) as folder:
            again = opening.registry(appliance, self.entered.root, Path(folder))
            work = dataclasses.replace(self.work, registry=again.registry)
            verdicts = disks.proved(work, self.devices)
        entering.left(appliance)
        _prove(self.guest, verdicts, self.devices)
        return self.guest.having(verdicts=verdicts)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is changed, as it is to be shown."""
        return tuple(
            entering.named(self.entered.places, action.change)
            for action in self.actions
        )

    def findings(self, guest: Guest) -> Iterator[Finding]:
        """Yield what is worth knowing of *guest*, as it is now."""
        yield from self.found
        yield from buses.findings(self.devices.block, guest.verdicts)
        yield from tools.findings(dataclasses.replace(self.work, guest=guest))


def job(
    appliance: Appliance, vm: VM, entered: Entered, guest: Guest, wanted: Wanted
) -> Job:
    """Return what has to be done to *guest*; nothing in it is written.

    Raises GuestError if it cannot be done.
    """
    drivers, of_drivers = placing.given(
        wanted, guest, entered.registry.software, secure_boot=vm.secure_boot
    )
    work = Work(
        appliance=appliance,
        registry=entered.registry,
        vm=vm,
        guest=guest,
        wanted=wanted,
        root=entered.root.folder,
        esp=entered.esp,
        drivers=drivers,
    )
    runs = wanted.firstboot != "none"
    found = [
        *entering.told(appliance, entered, vm.nics, firstboot=runs),
        *esp.findings(work),
        *firstboot.findings(work),
    ]
    actions = [*_plan(work), *bootsector.plan(work, entered.root.device)]
    devices, verdicts = disks.chosen(work)
    if guest.windows:
        clock = facts.clock(entered.registry)
        devices = hardware.completed(devices, vm, guest.windows, clock)
    if drivers or devices.block not in ("virtio", "scsi"):
        found += of_drivers  # a guest that has drivers of its own does without
    actions += registry.actions(work.registry, entered.folder)
    guest = gates.gate(guest.having(verdicts=verdicts), actions)
    return Job(
        guest=entering.without_boot(guest),
        mounted=guest,
        devices=devices,
        actions=actions,
        work=work,
        entered=entered,
        found=found,
    )


def _plan(work: Work) -> Iterator[Action]:
    """Yield all changes, in the order in which they build on each other."""
    yield from placing.plan(work)
    yield from disks.plan(work)
    yield from disks.plan_others(work)
    # A controller's driver of the old hypervisor goes only where virtio's is sure.
    sure = work.guest.having(verdicts=disks.chosen(work)[1])
    yield from tools.plan(dataclasses.replace(work, guest=sure))
    if work.registry.bcd and work.esp is not None:
        bcd.show(work.registry.bcd)
    yield from esp.plan(work)
    work.steps.extend(_steps(work))
    yield from firstboot.plan(work)


def _steps(work: Work) -> Iterator[Step]:
    """Yield what the guest does itself when it starts first."""
    yield from customized.steps(work.wanted.operations)
    if script := addresses.script(work):
        yield Step(
            name="network", script=script, required=True, priority=firstboot.NETWORK
        )
    if work.wanted.firstboot == "none":
        return
    chosen = work.drivers
    if chosen and work.guest.windows:
        names = [driver.name for driver in chosen.drivers]
        yield from agents.drivers(names, work.guest.windows.build)
        if any(agents.BALLOON_SERVICE in driver.files for driver in chosen.drivers):
            yield agents.balloon()
        if chosen.agent and work.wanted.agent:
            folder = rf"%SystemRoot%\{placing.FOLDER}\{placing.AGENT}"
            yield agents.installer("guest agent", None, chosen.agent[0], folder=folder)
    if work.wanted.remove_tools:
        yield from agents.removals(work.registry.software)


def _prove(guest: Guest, now: Sequence[Verdict], devices: Devices) -> None:
    """Raise GuestError if a bus that was planned to be booted from is none any more."""
    planned = {verdict.bus for verdict in guest.verdicts if verdict.boots}
    for verdict in now:
        is_ours = verdict.bus == devices.block and verdict.bus in planned
        if is_ours and not verdict.boots:
            raise GuestError(
                f"Windows would not find its disk on {verdict.bus}: {verdict.reason}",
                "this is a bug of v2v; please report it",
            )
