# SPDX-License-Identifier: GPL-2.0-or-later
"""VMware's .vmx, as Workstation writes it: quoted, escaped, in the charset it names."""

import uuid
from collections.abc import Iterator

from v2v.document import VM, Disk, Nic, Removable

MIB = 2**20
# What VMware escapes in a value: quotes, its own mark, control characters.
_ESCAPED = {34: "|22", 124: "|7C", 10: "|0A", 13: "|0D"}
# What vCenter writes in a display name.
_PERCENT = str.maketrans({"%": "%25", "/": "%2f", "\\": "%5c"})

# What a .vmx has no words for.
UNSAID = ("clock", "nics.vlan")


def write(vm: VM, charset: str = "UTF-8") -> bytes:
    """Return the .vmx of *vm* in *charset*; disks have slots like ``scsi0:1``."""
    lines = [f'.encoding = "{charset}"', *(_line(*pair) for pair in _pairs(vm))]
    return "\n".join(lines).encode(charset)


def _line(key: str, value: object) -> str:
    return f'{key} = "{str(value).translate(_ESCAPED)}"'


def _pairs(vm: VM) -> Iterator[tuple[str, object]]:
    yield from (("config.version", 8), ("virtualHW.version", 19))
    yield "displayName", vm.name.translate(_PERCENT)
    yield from (("memsize", vm.memory // MIB), ("numvcpus", vm.vcpus))
    yield "cpuid.coresPerSocket", vm.cpu.cores
    yield "vhv.enable", _word(vm.cpu.nested)
    yield "firmware", vm.firmware
    yield "uefi.secureBoot.enabled", _word(vm.secure_boot)
    yield "vtpm.present", _word(vm.tpm)
    if vm.description is not None:
        yield "annotation", vm.description
    if vm.uuid:
        digits = vm.uuid.replace("-", "")
        pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
        yield "uuid.bios", " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])
    if vm.genid:
        raw = uuid.UUID(vm.genid).bytes_le
        for key, half in (("vm.genid", raw[:8]), ("vm.genidX", raw[8:])):
            yield key, int.from_bytes(half, "little", signed=True)
    for disk in vm.disks:
        yield from _disk(vm, disk)
    yield from _drives(vm)
    for number, nic in enumerate(vm.nics):
        yield from _nic(f"ethernet{number}", nic)


def _word(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _disk(vm: VM, disk: Disk) -> Iterator[tuple[str, object]]:
    slot = disk.slot or ""
    controller = slot.partition(":")[0]
    if disk.bus != "ide" and _is_first(vm, disk, controller):
        yield f"{controller}.present", "TRUE"
    yield f"{slot}.present", "TRUE"
    yield f"{slot}.fileName", disk.source and disk.source.path
    if disk.boot == 1:
        yield "bios.hddOrder", slot


def _is_first(vm: VM, disk: Disk, controller: str) -> bool:
    on_it = [d for d in vm.disks if (d.slot or "").startswith(f"{controller}:")]
    return on_it[0] is disk


def _drives(vm: VM) -> Iterator[tuple[str, object]]:
    """Yield the drives; CDs on a controller on which no disk is."""
    cds = [drive for drive in vm.removable if drive.type == "cdrom"]
    floppies = [drive for drive in vm.removable if drive.type == "floppy"]
    if cds:
        yield "sata9.present", "TRUE"
    for number, drive in enumerate(cds):
        kind = "cdrom-image" if drive.path else "cdrom-raw"
        yield f"sata9:{number}.deviceType", kind
        yield from _drive(f"sata9:{number}", drive)
    for number, drive in enumerate(floppies):
        yield f"floppy{number}.fileType", "file" if drive.path else "device"
        yield from _drive(f"floppy{number}", drive)


def _drive(slot: str, drive: Removable) -> Iterator[tuple[str, object]]:
    yield f"{slot}.present", "TRUE"
    yield f"{slot}.fileName", drive.path or "auto detect"
    yield f"{slot}.startConnected", _word(drive.connected)


def _nic(card: str, nic: Nic) -> Iterator[tuple[str, object]]:
    yield f"{card}.present", "TRUE"
    yield f"{card}.startConnected", _word(nic.connected)
    if nic.model == "vmxnet2":
        yield from ((f"{card}.virtualDev", "vmxnet"), (f"{card}.features", 15))
    else:
        yield f"{card}.virtualDev", nic.model
    yield f"{card}.networkName", nic.network
    kind = "address" if nic.mac_source == "static" else "generatedAddress"
    yield f"{card}.addressType", nic.mac_source
    yield f"{card}.{kind}", nic.mac.upper()
