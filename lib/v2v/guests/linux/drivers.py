# SPDX-License-Identifier: GPL-2.0-or-later
"""See that each kernel finds its disk on virtio while it boots.

An initramfs that holds the drivers is left alone: to rebuild it is 94 % of virt-v2v's
time on a Debian guest.  One that lacks them gets the guest's own modules appended; only
where that is not safe the guest's own tool rebuilds it in the appliance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from v2v.document import VM, Change, Devices, Guest, Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import initramfs, kernels
from v2v.guests.linux.plan import Action, edit

DISK = ("virtio_blk", "virtio_pci")
_WANTED = (*DISK, "virtio_scsi", "virtio_net")
_INDEXES = "/lib/modules/{}/modules.*"
_TOOL = "/usr/sbin/update-initramfs"
_LIST = "/etc/initramfs-tools/modules"
_MOST = "/etc/initramfs-tools/conf.d/zz-v2v"


def devices(guest: Guest, made_for: str, *, agent: bool) -> Devices:
    """Return the hardware that every kernel of *guest* can drive after fixup."""
    if guest.type != "linux" or not guest.kernels:
        return Devices(made_for=made_for)
    there = set.intersection(*(set(k.drivers) for k in guest.kernels))
    virtio = set(DISK) <= there
    if not virtio:
        return _emulated(guest, made_for)
    return Devices(
        block="virtio",
        net="virtio" if "virtio_net" in there else "e1000e",
        video="virtio" if "virtio_gpu" in there else "vga",
        rng="virtio_rng" in there,
        balloon="virtio_balloon" in there,
        agent=agent and "virtio_console" in there,
        made_for=made_for,
    )


def _emulated(guest: Guest, made_for: str) -> Devices:
    """Return hardware of before virtio, of which the guest has the drivers."""
    early = set.intersection(*(set(k.initramfs_drivers) for k in guest.kernels))
    there = set.intersection(*(set(k.drivers) for k in guest.kernels))
    net = "e1000e" if "e1000e" in there or "e1000" not in there else "e1000"
    if "ahci" not in early and "ata_piix" in early:
        return Devices(block="ide", machine="pc", net="e1000", made_for=made_for)
    return Devices(block="sata", net=net, made_for=made_for)  # type: ignore[arg-type]


def plan(appliance: Appliance, vm: VM, guest: Guest) -> Iterator[Action]:
    """Yield what each kernel's initramfs needs to find its disk."""
    touched = False
    for kernel in guest.kernels:
        if set(DISK) <= set(kernel.drivers):
            for action in _kernel(appliance, kernel):
                touched = True
                yield action
    if touched and appliance.g.is_file(_LIST):
        yield from _kept_for_updates(appliance)


def _kernel(appliance: Appliance, kernel: Kernel) -> Iterator[Action]:
    if set(DISK) <= set(kernel.initramfs_drivers):
        return
    path = kernel.initramfs
    if path is None:
        raise GuestError(
            f"kernel {kernel.version} has no initramfs and no virtio driver built in",
            "install one in the guest on the source (update-initramfs -c)",
        )
    data, image = kernels.parsed(appliance, path)
    files = _missing(appliance, kernel.version, image)
    if files and initramfs.can_append(image) and _same_suffix(image, files):
        yield _append(path, initramfs.appended(data, image, files), files)
    elif appliance.g.exists(_TOOL):
        yield _rebuild(kernel, len(data))
    else:
        raise GuestError(
            f"{path} lacks the virtio drivers, and cannot be given them",
            "rebuild it on the source with virtio_blk and virtio_pci in it",
        )


def _missing(
    appliance: Appliance, version: str, image: initramfs.Initramfs
) -> dict[str, bytes]:
    """Return the module files that *image* lacks, and the indexes that name them."""
    builtin, dependencies = kernels.modules(appliance, version)
    wanted = [name for name in _WANTED if name in dependencies]
    paths = kernels.closure(wanted, dependencies)
    there = image.modules() | builtin
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


def _same_suffix(image: initramfs.Initramfs, files: Mapping[str, bytes]) -> bool:
    """Whether modules are stored alike in the image and in /lib/modules.

    The indexes name files with their suffix: .ko.xz in them would hide a .ko.
    """

    def suffixes(names: object) -> set[str]:
        parts = (str(name).rpartition("/")[2].partition(".ko") for name in names)  # type: ignore[attr-defined]
        return {end for _, dot, end in parts if dot}

    inside, added = suffixes(image.names), suffixes(files)
    return not inside or added <= inside


def _append(path: str, content: bytes, files: Mapping[str, bytes]) -> Action:
    names = sorted(name.rpartition("/")[2] for name in files if ".ko" in name)

    def apply(appliance: Appliance) -> None:
        _replace(appliance, path, content)

    change = Change(
        path=path,
        kind="edit",
        reason="its initramfs lacks the virtio drivers, and would not find the disk",
        after=f"appended: {' '.join(names)}",
    )
    return Action(change=change, apply=apply, space=len(content))


def _replace(appliance: Appliance, path: str, content: bytes) -> None:
    """Put *content* in place of the file at *path*, whose owner and mode stay."""
    fresh = f"{path}.v2v"
    with tempfile.NamedTemporaryFile(prefix="v2v-") as file:
        file.write(content)
        file.flush()
        appliance.g.cp_a(path, fresh)
        appliance.g.upload(str(Path(file.name)), fresh)
    appliance.g.mv(fresh, path)


def _rebuild(kernel: Kernel, size: int) -> Action:
    def apply(appliance: Appliance) -> None:
        # MODULES=dep would look at the appliance's hardware, not at the guest's.
        appliance.write(_MOST, "MODULES=most\n")
        try:
            appliance.g.command([_TOOL, "-u", "-k", kernel.version])
        finally:
            appliance.g.rm_f(_MOST)

    change = Change(
        path=kernel.initramfs or "",
        kind="run",
        reason="its initramfs lacks the virtio drivers, and would not find the disk",
        after=f"update-initramfs -u -k {kernel.version}",
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


def verify(appliance: Appliance, guest: Guest) -> None:
    """Raise GuestError if a kernel that has virtio would not find its disk."""
    for kernel in guest.kernels:
        if not set(DISK) <= set(kernel.drivers):
            continue
        builtin, dependencies = kernels.modules(appliance, kernel.version)
        inside = (
            kernels.parsed(appliance, kernel.initramfs)[1].modules()
            if kernel.initramfs
            else set()
        )
        lacking = kernels.lacking(DISK, builtin, dependencies, inside)
        if lacking:
            raise GuestError(
                f"kernel {kernel.version} would not find its disk: its initramfs lacks "
                f"{', '.join(sorted(lacking))}",
                "please report this; nothing was changed",
            )
