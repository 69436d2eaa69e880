# SPDX-License-Identifier: GPL-2.0-or-later
"""Make an initramfs by the guest's own tool, where appending to it is not safe.

What it makes is read before it takes the place of the old image, so that an image which
boots is never lost to one which does not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from v2v.document import Change, Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import generators, kernels
from v2v.guests.linux.generators import Job, Tool
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.plan import Action

# What a new initramfs may take, where there is no old one to go by: bytes.
_USUAL = 64 * 2**20
# One that is made for any hardware is larger than one made for a single machine.
_GROWTH = 3
_MOST = "/etc/initramfs-tools/conf.d/zz-v2v"
_PART = re.compile(r"[\w-]{1,60}")
_REMEDY = "make an initramfs with virtio_blk and virtio_pci in it on the source"

log = logging.getLogger(__name__)


def planned(
    appliance: Appliance,
    kernel: Kernel,
    drivers: Sequence[str],
    root: str,
    *,
    needed: Sequence[str] = kernels.DISK,
    old: Initramfs | None = None,
    cause: str | None = None,
) -> Action:
    """Return the action that has the guest make the initramfs of *kernel* anew.

    It shall hold *drivers* and what they need; it counts only if it holds those
    *needed*.  *old* is the present image, *cause*
    why it will not do.  Raises GuestError if the guest has no tool for it.
    """
    found = generators.tool(appliance, old)
    if found is None:
        raise GuestError(
            f"{cause or _lacking(kernel)}, and the guest has no tool that is known "
            "to make one",
            _REMEDY,
        )
    final = kernel.initramfs or generators.usual(found, kernel)
    job = Job(
        kernel=kernel,
        image=final if found.in_place else f"{final}.v2v",
        drivers=drivers,
        needed=needed,
        parts=_parts(appliance, old),
        keeps=["/etc/crypttab"] if old and "etc/crypttab" in old.names else [],
        root=root,
    )
    command = found.command(found.path, job)
    change = Change(
        path=final,
        kind="run",
        reason=cause or "it lacks the virtio drivers, and would not find the disk",
        after=" ".join(command).replace(job.image, final),
    )
    size = appliance.g.filesize(final) if kernel.initramfs else _USUAL
    return Action(
        change=change,
        apply=lambda running: _made(running, found, job, final),
        space=_GROWTH * size,
    )


def _lacking(kernel: Kernel) -> str:
    if kernel.initramfs:
        return f"{kernel.initramfs} lacks the virtio drivers"
    return f"kernel {kernel.version} has no initramfs, and virtio is not built in"


def _parts(appliance: Appliance, old: Initramfs | None) -> list[str]:
    """Return the dracut modules that *old* was made of and the guest still has."""
    listed = [
        data.decode("utf-8", "replace").split()
        for path, data in (old.texts if old else {}).items()
        if path.endswith("lib/dracut/modules.txt")
    ]
    if not listed:
        return []
    names = {name for name in listed[0] if _PART.fullmatch(name)}
    folders = appliance.glob("/usr/lib/dracut/modules.d/[0-9][0-9]*")
    there = {folder.rstrip("/").rpartition("/")[2][2:] for folder in folders}
    return sorted(names & there)


def _made(appliance: Appliance, found: Tool, job: Job, final: str) -> None:
    """Run the tool, and put what it made in place of *final* if that would boot.

    Raises GuestError, and leaves the old image, if it would not.
    """
    g = appliance.g
    kept = f"{final}.v2v-old"
    if found.in_place and job.kernel.initramfs:
        g.cp_a(final, kept)
    else:
        kept = job.image
    try:
        _run(appliance, found.command(found.path, job), job.kernel)
        _prove(appliance, job)
    except GuestError:
        if kept == job.image:
            g.rm_f(kept)
        else:
            g.mv(kept, final)
        appliance.known.pop(final, None)
        raise
    _settle(appliance, job, final, kept)


def _settle(appliance: Appliance, job: Job, final: str, kept: str) -> None:
    """Leave the image that was made as *final*, and no other."""
    if kept != job.image:
        appliance.g.rm_f(kept)
    elif job.image != final:
        if job.kernel.initramfs:
            appliance.g.copy_attributes(final, job.image, all=True)
        appliance.g.mv(job.image, final)
    for path in (final, job.image):
        appliance.known.pop(path, None)


def _run(appliance: Appliance, command: list[str], kernel: Kernel) -> None:
    # MODULES=dep would look at the appliance's hardware, not at the guest's.
    most = command[0].endswith("/mkinitramfs")
    if most:
        appliance.g.mkdir_p(_MOST.rpartition("/")[0])
        appliance.write(_MOST, "MODULES=most\n")
    try:
        appliance.g.command(command)
    except RuntimeError as e:
        # Tools complain of the appliance, and make what they were told all the same:
        # what came of it decides.
        log.warning("warning: kernel %s: %s", kernel.version, _last(e))
    finally:
        if most:
            appliance.g.rm_f(_MOST)


def _last(e: RuntimeError) -> str:
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[-1] if lines else type(e).__name__


def _prove(appliance: Appliance, job: Job) -> None:
    """Raise GuestError if the image that was made does not hold the drivers."""
    if not appliance.g.is_file(job.image, followsymlinks=True):
        raise GuestError(
            f"the guest's tool made no initramfs for kernel {job.kernel.version}",
            _REMEDY,
        )
    appliance.known.pop(job.image, None)
    image = kernels.parsed(appliance, job.image)
    builtin, dependencies = kernels.modules(appliance, job.kernel.version)
    inside = image.modules(job.kernel.version)
    lacking = kernels.lacking(job.needed, builtin, dependencies, inside)
    if lacking or "init" not in image.names:
        raise GuestError(
            f"the initramfs that the guest's tool made for kernel {job.kernel.version} "
            f"lacks {', '.join(sorted(lacking)) or 'an init'}",
            _REMEDY,
        )
