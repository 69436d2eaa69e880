# SPDX-License-Identifier: GPL-2.0-or-later
"""Configurations of Proxmox VE: /etc/pve/qemu-server/ID.conf, or a copy of one.

Source: qm.conf(5) and PVE/QemuServer.pm, whose defaults hold for what a file leaves
out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from v2v.document import VM, Cpu, Finding, Source
from v2v.errors import SourceError
from v2v.sources import Request, descriptions, new_id, placing
from v2v.sources.descriptions import uuid_of
from v2v.sources.proxmox import devices
from v2v.sources.proxmox import drives as proxmoxdrives
from v2v.sources.proxmox import storage as proxmoxstorage
from v2v.sources.proxmox import text as proxmoxtext
from v2v.sources.proxmox.storage import Storages
from v2v.sources.proxmox.text import Settings, flag, options

_MAX_FILE = descriptions.MIB
_SURE = re.compile(
    rb"^(scsihw|ostype|bios|bootdisk|memory|cores|sockets|smbios1|vmgenid|net[0-9]+"
    rb"|(?:virtio|scsi|sata|ide)[0-9]+|efidisk0):[ \t]",
    re.MULTILINE,
)
_DEFAULT_MEMORY = 512
_MAX_LOST = 64


def claims(location: str) -> bool:
    """See sources.Source."""
    if not location.lower().endswith(".conf"):
        return False
    start = descriptions.head(location)
    return b"\0" not in start and len(set(_SURE.findall(start))) > 1


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, _MAX_FILE, "a configuration of Proxmox VE")
    folder = path.parent
    images = (
        folder,
        folder / "images",
        folder / "images" / path.stem,
        folder / path.stem,
    )
    places = placing.Places(
        folder=folder, root=folder, others=images, allow=request.allow
    )
    known = proxmoxstorage.storages(folder)
    vm = placing.placed(parse(data, path, known), places)
    settings = proxmoxtext.parse(_decoded(data)).settings
    volumes = proxmoxdrives.volumes(settings)
    yield proxmoxstorage.explained(vm, volumes, known)


def parse(data: bytes, path: Path, known: Storages | None = None) -> VM:
    """Return the VM that the configuration *data* of *path* describes.

    Its disks have the paths that the storages *known* give them, or else the volumes'
    names; nothing else is opened.  Raises SourceError if this is no such file.
    """
    known = known or Storages()
    found = proxmoxtext.parse(_decoded(data))
    settings = found.settings
    if "rootfs" in settings or not _SURE.search(data):
        raise SourceError(
            f"{path} is no configuration of a VM of Proxmox VE",
            "name the file in /etc/pve/qemu-server; a container cannot be converted",
        )
    vm_id = new_id()
    told = list(proxmoxdrives.disks(settings, known, path))
    drives = tuple(proxmoxdrives.removable(settings, known))
    nics = list(devices.nics(settings, vm_id))
    return VM(
        id=vm_id,
        name=descriptions.name(settings.get("name", ""), path.stem),
        uuid=uuid_of(options(settings.get("smbios1", "")).get("uuid", "")),
        genid=uuid_of(settings.get("vmgenid", "")),
        description=found.description,
        arch="aarch64" if settings.get("arch") == "aarch64" else "x86_64",
        memory=_memory(settings) or _DEFAULT_MEMORY * descriptions.MIB,
        vcpus=_vcpus(settings) or 1,
        cpu=_cpu(settings),
        firmware="efi" if settings.get("bios") == "ovmf" else "bios",
        secure_boot=_secure_boot(settings),
        tpm="tpmstate0" in settings,
        clock=_clock(settings),
        display=devices.display(settings),
        sound=options(settings.get("audio0", "")).get("device") or None,
        disks=tuple(disk for disk, _ in told),
        removable=drives,
        nics=tuple(nics),
        passthrough=tuple(islice(devices.passthrough(settings), _MAX_LOST)),
        source=_source(settings, path),
        findings=(
            *(finding for _, said in told for finding in said),
            *descriptions.medium_lost(drives),
            *_findings(settings),
            *devices.findings(settings, nics),
            *proxmoxdrives.unused(settings),
            *_pending(found.pending),
            *descriptions.snapshots(found.snapshots),
        ),
    )


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _memory(settings: Settings) -> int | None:
    own = options(settings.get("memory", str(_DEFAULT_MEMORY)))
    return descriptions.memory(descriptions.number(own[""] or own.get("current")))


def _secure_boot(settings: Settings) -> bool:
    """UEFI enforces it once it has keys."""
    own = options(settings.get("efidisk0", ""))
    return settings.get("bios") == "ovmf" and flag(own.get("pre-enrolled-keys"))


def _source(settings: Settings, path: Path) -> Source:
    return Source(
        kind="proxmox",
        location=str(path),
        hw_version=settings.get("machine") or None,
        os_hint=settings.get("ostype") or None,
    )


def _vcpus(settings: Settings) -> int | None:
    return descriptions.processors(_sockets(settings) * _cores(settings))


def _sockets(settings: Settings) -> int:
    return descriptions.number(settings.get("sockets")) or 1


def _cores(settings: Settings) -> int:
    return descriptions.number(settings.get("cores")) or 1


def _cpu(settings: Settings) -> Cpu:
    own = options(settings.get("cpu", ""))
    flags = own.get("flags", "").split(";")
    sockets, cores = _sockets(settings), _cores(settings)
    if not _vcpus(settings):
        return Cpu()
    return Cpu(
        sockets=sockets,
        cores=cores,
        threads=1,
        model=own[""] or own.get("cputype") or None,
        nested="+vmx" in flags or "+svm" in flags or own[""] == "host",
    )


def _clock(settings: Settings) -> Literal["utc", "localtime"]:
    """Guests that are said to be Windows get local time, unless told otherwise."""
    windows = devices.of_windows(settings)
    local = flag(settings["localtime"]) if "localtime" in settings else windows
    return "localtime" if local else "utc"


def _findings(settings: Settings) -> Iterator[Finding]:
    if _memory(settings) is None:
        yield descriptions.memory_unknown("Proxmox VE's 512 MiB")
    if _vcpus(settings) is None or not _are_numbers(settings, "sockets", "cores"):
        yield descriptions.vcpus_unknown()
    if "vmstate" in settings or settings.get("lock", "").startswith("suspend"):
        yield descriptions.suspended()
    elif "lock" in settings:
        yield descriptions.caution(
            "source-locked",
            f"the source has a task that is not done: {settings['lock']:.60}",
            "let it end, and see that it has (qm unlock ID)",
        )
    if "tpmstate0" in settings:
        yield descriptions.tpm_lost()
    if settings.get("bios") == "ovmf" and "efidisk0" in settings:
        yield descriptions.nvram_lost("efidisk0 has them")


def _are_numbers(settings: Settings, *names: str) -> bool:
    return all(descriptions.number(settings.get(name, "1")) for name in names)


def _pending(keys: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what would change when the source starts the VM the next time."""
    if keys:
        shown = ", ".join(f"{key:.40}" for key in dict.fromkeys(keys[:20]))
        yield descriptions.caution(
            "changes-pending",
            f"changes that wait for a start of the VM are not taken: {shown}",
            "start the VM once and shut it down, or make them on the new one",
        )
