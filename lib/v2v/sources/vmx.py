# SPDX-License-Identifier: GPL-2.0-or-later
"""VMware .vmx files, as Workstation leaves them or ESXi keeps them.

VMware documents few keys; what they mean is taken from libvirt's src/vmx and from
files in the wild.  Keys and booleans have no case, and the first of two equal keys
holds.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from v2v import formats, paths
from v2v.document import (
    VM,
    Bus,
    Cpu,
    Disk,
    Display,
    Finding,
    Firmware,
    Layer,
    Nic,
    Removable,
    Source,
    disk_id,
)
from v2v.errors import SourceError
from v2v.formats import vmdk
from v2v.sources import Request, disks, macs, new_id

MIB = 2**20
_MAX_FILE = 4 * MIB
# VMware's own default when memsize is missing.
_DEFAULT_MEMORY = 32 * MIB
_BUSES = ("scsi", "nvme", "sata", "ide")
_SLOT = re.compile(r"(scsi|nvme|sata|ide)(\d+):(\d+)\.(?:filename|present|devicetype)")
_DISK_TYPES = {"", "disk", "scsi-harddisk", "ata-harddisk", "plaindisk", "rawdisk"}
_NO_MEDIUM = {"", "auto detect", "emptybackingstring", "-1"}
_SUFFIXES = (".vmx", ".vmtx")

Settings = Mapping[str, str]


def claims(location: str) -> bool:
    """See sources.Source."""
    return location.lower().endswith(_SUFFIXES)


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    try:
        if path.stat().st_size > _MAX_FILE:
            raise SourceError(f"{path} is too large to be a VMX file")
        data = path.read_bytes()
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror}", "check the path") from e
    vm = parse(data, path)
    yield paths.granted(_located(vm, path, request), path.parent)


def parse(data: bytes, path: Path) -> VM:
    """Return the VM that the text *data* of the VMX file *path* describes.

    Its disks have the file's names as their paths; nothing else is opened.  Raises
    SourceError if this is no VMX, or an encrypted one.
    """
    settings, findings = _settings(data, path)
    found = list(_disks(settings))
    vm_id = new_id()
    return VM(
        id=vm_id,
        name=_unescaped(settings.get("displayname", "")) or path.stem,
        uuid=_uuid(settings.get("uuid.bios", "")),
        genid=_genid(settings),
        description=_unescaped(settings.get("annotation", "")) or None,
        arch="aarch64" if settings.get("guestos", "").startswith("arm") else "x86_64",
        memory=_number(settings, "memsize", 0) * MIB or _DEFAULT_MEMORY,
        vcpus=_number(settings, "numvcpus", 1) or 1,
        cpu=_cpu(settings),
        firmware=_firmware(settings),
        secure_boot=_true(settings, "uefi.secureboot.enabled"),
        tpm=_true(settings, "vtpm.present")
        or settings.get("managedvm.autoaddvtpm", "").lower() == "software",
        display=Display(),
        sound=_sound(settings),
        disks=_booted(settings, found),
        removable=tuple(_removable(settings)),
        nics=tuple(_nics(settings, vm_id)),
        passthrough=tuple(_passthrough(settings)),
        source=_source(settings, path),
        findings=(*findings, *_findings(settings)),
    )


def _settings(data: bytes, path: Path) -> tuple[Settings, list[Finding]]:
    """Return the key = value lines, keys in lower case, and what is odd of them."""
    values: dict[str, str] = {}
    findings = []
    for line in _decoded(data).splitlines():
        key, equals, value = line.partition("=")
        key = key.strip().lower()
        if not equals or not key or key.startswith("#"):
            continue
        if key in values:
            if values[key] != _unquoted(value):
                text = f"{key} is given twice; the first value holds"
                findings.append(_finding("vmx-duplicate", "warn", text))
            continue
        values[key] = _unquoted(value)
    if "encryption.keysafe" in values and "memsize" not in values:
        raise SourceError(
            f"{path} is encrypted", "remove the VM's encryption in VMware first"
        )
    if not values.keys() & {
        "config.version",
        "virtualhw.version",
        "displayname",
        "memsize",
    }:
        raise SourceError(
            f"{path} is no VMX file: it has none of VMware's keys",
            "name the .vmx of the VM, not one of its disks or logs",
        )
    return values, findings


def _decoded(data: bytes) -> str:
    data = data.removeprefix(b"\xef\xbb\xbf")
    declared = re.search(rb'^\s*\.encoding\s*=\s*"?([\w-]+)', data, re.M | re.I)
    for encoding in (declared[1].decode() if declared else "utf-8", "utf-8"):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("cp1252", errors="replace")


def _unquoted(value: str) -> str:
    """Cut at the first and the last quote: a value may hold quotes itself."""
    value = value.strip()
    if not value.startswith('"'):
        return value
    end = value.rfind('"')
    return value[1:end] if end > 0 else value[1:]


def _unescaped(value: str) -> str:
    r"""Return *value* with |0A as the character that it stands for."""
    text = re.sub(r"\|([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), value)
    return text.replace("\r\n", "\n").replace("\0", "").strip()


def _true(settings: Settings, key: str, *, default: bool = False) -> bool:
    return settings.get(key, str(default)).lower() in ("true", "yes", "1")


def _number(settings: Settings, key: str, default: int) -> int:
    text = settings.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _uuid(text: str) -> str | None:
    digits = re.sub(r"[^0-9a-fA-F]", "", text)
    return str(uuid.UUID(digits)) if len(digits) == 32 else None


def _genid(settings: Settings) -> str | None:
    """VMware keeps two signed words; the guest sees both, little-endian, low first."""
    try:
        words = [int(settings[key]) % 2**64 for key in ("vm.genid", "vm.genidx")]
    except (KeyError, ValueError):
        return None
    return str(uuid.UUID(bytes_le=b"".join(w.to_bytes(8, "little") for w in words)))


def _cpu(settings: Settings) -> Cpu:
    vcpus = _number(settings, "numvcpus", 1) or 1
    cores = _number(settings, "cpuid.corespersocket", 1) or 1
    nested = _true(settings, "vhv.enable")
    if vcpus % cores:
        return Cpu(nested=nested)
    return Cpu(sockets=vcpus // cores, cores=cores, threads=1, nested=nested)


def _firmware(settings: Settings) -> Firmware:
    return "efi" if settings.get("firmware", "").lower() == "efi" else "bios"


def _sound(settings: Settings) -> str | None:
    if not _true(settings, "sound.present"):
        return None
    return settings.get("sound.virtualdev", "es1371").lower()


def _slots(settings: Settings) -> Iterator[tuple[str, Bus, str]]:
    """Yield slot, bus and device type of all that is plugged in, in number order."""
    matches = {m.groups()[:3] for m in map(_SLOT.fullmatch, settings) if m}
    for bus, controller, unit in sorted(
        matches, key=lambda s: (_BUSES.index(s[0]), int(s[1]), int(s[2]))
    ):
        slot = f"{bus}{controller}:{unit}"
        # IDE has no key of its own; any other controller is absent unless present.
        attached = bus == "ide" or _true(settings, f"{bus}{controller}.present")
        if attached and _true(settings, f"{slot}.present"):
            kind = settings.get(f"{slot}.devicetype", "").lower()
            yield slot, cast(Bus, bus), kind


def _disks(settings: Settings) -> Iterator[Disk]:
    """Yield the hard disks in slot order: by bus, controller and unit, as numbers."""
    index = 0
    for slot, bus, kind in _slots(settings):
        name = settings.get(f"{slot}.filename", "")
        if kind not in _DISK_TYPES or name.lower().endswith(".iso"):
            continue
        yield Disk(
            id=disk_id(index),
            bus=bus,
            model=settings.get(f"{slot.partition(':')[0]}.virtualdev", "").lower()
            or None,
            slot=slot,
            shared="multi-writer" in settings.get(f"{slot}.sharing", "").lower(),
            source=Layer(server="qemu", path=_unescaped(name), format="vmdk"),
        )
        index += 1


def _booted(settings: Settings, found: list[Disk]) -> tuple[Disk, ...]:
    """Return the disks with the one that the BIOS starts from marked."""
    wanted = settings.get("bios.hddorder", "").lower().split(",")[0].strip()
    first = next((d for d in found if d.slot == wanted), found[0] if found else None)
    return tuple(d.having(boot=1) if d is first else d for d in found)


def _removable(settings: Settings) -> Iterator[Removable]:
    for slot, bus, kind in _slots(settings):
        name = settings.get(f"{slot}.filename", "")
        if "cdrom" in kind or (kind in _DISK_TYPES and name.lower().endswith(".iso")):
            yield _drive(settings, "cdrom", slot, bus, image=kind != "cdrom-raw")
    for number in (0, 1):
        slot = f"floppy{number}"
        named = any(key.startswith(f"{slot}.") for key in settings)
        if named and _true(settings, f"{slot}.present", default=True):
            kind = settings.get(f"{slot}.filetype", "").lower()
            yield _drive(settings, "floppy", slot, "unknown", image=kind == "file")


def _drive(
    settings: Settings, kind: str, slot: str, bus: Bus, *, image: bool
) -> Removable:
    name = settings.get(f"{slot}.filename", "")
    empty = (
        not image
        or name.lower() in _NO_MEDIUM
        or name.startswith(("vmware-null-remote", "/dev/"))
        or _true(settings, f"{slot}.clientdevice")
    )
    return Removable(
        type="floppy" if kind == "floppy" else "cdrom",
        bus=bus,
        slot=slot,
        path=None if empty else name,
        connected=_true(settings, f"{slot}.startconnected", default=True),
    )


def _nics(settings: Settings, vm_id: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours."""
    for number in range(10):
        card = f"ethernet{number}"
        if not _true(settings, f"{card}.present"):
            continue
        mac = _mac(settings, card)
        fixed = settings.get(f"{card}.addresstype", "").lower() in ("static", "manual")
        yield Nic(
            mac=mac or macs.made(vm_id, number),
            mac_source=("static" if fixed else "generated") if mac else "made",
            model=_nic_model(settings, card),
            type="bridge",
            network=_network(settings, card),
            slot=card,
            pci_slot=_number(settings, f"{card}.pcislotnumber", 0) or None,
            connected=_true(settings, f"{card}.startconnected", default=True),
        )


