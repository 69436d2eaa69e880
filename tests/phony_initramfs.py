# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel modules and initramfs images of phony guests, in the shape of each tool's."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from v2v.guests.linux import initramfs
from v2v.guests.linux.kernels import closure

# Of Linux: the folder of each module, and what it needs.
_MODULES = {
    "virtio": ("virtio", ""),
    "virtio_ring": ("virtio", ""),
    "virtio_pci": ("virtio", "virtio_ring virtio"),
    "virtio_balloon": ("virtio", "virtio_ring virtio"),
    "virtio_blk": ("block", "virtio_ring virtio"),
    "virtio_net": ("net", "virtio_ring virtio"),
    "virtio_console": ("char", "virtio_ring virtio"),
    "virtio-rng": ("char/hw_random", "virtio_ring virtio"),
    "virtio_scsi": ("scsi", "virtio_ring virtio"),
    "virtio-gpu": ("gpu/drm/virtio", "virtio_ring virtio"),
    "scsi_mod": ("scsi", ""),
    "sd_mod": ("scsi", "scsi_mod"),
    "libata": ("ata", "scsi_mod"),
    "ahci": ("ata", "libata scsi_mod"),
    "ata_piix": ("ata", "libata scsi_mod"),
    "mptbase": ("message/fusion", ""),
    "mptspi": ("message/fusion", "mptbase scsi_mod"),
    "vmw_pvscsi": ("scsi", "scsi_mod"),
    "vmxnet3": ("net/vmxnet3", ""),
    "e1000": ("net/ethernet/intel/e1000", ""),
    "e1000e": ("net/ethernet/intel/e1000e", ""),
    "xenblk": ("xen/blkfront", ""),
    "xennet": ("xen/netfront", ""),
}
_MERGED = {"bin": "-> usr/bin", "lib": "-> usr/lib", "sbin": "-> usr/sbin"}
_SYSTEMD = {
    **_MERGED,
    "init": "-> usr/lib/systemd/systemd",
    "usr/lib/systemd/systemd": "",
    "usr/lib/systemd/systemd-udevd": "",
}
_DRACUT = "bash\nsystemd\nkernel-modules\nrootfs-block\nudev-rules\nbase\nfs-lib\n"
_SHELL = "#!/bin/sh\n"
# What each tool makes of itself: path -> content, "-> x" being a link.
_SHAPES: dict[str, dict[str, str]] = {
    "dracut": {**_SYSTEMD, "usr/lib/dracut/modules.txt": _DRACUT},
    # 004, of RHEL 6.
    "dracut-old": {"init": _SHELL, "sbin/udevd": "", "sbin/modprobe": ""},
    "initramfs-tools": {
        **_MERGED,
        "init": _SHELL,
        "conf/initramfs.conf": "MODULES=most\nBOOT=local\n",
        "scripts/local": "",
        "usr/lib/systemd/systemd-udevd": "",
    },
    # Of before /usr was merged.
    "initramfs-tools-old": {
        "init": _SHELL,
        "conf/initramfs.conf": "MODULES=most\nBOOT=local\n",
        "scripts/local": "",
        "sbin/udevd": "",
    },
    "nash": {"bin/nash": "", "bin/insmod": ""},
    "suse": {"init": "-> run_all.sh", "run_all.sh": _SHELL, "sbin/udevd": ""},
    "mkinitfs": {"init": _SHELL, "sbin/nlplug-findfs": "", "bin/busybox": ""},
    "mkinitcpio": {**_SYSTEMD, "buildconfig": "", "hooks/udev": ""},
    "make-initrd": {"init": _SHELL, "sbin/udevd": "", "etc/initrd/cmdline": ""},
    "genkernel": {"init": _SHELL, "etc/initrd.defaults": "", "bin/busybox": ""},
}
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "zstd": lambda data: _filtered(data, "zstd", "-q", "-c"),
    "lz4": lambda data: _filtered(data, "lz4", "-l", "-c"),
}


