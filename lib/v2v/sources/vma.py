# SPDX-License-Identifier: GPL-2.0-or-later
"""VMA: the backups of Proxmox VE (vzdump), with the VM's configuration in front.

Sources: vma_spec.txt of pve-qemu, and qemu-server's configuration files, which are
"key: value" lines.  Lines "#qmdump#map:KEY:DEVICE:…" say which device of the backup
is which disk.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from v2v import paths
from v2v.document import VM, Bus, Cpu, Disk, Finding, Layer, Nic, Source, disk_id
from v2v.errors import SourceError
from v2v.formats import ends
from v2v.mapping import vma
from v2v.mapping.vma import Backup
from v2v.sources import Request, macs, new_id

_CONFIGURATION = "qemu-server.conf"
_MAP = re.compile(r"#qmdump#map:(\w+):([^:\s]+):")
_KEY = re.compile(r"(virtio|scsi|sata|ide)(\d{1,2})")
_BUSES = ("virtio", "scsi", "sata", "ide")
_LINE = re.compile(r"([a-z][a-z_]*\d*):[ \t]*(.*)")
_MIB = 2**20
# What qemu-server takes where its file says nothing: MiB.
_MEMORY = 512
_MAX_MEMORY = 2**30

Settings = Mapping[str, str]


def claims(location: str) -> bool:
    """See sources.Source."""
    path = Path(location)
    return path.is_file() and ends(path, 0, None)[0][:4] == vma.MAGIC


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    backup = vma.header(path)
    yield paths.granted(parse(backup, path), path.parent)


def parse(backup: Backup, path: Path) -> VM:
    """Return the VM that the configuration in *backup*, the file *path*, describes.

    Raises SourceError if there is none in it.
    """
    if _CONFIGURATION not in backup.files:
        raise SourceError(
            f"{path} has no {_CONFIGURATION}: it is no backup of a VM",
            "a container's backup cannot be converted",
        )
    text = backup.files[_CONFIGURATION].decode("utf-8", "replace")
    settings = _settings(text)
    vm_id = new_id()
    vcpus = _number(settings, "cores", 1) * _number(settings, "sockets", 1)
    return VM(
        id=vm_id,
        name=settings.get("name", "")[:255] or path.stem,
        uuid=_uuid(_options(settings.get("smbios1", "")).get("uuid", "")),
        genid=_uuid(settings.get("vmgenid", "")),
        memory=_memory(settings),
        vcpus=max(1, min(vcpus, 4096)),
        cpu=Cpu(
            sockets=_number(settings, "sockets", 1),
            cores=_number(settings, "cores", 1),
        ),
        firmware="efi" if settings.get("bios") == "ovmf" else "bios",
        secure_boot="pre-enrolled-keys=1" in settings.get("efidisk0", ""),
        tpm="tpmstate0" in settings,
        disks=tuple(_disks(text, settings, backup, path)),
        nics=tuple(_nics(settings, vm_id)),
        source=Source(
            kind="vma", location=str(path), os_hint=settings.get("ostype") or None
        ),
        findings=tuple(_findings(settings)),
    )


def _settings(text: str) -> Settings:
    """Return the lines of the machine as it is, without snapshots and [PENDING]."""
    found = {}
    for line in text.splitlines():
        if line.startswith("["):
            break
        if match := _LINE.fullmatch(line.rstrip()):
            found[match[1]] = match[2]
    return found


def _options(value: str) -> Settings:
    """Return the KEY=VALUE parts of *value*, which commas separate."""
    pairs = (part.partition("=") for part in value.split(","))
    return {key: value for key, _, value in pairs}


def _memory(settings: Settings) -> int:
    value = settings.get("memory", "")
    value = _options(value).get("current", value)
    number = int(value) if re.fullmatch(r"[0-9]{1,10}", value) else _MEMORY
    return min(number, _MAX_MEMORY) * _MIB


def _number(settings: Settings, key: str, default: int) -> int:
    value = settings.get(key, "")
    return int(value) if re.fullmatch(r"[1-9][0-9]{0,3}", value) else default


def _disks(text: str, settings: Settings, backup: Backup, path: Path) -> Iterator[Disk]:
    """Yield the disks in the order of booting, then of the buses, then of numbers."""
    devices = dict(_MAP.findall(text))
    present = {k: d for k, d in devices.items() if d in backup.disks}
    first = re.split(r"[;,\s]+", _options(settings.get("boot", "")).get("order", ""))
    first += [settings.get("bootdisk", "")]

    def order(key: str) -> tuple[int, int, int]:
        match = _KEY.fullmatch(key)
        bus, number = (match[1], int(match[2])) if match else ("ide", 99)
        place = first.index(key) if key in first else len(first)
        return place, _BUSES.index(bus), number

    for index, key in enumerate(sorted(filter(_KEY.fullmatch, present), key=order)):
        size = backup.disks[present[key]]
        member = present[key]
        yield Disk(
            id=disk_id(index),
            bus=cast(Bus, key.rstrip("0123456789")),
            slot=key,
            boot=first.index(key) + 1 if key in first else None,
            size=size,
            serial=_options(settings.get(key, "")).get("serial"),
            source=Layer(server="vma", path=str(path), member=member, length=size),
        )


def _nics(settings: Settings, vm_id: str) -> Iterator[Nic]:
    keys = [key for key in settings if re.fullmatch(r"net\d{1,2}", key)]
    for index, key in enumerate(sorted(keys, key=lambda key: int(key[3:]))):
        options = _options(settings[key])
        model, address = next(iter(options.items()))
        given = macs.parse(address)
        tag = options.get("tag", "")
        yield Nic(
            mac=given or macs.made(vm_id, index),
            mac_source="static" if given else "made",
            model=model,
            network=options.get("bridge"),
            slot=key,
            vlan=int(tag) if re.fullmatch(r"[0-9]{1,4}", tag) else None,
            connected=options.get("link_down") != "1",
        )


def _findings(settings: Settings) -> Iterator[Finding]:
    for key in settings:
        if re.fullmatch(r"hostpci\d+|usb\d+", key) or key == "args":
            yield Finding(
                code="device-lost",
                severity="warn",
                message=f"{key} cannot be taken over",
                remedy="see what the guest needs it for",
            )
    if "tpmstate0" in settings:
        yield Finding(
            code="tpm-state-lost",
            severity="warn",
            message="the TPM's secrets stay behind",
            remedy="have the recovery keys of encrypted disks at hand",
        )


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
