# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is a folder of this host, in place of an appliance with its disks.

It answers as libguestfs does, links inside the guest included, but takes no time to
start.  ``command`` runs nothing: a test says what each of the guest's programs does.
A guest may also be several file systems, a folder each, that are mounted before use.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from v2v.document import Kernel
from v2v.guests import appliance
from v2v.guests.appliance import Appliance
from v2v.guests.linux import initramfs
from v2v.guests.plan import Action

Files = dict[str, str | bytes]
Program = Callable[["Folder", list[str]], None]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What is on a device: ``facts`` are blkid's, ``folder`` is a file system's.

    ``subvolumes`` are those of a btrfs: path -> number; ``default`` is a number.
    """

    facts: Mapping[str, str]
    folder: Path | None = None
    subvolumes: Mapping[str, int] = field(default_factory=dict)
    default: int = 5


class Folder:
    """The calls of libguestfs that are used, for the guest in ``root``.

    With ``volumes``, by device, nothing is mounted yet.
    """

    def __init__(
        self,
        root: Path,
        programs: Mapping[str, Program],
        volumes: Mapping[str, Volume] | None = None,
    ) -> None:
        self.programs = programs
        self.volumes = dict(volumes or {})
        self.mounted = {} if volumes else {"/": root}
        self.ran: list[list[str]] = []
        self.labels: dict[str, bytes] = {}
        self.owners: dict[str, tuple[int, int]] = {}

    def host(self, path: str, *, follow: bool = True) -> Path:
        """Return where the guest's *path* is here; links stay inside the guest."""
        if not path.startswith("/"):
            raise RuntimeError(f"{path}: path must start with a / character")
        return self._place(self._resolved(path, follow=follow))

    def _place(self, path: str) -> Path:
        """Return where *path*, without links, is here."""
        on = [p for p in self.mounted if f"{path}/".startswith(f"{p.rstrip('/')}/")]
        if not on:
            raise RuntimeError(f"{path}: nothing is mounted")
        point = max(on, key=len)
        return self.mounted[point] / path.removeprefix(point).lstrip("/")

    def _resolved(self, path: str, *, follow: bool) -> str:
        done: list[str] = []
        todo = [part for part in path.split("/") if part not in ("", ".")]
        for _ in range(200):
            if not todo:
                return "/" + "/".join(done)
            part = todo.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            here = self._place("/" + "/".join([*done, part]))
            if here.is_symlink() and (todo or follow):
                target = str(here.readlink())
                done = [] if target.startswith("/") else done
                todo = [p for p in target.split("/") if p not in ("", ".")] + todo
            else:
                done.append(part)
        raise RuntimeError(f"{path}: too many links")

    def exists(self, path: str) -> bool:
        return self.host(path).exists()

    def is_file(self, path: str, *, followsymlinks: bool = False) -> bool:
        file = self.host(path, follow=followsymlinks)
        return file.is_file() and not file.is_symlink()

    def is_dir(self, path: str, *, followsymlinks: bool = False) -> bool:
        file = self.host(path, follow=followsymlinks)
        return file.is_dir() and not file.is_symlink()

    def is_symlink(self, path: str) -> bool:
        return self.host(path, follow=False).is_symlink()

    def filesize(self, path: str) -> int:
        return self.host(path).stat().st_size

    def realpath(self, path: str) -> str:
        if not self.exists(path):
            raise RuntimeError(f"{path}: no such file")
        return self._resolved(path, follow=True)

    def glob_expand(self, pattern: str) -> list[str]:
        return [
            f"{path}/" if self.host(path).is_dir() else path
            for one in appliance.expanded(pattern)
            for path in self._matching(one.strip("/").split("/"), "")
        ]

    def _matching(self, parts: list[str], folder: str) -> Iterator[str]:
        here = self.host(folder or "/")
        if not here.is_dir():
            return
        names = parts[:1]
        if _is_pattern(parts[0]):
            names = sorted(path.name for path in here.iterdir())
        for name in names:
            path = f"{folder}/{name}"
            # A name that starts with a dot has to be asked for.
            if _is_pattern(parts[0]) and (
                not fnmatch.fnmatchcase(name, parts[0]) or name[0] == "."
            ):
                continue
            if len(parts) > 1:
                yield from self._matching(parts[1:], path)
            elif self.host(path, follow=False).is_symlink() or self.exists(path):
                yield path

    def case_sensitive_path(self, path: str) -> str:
        done = ""
        for part in path.strip("/").split("/"):
            here = self.host(done or "/")
            names = [p.name for p in here.iterdir()] if here.is_dir() else []
            same = [name for name in names if name.lower() == part.lower()]
            if not same:
                raise RuntimeError(f"{path}: no such file")
            done += f"/{part if part in same else same[0]}"
        return done

    def pread(self, path: str, count: int, offset: int) -> bytes:
        with self.host(path).open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def read_file(self, path: str) -> bytes:
        return self.host(path).read_bytes()

    def download(self, path: str, to: str) -> None:
        shutil.copyfile(self.host(path), to)

    def download_offset(self, path: str, to: str, offset: int, size: int) -> None:
        Path(to).write_bytes(self.pread(path, size, offset))

    def upload(self, file: str, path: str) -> None:
        shutil.copyfile(file, self.host(path))

    def write(self, path: str, content: bytes) -> None:
        self.host(path).write_bytes(content)

    def ls0(self, folder: str, to: str) -> None:
        names = [os.fsencode(path.name) for path in self.host(folder).iterdir()]
        Path(to).write_bytes(b"".join(name + b"\0" for name in names))

    def mkdir_p(self, path: str) -> None:
        self.host(path).mkdir(parents=True, exist_ok=True)

    def mv(self, source: str, to: str) -> None:
        self.host(source, follow=False).replace(self.host(to, follow=False))

    def cp(self, source: str, to: str) -> None:
        shutil.copyfile(self.host(source), self.host(to))

    def cp_a(self, source: str, to: str) -> None:
        if self.is_dir(source):
            shutil.copytree(self.host(source), self.host(to), symlinks=True)
        else:
            shutil.copy2(self.host(source), self.host(to))

    def copy_attributes(self, source: str, to: str, *, all: bool = False) -> None:
        shutil.copystat(self.host(source), self.host(to))

    def rm_f(self, path: str) -> None:
        self.host(path, follow=False).unlink(missing_ok=True)

    def rm_rf(self, path: str) -> None:
        if self.is_dir(path):
            shutil.rmtree(self.host(path))
        else:
            self.rm_f(path)

    def ln_sf(self, target: str, link: str) -> None:
        self.rm_f(link)
        self.host(link, follow=False).symlink_to(target)

    def chmod(self, mode: int, path: str) -> None:
        self.host(path).chmod(mode)

    def readlink(self, path: str) -> str:
        return str(self.host(path, follow=False).readlink())

    def lstatns(self, path: str) -> dict[str, int]:
        here = self.host(path, follow=False)
        if not os.path.lexists(here):
            raise RuntimeError(f"{path}: no such file")
        facts = here.lstat()
        return {"st_mtime_sec": int(facts.st_mtime), "st_mode": facts.st_mode}

    def lgetxattr(self, path: str, name: str) -> bytes:
        assert name == "security.selinux"
        real = self._resolved(path, follow=False)
        if real not in self.labels or not os.path.lexists(self._place(real)):
            raise RuntimeError(f"{path}: no label")
        return self.labels[real]

    def lsetxattr(self, name: str, value: str, length: int, path: str) -> None:
        assert name == "security.selinux"
        real = self._resolved(path, follow=False)
        assert os.path.lexists(self._place(real)), path
        self.labels[real] = value.encode().ljust(length, b"\0")

    def chown(self, owner: int, group: int, path: str) -> None:
        assert self.exists(path), path
        self.owners[path] = (owner, group)

    def touch(self, path: str) -> None:
        self.host(path).touch()

    def truncate(self, path: str) -> None:
        self.host(path).write_bytes(b"")

    def find(self, folder: str) -> list[str]:
        place = self.host(folder)
        return sorted(str(path.relative_to(place)) for path in place.rglob("*"))

    def find0(self, folder: str, to: str) -> None:
        names = (name.encode() + b"\0" for name in self.find(folder))
        Path(to).write_bytes(b"".join(names))

    def statvfs(self, path: str) -> dict[str, int]:
        return {"blocks": 2**21, "bavail": 2**20, "frsize": 2**10}

    def list_partitions(self) -> list[str]:
        return [name for name in self.volumes if name.count("/") == 2]

    def list_devices(self) -> list[str]:
        return sorted({name.rstrip("0123456789") for name in self.list_partitions()})

    def list_md_devices(self) -> list[str]:
        return []

    def lvs(self) -> list[str]:
        return [name for name in self.volumes if name.count("/") == 3]

    def feature_available(self, features: list[str]) -> bool:
        return True

    def pread_device(self, device: str, count: int, offset: int) -> bytes:
        return bytes(count)  # a file system that was unmounted, swap that is swap

    def mount(self, device: str, point: str) -> None:
        place = device.removeprefix("btrfsvol:")
        name = next(n for n in self.volumes if f"{place}/".startswith(f"{n}/"))
        volume = self.volumes[name]
        if volume.folder is None:
            raise RuntimeError(f"{device}: no file system")
        inner = place.removeprefix(name).lstrip("/")
        if place == device:
            default = {n: path for path, n in volume.subvolumes.items()}
            inner = default.get(volume.default, "")
        self.mounted[point.rstrip("/") or "/"] = volume.folder / inner

    mount_ro = mount

    def mount_options(self, options: str, device: str, point: str) -> None:
        assert options == "ro,subvolid=5"
        folder = self.volumes[device].folder
        assert folder
        self.mounted[point] = folder

    def umount(self, point: str) -> None:
        del self.mounted[point]

    def umount_all(self) -> None:
        self.mounted.clear()

    def btrfs_subvolume_get_default(self, device: str) -> int:
        return self.volumes[device].default

    def btrfs_subvolume_list(self, device: str) -> list[dict[str, int | str]]:
        return [
            {"btrfssubvolume_id": number, "btrfssubvolume_path": path}
            for path, number in self.volumes[device].subvolumes.items()
        ]

    def blkid(self, device: str) -> dict[str, str]:
        return dict(self.volumes[device].facts)

    def command(self, arguments: list[str]) -> str:
        self.ran.append(arguments)
        name = next((a for a in arguments if a in self.programs), None)
        if name:
            self.programs[name](self, arguments)
        return ""


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def handle(appliance_: Appliance) -> Folder:
    """Return what stands in for libguestfs in *appliance_*."""
    return cast(Folder, appliance_.g)


