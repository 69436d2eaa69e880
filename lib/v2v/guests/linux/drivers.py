# SPDX-License-Identifier: GPL-2.0-or-later
"""See that each kernel finds its disk on virtio while it boots.

An initramfs that holds the drivers is left alone: to rebuild it is 94 % of virt-v2v's
time on a Debian guest.  One that lacks them gets the guest's own modules appended; only
where that is not safe the guest's own tool rebuilds it in the appliance.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from v2v.document import Change, Devices, Finding, Guest, Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import diskfiles, initramfs, kernels
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.plan import Action, edit
from v2v.guests.linux.stable import Names

DISK = ("virtio_blk", "virtio_pci")
_WANTED = (*DISK, "virtio_scsi", "virtio_net")
_INDEXES = "/lib/modules/{}/modules.*"
_TOOL = "/usr/sbin/update-initramfs"
_LIST = "/etc/initramfs-tools/modules"
_MOST = "/etc/initramfs-tools/conf.d/zz-v2v"
# What a new initramfs may take, where there is no old one to go by: bytes.
_USUAL = 64 * 2**20

log = logging.getLogger(__name__)


def devices(guest: Guest, made_for: str, *, agent: bool) -> Devices:
    """Return the hardware that the kernel of *guest* can drive after fixup."""
    needed = kernels.deciding(guest.kernels)
    if guest.type != "linux" or not needed:
        return Devices(made_for=made_for)
    there = set.intersection(*(set(k.drivers) for k in needed))
    if not set(DISK) <= there:
        return _emulated(needed, there, made_for)
    return Devices(
        block="virtio",
        net="virtio" if "virtio_net" in there else "e1000e",
        video="virtio" if "virtio_gpu" in there else "vga",
        transitional=any(_is_old(kernel.version) for kernel in needed),
        rng="virtio_rng" in there,
        balloon="virtio_balloon" in there,
        agent=agent and "virtio_console" in there,
        made_for=made_for,
    )


def _is_old(version: str) -> bool:
    """Whether kernel *version* is of before virtio 1.0, which came with Linux 4.0.

    Red Hat's 3.10 has it.
    """
    major = version.partition(".")[0]
    return (
        major.isascii() and major.isdigit() and int(major) < 4 and ".el7" not in version
    )


def _emulated(needed: Sequence[Kernel], there: set[str], made_for: str) -> Devices:
    """Return hardware of before virtio, of which the guest has the drivers."""
    early = set.intersection(*(set(k.initramfs_drivers) for k in needed))
    net: Literal["e1000", "e1000e"] = "e1000e"
    if "e1000" in there and "e1000e" not in there:
        net = "e1000"
    if "ahci" not in early and "ata_piix" in early:
        return Devices(block="ide", machine="pc", net="e1000", made_for=made_for)
    return Devices(block="sata", net=net, made_for=made_for)


def plan(appliance: Appliance, guest: Guest, names: Names) -> Iterator[Action]:
    """Yield what each kernel's initramfs needs to find its disk.

    Raises GuestError if the kernel that is booted cannot be given it; of others a
    warning is logged.
    """
    touched = False
    for kernel in guest.kernels:
        if not set(DISK) <= set(kernel.drivers):
            continue
        try:
            action = _kernel(appliance, kernel, names)
        except GuestError as e:
            if kernel in kernels.deciding(guest.kernels):
                raise
            log.warning("warning: kernel %s: %s", kernel.version, e.message)
            continue
        if action:
            touched = True
            yield action
    if touched and appliance.g.is_file(_LIST):
        yield from _kept_for_updates(appliance)


def _kernel(appliance: Appliance, kernel: Kernel, names: Names) -> Action | None:
    """Return what the initramfs of *kernel* needs, if anything."""
    ready = set(DISK) <= set(kernel.initramfs_drivers)
    path = kernel.initramfs
    if path is None:
        return None if ready else _made(appliance, kernel)
    try:
        image = kernels.parsed(appliance, path)
    except GuestError as e:
        return _made(appliance, kernel, e)
    files = dict(_stale(image, names))
    modules = {} if ready else _missing(appliance, kernel.version, image)
    if ready and not files:
        return None
    files |= modules
    if initramfs.can_append(image) and _same_suffix(image, modules):
        data = kernels.content(appliance, path)
        return _append(path, initramfs.appended(data, image, files), files)
    if ready:
        return None  # old names in it are no reason to give up what boots
    return _made(appliance, kernel)


def _made(
    appliance: Appliance, kernel: Kernel, cause: GuestError | None = None
) -> Action:
    """Return the action that has the guest make the initramfs of *kernel*.

    ``cause`` is why the present one cannot be read.  Raises GuestError if the guest
    lacks the tool.
    """
    if appliance.g.is_file(_TOOL, followsymlinks=True):
        path = kernel.initramfs
        return _rebuild(kernel, appliance.g.filesize(path) if path else _USUAL)
    if cause:
        what = cause.message
    elif kernel.initramfs:
        what = f"{kernel.initramfs} lacks the virtio drivers"
    else:
        what = f"kernel {kernel.version} has no initramfs, and virtio is not built in"
    raise GuestError(
        f"{what}, and the guest has no update-initramfs",
        "make an initramfs with virtio_blk and virtio_pci in it on the source",
    )


def _stale(image: Initramfs, names: Names) -> Iterator[tuple[str, bytes]]:
    """Yield the files of *image* that name disks as the old machine did, corrected."""
    for path, data in image.texts.items():
        if path.endswith("/modules.dep"):
            continue
        text = data.decode("utf-8", "surrogateescape")
        after = diskfiles.corrected(path, text, names)
        if after != text:
            yield path, after.encode("utf-8", "surrogateescape")


def _missing(appliance: Appliance, version: str, image: Initramfs) -> dict[str, bytes]:
    """Return the module files that *image* lacks, and the indexes that name them."""
    builtin, dependencies = kernels.modules(appliance, version)
    wanted = [name for name in _WANTED if name in dependencies]
    paths = kernels.closure(wanted, dependencies)
    there = image.modules(version) | builtin
    folder = f"/lib/modules/{version}"
    names = [f"{folder}/{path}" for name, path in paths.items() if name not in there]
    names += [
        path
        for path in appliance.glob(_INDEXES.format(version))
        if appliance.g.is_file(path)
    ]
    found = {}
    for name in names:
        data = appliance.bytes(name)
        if data is not None:
            found[name.lstrip("/")] = data
    return found


def _same_suffix(image: Initramfs, files: Mapping[str, bytes]) -> bool:
    """Whether modules are stored alike in the image and in /lib/modules.

    The indexes name files with their suffix: .ko.xz in them would hide a .ko.
    """

    def suffixes(names: Iterable[str]) -> set[str]:
        parts = (name.rpartition("/")[2].partition(".ko") for name in names)
        return {end for _, dot, end in parts if dot}

    inside, added = suffixes(image.names), suffixes(files)
    return not inside or added <= inside


def _append(path: str, content: bytes, files: Mapping[str, bytes]) -> Action:
    modules = sorted(name.rpartition("/")[2] for name in files if ".ko" in name)
    others = sorted(name for name in files if "lib/modules/" not in name)

    def apply(appliance: Appliance) -> None:
        _replace(appliance, path, content)

    change = Change(
        path=path,
        kind="edit",
        reason="it lacks the virtio drivers, and would not find the disk"
        if modules
        else "it names disks as the old machine did",
        after=f"appended: {' '.join([*modules, *others])}",
    )
    return Action(change=change, apply=apply, space=len(content))


def _replace(appliance: Appliance, path: str, content: bytes) -> None:
    """Put *content* in place of the file at *path*, whose owner and mode stay."""
    fresh = f"{path}.v2v"
    appliance.known.pop(path, None)
    with tempfile.NamedTemporaryFile(prefix="v2v-") as file:
        file.write(content)
        file.flush()
        appliance.g.cp_a(path, fresh)
        appliance.g.upload(str(Path(file.name)), fresh)
    appliance.g.mv(fresh, path)


def _rebuild(kernel: Kernel, size: int) -> Action:
    mode = "-u" if kernel.initramfs else "-c"

    def apply(appliance: Appliance) -> None:
        appliance.known.pop(kernel.initramfs or "", None)
        # MODULES=dep would look at the appliance's hardware, not at the guest's.
        appliance.write(_MOST, "MODULES=most\n")
        try:
            appliance.g.command([_TOOL, mode, "-k", kernel.version])
        except RuntimeError as e:
            # What came of it is looked at when all is done.
            log.warning("warning: update-initramfs -k %s: %s", kernel.version, e)
        finally:
            appliance.g.rm_f(_MOST)

    change = Change(
        path=kernel.initramfs or f"/boot/initrd.img-{kernel.version}",
        kind="run",
        reason="it lacks the virtio drivers, and would not find the disk",
        after=f"update-initramfs {mode} -k {kernel.version}",
    )
    return Action(change=change, apply=apply, space=2 * size)


def _kept_for_updates(appliance: Appliance) -> Iterator[Action]:
    """Let the guest's own next rebuild hold the drivers too."""
    text = appliance.read(_LIST) or ""
    listed = {line.strip() for line in text.splitlines()}
    more = [name for name in _WANTED if name not in listed]
    if more:
        gap = "" if text.endswith("\n") or not text else "\n"
        after = f"{text}{gap}" + "".join(f"{name}\n" for name in more)
        yield from edit(_LIST, text, after, "the next initramfs needs virtio as well")


