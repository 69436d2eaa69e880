# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels of a guest, read from what is on its disk and not from packages."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from v2v.document import Kernel
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot, generators, initramfs, ranking
from v2v.guests.linux.initramfs import Initramfs, module
from v2v.guests.linux.loaders import parameters, uki
from v2v.guests.linux.loaders.menu import Entry

DISK = ranking.DISK
deciding = ranking.deciding
# What may matter on KVM, or says what the guest could do before.
DRIVERS = (
    *("virtio_blk", "virtio_scsi", "virtio_net", "virtio_pci", "virtio_rng"),
    *("virtio_balloon", "virtio_gpu", "virtio_console", "sd_mod", "ahci", "ata_piix"),
    *("nvme", "e1000", "e1000e", "8139cp", "8139too", "vmw_pvscsi", "mptspi"),
    *("vmxnet3", "vmw_vsock_virtio_transport"),
    *("pvpanic", "pvpanic_mmio", "pvpanic_pci"),
)
_FILES = "/boot/{vmlinuz*,vmlinux-*,kernel-*,bzImage-*}"
_IMAGES = ("/boot/initrd.img-{}", "/boot/initramfs-{}.img", "/boot/initrd-{}")
_NO_KERNEL = re.compile(r"kdump|rescue|\.(old|bak|dpkg-\w+|rpmsave|hmac)$")
_XEN = re.compile(r"^CONFIG_X86(?:_64)?_XEN=y", re.MULTILINE)
_MAX_KERNELS = 32
_MAX_FILES = 300  # that may be kernels
# Either is enough to find the disk on the hardware of before virtio.
_OLD_DISK = {"ahci", "ata_piix"}
_MAX_OPTIONS = 65536  # bytes
# Documentation/arch/x86/boot.rst: the magic number, and where the version's text is.
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_VERSION_AT, _VERSION_BASE = 0x20E, 0x200
_VERSION = re.compile(rb"[0-9][\w.+~-]{0,99}")
# It becomes a part of patterns of paths, and of messages.
_NAME = re.compile(r"[\w.+~-]{1,100}", re.ASCII)

log = logging.getLogger(__name__)


def found(appliance: Appliance) -> tuple[Kernel, ...]:
    """Return the kernels that have modules, the default one first.

    Those that the boot loader starts, and all others in /boot.
    """
    entries = boot.entries(appliance)
    default = boot.default_kernel(appliance)
    offered = {entry.kernel for entry in entries}
    kernels: dict[str, Kernel] = {}
    for path, image in _files(appliance, entries):
        # Links like /boot/vmlinuz lead to the same kernel.
        real = appliance.g.realpath(path)
        version = None if real in kernels else _version(appliance, real)
        if version and len(kernels) < _MAX_KERNELS:
            kernels[real] = _kernel(
                appliance, version, real, image_path(appliance, real, image)
            )
        if real in kernels and path in offered:
            kernels[real] = kernels[real].having(offered=True)
        if real in kernels and path == default:
            kernels[real] = kernels[real].having(default=True)
    return tuple(sorted(kernels.values(), key=lambda k: not k.default))


