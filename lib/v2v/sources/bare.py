# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine around a disk that comes without a description."""

from __future__ import annotations

import os
from collections.abc import Iterable

from v2v.document import VM, Disk, Finding, Firmware, Nic, Source
from v2v.sources import macs, new_id

_MEMORY = 2 * 2**30
_VCPUS = 2


def machine(
    name: str,
    disk: Disk,
    source: Source,
    *,
    firmware: Firmware = "bios",
    findings: Iterable[Finding] = (),
) -> VM:
    """Return a usual VM with *disk*; *firmware* is a guess, which fixup checks."""
    vm_id = new_id()
    nic = Nic(
        mac=macs.made(vm_id, 0), mac_source="made", type="network", network="default"
    )
    return VM(
        id=vm_id,
        # A file name need not be UTF-8; a document is.
        name=os.fsencode(name).decode("utf-8", "replace")[:255] or "unnamed",
        memory=_MEMORY,
        vcpus=_VCPUS,
        firmware=firmware,
        firmware_known=False,
        disks=(disk,),
        nics=(nic,),
        source=source,
        findings=tuple(findings),
    )
