# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM document as people like to read it, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from v2v.document import VM, Disk, Guest

_SEVERITIES = ("block", "warn", "info")


def chosen(*, documents: bool, virt_v2v: bool) -> Callable[[VM], str] | None:
    """Return how VMs are shown; None for documents, as programs read them."""
    if virt_v2v:
        return source
    return None if documents or not sys.stdout.isatty() else summary


def verdict(vm: VM, allowed: tuple[str, ...]) -> str:
    """Return whether *vm* can be converted, and why not, in some lines of text.

    What is in *allowed* does not block.
    """
    return "\n".join(_verdict(vm, allowed)) + "\n"


def _verdict(vm: VM, allowed: tuple[str, ...]) -> Iterator[str]:
    found = sorted(vm.findings, key=lambda f: _SEVERITIES.index(f.severity))
    blocks = {
        f.code: None for f in found if f.severity == "block" and f.code not in allowed
    }
    warnings = sum(f.severity == "warn" for f in found)
    total = size(sum(disk.size or 0 for disk in vm.disks))
    if vm.error:
        yield _clean(f"{vm.name}: cannot be read: {vm.error.message}")
        yield _clean(f"  remedy: {vm.error.remedy}")
        return
    said = f"blocked: {', '.join(blocks)}" if blocks else "ready"
    more = f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""
    disks = f"{len(vm.disks)} disk{'s' * (len(vm.disks) != 1)} of {total}"
    yield _clean(f"{vm.name}: {said}{more}; {disks}")
    for finding in found:
        accepted = " (accepted)" if finding.code in allowed else ""
        yield _clean(
            f"  {finding.severity:<5} {finding.code}{accepted}: {finding.message}"
        )
        if finding.remedy:
            yield _clean(f"        remedy: {finding.remedy}")


def size(count: int | None) -> str:
    """Return *count* bytes as 1.5 GiB."""
    if count is None:
        return "?"
    number, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        del units[0]
    return f"{number:.4g} {units[0]}"


def summary(vm: VM) -> str:
    """Return *vm* in some lines of text."""
    return "\n".join(_lines(vm)) + "\n\n"


def _lines(vm: VM) -> Iterator[str]:
    yield _clean(vm.name)
    yield f"  source    {vm.source.kind}  {_clean(vm.source.location)}"
    if vm.error:
        yield f"  error     {_clean(vm.error.message)}"
        yield f"  remedy    {_clean(vm.error.remedy)}"
        return
    yield f"  machine   {vm.vcpus} vCPU, {size(vm.memory)}, {_firmware(vm)}"
    for disk in vm.disks:
        yield f"  {disk.id:<9} {_disk(disk)}"
    for nic in vm.nics:
        network = f" on {nic.network}" if nic.network else ""
        yield _clean(f"  nic       {nic.mac}  {nic.model or 'any model'}{network}")
    if vm.guest:
        yield from _guest(vm.guest)
    for finding in vm.findings:
        remedy = f" ({finding.remedy})" if finding.remedy else ""
        yield _clean(f"  {finding.severity:<9} {finding.message}{remedy}")


def _firmware(vm: VM) -> str:
    extras = [
        word for word, on in (("secure boot", vm.secure_boot), ("TPM", vm.tpm)) if on
    ]
    return ", ".join(["UEFI" if vm.firmware == "efi" else "BIOS", *extras])


def _disk(disk: Disk) -> str:
    layer = disk.source
    place = (layer.path or layer.uri or "blank") if layer else "?"
    chain = f" over {len(layer.backing)} more" if layer and layer.backing else ""
    kind = layer.format if layer else "?"
    return _clean(f"{size(disk.size)}, {disk.bus}, {kind}{chain}  {place}")


def _guest(guest: Guest) -> Iterator[str]:
    name = guest.product or guest.distro or guest.type
    yield _clean(
        f"  guest     {name} ({guest.arch or '?'}), host name {guest.hostname}"
    )
    for fs in guest.filesystems:
        if fs.mountpoint:
            yield _clean(f"  mounted   {fs.mountpoint} ({fs.type}, {size(fs.size)})")
    for kernel in guest.kernels:
        virtio = "virtio" if "virtio_blk" in kernel.initramfs_drivers else "no virtio"
        yield _clean(f"  kernel    {kernel.version}, initramfs with {virtio}")
    for interface in guest.interfaces:
        yield _clean(
            f"  network   {interface.name} {interface.method} "
            f"{' '.join(interface.addresses)}"
        )
    if guest.tools:
        yield _clean(f"  tools     {', '.join(guest.tools)}")


def source(vm: VM) -> str:
    """Return *vm* in the form that virt-v2v --print-source made familiar."""
    lines = [
        f"    source name: {vm.name}",
        f"hypervisor type: {vm.source.kind}",
        f"  number of vCPUs: {vm.vcpus}",
        f"         memory: {vm.memory} (bytes)",
        f"       firmware: {'uefi' if vm.firmware == 'efi' else 'bios'}",
        f"        display: {vm.display.type}",
        f"          sound: {vm.sound or ''}",
        "disks:",
        *(f"\t{_disk_source(disk)}" for disk in vm.disks),
        "removable media:",
        *(f"\t{drive.type} [{drive.bus}]" for drive in vm.removable),
        "NICs:",
        *(f'\t{nic.type} "{nic.network or ""}" mac: {nic.mac}' for nic in vm.nics),
    ]
    return "\n".join(map(_clean, lines)) + "\n\n"


def _disk_source(disk: Disk) -> str:
    layer = disk.source
    place = (layer.path or layer.uri or "") if layer else ""
    return f"{place} ({layer.format if layer else '?'}) [{disk.bus}]"


def _clean(text: str) -> str:
    """A name from a source must not steer the terminal; the tab is ours."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