def guest(
    root: Path,
    files: Mapping[str, str | bytes] | None = None,
    programs: Mapping[str, Program] | None = None,
) -> Appliance:
    """Return a guest in the empty folder *root* that holds *files*."""
    for path, content in (files or {}).items():
        put(root, path, content)
    for path in programs or {}:
        put(root, path, "")
    return Appliance(cast(Any, Folder(root, programs or {})))


def put(root: Path, path: str, content: str | bytes) -> None:
    """Write *content* to *path* of the guest in *root*; "-> x" makes a link to x.

    A path that ends in "/" is that of a folder.
    """
    file = root / path.lstrip("/") if path else root
    if path.endswith("/"):
        file.mkdir(parents=True, exist_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str) and content.startswith("-> "):
        file.symlink_to(content.removeprefix("-> "))
    elif isinstance(content, str):
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    else:
        file.write_bytes(content)


def applied(appliance_: Appliance, actions: Iterable[Action]) -> list[str]:
    """Do *actions*, which are planned before any is done; return their paths."""
    there = list(actions)
    for action in there:
        action.apply(appliance_)
    return [action.change.path for action in there]


def tree(root: Path) -> dict[str, int | str]:
    """Return the checksums of all files in *root*, and what links point to."""
    return {
        f"/{path.relative_to(root)}": str(path.readlink())
        if path.is_symlink()
        else zlib.crc32(path.read_bytes())
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def texts(root: Path) -> dict[str, str]:
    """Return the files in *root*: path -> text, or "-> target" of a link."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes().decode("utf-8", "surrogateescape")
    return found


def vmlinuz(version: str) -> bytes:
    """Return the head of an x86 kernel of this version."""
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    text = f"{version} (made@test) #1".encode()
    head[0x300 : 0x300 + len(text)] = text
    return bytes(head)


def image(files: Mapping[str, str | bytes]) -> bytes:
    """Return an initramfs, not compressed, that holds *files*; "-> x" is a link."""
    made = b""
    for inode, (path, content) in enumerate(files.items(), 1):
        data = content.encode() if isinstance(content, str) else content
        mode = 0o120777 if data.startswith(b"-> ") else 0o100644
        made += initramfs._entry(inode, path, mode, data.removeprefix(b"-> "))
    return made + initramfs._entry(9999, "TRAILER!!!", 0, b"")


VIRTIO = {
    "virtio": "",
    "virtio_ring": "",
    "virtio_pci": "kernel/virtio_ring.ko{0} kernel/virtio.ko{0}",
    "virtio_blk": "kernel/virtio.ko{0}",
    "virtio_net": "kernel/virtio.ko{0}",
}
DISK = ("virtio", "virtio_ring", "virtio_pci", "virtio_blk")


def modules(version: str, suffix: str = "") -> Files:
    """Return the files of a kernel's virtio modules, compressed as *suffix* says."""
    folder = f"/lib/modules/{version}"
    lines = [
        f"kernel/{name}.ko{suffix}: {needs.format(suffix)}\n"
        for name, needs in VIRTIO.items()
    ]
    files: Files = {f"{folder}/kernel/{n}.ko{suffix}": f"module {n}" for n in VIRTIO}
    return {f"{folder}/modules.dep": "".join(lines), **files}


def ready(version: str, suffix: str = "", *, udev: bool = True) -> bytes:
    """Return an initramfs with the virtio modules of *version*."""
    there = {k.lstrip("/"): v for k, v in modules(version, suffix).items()}
    return image({**(BASE if udev else {"init": "#!/bin/sh\n"}), **there})


BASE = {"init": "#!/bin/sh\n", "usr/lib/systemd/systemd-udevd": ""}


def unified(version: str, initrd: bytes, cmdline: str) -> bytes:
    """Return a unified kernel image: a PE file with these sections."""
    content = {
        b".cmdline": cmdline.encode(),
        b".linux": vmlinuz(version),
        b".initrd": initrd,
    }
    head = bytearray(0x400)
    head[0:2], head[0x3C:0x40] = b"MZ", (0x80).to_bytes(4, "little")
    head[0x80:0x98] = struct.pack("<4s2xH12xHH", b"PE\0\0", len(content), 0, 0)
    at, body = len(head), b""
    for index, (name, data) in enumerate(content.items()):
        padded = data + bytes(-len(data) % 512)
        start = 0x98 + 40 * index
        row = (name, len(data), 0x1000 * (index + 1), len(padded), at + len(body))
        head[start : start + 24] = struct.pack("<8sIIII", *row)
        body += padded
    return bytes(head) + body


def kernel(version: str, initramfs_: str | None, *early: str) -> Kernel:
    """Return a kernel with virtio, of which *early* are in its initramfs."""
    return Kernel(
        version=version,
        path=f"/boot/vmlinuz-{version}",
        initramfs=initramfs_,
        drivers=("virtio_blk", "virtio_pci", "virtio_net"),
        initramfs_drivers=early,
        default=True,
    )
