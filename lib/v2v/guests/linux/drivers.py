# SPDX-License-Identifier: GPL-2.0-or-later
"""See that each kernel finds its disk on virtio while it boots.

An initramfs that holds the drivers is left alone: to rebuild it is 94 % of virt-v2v's
time on a Debian guest.  One that lacks them gets the guest's own modules appended; only
where that is not safe the guest's own tool rebuilds it in the appliance.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from v2v.document import Change, Finding, Guest, Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import diskfiles, initramfs, kernels, persistent, rebuild
from v2v.guests.linux.initramfs import Initramfs
from v2v.guests.linux.stable import Names
from v2v.guests.plan import Action

DISK = kernels.DISK
_WANTED = (*DISK, "virtio_scsi", "virtio_net")
_ENTRY = 1024  # bytes that a file takes besides, with its folders
_INDEXES = "/lib/modules/{}/modules.*"
# Of what an initramfs says of itself: which modules there are, what it does.
_NO_NAMES = ("/modules.dep", "lib/dracut/modules.txt")

log = logging.getLogger(__name__)


def plan(
    appliance: Appliance, guest: Guest, names: Names, needed: Sequence[str] = DISK
) -> Iterator[Action]:
    """Yield what each kernel's initramfs needs to find its disk, by drivers *needed*.

    Raises GuestError if the kernel that is booted cannot be given virtio; of others,
    and where the disk is an emulated one, a warning is logged.
    """
    touched: set[str] = set()
    for kernel in guest.kernels:
        sealed = kernel.initramfs == kernel.path
        if sealed or not set(needed) <= set(kernel.drivers):
            continue
        must = _is_virtio(needed) and kernel in kernels.deciding(guest.kernels)
        try:
            action = _kernel(appliance, guest, kernel, names, needed)
        except GuestError as e:
            if must:
                raise
            log.warning("warning: kernel %s: %s", kernel.version, e.message)
            continue
        if action:
            touched.add(kernel.version)
            yield action if must else _tried(action, kernel)
            yield from persistent.checksum(appliance, kernel)
    if touched and _is_virtio(needed):
        # A module that one kernel lacks must not make its next initramfs fail.
        able = set.intersection(*(set(_able(appliance, v, needed)) for v in touched))
        yield from persistent.plan(appliance, [d for d in _WANTED if d in able])


def _tried(action: Action, kernel: Kernel) -> Action:
    """Return *action* with a warning where it fails: the old image stays."""

    def apply(appliance: Appliance) -> None:
        try:
            action.apply(appliance)
        except GuestError as e:
            log.warning("warning: kernel %s: %s", kernel.version, e.message)

    return replace(action, apply=apply)


def _is_virtio(needed: Sequence[str]) -> bool:
    return "virtio_pci" in needed


def _able(
    appliance: Appliance, version: str, needed: Sequence[str] = DISK
) -> list[str]:
    """Return which drivers kernel *version* has as files, of those to be added.

    They are those *needed*, and with virtio what else the guest may be given.
    """
    _, dependencies = kernels.modules(appliance, version)
    more = _WANTED if _is_virtio(needed) else ()
    return [name for name in dict.fromkeys((*needed, *more)) if name in dependencies]


def _kernel(
    appliance: Appliance,
    guest: Guest,
    kernel: Kernel,
    names: Names,
    needed: Sequence[str],
) -> Action | None:
    """Return what the initramfs of *kernel* needs, if anything."""
    ready = set(needed) <= set(kernel.initramfs_drivers)
    path = kernel.initramfs
    if ready and path is None:
        return None
    drivers = _able(appliance, kernel.version, needed)
    image = cause = None
    try:
        image = kernels.parsed(appliance, path) if path else None
    except GuestError as e:
        cause = e.message
    if image and path:
        added = [] if ready else drivers
        done = _appended(appliance, kernel, image, names, added)
        if done or ready:
            return done
    return rebuild.planned(
        appliance,
        kernel,
        drivers,
        guest.root or "/",
        needed=needed,
        old=image,
        cause=cause,
    )


def _appended(
    appliance: Appliance,
    kernel: Kernel,
    image: Initramfs,
    names: Names,
    drivers: Sequence[str],
) -> Action | None:
    """Return the action that adds *drivers* to *image*, if that is safe.

    Old names in it are no reason to give up what boots.
    """
    files = dict(_stale(image, names))
    modules = _missing(appliance, kernel.version, image, drivers) if drivers else {}
    if not files and not modules:
        return None
    if not initramfs.can_append(image) or not initramfs.same_suffix(image, modules):
        return None
    files |= modules
    assert kernel.initramfs
    return _append(appliance, kernel.initramfs, image, files)


def _stale(image: Initramfs, names: Names) -> Iterator[tuple[str, bytes]]:
    """Yield the files of *image* that name disks as the old machine did, corrected."""
    for path, data in image.texts.items():
        if path == "init" or path.endswith(_NO_NAMES):
            continue
        text = data.decode("utf-8", "surrogateescape")
        if "/hooks/" in path:
            # dracut waits in a script for a file of this name.
            after = diskfiles.paths(text, names)
        else:
            after = diskfiles.corrected(path, text, names)
        if after != text:
            yield path, after.encode("utf-8", "surrogateescape")


def _missing(
    appliance: Appliance, version: str, image: Initramfs, drivers: Sequence[str]
) -> dict[str, bytes]:
    """Return the files of *drivers* that *image* lacks, and the indexes of modules."""
    builtin, dependencies = kernels.modules(appliance, version)
    paths = kernels.closure(drivers, dependencies)
    there = image.modules(version) | builtin
    folder = f"/lib/modules/{version}"
    # Until module-init-tools 3.4 (Debian 5, SLES 10) the index has whole paths.
    names = [
        path if path.startswith(f"{folder}/") else f"{folder}/{path}"
        for name, path in paths.items()
        if name not in there
    ]
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


def _append(
    appliance: Appliance, path: str, image: Initramfs, files: Mapping[str, bytes]
) -> Action:
    modules = sorted(name.rpartition("/")[2] for name in files if ".ko" in name)
    others = sorted(name for name in files if "lib/modules/" not in name)
    more = sum(len(data) + len(name) + _ENTRY for name, data in files.items())

    def apply(running: Appliance) -> None:
        # Read again: those of all kernels at once may be more than the host's memory.
        data = kernels.content(running, path)
        _replace(running, path, initramfs.appended(data, image, files))

    change = Change(
        path=path,
        kind="edit",
        reason="it lacks drivers, and would not find the disk"
        if modules
        else "it names disks as the old machine did",
        after=f"appended: {' '.join([*modules, *others])}",
    )
    size = appliance.g.filesize(path)
    return Action(change=change, apply=apply, space=size + more)


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


def verify(guest: Guest, needed: Sequence[str] = DISK) -> None:
    """Raise GuestError if the kernel that is booted would not find its disk.

    *guest* is as it was found after all was done.
    """
    for kernel in kernels.deciding(guest.kernels):
        lacking = [name for name in needed if name not in kernel.initramfs_drivers]
        if lacking and set(needed) <= set(kernel.drivers):
            raise GuestError(
                f"kernel {kernel.version} would not find its disk: its initramfs lacks "
                f"{', '.join(lacking)}, or what that needs",
                f"make an initramfs with {', '.join(needed)} in it on the source",
            )


def findings(guest: Guest) -> Iterator[Finding]:
    """Yield what is worth knowing of the drivers of *guest*."""
    deciding = kernels.deciding(guest.kernels)
    for kernel in guest.kernels:
        if not set(DISK) <= set(kernel.drivers):
            yield _unfit(kernel, booted=kernel in deciding)
        elif not set(DISK) <= set(kernel.initramfs_drivers):
            yield Finding(
                code="initramfs-without-virtio",
                severity="info",
                message=f"the initramfs of kernel {kernel.version} lacks virtio",
                remedy="v2v-fixup adds it",
            )


def _unfit(kernel: Kernel, *, booted: bool) -> Finding:
    """Return the finding that *kernel* cannot be booted from virtio."""
    which = "the kernel" if booted else "kernel"
    message = f"{which} {kernel.version} has no virtio drivers"
    remedy = "install the distribution's usual kernel in the guest"
    if "virtio_net" in kernel.drivers:
        what = f"the initramfs of {kernel.version} lacks virtio"
        message = f"{what}, and nothing that is known can add it"
        remedy = "make it anew in the guest, with virtio_blk and virtio_pci in it"
    if kernel.path == kernel.initramfs:
        message = f"{kernel.path} is sealed, and lacks virtio or names its disk"
        remedy = "make it anew in the guest, with virtio and root=UUID=... in it"
    return Finding(
        code="kernel-without-virtio",
        severity="warn",
        message=message + ("; the VM gets emulated hardware" if booted else ""),
        remedy=remedy,
    )