def again(appliance: Appliance, kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """Return *kernels* as they are now, after some of their files were written."""
    path = boot.default_kernel(appliance)
    known = path is not None and appliance.g.exists(path)
    default = appliance.g.realpath(path) if path and known else None
    # Before any is read, since two kernels may have one image.
    same = {k.initramfs for k in kernels if k.initramfs in appliance.known}
    return tuple(
        (
            kernel
            if kernel.initramfs in same
            else _kernel(
                appliance,
                kernel.version,
                kernel.path,
                image_path(appliance, kernel.path, kernel.initramfs),
            )
        ).having(
            default=kernel.path == default if default else kernel.default,
            offered=kernel.offered,
        )
        for kernel in kernels
    )


def _files(
    appliance: Appliance, entries: Sequence[Entry]
) -> Iterator[tuple[str, str | None]]:
    """Yield the paths that may be kernels, and the initramfs started with each."""
    images: dict[str, str | None] = {}
    for entry in entries:
        if entry.kernel:
            images.setdefault(entry.kernel, entry.initramfs)
    for path in appliance.glob(_FILES):
        images.setdefault(path, None)
    for path, image in list(images.items())[:_MAX_FILES]:
        if not _NO_KERNEL.search(path) and appliance.g.is_file(
            path, followsymlinks=True
        ):
            yield path, image


def _version(appliance: Appliance, path: str) -> str | None:
    """Return the release of the kernel at *path*, by which its modules are found."""
    named = path.rpartition("/")[2].partition("-")[2]
    sections = _sections(appliance, path)
    at = sections[".linux"].offset if sections else 0
    for version in (_in_header(appliance, path, at), named, *_parents(path)):
        named_well = version and _NAME.fullmatch(version)
        if named_well and appliance.g.is_dir(
            f"/lib/modules/{version}", followsymlinks=True
        ):
            return version
    return None


def _parents(path: str) -> tuple[str, ...]:
    """Return the folder's name: /MACHINE-ID/VERSION/linux says its version there."""
    parts = path.split("/")
    return (parts[-2],) if parts[-1] == "linux" and len(parts) > 3 else ()


def _sections(appliance: Appliance, path: str) -> dict[str, uki.Section]:
    """Return the sections of the unified kernel image at *path*; none of others."""
    if not path.lower().endswith(".efi"):
        return {}
    found = uki.sections(bytes(appliance.g.pread(path, uki.HEAD, 0)))
    return found if uki.is_one(found) else {}


def _sealed_options(appliance: Appliance, path: str) -> str:
    """Return the parameters in the unified kernel image at *path*."""
    section = _sections(appliance, path).get(".cmdline")
    if section is None or section.size > _MAX_OPTIONS:
        return ""
    data = bytes(appliance.g.pread(path, section.size, section.offset))
    return data.decode("utf-8", "replace")


def _in_header(appliance: Appliance, path: str, start: int = 0) -> str | None:
    """Return what the header of an x86 kernel says; None for others.

    It is at *start*, in bytes, of the file at *path*.
    """
    head = bytes(appliance.g.pread(path, 0x210, start))
    if len(head) < 0x210 or head[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        return None
    at = int.from_bytes(head[_VERSION_AT : _VERSION_AT + 2], "little")
    text = bytes(appliance.g.pread(path, 200, start + at + _VERSION_BASE))
    match = _VERSION.match(text)
    return match[0].decode() if match else None


def _kernel(appliance: Appliance, version: str, path: str, image: str | None) -> Kernel:
    builtin, dependencies = modules(appliance, version)
    held = _held(appliance, image) if image else None
    inside = held.modules(version) if held else set()
    there = builtin | set(dependencies)
    reachable = {d for d in DRIVERS if not lacking([d], builtin, dependencies, inside)}
    if image == path:
        # What is sealed cannot be given more, and a root that it calls sda2 is called
        # so on SATA only.
        named = parameters.root_of_hardware(_sealed_options(appliance, path))
        there -= set(DISK) if named else set(DISK) - reachable
    elif not set(DISK) <= reachable and reachable & _OLD_DISK:
        # It boots from SATA or IDE as it is; better so than not at all.
        paths = {line.partition(":")[0] for line in dependencies.values()}
        if not _can_be_given(appliance, held, paths):
            there -= set(DISK) - reachable
    if _is_for_xen(appliance, version):
        there = reachable = set()
    return Kernel(
        version=version,
        path=path,
        initramfs=image,
        drivers=tuple(d for d in DRIVERS if d in there),
        initramfs_drivers=tuple(d for d in DRIVERS if d in reachable),
    )


def _held(appliance: Appliance, image: str) -> Initramfs | None:
    """Return what the initramfs *image* holds; None, with a warning, if unreadable."""
    try:
        return parsed(appliance, image)
    except GuestError as e:
        log.warning("warning: %s: %s", image, e.message)
        return None


def _can_be_given(
    appliance: Appliance, held: Initramfs | None, modules_: set[str]
) -> bool:
    """Whether an initramfs that holds *held* can be made to hold *modules_* as well."""
    if held and initramfs.can_append(held) and initramfs.same_suffix(held, modules_):
        return True
    return generators.tool(appliance, held) is not None


def _is_for_xen(appliance: Appliance, version: str) -> bool:
    """Whether this kernel runs on Xen only: of before paravirt_ops, and SUSE's."""
    if "xen" not in version:
        return False
    config = appliance.read(f"/boot/config-{version}")
    return config is None or _XEN.search(config) is not None


def image_path(appliance: Appliance, kernel: str, said: str | None) -> str | None:
    """Return the path of the initramfs of the *kernel* at this path, if it has one.

    ``said`` is what the boot loader loads with it.  A link, as SUSE's /boot/initrd, is
    followed: what is written shall take the place of the image, not of the link.
    """
    suffix = kernel.rpartition("/")[2].partition("-")[2]
    for path in (said, *(form.format(suffix) for form in _IMAGES)):
        if path and appliance.g.is_file(path, followsymlinks=True):
            return appliance.g.realpath(path)
    return None


def parsed(appliance: Appliance, path: str) -> Initramfs:
    """Return what the initramfs at *path* holds.  Raises GuestError.

    It is read once; ``appliance.known`` forgets it when it is written.
    """
    known = appliance.known.get(path)
    if not isinstance(known, Initramfs):
        known = initramfs.parse(content(appliance, path))
        appliance.known[path] = known
    return known


def content(appliance: Appliance, path: str) -> bytes:
    """Return the bytes of the initramfs at *path*.  Raises GuestError."""
    sections = _sections(appliance, path)
    size = sections[".initrd"].size if sections else appliance.g.filesize(path)
    if size > initramfs.MAX_SIZE:
        raise GuestError(f"{path} is too large for an initramfs")
    with tempfile.TemporaryDirectory(prefix="v2v-") as folder:
        if not sections:
            return appliance.fetched(path, Path(folder)).read_bytes()
        file = Path(folder) / "initrd"
        offset = sections[".initrd"].offset
        appliance.g.download_offset(path, str(file), offset, size)
        return file.read_bytes()


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
    todo = [dependencies[name] for name in wanted if name in dependencies]
    while todo:
        path, _, rest = todo.pop().partition(":")
        if module(path) not in needed:
            needed[module(path)] = path
            todo += [dependencies.get(module(word), word) for word in rest.split()]
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
