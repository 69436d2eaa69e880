# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that make an initramfs, one per family of systems, and what they want.

They run in the appliance, whose hardware and root are not the guest's: none is asked to
look at what it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from v2v.document import Kernel
from v2v.guests.appliance import Appliance
from v2v.guests.linux import ranking
from v2v.guests.linux.initramfs import Initramfs

_FOLDERS = "/{usr/sbin,sbin,usr/bin,bin}/"
_CONFIG = "/etc/initramfs-tools/initramfs.conf"
_NAMES = "{dracut,mkinitramfs,mkinitcpio,mkinitfs,make-initrd,mkinitrd}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """An initramfs that is to be made.

    ``image`` is the path the tool writes; ``drivers`` are modules that the kernel has
    as files, and ``needed`` those without which it does not boot; ``parts`` are the
    dracut modules that the old image was made of, and ``keeps`` the files of /etc that
    it held; ``root`` is the guest's root device.
    """

    kernel: Kernel
    image: str
    drivers: Sequence[str]
    needed: Sequence[str] = ranking.DISK
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
    if "mkinitramfs" in there and not appliance.g.is_file(_CONFIG):
        # A kernel's package may pull it in, on a system that is not set up for it.
        del there["mkinitramfs"]
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


def usual(found: Tool, kernel: Kernel) -> str:
    """Return where an initramfs of *kernel* is looked for, which has none yet."""
    if found.command is _mkinitramfs:
        return f"/boot/initrd.img-{kernel.version}"
    if found.command in (_suse_mkinitrd, _make_initrd):
        return f"/boot/initrd-{kernel.version}"
    return f"/boot/initramfs-{kernel.version}.img"
