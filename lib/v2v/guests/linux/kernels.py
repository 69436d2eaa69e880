# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels of a guest, read from what is on its disk and not from packages."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from v2v.document import Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot, initramfs
from v2v.guests.linux.initramfs import Initramfs, module

# What may matter on KVM, or says what the guest could do before.
DRIVERS = (
    *("virtio_blk", "virtio_scsi", "virtio_net", "virtio_pci", "virtio_rng"),
    *("virtio_balloon", "virtio_gpu", "virtio_console", "sd_mod", "ahci", "ata_piix"),
    *("nvme", "e1000", "e1000e", "vmw_pvscsi", "mptspi", "vmxnet3"),
)
_IMAGES = ("/boot/initrd.img-{}", "/boot/initramfs-{}.img", "/boot/initrd-{}")
_NO_KERNEL = re.compile(r"kdump|rescue|\.(old|bak|dpkg-\w+|rpmsave|hmac)$")

log = logging.getLogger(__name__)


def found(appliance: Appliance) -> tuple[Kernel, ...]:
    """Return the kernels in /boot that have modules, the default one first."""
    default = boot.default_kernel(appliance)
    kernels = []
    for path in appliance.glob("/boot/vmlinuz-*"):
        version = path.removeprefix("/boot/vmlinuz-")
        if _NO_KERNEL.search(version) or not appliance.g.is_dir(
            f"/lib/modules/{version}", followsymlinks=True
        ):
            continue
        kernels.append(_kernel(appliance, version, path, default=path == default))
    return tuple(sorted(kernels, key=lambda k: not k.default))


def _kernel(appliance: Appliance, version: str, path: str, *, default: bool) -> Kernel:
    builtin, dependencies = modules(appliance, version)
    image = image_path(appliance, version)
    inside: set[str] = set()
    if image:
        try:
            inside = parsed(appliance, image)[1].modules()
        except GuestError as e:
            log.warning("warning: %s: %s", image, e.message)
    there = builtin | set(dependencies)
    reachable = {d for d in DRIVERS if not lacking([d], builtin, dependencies, inside)}
    return Kernel(
        version=version,
        path=path,
        initramfs=image,
        drivers=tuple(d for d in DRIVERS if d in there),
        initramfs_drivers=tuple(d for d in DRIVERS if d in reachable),
        default=default,
    )


def image_path(appliance: Appliance, version: str) -> str | None:
    """Return the path of the initramfs of kernel *version*, if it has one."""
    for form in _IMAGES:
        if appliance.g.is_file(form.format(version), followsymlinks=True):
            return form.format(version)
    return None


def parsed(appliance: Appliance, path: str) -> tuple[bytes, Initramfs]:
    """Return the initramfs at *path*, and what it holds.  Raises GuestError."""
    if appliance.g.filesize(path) > initramfs.MAX_SIZE:
        raise GuestError(f"{path} is too large for an initramfs")
    with tempfile.TemporaryDirectory(prefix="v2v-") as folder:
        data = appliance.fetched(path, Path(folder)).read_bytes()
    return data, initramfs.parse(data)


def modules(appliance: Appliance, version: str) -> tuple[set[str], dict[str, str]]:
    """Return the modules built into kernel *version*, and the lines of its modules.dep.

    The latter by module: ``kernel/drivers/a.ko: kernel/lib/b.ko``.
    """
    folder = f"/lib/modules/{version}"
    builtin = (appliance.read(f"{folder}/modules.builtin") or "").split()
    lines = (appliance.read(f"{folder}/modules.dep") or "").splitlines()
    return {module(path) for path in builtin}, {
        module(line.partition(":")[0]): line for line in lines if ":" in line
    }


def closure(wanted: Iterable[str], dependencies: Mapping[str, str]) -> dict[str, str]:
    """Return all modules that *wanted* need, themselves included: name -> path."""
    needed: dict[str, str] = {}
    todo = [name for name in wanted if name in dependencies]
    while todo:
        path, _, rest = dependencies[todo.pop()].partition(":")
        if module(path) not in needed:
            needed[module(path)] = path
            todo += [module(other) for other in rest.split()]
    return needed


def lacking(
    wanted: Iterable[str],
    builtin: set[str],
    dependencies: Mapping[str, str],
    inside: set[str],
) -> set[str]:
    """Return what of *wanted*, and of what these need, an initramfs does not give.

    ``inside`` are the modules that it holds.
    """
    names = set(wanted)
    needed = names | set(closure(names, dependencies))
    return needed - builtin - inside
