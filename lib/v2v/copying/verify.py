# SPDX-License-Identifier: GPL-2.0-or-later
"""Prove that a copy has the bytes of its source: both are read again."""

from __future__ import annotations

from v2v import layers, process, sandbox
from v2v.document import Disk
from v2v.errors import TargetError
from v2v.servers import Graph


def compare(disk: Disk, source: Graph, target: Graph) -> None:
    """Compare two layers of *disk*; what one is longer must be zeroes.

    Raises TargetError if they differ, SourceError if one cannot be read.
    """
    objects = [*layers.objects(source), *layers.objects(target)]
    command = ["qemu-img", "compare", *objects]
    both = [layers.argument(source), layers.argument(target)]
    try:
        within = sandbox.walls("qemu-img", source, target)
        done = process.run([*command, *both], within=within, ok=(0, 1))
    except process.ToolError as e:
        raise layers.broken(disk, None, e) from e
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        raise TargetError(
            f"disk {disk.id}: the copy differs from its source: {said[-1]}",
            "check memory and disks of this host, then convert it --again",
        )