def _mac(settings: Settings, card: str) -> str | None:
    """Return the address that the guest really used."""
    given = macs.parse(settings.get(f"{card}.address"))
    generated = macs.parse(settings.get(f"{card}.generatedaddress"))
    fixed = settings.get(f"{card}.addresstype", "").lower() in ("static", "manual")
    return (given or generated) if fixed else (generated or given)


def _nic_model(settings: Settings, card: str) -> str | None:
    model = settings.get(f"{card}.virtualdev", "").lower()
    if model == "vmxnet" and settings.get(f"{card}.features") == "15":
        return "vmxnet2"
    return model or None


def _network(settings: Settings, card: str) -> str | None:
    """Return the network's name: a port group, a distributed one's id, or a vmnet."""
    for key in ("networkname", "dvs.portgroupid", "opaquenetwork.id", "vnet"):
        if name := settings.get(f"{card}.{key}"):
            return name
    return None


def _passthrough(settings: Settings) -> Iterator[str]:
    """Yield what the machine has and no other host can give it."""
    for key in settings:
        match = re.fullmatch(r"(pcipassthru\d+|nvdimm\d+|sgx)\.present", key)
        if match and _true(settings, key):
            yield match[1]
    for slot, _, kind in _slots(settings):
        if "passthru" in kind:
            yield f"{slot} ({kind})"


