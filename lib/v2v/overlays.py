# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2 overlays: files that take all writes, so that a source stays unwritten.

An overlay is a file with an owner, named in the document; it outlives processes.  Its
header names no backing file: what it lies over is the document's to say.
"""

from __future__ import annotations

from pathlib import Path

from v2v import layers, paths, process
from v2v.document import VM, Disk, Layer, LayerName, top
from v2v.errors import HostError
from v2v.servers import Access


def made(vm: VM, access: Access, work: Path | None) -> VM:
    """Return *vm* with an overlay on each disk that has none, over its topmost layer.

    Overlays that are there are kept, with all that was written to them.  Raises
    SourceError if a disk cannot be opened, HostError if there is no room.
    """
    folder = paths.work_folder(vm, work)
    vm = paths.granted(vm, folder)
    disks = tuple(_overlaid(rehomed(d), folder, access) for d in vm.disks)
    if any(d.overlay and not d.overlay.generation for d in disks) and vm.generation:
        # What was changed in an overlay that is lost has to be done again.
        vm = vm.having(generation=0, devices=None, changes=())
    return vm.having(disks=disks)


def rehomed(disk: Disk) -> Disk:
    """Return *disk* without its endpoint; what lay over that lies over its base now.

    The same bytes: an endpoint only shows what is under it.  Of a dead endpoint
    nothing else is left.
    """
    endpoint = disk.endpoint
    if endpoint is None or endpoint.over is None:
        return disk
    changes: dict[str, Layer] = {}
    for name in ("overlay", "target"):
        layer: Layer | None = getattr(disk, name)
        if layer and layer.over == "endpoint":
            changes[name] = layer.having(over=endpoint.over)
    return disk.having(endpoint=None, **changes)


def _overlaid(disk: Disk, folder: Path, access: Access) -> Disk:
    if disk.overlay and disk.overlay.path and Path(disk.overlay.path).exists():
        return disk
    bare = disk.having(overlay=None)
    over: LayerName | None = top(bare)
    size = layers.measured(bare, access, name=over)
    file = folder / f"{disk.id}.qcow2"
    create(file, size)
    overlay = Layer(
        server="qemu", path=str(file), format="qcow2", over=over, readonly=False
    )
    return bare.having(overlay=overlay, size=size)


def create(file: Path, size: int) -> None:
    """Make an empty overlay of *size* bytes at *file*.  Raises HostError."""
    try:
        process.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "--", str(file), f"{size}"]
        )
    except process.ToolError as e:
        raise HostError(
            f"{file}: the overlay cannot be made: {e.message}",
            "make room, or name another folder with --work",
        ) from e


def removed(disk: Disk) -> None:
    """Delete the file of the overlay of *disk*, if it has one."""
    if disk.overlay and disk.overlay.path:
        Path(disk.overlay.path).unlink(missing_ok=True)
