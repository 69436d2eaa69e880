# SPDX-License-Identifier: GPL-2.0-or-later
"""The changes to a guest that are finished and still have to be committed.

The note of them lies with their scratch overlays: the same command, run again after it
was killed half-way, completes the commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from v2v import layers, overlays
from v2v.copying import engine
from v2v.document import VM, Disk, layer_of
from v2v.errors import HostError, TargetError
from v2v.servers import Access


class Journal:
    """The note that scratch overlays are finished and have to be committed.

    It lies with them in a folder of its own for each state of each disk: a commit
    into one target is never taken for that into another.
    """

    def __init__(self, vm: VM, folder: Path) -> None:
        """Name the journal of *vm* as it is now; it lies in *folder*."""
        self.vm = vm
        of = json.dumps([vm.generation, _files(vm)], sort_keys=True)
        self.folder = folder / f"fixup-{hashlib.sha256(of.encode()).hexdigest()[:12]}"
        self.path = self.folder / "commit.json"

    def scratch(self, disk: Disk) -> Path:
        """Return the file that takes the changes to *disk*."""
        return self.folder / f"{disk.id}.qcow2"

    def made(self, disk: Disk, access: Access) -> Path:
        """Make the scratch overlay of *disk*, empty; return its file."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as e:
            raise HostError(
                f"{self.folder}: {e.strerror}", "name another folder with --work"
            ) from e
        overlays.create(self.scratch(disk), layers.measured(disk, access))
        return self.scratch(disk)

    def is_there(self) -> bool:
        """Whether there is a commit to complete.

        Raises TargetError if what was to be committed is lost.
        """
        if not self.path.exists():
            return False
        if all(self.scratch(disk).exists() for disk in self.vm.disks):
            return True
        raise TargetError(
            f"{self.folder}: changes that may be half written are not there any more",
            "convert the VM again, from its source: v2v-convert --again",
        )

    def read(self) -> dict[str, Any]:
        """Return what was found out and done, as write() put it."""
        record: dict[str, Any] = json.loads(self.path.read_text())
        return record

    def write(self, work: VM, made: int) -> None:
        """Note, for good, that *work* is to be committed as generation *made*.

        Raises HostError.
        """
        assert work.guest and work.devices
        record = {
            "made": made,
            "work": {
                "guest": work.guest.model_dump(mode="json"),
                "devices": work.devices.model_dump(mode="json"),
                "changes": [c.model_dump(mode="json") for c in work.changes],
                "findings": [f.model_dump(mode="json") for f in work.findings],
                "firmware": work.firmware,
                "firmware_known": work.firmware_known,
                "block_sizes": {d.id: d.logical_block_size for d in work.disks},
            },
        }
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            engine.flush(self.folder)
            part.write_text(json.dumps(record))
            engine.flush(part)
            part.rename(self.path)
            engine.flush(self.folder)
        except OSError as e:
            raise HostError(
                f"{self.path}: {e.strerror}", "name another folder with --work"
            ) from e

    def remove(self) -> None:
        """Remove the note and the overlays, if they are there."""
        if not self.folder.exists():
            return
        # The note first: without it the overlays mean nothing.
        self.path.unlink(missing_ok=True)
        engine.flush(self.folder)
        for disk in self.vm.disks:
            self.scratch(disk).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        engine.flush(self.folder.parent)


def _files(vm: VM) -> dict[str, str | None]:
    """Return the file (or address) that the bytes of each disk are written to.

    An endpoint has a new address in each run, and shows what it lies over.
    """
    found = {}
    for disk in vm.disks:
        layer = layers.topmost(disk)[1]
        if layer is disk.endpoint and layer.over:
            layer = layer_of(disk, layer.over) or layer
        found[disk.id] = layer.path or layer.uri
    return found
