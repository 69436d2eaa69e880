# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of a guest's kernels must boot on KVM."""

from __future__ import annotations

import re
from collections.abc import Sequence

from v2v.document import Kernel
from v2v.guests.linux.loaders.menu import newness

# Without these a virtio disk is not seen.
DISK = ("virtio_blk", "virtio_pci")
# Never preferred to the default, whatever their version is.
_SPECIAL = re.compile(r"xen|debug|kdump|rescue|-rt\b|\brt\d")


def deciding(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return the kernels that must boot: the default one; all, if none is known.

    A default that has no virtio drivers gives way to the newest of the boot loader's
    kernels that has them: fixup makes that one the default.
    """
    default = [k for k in kernels if k.default]
    other = better(kernels)
    return [other] if other else default or list(kernels)


def better(kernels: Sequence[Kernel]) -> Kernel | None:
    """Return the kernel that is to be booted instead of the default, if one is."""
    if not any(k.default for k in kernels):
        return None
    if any(k.default and set(DISK) <= set(k.drivers) for k in kernels):
        return None
    able = [
        k
        for k in kernels
        if k.offered and set(DISK) <= set(k.drivers) and not _SPECIAL.search(k.path)
    ]
    return max(able, key=lambda k: newness(k.version), default=None)
