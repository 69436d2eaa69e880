# SPDX-License-Identifier: GPL-2.0-or-later
"""Make an initramfs by the guest's own tool, where appending to it is not safe.

The tool runs in the appliance, whose hardware and root are not the guest's: none is
asked to look at what it runs on.  What it makes is read before it takes the place of
the old image, so that an image which boots is never lost to one which does not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from v2v.document import Change, Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import kernels
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.plan import Action

# What a new initramfs may take, where there is no old one to go by: bytes.
_USUAL = 64 * 2**20
# One that is made for any hardware is larger than one made for a single machine.
_GROWTH = 3
_FOLDERS = "/{usr/sbin,sbin,usr/bin,bin}/"
_NAMES = "{dracut,mkinitramfs,mkinitcpio,mkinitfs,make-initrd,mkinitrd}"
_MOST = "/etc/initramfs-tools/conf.d/zz-v2v"
_PART = re.compile(r"[\w-]{1,60}")
_REMEDY = "make an initramfs with virtio_blk and virtio_pci in it on the source"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """An initramfs that is to be made.

    ``image`` is the path the tool writes; ``drivers`` are modules that the kernel has
    as files; ``parts`` are the dracut modules that the old image was made of, and
    ``keeps`` the files of /etc that it held; ``root`` is the guest's root device.
    """

    kernel: Kernel
    image: str
    drivers: Sequence[str]
    parts: Sequence[str] = ()
    keeps: Sequence[str] = ()
    root: str = "/"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program that makes an initramfs; ``path`` is where the guest has it.

    ``in_place``: it writes where it always does, and not where it is told.
    """

    path: str
    command: Callable[[str, Job], list[str]]
    in_place: bool = False


def _dracut(path: str, job: Job) -> list[str]:
    # Host-only would look at the appliance: no LVM, no LUKS, and its root's UUID.
    command = [path, "--force", "--no-hostonly", "--no-hostonly-cmdline"]
    if job.parts:
        command += ["--add", " ".join(job.parts)]
    if job.keeps:
        command += ["--install", " ".join(job.keeps)]
    command += ["--add-drivers", " ".join(job.drivers)]
    return [*command, job.image, job.kernel.version]


def _mkinitramfs(path: str, job: Job) -> list[str]:
    # update-initramfs makes the image in /boot, and not that on an ESP.
    return [path, "-o", job.image, job.kernel.version]


def _mkinitcpio(path: str, job: Job) -> list[str]:
    # The hook autodetect leaves out what the running machine does not need.
    return [path, "-k", job.kernel.version, "-S", "autodetect", "-g", job.image]


def _mkinitfs(path: str, job: Job) -> list[str]:
    return [path, "-o", job.image, job.kernel.version]


def _make_initrd(path: str, job: Job) -> list[str]:
    return [path, "-k", job.kernel.version]


def _suse_mkinitrd(path: str, job: Job) -> list[str]:
    modules = " ".join(job.drivers)
    files = ["-i", job.image, "-k", job.kernel.path]
    root = ["/usr/bin/env", f"rootdev={job.root}"]
    return [*root, path, "-m", modules, *files, "-d", job.root]


def _mkinitrd(path: str, job: Job) -> list[str]:
    # RHEL 4's leaves LVM out unless it is told so.
    modules = [f"--with={name}" for name in job.drivers]
    return ["/usr/bin/env", "root_lvm=1", path, *modules, job.image, job.kernel.version]


# In the order in which they are looked for: dracut's packages bring programs that are
# called mkinitrd as well, and Debian's dracut may be installed beside mkinitramfs.
_TOOLS = {
    "mkinitramfs": Tool(path="", command=_mkinitramfs),
    "dracut": Tool(path="", command=_dracut),
    "mkinitcpio": Tool(path="", command=_mkinitcpio),
    "mkinitfs": Tool(path="", command=_mkinitfs),
    "make-initrd": Tool(path="", command=_make_initrd, in_place=True),
}


def tool(appliance: Appliance, old: Initramfs | None = None) -> Tool | None:
    """Return what makes this guest's initramfs; None if nothing known is there.

    Of several, it is dracut if that has made the *old* image.
    """
    there: dict[str, str] = {}
    for path in appliance.glob(_FOLDERS + _NAMES):
        there.setdefault(path.rpartition("/")[2], path)
    ranked = ["dracut", *_TOOLS] if _is_dracuts(old) else list(_TOOLS)
    for name in ranked:
        if name in there:
            return replace(_TOOLS[name], path=there[name])
    if "mkinitrd" not in there:
        return None
    suse = "INITRD_MODULES" in (appliance.read("/etc/sysconfig/kernel") or "")
    command = _suse_mkinitrd if suse else _mkinitrd
    return Tool(path=there["mkinitrd"], command=command)


def _is_dracuts(old: Initramfs | None) -> bool:
    """Whether dracut has made the image."""
    return old is not None and any("lib/dracut/" in name for name in old.names)


def planned(
    appliance: Appliance,
    kernel: Kernel,
    drivers: Sequence[str],
    root: str,
    *,
    old: Initramfs | None = None,
    cause: str | None = None,
) -> Action:
    """Return the action that has the guest make the initramfs of *kernel* anew.

    It shall hold *drivers* and what they need.  *old* is the present image, *cause*
    why it will not do.  Raises GuestError if the guest has no tool for it.
    """
    found = tool(appliance, old)
    if found is None:
        raise GuestError(
            f"{cause or _lacking(kernel)}, and the guest has no tool that is known "
            "to make one",
            _REMEDY,
        )
    final = kernel.initramfs or _usual(found, kernel)
    job = Job(
        kernel=kernel,
        image=final if found.in_place else f"{final}.v2v",
        drivers=drivers,
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


def _usual(found: Tool, kernel: Kernel) -> str:
    """Return where an initramfs of *kernel* is looked for, which has none yet."""
    if found.command is _mkinitramfs:
        return f"/boot/initrd.img-{kernel.version}"
    if found.command in (_suse_mkinitrd, _make_initrd):
        return f"/boot/initrd-{kernel.version}"
    return f"/boot/initramfs-{kernel.version}.img"


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
    lacking = kernels.lacking(kernels.DISK, builtin, dependencies, inside)
    if lacking or "init" not in image.names:
        raise GuestError(
            f"the initramfs that the guest's tool made for kernel {job.kernel.version} "
            f"lacks {', '.join(sorted(lacking)) or 'an init'}",
            _REMEDY,
        )
