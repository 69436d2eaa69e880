# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of disk container, each made of given content: by qemu-img if it can."""

import random
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import archives
import differencing
import odd_images
import ovf_package
import vmfs_delta
from v2v import formats, sources, views
from v2v.document import File, Format, Layer
from v2v.formats import Checked
from v2v.sources import Request, images, ovf
from v2v.sources.disk import split
from v2v.sources.images import Part

MIB = 2**20
SECTOR = 512


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a container is made, and what of a disk it can hold.

    ``make`` writes what it gets into a folder and returns the layer for it.  ``unit``:
    of how many bytes a disk is a multiple there.  ``sparse``: its own tables, or its
    file, tell what is a hole.  ``whole``: it needs no parent.
    """

    make: Callable[[Path, bytes, Checked], Layer]
    unit: int = SECTOR
    sparse: bool = True
    whole: bool = True


def content(seed: int, size: int) -> bytes:
    """Return a disk of *size* bytes with data at its ends, in the middle, and holes."""
    dice = random.Random(seed)
    made = bytearray(size)
    for at, length in (
        (0, 70 * 1024),
        (3 * MIB - 512, MIB),
        (16 * MIB + 4096, 3 * MIB),
        (24 * MIB + 1024, 512),
        (size - size % MIB - 2048, 2048 + size % MIB),
    ):
        made[at : at + length] = dice.randbytes(length)[: size - at]
    return bytes(made)


# Of content(): what a child has, the rest being its parent's.
_SECTORS = [
    *(0, 1, 77, *range(3 * 2048, 3 * 2048 + 900)),
    *(range(17 * 2048, 18 * 2048)),
    *(24 * 2048 + 2,),
]
_BLOCKS = (0, 3, 17)


def run(command: str, folder: Path) -> None:
    subprocess.run(command.split(), check=True, timeout=60, cwd=folder)


def _image(
    folder: Path, data: bytes, checked: Checked, *, format: Format, options: str = ""
) -> Layer:
    path = folder / f"disk.{format}"
    differencing.image(path, data, format, options)
    return images.layer(path, format, checked)[0]


def _raw(folder: Path, data: bytes, checked: Checked) -> Layer:
    """As cp --sparse would."""
    with (folder / "disk.img").open("wb") as file:
        for at in range(0, len(data), 4096):
            if any(block := data[at : at + 4096]):
                file.seek(at)
                file.write(block)
        file.truncate(len(data))
    return images.layer(folder / "disk.img", "raw", checked)[0]


def _overwritten(folder: Path, data: bytes, image: str, format: str) -> None:
    (folder / "new").write_bytes(data)
    run(f"qemu-img convert -n -f raw -O {format} new {image}", folder)


def _qcow2_snapshots(folder: Path, data: bytes, checked: Checked) -> Layer:
    """What was there before two snapshots must not be seen."""
    for number in (1, 2):
        old = bytes(len(data) - len(data) % SECTOR)
        old = content(90 + number, len(old))
        if number == 1:
            differencing.image(folder / "disk.qcow2", old, "qcow2")
        else:
            _overwritten(folder, old, "disk.qcow2", "qcow2")
        run(f"qemu-img snapshot -c s{number} disk.qcow2", folder)
    _overwritten(folder, data, "disk.qcow2", "qcow2")
    return images.layer(folder / "disk.qcow2", "qcow2", checked)[0]


def _qcow2_backing(folder: Path, data: bytes, checked: Checked) -> Layer:
    """Two overlays; what is zero in the uppermost hides what is below."""
    size = len(data)
    differencing.image(folder / "a.qcow2", content(95, size), "qcow2")
    names = ("a.qcow2", "b.qcow2", "disk.qcow2")
    for below, name in pairwise(names):
        run(f"qemu-img create -q -f qcow2 -b {below} -F qcow2 {name}", folder)
        _overwritten(
            folder, data if name == names[-1] else content(96, size), name, "qcow2"
        )
    backing = [File(path=str(folder / n), format="qcow2") for n in names[1::-1]]
    return images.layer(folder / names[2], "qcow2", checked, backing=backing)[0]


def _hosted_delta(folder: Path, data: bytes, checked: Checked) -> Layer:
    """A snapshot of Workstation: a sparse VMDK that names its parent."""
    differencing.image(folder / "base.vmdk", content(97, len(data)), "vmdk")
    run("qemu-img create -q -f vmdk -b base.vmdk -F vmdk disk.vmdk", folder)
    _overwritten(folder, data, "disk.vmdk", "vmdk")
    layer, _ = images.layer(folder / "disk.vmdk", "vmdk", checked)
    assert len(layer.backing) == 1
    return layer


def _vmfs(folder: Path, data: bytes, checked: Checked) -> Layer:
    (folder / "disk-flat.vmdk").write_bytes(data)
    vmfs_delta.flat(folder / "disk.vmdk", "disk-flat.vmdk", len(data) // SECTOR)
    return images.layer(folder / "disk.vmdk", "vmdk", checked)[0]


def _below(data: bytes, sectors: Iterable[int]) -> bytes:
    """Return *data* with other bytes in *sectors*, that a child has to hide."""
    made = bytearray(data)
    for sector in sectors:
        made[sector * SECTOR : (sector + 1) * SECTOR] = b"\x5a" * SECTOR
    return bytes(made)


def _esxi_delta(folder: Path, data: bytes, checked: Checked, *, kind: str) -> Layer:
    sectors = len(data) // SECTOR
    if kind == "VMFSSPARSE":
        runs = [(s, data[s * SECTOR : (s + 1) * SECTOR]) for s in _SECTORS]
        vmfs_delta.cowd(folder / "disk-delta.vmdk", sectors, runs)
        changed = _SECTORS
    else:
        grains = sorted({sector // 8 for sector in _SECTORS} | {sectors // 8 - 1})
        blocks = {g: data[g * 4096 : (g + 1) * 4096] for g in grains}
        vmfs_delta.sesparse(
            folder / "disk-delta.vmdk",
            sectors,
            {g: block if any(block) else None for g, block in blocks.items()},
        )
        changed = [g * 8 + n for g in grains for n in range(8)]
    (folder / "base-flat.vmdk").write_bytes(_below(data, changed))
    vmfs_delta.flat(folder / "base.vmdk", "base-flat.vmdk", sectors)
    vmfs_delta.descriptor(
        folder / "disk.vmdk", kind, "disk-delta.vmdk", sectors, "base.vmdk"
    )
    return images.layer(folder / "disk.vmdk", "vmdk", checked)[0]


def _checkpoint(
    folder: Path, data: bytes, checked: Checked, *, format: Format
) -> Layer:
    """A chain of two of Hyper-V."""
    options = {"vpc": "-o force_size=on", "vhdx": "-o block_size=1M"}[format]
    make = {"vpc": differencing.vhd, "vhdx": differencing.vhdx}[format]
    below = _below(data, _SECTORS)
    differencing.image(folder / "base", below, format, options)
    make(folder / "disk", data, _SECTORS, folder / "base", ".\\base")
    return images.layer(folder / "disk", format, checked)[0]


def _large_sectors(folder: Path, data: bytes, checked: Checked) -> Layer:
    differencing.whole_vhdx(folder / "disk.vhdx", data, 4096)
    return images.layer(folder / "disk.vhdx", "vhdx", checked)[0]


def _large_checkpoint(folder: Path, data: bytes, checked: Checked) -> Layer:
    """A chain of two with sectors of 4096 bytes."""
    sectors = sorted({sector // 8 for sector in _SECTORS})
    below = _below(data, [s * 8 + n for s in sectors for n in range(8)])
    differencing.whole_vhdx(folder / "base", below, 4096)
    differencing.vhdx(folder / "disk", data, sectors, folder / "base", ".\\base", 4096)
    return images.layer(folder / "disk", "vhdx", checked)[0]


def _blocks(data: bytes) -> tuple[bytes, bytes]:
    """Return what a child with blocks of 1 MiB has of *data*, and its parent."""
    child, parent = bytearray(len(data)), bytearray(data)
    for block in (*_BLOCKS, len(data) // MIB):
        part = slice(block * MIB, (block + 1) * MIB)
        child[part] = data[part]
        parent[part] = b"\x5a" * len(data[part])
    return bytes(child), bytes(parent)


def _vdi_child(folder: Path, data: bytes, checked: Checked) -> Layer:
    child, parent = _blocks(data)
    differencing.image(folder / "base.vdi", parent, "vdi")
    (folder / "Snapshots").mkdir()
    differencing.vdi(folder / "Snapshots" / "{1}.vdi", child, folder / "base.vdi")
    return images.layer(folder / "Snapshots" / "{1}.vdi", "vdi", checked)[0]


def _xenserver(folder: Path, data: bytes, checked: Checked) -> Layer:
    """A VHD whose storage held something where nothing was written."""
    sectors = -(-len(data) // 512)
    full = data.ljust(sectors * 512, b"\0")
    written = {s for s in range(sectors) if any(full[s * 512 : s * 512 + 512])}
    (folder / "disk.vhd").write_bytes(odd_images.xenserver(data, written))
    return images.layer(folder / "disk.vhd", "vpc", checked)[0]


def _vdi_blocks(folder: Path, data: bytes, checked: Checked) -> Layer:
    made = differencing.image(folder / "plain.vdi", data, "vdi")
    (folder / "disk.vdi").write_bytes(odd_images.repacked(made, data, 128 * 1024, 1024))
    return images.layer(folder / "disk.vdi", "vdi", checked)[0]


def _parallels_child(folder: Path, data: bytes, checked: Checked) -> Layer:
    child, parent = _blocks(data)
    differencing.image(folder / "0.hds", parent, "parallels")
    differencing.image(folder / "1.hds", child, "parallels")
    backing = [File(path=str(folder / "0.hds"), format="parallels")]
    return images.layer(folder / "1.hds", "parallels", checked, backing=backing)[0]


def _split_bundle(
    folder: Path, data: bytes, checked: Checked, *, kinds: str, chain: int = 1
) -> Layer:
    """A disk of Parallels in parts, of *kinds* P(lain) and E(xpanding) in turn, each
    with *chain* images; of the lower ones other bytes must not be seen."""
    sectors = len(data) // SECTOR
    step = sectors // len(kinds) + 3
    borders = [*range(0, sectors, step), sectors]
    contents = [data]
    for _ in range(chain - 1):
        child, parent = _blocks_of(contents.pop(), borders)
        contents += [child, parent]
    storages = ""
    for number, (start, end) in enumerate(pairwise(borders)):
        images = ""
        for level, content in enumerate(contents):
            some = content[start * SECTOR : end * SECTOR]
            # Only the first image of all can be plain.
            plain = kinds[number] == "P" and level == chain - 1
            name = f"{number}.{level}.hds"
            if plain:
                (folder / name).write_bytes(some)
            else:
                differencing.image(folder / name, some, "parallels")
            kind = "Plain" if plain else "Compressed"
            guid = f"{{{level:08}-0000-4000-8000-000000000000}}"
            images += f"<Image><GUID>{guid}</GUID><Type>{kind}</Type><File>/Users/me/"
            images += f"x.hdd/{name}</File></Image>"
        ends = f"<Start>{start}</Start><End>{end}</End>"
        storages = f"<Storage>{ends}{images}</Storage>{storages}"
    shots = ""
    for level in range(chain):
        guid, above = (
            f"{{{n:08}-0000-4000-8000-000000000000}}" for n in (level, level + 1)
        )
        last = level == chain - 1
        above = "{00000000-0000-0000-0000-000000000000}" if last else above
        shots += f"<Shot><GUID>{guid}</GUID><ParentGUID>{above}</ParentGUID></Shot>"
    top = "<TopGUID>{00000000-0000-4000-8000-000000000000}</TopGUID>"
    path = folder / "DiskDescriptor.xml"
    path.write_text(
        "<Parallels_disk_image><Disk_Parameters><Disk_size>"
        f"{sectors}</Disk_size></Disk_Parameters><StorageData>{storages}</StorageData>"
        f"<Snapshots>{top}{shots}</Snapshots></Parallels_disk_image>"
    )
    (vm,) = sources.read(sources.Request(location=str(path)))
    layer = vm.disks[0].source
    assert layer
    assert len(layer.parts) == len(kinds) * chain
    return layer


def _blocks_of(data: bytes, borders: list[int]) -> tuple[bytes, bytes]:
    """Return what a child has of *data*, and what lies below it.

    An expanding image has whole MiB, from the start of its part.
    """
    child, parent = bytearray(len(data)), bytearray(data)
    for start, end in pairwise(borders):
        for at in range(start * SECTOR, end * SECTOR, 3 * MIB):
            part = slice(at, min(at + MIB, end * SECTOR))
            child[part] = data[part]
            # Zeroes of a child are no block of it: the parent's are seen.
            if any(data[part]):
                parent[part] = b"\x5a" * len(data[part])
    return bytes(child), bytes(parent)


def _member(folder: Path, data: bytes, checked: Checked, *, format: Format) -> Layer:
    """A disk in an OVA, behind other members."""
    options = "-o subformat=streamOptimized" if format == "vmdk" else ""
    differencing.image(folder / "disk", data, format, options)
    if format == "raw":
        (folder / "disk").write_bytes(data)
    (folder / "a.ovf").write_bytes(b"<Envelope/>")
    with tarfile.open(folder / "a.ova", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(folder / "a.ovf", "a.ovf")
        tar.add(folder / "disk", "disk")
    (folder / "disk").unlink()
    with tarfile.open(folder / "a.ova") as tar:
        found = tar.getmember("disk")
    part = Part(offset=found.offset_data, length=found.size)
    return images.layer(folder / "a.ova", format, checked, part=part)[0]


def _cut(folder: Path, data: bytes, checked: Checked, *, format: Format) -> Layer:
    """Cut into files, as by split(1), whose borders lie at any byte."""
    path = folder / f"disk.{format}"
    path.write_bytes(data)
    if format != "raw":
        options = "-o force_size=on" if format == "vpc" else ""
        differencing.image(path, data, format, options)
    whole = path.read_bytes()
    path.unlink()
    size = len(whole) // 40 + 77
    for number, at in enumerate(range(0, len(whole), size)):
        path.with_name(f"{path.name}.{number:03}").write_bytes(whole[at : at + size])
    pieces = split.of(path.with_name(f"{path.name}.001"))
    assert pieces
    place = formats.strung([formats.part(checked(file)) for file in pieces.files])
    return images.layer(place, format, checked)[0]


def _zipped(
    folder: Path, data: bytes, checked: Checked, *, format: Format, method: int
) -> Layer:
    """A disk in an OVA that is a zip archive, with another file behind it."""
    stated = {"raw": ovf_package.RAW, "vmdk": ovf_package.VMDK}[format]
    differencing.image(folder / "disk", data, format)
    if format == "raw":
        (folder / "disk").write_bytes(data)
    members = {
        "a.ovf": ovf_package.one_disk("disk", stated).encode(),
        "disk": (folder / "disk").read_bytes(),
        "b.txt": b"x" * 5000,
    }
    (folder / "disk").unlink()
    path = ovf_package.zipped(folder / "a.ova", members, method)
    vm = views.marked(next(iter(ovf.read(Request(location=str(path))))))
    assert vm.disks[0].source
    return vm.disks[0].source


def _xva(folder: Path, data: bytes, checked: Checked) -> Layer:
    path = folder / "a.xva"
    archives.xva(path, b"<value/>", {"Ref:1": b"x" * MIB, "Ref:2": data}, keep_alive=4)
    return Layer(server="xva", path=str(path), member="Ref:2", length=len(data))


def _vma(folder: Path, data: bytes, checked: Checked) -> Layer:
    order = list(range(-(-len(data) // 65536)))
    random.Random(1).shuffle(order)
    path = folder / "a.vma"
    archives.vma(path, {}, {"drive-a": b"x" * MIB, "drive-b": data}, order)
    return Layer(server="vma", path=str(path), member="drive-b")


def _vmdk(subformat: str) -> Kind:
    make = partial(_image, format="vmdk", options=f"-o subformat={subformat}")
    return Kind(make=make)


KINDS = {
    "raw": Kind(make=_raw, unit=1),
    "qcow2": Kind(make=partial(_image, format="qcow2")),
    "qcow2 version 2": Kind(
        make=partial(_image, format="qcow2", options="-o compat=0.10")
    ),
    "qcow2 compressed": Kind(make=partial(_image, format="qcow2", options="-c")),
    "qcow2 with subclusters": Kind(
        make=partial(
            _image, format="qcow2", options="-o extended_l2=on,cluster_size=128k"
        )
    ),
    "qcow2 with snapshots": Kind(make=_qcow2_snapshots),
    "qcow2 with backing files": Kind(make=_qcow2_backing, whole=False),
    "vmdk monolithicSparse": _vmdk("monolithicSparse"),
    "vmdk monolithicFlat": _vmdk("monolithicFlat"),
    "vmdk streamOptimized": _vmdk("streamOptimized"),
    "vmdk twoGbMaxExtentSparse": _vmdk("twoGbMaxExtentSparse"),
    "vmdk twoGbMaxExtentFlat": _vmdk("twoGbMaxExtentFlat"),
    "vmdk vmfs": Kind(make=_vmfs, sparse=False),
    "vmdk delta": Kind(make=_hosted_delta, whole=False, sparse=False),
    "vmdk vmfsSparse": Kind(
        make=partial(_esxi_delta, kind="VMFSSPARSE"), whole=False, sparse=False
    ),
    "vmdk seSparse": Kind(
        make=partial(_esxi_delta, kind="SESPARSE"), whole=False, sparse=False
    ),
    "vhd fixed": Kind(
        make=partial(_image, format="vpc", options="-o force_size=on,subformat=fixed")
    ),
    "vhd dynamic": Kind(make=partial(_image, format="vpc", options="-o force_size=on")),
    "vhd of XenServer": Kind(make=_xenserver),
    "vhd differencing": Kind(make=partial(_checkpoint, format="vpc"), whole=False),
    "vhdx fixed": Kind(
        make=partial(_image, format="vhdx", options="-o subformat=fixed,block_size=1M")
    ),
    "vhdx dynamic": Kind(
        make=partial(_image, format="vhdx", options="-o block_size=1M")
    ),
    "vhdx differencing": Kind(make=partial(_checkpoint, format="vhdx"), whole=False),
    "vhdx 4096": Kind(make=_large_sectors, unit=4096),
    "vhdx 4096 differencing": Kind(make=_large_checkpoint, unit=4096, whole=False),
    "vdi dynamic": Kind(make=partial(_image, format="vdi")),
    "vdi fixed": Kind(make=partial(_image, format="vdi", options="-o static=on")),
    "vdi of other blocks": Kind(make=_vdi_blocks),
    "vdi differencing": Kind(make=_vdi_child, whole=False),
    "parallels": Kind(make=partial(_image, format="parallels")),
    "parallels delta": Kind(make=_parallels_child, whole=False),
    "parallels split": Kind(make=partial(_split_bundle, kinds="EEE")),
    "parallels split, plain": Kind(
        make=partial(_split_bundle, kinds="PPPP"), sparse=False
    ),
    "parallels split, mixed": Kind(
        make=partial(_split_bundle, kinds="PEEP"), sparse=False
    ),
    "parallels split, snapshots": Kind(
        make=partial(_split_bundle, kinds="EPE", chain=3), whole=False, sparse=False
    ),
    "ova raw": Kind(make=partial(_member, format="raw"), unit=1, sparse=False),
    "ova vmdk": Kind(make=partial(_member, format="vmdk")),
    "ova qcow2": Kind(make=partial(_member, format="qcow2")),
    "raw in pieces": Kind(make=partial(_cut, format="raw"), unit=1, sparse=False),
    "qcow2 in pieces": Kind(make=partial(_cut, format="qcow2")),
    "vhd in pieces": Kind(make=partial(_cut, format="vpc")),
    "zip raw": Kind(
        make=partial(_zipped, format="raw", method=zipfile.ZIP_STORED),
        unit=1,
        sparse=False,
    ),
    "zip vmdk": Kind(make=partial(_zipped, format="vmdk", method=zipfile.ZIP_STORED)),
    "zip deflated raw": Kind(
        make=partial(_zipped, format="raw", method=zipfile.ZIP_DEFLATED), unit=1
    ),
    "zip deflated vmdk": Kind(
        make=partial(_zipped, format="vmdk", method=zipfile.ZIP_DEFLATED)
    ),
    "xva": Kind(make=_xva, unit=1),
    "vma": Kind(make=_vma, unit=1),
}