def verify(guest: Guest) -> None:
    """Raise GuestError if the kernel that is booted would not find its disk.

    *guest* is as it was found after all was done.
    """
    for kernel in kernels.deciding(guest.kernels):
        lacking = [name for name in DISK if name not in kernel.initramfs_drivers]
        if lacking and set(DISK) <= set(kernel.drivers):
            raise GuestError(
                f"kernel {kernel.version} would not find its disk: its initramfs lacks "
                f"{', '.join(lacking)}, or what that needs",
                "make an initramfs with virtio_blk and virtio_pci in it on the source",
            )


def findings(guest: Guest) -> Iterator[Finding]:
    """Yield what is worth knowing of the drivers of *guest*."""
    deciding = kernels.deciding(guest.kernels)
    for kernel in guest.kernels:
        if not set(DISK) <= set(kernel.drivers):
            which = "the kernel" if kernel in deciding else "kernel"
            yield Finding(
                code="kernel-without-virtio",
                severity="warn",
                message=f"{which} {kernel.version} has no virtio drivers"
                + ("; the VM gets emulated hardware" if kernel in deciding else ""),
                remedy="install the distribution's usual kernel in the guest",
            )
        elif not set(DISK) <= set(kernel.initramfs_drivers):
            yield Finding(
                code="initramfs-without-virtio",
                severity="info",
                message=f"the initramfs of kernel {kernel.version} lacks virtio",
                remedy="v2v-fixup adds it",
            )
