# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the files of a disk and its parents, and look into their headers.

For descriptions that name every file of a chain, or whose images name their parents.
A disk whose file is missing, or whose chain qemu would misread, is described with a
finding.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from v2v import paths
from v2v.document import VM, Disk, File, Finding, Layer
from v2v.errors import SourceError
from v2v.formats import RawDeviceError
from v2v.sources import disks, images


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the files of a description may be.

    ``folder`` is its own; ``others`` are where the hypervisor keeps disks, looked
    into by base name; all must lie under ``root`` or ``allow``.
    """

    folder: Path
    root: Path
    others: tuple[Path, ...] = ()
    allow: tuple[Path, ...] = ()

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders, resolved, under which files may be opened."""
        return tuple(place.resolve() for place in (self.root, *self.allow))

    def checked(self, path: str | Path) -> Path:
        """Return *path* resolved.  Raises SourceError if it may not be opened."""
        return paths.checked(path, self.roots)


def find(name: str, places: Places) -> Path:
    """Return the file that *name* means.

    Raises SourceError if there is none, or it must not be opened.
    """
    try:
        return disks.find(name, places.folder, (places.root, *places.allow))
    except SourceError:
        for other in places.others:
            file = disks.beside(other, disks.base(name))
            if disks.there(file):
                return places.checked(file)
        raise


def placed(vm: VM, places: Places) -> VM:
    """Return *vm* with its disks' files found, or a finding for each that is not, and
    with the grant to open them.

    Raises SourceError for a file that is broken or must not be opened.
    """
    told = {f.disk for f in vm.findings if f.disk and f.severity == "block"}
    found, findings = [], list(vm.findings)
    names: dict[str, str] = {}
    for disk in vm.disks:
        here, said = (disk, []) if disk.id in told else located(disk, places)
        found.append(here)
        findings += said or _ambiguous(disk, here, names)
    vm = vm.having(disks=tuple(found), findings=tuple(findings))
    return paths.granted(vm, places.root)


def _ambiguous(said: Disk, found: Disk, names: dict[str, str]) -> list[Finding]:
    """Return a finding if the file of *found* is another disk's too, by another name.

    Files of different folders may have the same name, and only one of them be here.
    *names* are what the description calls the files of the disks so far.
    """
    if not (said.source and said.source.path and found.source and found.source.path):
        return []
    name = said.source.path.replace("\\", "/").lower()
    other = names.setdefault(found.source.path, name)
    if other == name or said.shared:
        return []
    return [
        Finding(
            code="disk-ambiguous",
            severity="block",
            message=f"{said.id}: {said.source.path:.300} is found as "
            f"{found.source.path}, and so is another disk ({other:.300})",
            remedy="say where the folder of each is: --map FROM=TO",
            disk=said.id,
        )
    ]


def located(disk: Disk, places: Places) -> tuple[Disk, list[Finding]]:
    """Return *disk* with its files found, and what is to be said of them.

    Raises SourceError for a file that is broken or must not be opened.
    """
    layer = disk.source
    # Of a disk in several files they were found by who put them together.
    if layer is None or layer.path is None or layer.parts:
        return disk, []
    files = []
    for name in (layer.path, *(file.path for file in layer.backing)):
        try:
            files.append(_readable(find(name, places)))
        except SourceError as e:
            if _forbidden(name, places):
                raise
            return disk, [disks.missing(disk.id, name, e)]
    backing = [
        file.having(path=str(path))
        for file, path in zip(layer.backing, files[1:], strict=True)
    ]
    return _examined(disk, layer, files[0], backing, places)


def _raw_device(disk: Disk, e: RawDeviceError) -> Finding:
    return Finding(
        code="disk-raw-device",
        severity="block",
        message=f"{disk.id}: {e.message}",
        remedy=e.remedy,
        disk=disk.id,
    )


def _readable(file: Path) -> Path:
    if os.access(file, os.R_OK):
        return file
    raise SourceError(
        f"{file} may not be read by this user", "run v2v as one who may, such as root"
    )


def _forbidden(name: str, places: Places) -> bool:
    """Whether *name* is a file of this host that may not be opened."""
    if not disks.exists(name, places.folder):
        return False
    try:
        find(name, places)
    except SourceError:
        return True
    return False


def _examined(
    disk: Disk, layer: Layer, file: Path, backing: list[File], places: Places
) -> tuple[Disk, list[Finding]]:
    try:
        found, image = images.layer(file, layer.format, places.checked, backing=backing)
    except RawDeviceError as e:
        return disk, [_raw_device(disk, e)]
    findings = images.snapshots(file, layer.format, disk.id)
    findings += images.doubtful(image, file, disk.id)
    findings += images.unserved(found, disk.id, places.checked)
    return images.held(disk, found, image), findings
