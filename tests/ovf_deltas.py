# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages with a disk that is a delta on another one (parentRef), as OVF has them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import differencing
from container_kinds import content
from ovf_package import QCOW2, VMDK, disk_item, disk_of, file_of, ovf, system

GRAIN = 65536
_STREAM = "-o subformat=streamOptimized"
_NONE = b"parentCID=ffffffff"


def changed(size: int) -> list[int]:
    """Return which grains of a disk of *size* bytes the delta has."""
    return [0, *range(48, 64), 300, (size - 1) // GRAIN]


def held(size: int) -> bytes:
    """Return what base and delta hold together: no grain of the delta is empty."""
    data = bytearray(content(1, size))
    for grain in changed(size):
        data[grain * GRAIN : grain * GRAIN + 8] = b"changed!"
    return bytes(data[:size])


def below(size: int) -> bytes:
    """Return what the base holds: something else wherever the delta has its own."""
    data = bytearray(held(size))
    for start, end in _ranges(size):
        data[start:end] = b"\x5a" * (end - start)
    return bytes(data)


def _ranges(size: int) -> Iterator[tuple[int, int]]:
    for grain in changed(size):
        yield grain * GRAIN, min(size, (grain + 1) * GRAIN)


def images(folder: Path, kind: str, size: int) -> tuple[str, bytes, bytes]:
    """Return the format, a base of *size* bytes and a delta on it, as files.

    *kind*: "sparse", "qcow2", or "stream", whose header names its parent as the other
    two do; or "silent", a stream that names none.
    """
    folder.mkdir()
    if kind in ("sparse", "qcow2"):
        format = "vmdk" if kind == "sparse" else "qcow2"
        base = differencing.image(folder / "base", below(size), format)
        create = f"qemu-img create -q -f {format} -F {format} -b base delta"
        subprocess.run(create.split(), cwd=folder, check=True)
        _write(folder, format, size)
        return format, bytes(base), (folder / "delta").read_bytes()
    base = differencing.image(folder / "base", below(size), "vmdk", _STREAM)
    own = bytearray(size)
    for start, end in _ranges(size):
        own[start:end] = held(size)[start:end]
    delta = bytes(differencing.image(folder / "delta", bytes(own), "vmdk", _STREAM))
    return (
        "vmdk",
        bytes(base),
        _named(delta, bytes(base)) if kind == "stream" else delta,
    )


def _write(folder: Path, format: str, size: int) -> None:
    (folder / "own").write_bytes(held(size))
    for start, end in _ranges(size):
        (folder / "part").write_bytes(held(size)[start:end])
        write = f"write -q -s part {start} {end - start}"
        command = ["qemu-io", "-f", format, "delta", "-c", write]
        subprocess.run(command, cwd=folder, check=True)


def _named(delta: bytes, base: bytes) -> bytes:
    """Return *delta* with the name and the CID of its parent in the descriptor."""
    found = re.search(rb"\nCID=([0-9a-f]{1,8})", base)
    assert found and delta.count(_NONE) == 1
    hint = b'\nparentFileNameHint="base.vmdk"\n'
    made = delta.replace(_NONE, b"parentCID=" + found[1].rjust(8, b"0"))
    end = made.index(b"\0", made.index(b"ddb.adapterType"))
    return made[:end] + hint + made[end + len(hint) :]


def text(format: str, of_base: str = "", of_delta: str = "") -> str:
    """Return the OVF of a VM with one disk: "delta", which lies on "base"."""
    files = file_of("base", more=of_base) + file_of("delta", "file2", of_delta)
    stated = VMDK if format == "vmdk" else QCOW2
    disks = disk_of(stated) + disk_of(stated, "disk2", "file2", "ovf:parentRef='disk1'")
    return ovf(files, disks, system(disk_item(4, "disk2", AddressOnParent=0)))
