# SPDX-License-Identifier: GPL-2.0-or-later
"""VMA: the backups of Proxmox VE (vzdump), with the VM's configuration in front.

Source: vma_spec.txt of pve-qemu.  In the configuration, lines
"#qmdump#map:KEY:DEVICE:…" say which device of the backup is which disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from v2v import paths
from v2v.document import VM, Disk, Finding, Layer
from v2v.errors import SourceError
from v2v.formats import ends
from v2v.mapping import vma
from v2v.mapping.vma import Backup
from v2v.sources import Request, descriptions, disks, proxmox

_CONFIGURATION = "qemu-server.conf"
# What Proxmox VE keeps apart, and the guest has not as a disk.
_NO_DISKS = ("efidisk0", "tpmstate0", "tpmstate0-backup")
_MAP = re.compile(rb"^#qmdump#map:(\w+):([^:\s]+):", re.MULTILINE)


def claims(location: str) -> bool:
    """See sources.Source."""
    path = Path(location)
    return path.is_file() and ends(path, 0, None)[0][:4] == vma.MAGIC


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    yield paths.granted(parse(vma.header(path), path), path.parent)


def parse(backup: Backup, path: Path) -> VM:
    """Return the VM that the configuration in *backup*, the file *path*, describes.

    Raises SourceError if there is none in it.
    """
    text = backup.files.get(_CONFIGURATION)
    if text is None:
        raise SourceError(
            f"{path} has no {_CONFIGURATION}: it is no backup of a VM",
            "a container's backup cannot be converted",
        )
    vm = proxmox.parse(text, path)
    devices = {
        key.decode(): device.decode("utf-8", "replace")
        for key, device in _MAP.findall(text)
    }
    # What is said there of the volumes does not matter: their data are here.
    findings = [f for f in vm.findings if not f.disk or f.severity != "block"]
    placed = []
    for disk in vm.disks:
        device = _device(disk, devices)
        if device not in backup.disks:
            findings.append(_left_out(disk, path))
        placed.append(_placed(disk, device, backup, path))
    findings += _unnamed(vm, devices, backup)
    return vm.having(
        disks=tuple(placed),
        findings=tuple(findings),
        source=vm.source.having(kind="vma"),
    )


def _device(disk: Disk, devices: dict[str, str]) -> str:
    """Return the device of *disk*; without a note of it, what qemu calls a drive."""
    return devices.get(disk.slot or "") or f"drive-{disk.slot}"


def _unnamed(vm: VM, devices: dict[str, str], backup: Backup) -> list[Finding]:
    """Return a finding if there are disks in *backup* that the VM does not have."""
    named = [_device(disk, devices) for disk in vm.disks]
    own = (*(devices.get(key) for key in _NO_DISKS), *map("drive-{}".format, _NO_DISKS))
    left = [name for name in backup.disks if name not in named and name not in own]
    if not left:
        return []
    shown = ", ".join(f"{name:.60}" for name in left[:5])
    return [
        descriptions.caution(
            "disk-hidden",
            f"disks in the backup that its configuration does not name: {shown}",
            "attach them on the source and back the VM up again, if they are the VM's",
        )
    ]


def _placed(disk: Disk, device: str, backup: Backup, path: Path) -> Disk:
    size = backup.disks.get(device)
    layer = Layer(server="vma", path=str(path), member=device, length=size)
    return disk.having(source=layer, size=size)


def _left_out(disk: Disk, path: Path) -> Finding:
    error = SourceError(
        f"{disk.slot} is not in the backup",
        "include it (backup=1), and back the VM up again",
    )
    return disks.missing(disk.id, str(path), error)