def _source(settings: Settings, path: Path) -> Source:
    version = settings.get("virtualhw.version")
    return Source(
        kind="vmx",
        location=str(path),
        hw_version=f"vmx-{version}" if version else None,
        os_hint=settings.get("guestos"),
    )


def _findings(settings: Settings) -> Iterator[Finding]:
    if not _number(settings, "memsize", 0):
        yield _finding(
            "memory-unknown", "warn", "no memory size; VMware's 32 MiB taken"
        )
    if settings.get("checkpoint.vmstate"):
        yield Finding(
            code="suspended",
            severity="block",
            message="the VM is suspended; its memory cannot be taken over",
            remedy="resume and shut it down, or accept the loss: --allow suspended",
        )
    if _true(settings, "vtpm.present"):
        yield _finding("tpm-state-lost", "warn", "the TPM's secrets stay behind")
    for slot, _, _ in _slots(settings):
        mode = settings.get(f"{slot}.mode", "").lower()
        if mode in ("independent-nonpersistent", "undoable", "append"):
            text = f"{slot} is in mode {mode}; what its file holds is taken"
            yield _finding("disk-mode", "warn", text)
    if (firmware := settings.get("firmware", "bios").lower()) not in ("bios", "efi"):
        yield _finding("firmware-unknown", "warn", f"firmware {firmware}; BIOS taken")
    for key in _passthrough(settings):
        yield _finding("device-lost", "warn", f"{key} cannot be taken over")


def _finding(code: str, severity: str, message: str) -> Finding:
    return Finding(
        code=code, severity="warn" if severity == "warn" else "info", message=message
    )


def _located(vm: VM, path: Path, request: Request) -> VM:
    """Return *vm* with its disks' files found, or a finding for each that is not."""
    placed: list[Disk] = []
    findings = list(vm.findings)
    for disk in vm.disks:
        name = (disk.source.path if disk.source else None) or ""
        try:
            placed.append(disk.having(source=_layer(name, path.parent, request)))
        except SourceError as e:
            if not _is_missing(name, path.parent):
                raise
            findings.append(disks.missing(disk.id, name, e))
            placed.append(disk)
    return vm.having(disks=tuple(placed), findings=tuple(findings))


def _is_missing(name: str, folder: Path) -> bool:
    """Whether the file of a disk is absent, and not broken or hostile."""
    return not (folder / name.replace("\\", "/")).exists()


def _layer(name: str, folder: Path, request: Request) -> Layer:
    """Return the layer for the disk *name*: a chain where it is a snapshot."""
    file = disks.find(name, folder, request.allow)
    roots = tuple(place.resolve() for place in (folder, *request.allow))

    def checked(path: str | Path) -> Path:
        return paths.checked(path, roots)

    if file.suffix.lower() in (".img", ".raw"):
        return Layer(server="file", path=str(file), format="raw")
    vmdk.examine(file, checked)
    chain = vmdk.chain(file, checked)
    for parent in chain:
        formats.load(parent.format).examine(Path(parent.path), checked)
    return Layer(server="qemu", path=str(file), format="vmdk", backing=chain)