def _filtered(data: bytes, *command: str) -> bytes:
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True)
    return done.stdout


def _lines(kernel: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines of the modules.dep of *kernel*, by module (with _ for -)."""
    suffix = kernel.get("suffix", "")
    own = kernel.get("modules", list(_MODULES))
    out = {*kernel.get("without", ()), *kernel.get("builtin", ()), "xenblk", "xennet"}
    there = [m for m in own if m not in out or m in kernel.get("modules", ())]

    def path(name: str) -> str:
        return f"kernel/drivers/{_MODULES[name][0]}/{name}.ko{suffix}"

    return {
        name.replace("-", "_"): f"{path(name)}:"
        + "".join(
            f" {path(need)}" for need in _MODULES[name][1].split() if need in there
        )
        for name in there
    }


def modules(kernel: Mapping[str, Any]) -> dict[str, str | bytes]:
    """Return the files of /lib/modules of *kernel*, which is a table of the TOML."""
    folder = f"/lib/modules/{kernel['version']}"
    lines = _lines(kernel)
    files: dict[str, str | bytes] = {
        f"{folder}/{line.partition(':')[0]}": f"module {name} of {kernel['version']}"
        for name, line in lines.items()
    }
    builtin = "".join(f"kernel/drivers/{m}.ko\n" for m in kernel.get("builtin", ()))
    return files | {
        f"{folder}/modules.dep": "".join(f"{line}\n" for line in lines.values()),
        f"{folder}/modules.dep.bin": "index",
        f"{folder}/modules.alias": "alias virtio:d00000002v* virtio_blk\n",
        f"{folder}/modules.builtin": builtin,
    }


def image(kernel: Mapping[str, Any], holds: Iterable[str]) -> bytes:
    """Return an initramfs of *kernel* that holds these modules, and what they need."""
    kind = kernel["kind"]
    files: dict[str, str] = dict(_SHAPES[kind])
    needed = closure(holds, _lines(kernel))
    if kind == "nash":
        files |= _nash(needed)
    else:
        files |= _folder(kernel, needed, "usr/lib" if "lib" in files else "lib")
    files |= kernel.get("texts", {})
    main = _PACKERS[kernel.get("compression", "gzip")](_cpio(files))
    if kind == "dracut" or kernel.get("microcode"):
        early = {"early_cpio": "1\n", "kernel/x86/microcode/GenuineIntel.bin": "code"}
        return _cpio(early) + main
    return main


def _nash(needed: Mapping[str, str]) -> dict[str, str]:
    """Return a script that loads each module by name, and the modules."""
    lines = [f'echo "Loading {m}.ko module"\ninsmod /lib/{m}.ko' for m in needed]
    script = ["#!/bin/nash", "mount -t proc /proc /proc", *lines, "mkrootdev -t ext3"]
    return {
        "init": "\n".join([*script, "switchroot", ""]),
        **{f"lib/{name}.ko": f"module {name}" for name in needed},
    }


def _folder(
    kernel: Mapping[str, Any], needed: Mapping[str, str], lib: str
) -> dict[str, str]:
    folder = f"{lib}/modules/{kernel['version']}"
    lines = _lines(kernel)
    return {
        f"{folder}/modules.dep": "".join(f"{lines[name]}\n" for name in needed),
        **{f"{folder}/{path}": f"module {name}" for name, path in needed.items()},
    }


def _cpio(files: Mapping[str, str]) -> bytes:
    folders = {parent: "" for path in files for parent in initramfs._parents(path)}
    made = b""
    for inode, (path, text) in enumerate({**folders, **files}.items(), 1):
        mode = 0o120777 if text.startswith("-> ") else 0o100644
        mode = 0o040755 if path in folders else mode
        data = text.removeprefix("-> ").encode()
        made += initramfs._entry(inode, path, mode, data)
    return made + initramfs._entry(9999, "TRAILER!!!", 0, b"")
