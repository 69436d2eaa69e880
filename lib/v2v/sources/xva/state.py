# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine of an XVA has that stays behind, and the state that it is in.

Source: xapi's class VM.
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Finding, Nic
from v2v.sources import descriptions
from v2v.sources.descriptions import caution
from v2v.sources.xva.devices import (
    Objects,
    Snapshot,
    listed,
    number,
    record,
    text,
    true,
)

_MIB = 2**20


def is_snapshot(machine: Snapshot) -> bool:
    """Whether *machine* is a snapshot of another."""
    return true(machine.get("is_a_snapshot"))


def has_tpm(machine: Snapshot) -> bool:
    """Whether *machine* has a TPM, in either place where xapi has had it."""
    platform = record(machine, "platform")
    return bool(listed(machine, "VTPMs")) or true(platform.get("vtpm"))


def findings(
    machine: Snapshot, objects: Objects, nics: tuple[Nic, ...]
) -> Iterator[Finding]:
    """Yield what is to be said of *machine*, whose network cards are *nics*."""
    yield from _sizes(machine)
    yield from _firmware(machine)
    yield from _kind(machine, objects)
    for nic in nics:
        if nic.mac_source == "made":
            yield descriptions.mac_made(nic.slot or "a network card")
    if machine.get("power_state") in ("Suspended", "Running", "Paused"):
        yield Finding(
            code="suspended",
            severity="block",
            message="the VM was exported with its memory, which cannot be taken over",
            remedy="shut it down and export it again, or accept the loss: --allow "
            "suspended",
        )


def _sizes(machine: Snapshot) -> Iterator[Finding]:
    most = number(machine.get("memory_static_max"))
    if descriptions.memory(most, 1) is None:
        yield descriptions.memory_unknown("256 MiB")
    least = number(machine.get("memory_dynamic_min"))
    usual = number(machine.get("memory_dynamic_max"))
    if least and usual and (least < usual or usual < most):
        yield descriptions.memory_dynamic(
            f"between {least // _MIB} and {usual // _MIB} MiB",
            f"the {most // _MIB} MiB",
        )
    vcpus = descriptions.processors(number(machine.get("VCPUs_at_startup")))
    if vcpus is None:
        yield descriptions.vcpus_unknown()
        return
    hot = number(machine.get("VCPUs_max"))
    if hot > vcpus:
        yield Finding(
            code="vcpus-hotplug",
            severity="info",
            message=f"up to {hot} processors could be plugged in; it gets the {vcpus} "
            "that it starts with",
        )
    cores = number(record(machine, "platform").get("cores-per-socket"))
    if cores and vcpus % cores:
        words = f"its {cores} cores per socket do not give {vcpus} processors"
        yield caution("topology-dropped", words)


def _firmware(machine: Snapshot) -> Iterator[Finding]:
    if has_tpm(machine):
        yield descriptions.tpm_lost()
    efi = record(machine, "HVM_boot_params").get("firmware") == "uefi"
    if efi and text(record(machine, "NVRAM"), "EFI-variables"):
        yield descriptions.nvram_lost("they are in the export")
    if efi and record(machine, "platform").get("secureboot") == "auto":
        yield caution(
            "secure-boot-keys",
            "the pool decided whether there is secure boot; the new VM has none",
            "switch it on in the new VM, if it was on",
        )
    if text(machine, "PV_kernel"):
        yield caution(
            "direct-kernel",
            "the VM starts a kernel from the source's host, not from its disk",
            "install a boot loader in the guest if it has none",
        )


def _kind(machine: Snapshot, objects: Objects) -> Iterator[Finding]:
    config = record(machine, "other_config")
    given = {
        "a PCI device of the host": text(config, "pci") or text(machine, "PCI_bus"),
        "PCI devices of the host": listed(machine, "attached_PCIs"),
        "a part of the host's GPU": listed(machine, "VGPUs"),
        "USB devices of the host": listed(machine, "VUSBs"),
    }
    yield from descriptions.devices_lost(what for what, there in given.items() if there)
    if is_snapshot(machine):
        yield Finding(
            code="snapshot-exported",
            severity="info",
            message="what was exported is a snapshot: the disks are as they were then",
        )
    elif true(machine.get("is_a_template")):
        yield Finding(
            code="vm-template",
            severity="info",
            message="what was exported is a template; the new VM is one to start",
        )
    references = listed(machine, "snapshots")
    yield from descriptions.snapshots(
        [
            text(objects.get(name, ("", {}))[1], "name_label") or name
            for name in references
        ]
    )
