# SPDX-License-Identifier: GPL-2.0-or-later
"""Copy the disks of a VM into a folder, in the format that its new home wants."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, cast

from v2v import (
    digests,
    layers,
    names,
    overlays,
    paths,
    process,
    sandbox,
    servers,
    views,
)
from v2v.copying import engine, ownership, progress, verify
from v2v.copying.engine import Output
from v2v.document import VM, Disk, Layer, LayerName, layer_of, next_generation, top
from v2v.errors import SourceError, TargetError, UsageError
from v2v.servers import Access, Graph
from v2v.stage import Done

DiskFormat = Literal["raw", "qcow2"]
log = logging.getLogger(__name__)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_WORD = re.compile(r"(?:(sd[a-z]+):)?(format|size)=(.+)")
_SIZE = re.compile(r"(\+?)(\d+)([KMGT]?)(?:iB|B)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DiskWish:
    """How a disk shall be at the target; bytes, ``grow`` on top of what it has."""

    format: DiskFormat | None = None
    size: int | None = None
    grow: int | None = None


@dataclass(frozen=True, kw_only=True)
class Convert:
    """What the user asked of v2v-convert.

    ``disks`` are the words of -d.
    """

    output: Path
    format: DiskFormat = "qcow2"
    preallocated: bool = False
    compressed: bool = False
    verify: bool = False
    checksums: bool = True
    keep_overlay: bool = False
    force: bool = False
    progress: progress.Kind = "auto"
    disks: tuple[str, ...] = ()

    @cached_property
    def wishes(self) -> dict[str, DiskWish]:
        """The wishes of ``disks`` by disk id, and under "" those for all.

        Raises UsageError.
        """
        return wishes(self.disks)


def wishes(words: Iterable[str]) -> dict[str, DiskWish]:
    """Return the wishes of ``-d`` words like format=raw, sdb:size=+10G.

    Raises UsageError.
    """
    found: dict[str, dict[str, object]] = {}
    for word in words:
        for item in word.split(","):
            match = _WORD.fullmatch(item.strip())
            if not match:
                raise UsageError(
                    f"-d {word}: not understood",
                    "write [sda:]format=raw|qcow2 or [sda:]size=[+]20G",
                )
            disk, key, value = match.groups()
            found.setdefault(disk or "", {}).update(_wish(key, value))
    return {disk: DiskWish(**values) for disk, values in found.items()}  # type: ignore[arg-type]


def _wish(key: str, value: str) -> dict[str, object]:
    if key == "format":
        if value not in ("raw", "qcow2"):
            raise UsageError(f"-d format={value}: no such format", "raw or qcow2")
        return {"format": value}
    match = _SIZE.fullmatch(value)
    if not match:
        raise UsageError(f"-d size={value}: no size", "write 20G or +10G")
    size = int(match[2]) * _UNITS[match[3].upper()]
    return {"grow": size} if match[1] else {"size": size}


def check(options: Convert) -> None:
    """Raise UsageError or NoTargetError if nothing could be written at all."""
    formats = {options.format, *(wish.format for wish in options.wishes.values())}
    if options.compressed and "raw" in formats:
        raise UsageError("a raw disk cannot be compressed", "use -f qcow2")
    if options.compressed and options.preallocated:
        raise UsageError(
            "a compressed disk cannot be preallocated", "leave one of both out"
        )


def convert(vm: VM, options: Convert, access: Access) -> Done:
    """Return *vm* with its disks copied to the output folder.

    The files appear under their names once all of the VM's are whole.  Raises
    SourceError if a disk cannot be read, TargetError if one cannot be written.
    """
    if not vm.disks:
        raise SourceError("the VM has no disk to convert", "attach it on the source")
    vm = _fresh(vm)
    _make_folder(options.output)
    folder = options.output.resolve()
    vm = paths.granted(vm, folder)
    took = max(_generation(disk) for disk in vm.disks)
    made = next_generation(vm)
    with ExitStack() as parts:
        copied = []
        for disk in vm.disks:
            source = layers.graph(disk, access)
            size = layers.measured(disk, access)
            output = _output(vm, disk.having(size=size), folder, options)
            copied.append(_copied(vm, disk, source, output, options, access, parts))
    disks = tuple(_released(disk, options, made) for disk in copied)
    moved = sum(layer.allocated or 0 for d in disks if (layer := d.target))
    return Done(vm=vm.having(disks=disks), took=took, made=made, bytes=moved)


def _fresh(vm: VM) -> VM:
    """Return *vm* without what an earlier convert made of it.

    If what fixup changed was in that copy only, the new one will not have it.
    """
    disks = tuple(d.having(target=None) for d in vm.disks)
    if any(d.target for d in vm.disks) and not any(map(_generation, disks)):
        vm = vm.having(devices=None, changes=())
    return vm.having(disks=disks)


def _generation(disk: Disk) -> int:
    name = top(disk)
    layer = layer_of(disk, name) if name else None
    return layer.generation if layer else 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise TargetError(
            f"{folder}: {e.strerror}", "name a folder that can be written with -o"
        ) from e


def _copied(
    vm: VM,
    disk: Disk,
    source: Graph,
    output: Output,
    options: Convert,
    access: Access,
    parts: ExitStack,
) -> Disk:
    """Return *disk* with a target, whose file gets its name when *parts* closes."""
    parts.enter_context(ownership.claimed(output.path, vm.id, force=options.force))
    _check_space(disk, source, output)
    file = parts.enter_context(engine.part(output))
    with (
        _compared(disk, options, access) as told,
        progress.shown(options.progress, vm, disk, output.size) as heard,
    ):
        engine.copy(disk, source, output, file, lambda part: heard(told(part)))
    target = Layer(
        server="file" if output.format == "raw" else "qemu",
        path=str(output.path),
        format=output.format,
        over=top(disk),
        readonly=False,
        allocated=engine.allocated(file),
        verified=_verified(disk, source, file, output, options),
    )
    return disk.having(target=target, size=output.size)


def _compared(
    disk: Disk, options: Convert, access: Access
) -> AbstractContextManager[Callable[[float], float]]:
    """Compare the files of *disk* with what proves them, if they are of this host."""
    source, endpoint = disk.source, disk.endpoint
    proof = options.checksums and source and servers.verifier(source.server)
    if source is None or not (source.digests or proof):
        return digests.compared((), access.checked)
    if endpoint and (endpoint.host or "") != socket.gethostname():
        log.warning(
            "disk %s comes from another host, so its manifest or its checksums are not "
            "checked; convert it there, or check it by v2v-inspect --check",
            disk.id,
        )
        return digests.compared((), access.checked)
    source, checked = views.placed(source, access.checked)
    opening = replace(access, checked=checked)
    others = [partial(proof, source, opening)] if proof else []
    return digests.compared(source.digests, checked, others)


def _output(vm: VM, disk: Disk, folder: Path, options: Convert) -> Output:
    everywhere = options.wishes.get("", DiskWish())
    own = options.wishes.get(disk.id, DiskWish())
    format_ = own.format or everywhere.format or options.format
    size = disk.size or 0
    wanted = own if own.size or own.grow else everywhere
    if wanted.size and wanted.size < size:
        raise TargetError(
            f"disk {disk.id} has {size} bytes and cannot be made smaller",
            "leave size= out, or give a larger one",
        )
    grown = wanted.size or size + (wanted.grow or 0)
    return Output(
        path=folder / f"{names.safe(vm.name)}-{disk.id}.{format_}",
        format=format_,
        size=engine.rounded(grown),
        preallocated=options.preallocated,
        compressed=options.compressed,
    )


def _check_space(disk: Disk, source: Graph, output: Output) -> None:
    """Raise TargetError if the folder surely has too little room for *output*."""
    # For a raw file qemu counts holes as well; what qcow2 needs is near to the truth.
    command = ["qemu-img", "measure", "--output=json", "-O", "qcow2"]
    try:
        within = sandbox.walls("qemu-img", source)
        asked = [*command, *layers.objects(source), layers.argument(source)]
        done = process.run(asked, within=within)
    except process.ToolError as e:
        raise layers.broken(disk, None, e) from e
    needed = cast(int, json.loads(done.stdout)["required"])
    if output.preallocated:
        needed = max(needed, output.size)
    facts = os.statvfs(output.path.parent)
    free = facts.f_bavail * facts.f_frsize
    # A compressed copy may need far less than is known before it is made.
    if not output.compressed and needed > free:
        raise TargetError(
            f"{output.path}: needs {needed / 2**20:.0f} MiB, and "
            f"{output.path.parent} has {free / 2**20:.0f} MiB free",
            "make room, or name another folder with -o",
        )


def _verified(
    disk: Disk, source: Graph, file: Path, output: Output, options: Convert
) -> bool | None:
    if not options.verify:
        return None
    node = {
        "driver": output.format,
        "read-only": True,
        "file": {"driver": "file", "filename": str(file), "read-only": True},
    }
    verify.compare(disk, source, Graph(node=node))
    return True


def _released(disk: Disk, options: Convert, made: int) -> Disk:
    """Return *disk* with only what is still needed under its target.

    The endpoint is let go of, and our overlay is deleted: the target has its bytes.
    """
    assert disk.target
    if options.keep_overlay:
        return disk.having(target=disk.target.having(generation=made))
    overlays.removed(disk)
    base: LayerName | None = "source" if disk.source else None
    target = disk.target.having(generation=made, over=base)
    return disk.having(overlay=None, endpoint=None, target=target)
