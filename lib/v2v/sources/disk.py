# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk image or a block device without a description, taken as a VM.

Its format is the user's word, or what its name and its header agree on.  A header
alone proves nothing: a guest can write one into its raw disk.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from v2v import formats, paths
from v2v.document import VM, Disk, Finding, Firmware, Format, Source, disk_id
from v2v.errors import SourceError
from v2v.sources import Request, bare, images

SUFFIXES: dict[str, Format] = {
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vhd": "vpc",
    ".vpc": "vpc",
    ".avhd": "vpc",
    ".vhdx": "vhdx",
    ".avhdx": "vhdx",
    ".vdi": "vdi",
}
RAW_SUFFIXES = (".img", ".raw", ".bin")
_PACKED = (".gz", ".xz", ".zst", ".bz2", ".lz4", ".zip", ".7z", ".rar", ".tar")
_SECTOR, _LARGE_SECTOR = 512, 4096
_GPT = b"EFI PART"
# Partition types: UEFI's own partition, and the place of GRUB for a BIOS.
_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
_MBR_ESP = 0xEF
_MAX_ENTRIES = 128


def claims(location: str) -> bool:
    """See sources.Source: every file and block device that no other source wants."""
    path = Path(location)
    return path.is_file() or path.is_block_device()


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    real = _opened(path)
    format = request.format or _decided(path, real)
    roots = tuple(place.resolve() for place in (real.parent, *request.allow))
    layer, image = images.layer(real, format, partial(paths.checked, allowed=roots))
    is_device = real.is_block_device()
    if is_device:
        # /dev/vg/lv holds for longer than the /dev/dm-3 behind it.
        layer = layer.having(path=str(path))
    name = disk_id(0)
    vm = bare.machine(
        path.stem,
        Disk(id=name, boot=1, size=image.size, source=layer),
        Source(kind="disk", location=str(path)),
        firmware=_firmware(real) if format == "raw" else "bios",
        findings=[
            *_in_use(real, name),
            *(_large_sectors(real, name) if format == "raw" else ()),
            *images.snapshots(real, format, name),
            *images.doubtful(image, real, name),
        ],
    )
    # A device grants itself alone, not all of /dev.
    yield paths.granted(vm, real if is_device else real.parent)


def _opened(path: Path) -> Path:
    """Return *path* resolved, if it is a disk that is not empty."""
    try:
        real = path.resolve(strict=True)
        with real.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            size = file.seek(0, os.SEEK_END)
    except (OSError, RuntimeError) as e:
        reason = getattr(e, "strerror", None) or "not a path"
        raise SourceError(f"{path}: {reason}", "check the path") from e
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise SourceError(
            f"{path} is neither a file nor a block device", "check the path"
        )
    if not size:
        raise SourceError(f"{path} is empty", "copy it again from the source")
    return real


def _decided(path: Path, real: Path) -> Format:
    """Return the format on which the name and the header agree.  Raises SourceError."""
    suffix = path.suffix.lower()
    if suffix == ".iso" or suffix in _PACKED:
        raise _no_disk(path, suffix)
    expected = SUFFIXES.get(suffix)
    if expected and formats.load(expected).matches(*formats.ends(real, 0, None)):
        return expected
    found = formats.recognise(real)
    if expected and found:
        raise SourceError(
            f"{path} is named as {suffix[1:]} but begins like {found}",
            f"if it really is that, add --input-format {found}",
        )
    if found:
        said = "is named as a raw disk" if suffix in RAW_SUFFIXES else "may be raw"
        raise SourceError(
            f"{path} {said} but looks like a {found} image; a guest may have written "
            "that",
            f"add --input-format raw if it is a raw disk, --input-format {found} if it "
            "really is an image",
        )
    # A broken image is told as such when it is read.
    return expected or "raw"


def _no_disk(path: Path, suffix: str) -> SourceError:
    if suffix == ".iso":
        return SourceError(
            f"{path} is named as a CD image, not as a disk of a VM",
            "add --input-format raw if it is a disk nevertheless",
        )
    return SourceError(
        f"{path} is named as a packed file",
        "unpack it first, or add --input-format raw if it is a disk nevertheless",
    )


def _in_use(real: Path, name: str) -> list[Finding]:
    """Return a finding if *real* is a device that is mounted or otherwise held.

    Linux lets nobody open such a device exclusively, see open(2) on O_EXCL.
    """
    if not real.is_block_device():
        return []
    try:
        os.close(os.open(real, os.O_RDONLY | os.O_EXCL))
    except OSError as e:
        if e.errno != errno.EBUSY:
            raise SourceError(f"{real}: {e.strerror}", "check the device") from e
        return [
            Finding(
                code="device-in-use",
                severity="block",
                message=f"{name}: {real} is in use (mounted, or part of a volume)",
                remedy="shut down what uses it, or accept a torn copy: "
                "--allow device-in-use",
                disk=name,
            )
        ]
    return []


def _large_sectors(real: Path, name: str) -> list[Finding]:
    """Return a finding if the partition table is for sectors of 4096 bytes (4Kn).

    It lies in the second sector, and numbers in it count sectors.
    """
    with real.open("rb") as file:
        head = file.read(_LARGE_SECTOR + 8)
    if head[_SECTOR : _SECTOR + 8] == _GPT or head[_LARGE_SECTOR:] != _GPT:
        return []
    return [
        Finding(
            code="disk-sectors",
            severity="block",
            message=f"{name}: {real} has a partition table for sectors of 4096 bytes, "
            "and the new disk has such of 512: no partition would be found",
            remedy="copy the partitions onto a disk with sectors of 512 bytes; or "
            "accept it (--allow disk-sectors), and set logical_block_size=4096 "
            "on the new VM",
            disk=name,
        )
    ]


def _firmware(real: Path) -> Firmware:
    """Guess from the partition table of a raw disk; BIOS where both would start."""
    with real.open("rb") as file:
        sectors = file.read(2 * _SECTOR)
        table = sectors[_SECTOR:]
        if table[:8] == _GPT:
            at, count, size = struct.unpack_from("<QII", table.ljust(88, b"\0"), 72)
            kinds = _kinds(real, at * _SECTOR, count, size)
            return "efi" if _ESP in kinds and _BIOS_BOOT not in kinds else "bios"
    entries = sectors[446:510]
    return "efi" if _MBR_ESP in entries[4::16] else "bios"


def _kinds(real: Path, at: int, count: int, size: int) -> set[uuid.UUID]:
    """Return the types of the partitions of a GPT."""
    if not 128 <= size <= 4096 or at > formats.MAX_SIZE:
        return set()
    with real.open("rb") as file:
        file.seek(at)
        data = file.read(min(count, _MAX_ENTRIES) * size)
    starts = range(0, len(data) - 15, size)
    return {uuid.UUID(bytes_le=data[i : i + 16]) for i in starts}
