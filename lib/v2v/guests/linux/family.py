# SPDX-License-Identifier: GPL-2.0-or-later
"""What fixup does to a Linux guest, as one job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from v2v.document import VM, Change, Devices, Finding, Guest
from v2v.guests import gates
from v2v.guests.appliance import Appliance
from v2v.guests.linux import fixes, system, virtual
from v2v.guests.plan import Action
from v2v.guests.wanted import Wanted


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done to one guest; ``guest`` has the room that it takes."""

    appliance: Appliance
    vm: VM
    guest: Guest
    devices: Devices
    actions: Sequence[Action]

    def write(self) -> Guest:
        """Do it, and return the guest as it is then.

        Raises GuestError if it would not boot.
        """
        fixes.apply(self.appliance, self.guest, self.actions)
        return fixes.verify(self.appliance, self.guest, self.devices)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is changed, as it is to be shown."""
        return tuple(action.change for action in self.actions)

    def findings(self, guest: Guest) -> Iterator[Finding]:
        """Yield what is worth knowing of *guest*, as it is now."""
        return fixes.findings(self.appliance, self.vm, guest)


def job(appliance: Appliance, vm: VM, guest: Guest, wanted: Wanted) -> Job:
    """Return what has to be done to *guest*; nothing is written.

    Raises GuestError if it cannot be made to boot.
    """
    devices = virtual.devices(
        guest, wanted.made_for, agent=wanted.agent, disks=len(vm.disks)
    )
    devices = devices.having(clock=system.clock(appliance) or vm.clock)
    actions = fixes.plan(appliance, vm, guest, devices, wanted)
    return Job(
        appliance=appliance,
        vm=vm,
        guest=gates.gate(guest, actions),
        devices=devices,
        actions=actions,
    )
