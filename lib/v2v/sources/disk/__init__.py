# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk image or a block device without a description, taken as a VM.

Its format is the user's word, or what its name and its header agree on.  A header
alone proves nothing: a guest can write one into its raw disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from v2v import formats, paths
from v2v.document import (
    VM,
    BlockSize,
    Disk,
    Finding,
    Firmware,
    Format,
    Source,
    disk_id,
)
from v2v.errors import SourceError
from v2v.formats import Strung, raw
from v2v.sources import Request, bare, images
from v2v.sources.disk import filesystem, mistaken, split, vmdkpart

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
_BLKSSZGET = 0x1268  # linux/fs.h
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
    pieces = split.of(path)
    named = pieces.whole if pieces else path
    real = _opened(pieces.files[0] if pieces else path)
    roots = tuple(place.resolve() for place in (real.parent, *request.allow))
    checked = partial(paths.checked, allowed=roots)
    place: Path | Strung = real
    if pieces:
        place = formats.strung([formats.part(checked(f)) for f in pieces.files])
    format = request.format or _decided(named, place)
    layer, image = images.layer(place, format, checked)
    is_device = real.is_block_device()
    if is_device:
        # /dev/vg/lv holds for longer than the /dev/dm-3 behind it.
        layer = layer.having(path=str(path))
    name = disk_id(0)
    sector = _block_size(real, image) if format == "raw" else image.logical_block_size
    disk = images.held(Disk(id=name, boot=1, logical_block_size=sector), layer, image)
    vm = bare.machine(
        named.stem,
        disk,
        Source(kind="disk", location=str(pieces.files[0] if pieces else path)),
        firmware=_firmware(real, sector) if format == "raw" else "bios",
        findings=[
            *([pieces.finding(name)] if pieces else ()),
            *_assumed(request, path, name),
            *_in_use(real, name),
            *(_of_raw(place, name) if format == "raw" else ()),
            *images.snapshots(place, format, name),
            *images.doubtful(image, real, name),
        ],
    )
    # A device grants itself alone, not all of /dev.
    yield paths.granted(vm, real if is_device else real.parent)


def _assumed(request: Request, path: Path, name: str) -> list[Finding]:
    flat = request.format is None and vmdkpart.is_flat(path.name)
    return [vmdkpart.bare(name, path)] if flat else []


def _of_raw(place: Path | Strung, name: str) -> list[Finding]:
    """Return what is amiss with the raw disk at *place*."""
    return [*_partition(place, name), *_cut_off(place, name)]


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


def _decided(path: Path, real: Path | Strung) -> Format:
    """Return the format on which the name *path* and the header of *real* agree.

    Raises SourceError.
    """
    suffix = path.suffix.lower()
    if suffix == ".iso" or suffix in _PACKED:
        raise _no_disk(path, suffix)
    flat = vmdkpart.is_flat(path.name)
    expected = None if flat else SUFFIXES.get(suffix)
    if expected and formats.load(expected).matches(*formats.ends(real, 0, None)):
        return expected
    found = formats.recognise(real)
    if expected and found:
        raise SourceError(
            f"{path} is named as {suffix[1:]} but begins like {found}",
            f"if it really is that, add --input-format {found}",
        )
    if found:
        raw = flat or suffix in RAW_SUFFIXES
        said = "is named as a raw disk" if raw else "may be raw"
        raise SourceError(
            f"{path} {said} but looks like a {found} image; a guest may have written "
            "that",
            f"add --input-format raw if it is a raw disk, --input-format {found} if it "
            "really is an image",
        )
    if expected is None:
        mistaken.check_raw(path, real)
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


def _block_size(real: Path, image: formats.Image) -> BlockSize:
    """Return of how many bytes the sectors of the disk are.

    Without a GPT, a device says it; but not a volume (LVM, ZFS): that was the disk of a
    VM, which is shown sectors of 512 bytes whatever those of the host are.
    """
    facts = real.stat()
    if not stat.S_ISBLK(facts.st_mode) or image.logical_block_size != 512:
        return image.logical_block_size
    with real.open("rb") as file:
        head = file.read(raw.HEAD)
        (size,) = struct.unpack("i", fcntl.ioctl(file, _BLKSSZGET, bytes(4)))
    number = f"{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}"
    is_volume = Path(f"/sys/dev/block/{number}/dm").exists() or real.name[:2] == "zd"
    if raw.block_size(head) or is_volume:
        return 512
    return 4096 if size == 4096 else 512


def _partition(place: Path | Strung, name: str) -> list[Finding]:
    """Return a finding if a file system begins where partitions are to be listed."""
    found = filesystem.name(place)
    if not found:
        return []
    return [
        Finding(
            code="disk-is-partition",
            severity="block",
            message=f"{name}: it is no disk but a partition ({found}), without a "
            "partition table: nothing would start from it",
            remedy="name the whole disk; or put it into a partition of a new disk "
            "(sfdisk, dd); or accept it: --allow disk-is-partition",
            disk=name,
        )
    ]


def _cut_off(place: Path | Strung, name: str) -> list[Finding]:
    """Return a finding if a partition ends behind the end of the disk."""
    end = filesystem.end(place)
    size = formats.part(place).length
    if end <= size:
        return []
    return [
        Finding(
            code="disk-cut-off",
            severity="block",
            message=f"{name}: its last partition ends at {end}, and it has only {size} "
            "bytes: it is not whole",
            remedy="copy it again from the source and compare the sizes; or accept the "
            "loss: --allow disk-cut-off",
            disk=name,
        )
    ]


def _firmware(real: Path, sector: int) -> Firmware:
    """Guess from the partition table of a raw disk; BIOS where both would start.

    ``sector`` is the size of its sectors in bytes.
    """
    with real.open("rb") as file:
        sectors = file.read(2 * sector)
        table = sectors[sector:]
        if table[:8] == raw.GPT:
            at, count, size = struct.unpack_from("<QII", table.ljust(88, b"\0"), 72)
            kinds = _kinds(real, at * sector, count, size)
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
