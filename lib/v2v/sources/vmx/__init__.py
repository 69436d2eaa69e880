# SPDX-License-Identifier: GPL-2.0-or-later
"""VMware .vmx files, as Workstation and Fusion leave them or ESXi keeps them.

VMware documents few keys; what they mean is taken from libvirt's src/vmx and from
files in the wild.  The text is read by vmxtext, the devices by vmxdevices.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from v2v.document import VM, Cpu, Disk, Display, Finding, Firmware, Source
from v2v.errors import SourceError
from v2v.formats import vmdk
from v2v.sources import Request, descriptions, new_id, placing
from v2v.sources.vmx import devices as vmxdevices
from v2v.sources.vmx import text as vmxtext
from v2v.sources.vmx.text import Settings, number, true, word

# VMware's own default when memsize is missing.
_DEFAULT_MEMORY = 32 * descriptions.MIB
_SUFFIXES = (".vmx", ".vmtx")
_MAX_SNAPSHOTS = 1000


def claims(location: str) -> bool:
    """See sources.Source."""
    return location.lower().endswith(_SUFFIXES)


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, vmxtext.MAX_FILE, "a VMX file")
    values, odd = vmxtext.settings(data, path)
    vm = _machine(values, path, [*odd, *_beside(path)])
    places = placing.Places(
        folder=path.parent,
        root=path.parent,
        others=_others(values, path.parent),
        allow=request.allow,
    )
    vm = placing.placed(vm, places)
    if true(values, "disk.enableuuid"):
        # Of a disk that was not found, the path is but what the file says.
        lost = {f.disk for f in vm.findings if f.severity == "block"}
        vm = vm.having(
            disks=tuple(d if d.id in lost else _numbered(d) for d in vm.disks)
        )
    yield vm


def parse(data: bytes, path: Path) -> VM:
    """Return the VM that the text *data* of the VMX file *path* describes.

    Its disks have the file's names as their paths; nothing else is opened.  Raises
    SourceError if this is no VMX, or an encrypted one.
    """
    values, odd = vmxtext.settings(data, path)
    return _machine(values, path, odd)


def _machine(values: Settings, path: Path, odd: list[Finding]) -> VM:
    vm_id = new_id()
    return VM(
        id=vm_id,
        name=descriptions.name(vmxtext.name(values), path.stem),
        uuid=_uuid(values.get("uuid.bios", "")),
        genid=_genid(values),
        description=_annotation(values),
        arch="aarch64" if word(values, "guestos").startswith("arm") else "x86_64",
        memory=_memory(values) or _DEFAULT_MEMORY,
        vcpus=_vcpus(values) or 1,
        cpu=_cpu(values),
        firmware=_firmware(values),
        firmware_known=_is_known(values),
        secure_boot=true(values, "uefi.secureboot.enabled"),
        tpm=_has_tpm(values),
        display=Display(),
        sound=_sound(values),
        disks=vmxdevices.disks(values, path),
        removable=tuple(vmxdevices.removable(values)),
        nics=tuple(vmxdevices.nics(values, vm_id)),
        passthrough=tuple(vmxdevices.passthrough(values)),
        source=_source(values, path),
        findings=(*odd, *_findings(values), *vmxdevices.findings(values)),
    )


def _annotation(values: Settings) -> str | None:
    text = values.get("annotation", "").replace("\r\n", "\n").replace("\0", "")
    return text.strip() or None


def _memory(values: Settings) -> int | None:
    return descriptions.memory(number(values, "memsize"))


def _vcpus(values: Settings) -> int | None:
    return descriptions.processors(number(values, "numvcpus"))


def _uuid(text: str) -> str | None:
    """Return the UUID of 16 bytes with blanks between, as VMware writes it."""
    digits = re.sub(r"[^0-9a-fA-F]", "", text[:100])
    return str(uuid.UUID(digits)) if len(digits) == 32 else None


def _genid(values: Settings) -> str | None:
    """VMware keeps two signed words; the guest sees both, little-endian, low first."""
    given = [values.get(key, "").strip() for key in ("vm.genid", "vm.genidx")]
    if not all(re.fullmatch(r"-?[0-9]{1,20}", text) for text in given):
        return None
    words = [(int(text) % 2**64).to_bytes(8, "little") for text in given]
    return str(uuid.UUID(bytes_le=b"".join(words)))


def _cpu(values: Settings) -> Cpu:
    """Return the topology if it gives the number of processors.

    Virtualisation-based security of Windows needs nested virtualisation.
    """
    vcpus = _vcpus(values) or 1
    cores = number(values, "cpuid.corespersocket") or 1
    nested = true(values, "vhv.enable") or true(values, "windows.vbs.enabled")
    if vcpus % cores:
        return Cpu(nested=nested)
    return Cpu(sockets=vcpus // cores, cores=cores, threads=1, nested=nested)


def _firmware(values: Settings) -> Firmware:
    return "efi" if word(values, "firmware") == "efi" else "bios"


def _is_known(values: Settings) -> bool:
    """Whether the firmware is said in a word that VMware has; BIOS needs none."""
    return word(values, "firmware") in ("", "bios", "efi")


def _has_tpm(values: Settings) -> bool:
    added = word(values, "managedvm.autoaddvtpm") == "software"
    return added or true(values, "vtpm.present")


def _sound(values: Settings) -> str | None:
    if not true(values, "sound.present"):
        return None
    return word(values, "sound.virtualdev") or "es1371"


def _source(values: Settings, path: Path) -> Source:
    version = values.get("virtualhw.version")
    return Source(
        kind="vmx",
        location=str(path),
        hw_version=f"vmx-{version}" if version else None,
        os_hint=values.get("guestos"),
    )


def _findings(values: Settings) -> Iterator[Finding]:
    if _memory(values) is None:
        yield descriptions.memory_unknown("VMware's 32 MiB")
    if "numvcpus" in values and _vcpus(values) is None:
        yield descriptions.vcpus_unknown()
    if _cpu(values).sockets is None:
        text = f"its cores per socket do not give {_vcpus(values) or 1} processors"
        yield descriptions.caution("topology-dropped", text)
    if values.get("checkpoint.vmstate"):
        yield descriptions.suspended()
    if _has_tpm(values):
        yield descriptions.tpm_lost()
    if not _is_known(values):
        yield descriptions.caution(
            "firmware-unknown",
            f"the firmware is called {word(values, 'firmware'):.60}, which VMware has "
            "not; the disks decide",
        )
    if _firmware(values) == "efi" and values.get("nvram"):
        yield Finding(
            code="nvram-lost",
            severity="info",
            message="boot entries and keys that the firmware knew stay behind: "
            f"{values['nvram']:.200} is a file of VMware's own kind",
        )


def _beside(path: Path) -> Iterator[Finding]:
    """Yield what the files beside the .vmx say of its state.

    The list of snapshots may be out of date: the .vmx says which state is current.
    """
    if path.with_name(f"{path.name}.lck").exists():
        yield descriptions.caution(
            "source-locked",
            f"{path.name}.lck is there: the VM may be running",
            "shut it down; remove the lock if it is left over from a crash",
        )
    listed = path.with_suffix(".vmsd")
    if listed.is_file() and not listed.is_symlink():
        values, _ = vmxtext.pairs(descriptions.head(listed, vmxtext.MAX_FILE), listed)
        keys = [f"snapshot{index}" for index in range(_MAX_SNAPSHOTS)]
        there = [key for key in keys if f"{key}.uid" in values]
        names = [values.get(f"{key}.displayname", key) for key in there]
        yield from descriptions.snapshots(names)


def _others(values: Settings, folder: Path) -> tuple[Path, ...]:
    """Return where else the machine keeps files: snapshots may have a place apart."""
    found = [values.get("workingdir", "")]
    found += values.get("filesearchpath", "").split(";")[:16]
    return tuple(folder / name.replace("\\", "/") for name in filter(None, found))


def _numbered(disk: Disk) -> Disk:
    """Return *disk* with the serial number that VMware shows the guest."""
    layer = disk.source
    if layer is None or layer.path is None or layer.format != "vmdk":
        return disk
    for file in (layer.path, *(parent.path for parent in layer.backing)):
        try:
            serial = vmdk.descriptor(Path(file)).uuid
        except SourceError:
            continue  # it has no descriptor
        if serial:
            return disk.having(serial=serial)
    return disk
