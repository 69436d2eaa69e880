# SPDX-License-Identifier: GPL-2.0-or-later
"""What users name that is no source: files beside a VM, backups, saved web pages.

Each gets one line that says what it is, and which file to name.  Nothing of it is
obeyed, and who states the format of a disk is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from v2v import formats, paths
from v2v.errors import SourceError
from v2v.formats import Part
from v2v.sources import descriptions
from v2v.sources.disk import filesystem, vmdkpart
from v2v.sources.parallels import hdd
from v2v.views.packings import PACKINGS

_MAX_FILES = 10_000


@dataclass(frozen=True, kw_only=True)
class _Thing:
    """Files called so are ``what``; ``instead`` is how those end that are to be named,
    or else ``remedy`` says what to do."""

    suffixes: tuple[str, ...]
    what: str
    instead: tuple[str, ...] = ()
    remedy: str = ""


_VMX, _HYPERV = (".vmx", ".vmtx"), (".vmcx",)
_THINGS = (
    _Thing(suffixes=(".vmsd",), what="VMware's list of snapshots", instead=_VMX),
    _Thing(
        suffixes=(".vmsn", ".vmss"),
        what="the state of a running VM, kept by VMware",
        instead=_VMX,
    ),
    _Thing(
        suffixes=(".vmem", ".vswp"), what="the memory of a VM of VMware", instead=_VMX
    ),
    _Thing(suffixes=(".nvram",), what="the firmware's settings", instead=_VMX),
    _Thing(suffixes=(".vmxf",), what="what VMware adds to a .vmx", instead=_VMX),
    _Thing(
        suffixes=(".rct", ".mrt"),
        what="Hyper-V's record of changed blocks",
        instead=(".vhdx", ".vhd"),
    ),
    _Thing(
        suffixes=(".vmrs", ".vsv"),
        what="the state of a running VM, kept by Hyper-V",
        instead=_HYPERV,
    ),
    _Thing(
        suffixes=(".vmgs",),
        what="the firmware's and the TPM's state, kept by Hyper-V",
        instead=_HYPERV,
    ),
    _Thing(
        suffixes=(".sav", ".mem"),
        what="the state of a suspended VM",
        instead=(".vbox", ".pvs"),
    ),
    _Thing(
        suffixes=(".mf", ".cert"), what="a part of an OVF package", instead=(".ovf",)
    ),
    _Thing(
        suffixes=(".fidx", ".didx", ".blob"),
        what="an index into the chunk store of Proxmox Backup Server",
        remedy="restore it on the server: proxmox-backup-client restore SNAPSHOT "
        "ARCHIVE FILE; or restore the VM in Proxmox VE",
    ),
    _Thing(
        suffixes=(".vbk", ".vib", ".vrb"),
        what="a backup of Veeam",
        remedy="export its disks as VMDK or VHDX with Veeam (Export virtual disks)",
    ),
    _Thing(
        suffixes=(".wim", ".esd", ".swm", ".tib", ".tibx", ".mrimg", ".gho"),
        what="a backup of files or partitions, and no disk",
        remedy="restore it to a disk with the program that made it",
    ),
)
_VHD_SET = _Thing(
    suffixes=(".vhds",),
    what="a VHD set, the list of the files of a shared disk",
    remedy="make it one VHDX on the source: Convert-VHD OLD.vhds NEW.vhdx",
)
# Expert Witness: EnCase's images, versions 1 and 2, of disks and of files.
_EWF = (b"EVF\t\r\n\xff\0", b"LVF\t\r\n\xff\0", b"EVF2\r\n\x81\0", b"LEF2\r\n\x81\0")
# Images of emulators, which QEMU can convert.
_IMAGES = {b"QED\0": "qed", b"Bochs Virtual HD Image": "bochs"}
_MAC_IMAGE = b"koly"
_ZIP = (b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_TEXTS = (
    *(".txt", ".log", ".md", ".xml", ".json", ".yaml", ".yml", ".csv"),
    *(".conf", ".cfg", ".ini", ".sh", ".bat", ".ps1"),
)
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,64}<(?:!doctype\s{1,9}html|html)\b", re.I)
_DESCRIPTOR = b"# disk descriptorfile"


def check(path: Path) -> None:
    """Raise SourceError if the file *path* is something that is no source."""
    if not paths.is_file(path):
        return
    head = descriptions.head(path, 4096)
    if not head and path.stat().st_size == 0:
        raise SourceError(f"{path} is empty", "copy it again from the source")
    _check_start(path, head)
    suffix = path.suffix.lower()
    if suffix in _VHD_SET.suffixes:
        raise _error(path, _VHD_SET)
    if suffix == ".hds" and paths.is_file(path.parent / hdd.DESCRIPTOR):
        raise SourceError(
            f"{path} is a part of the Parallels disk {path.parent}",
            "name that folder, or the .pvm of the machine",
        )
    vmdkpart.check(path)
    for thing in _THINGS:
        if suffix in thing.suffixes and not _may_be_disk(path):
            raise _error(path, thing)
    if suffix == ".bin" and _GUID.fullmatch(path.stem) and not _may_be_disk(path):
        what = "the memory of a VM, kept by Hyper-V"
        raise _error(path, _Thing(suffixes=(), what=what, instead=_HYPERV))


def check_raw(path: Path, place: Path | Part) -> None:
    """Raise SourceError if *place*, called *path*, is hardly a raw disk.

    Nobody has said that it is one, and nothing that is known begins so.
    """
    head, _ = formats.ends(place, 0, None)
    if filesystem.has_table(place):
        return
    what = ""
    if filesystem.is_cd(place):
        what = "holds the file system of a CD (ISO 9660), and no disk of a VM"
    elif packed := next((p for p in PACKINGS if head.startswith(p.magics)), None):
        what = f"begins like what is packed by {packed.name}, and is not named so"
    elif head.startswith(_ZIP):
        what = "begins like an archive (zip, 7z or rar)"
    elif path.suffix.lower() in _TEXTS and head.isascii() and b"\0" not in head:
        what = "is text that describes no VM in a way that is known"
    if what:
        raise SourceError(
            f"{path} {what}", "add --input-format raw if it is a disk nevertheless"
        )


def folder(location: str, files: Iterable[Path]) -> SourceError | None:
    """Return the error for a folder with *files* that is no VM; None if it may be."""
    store = _is_folder(Path(location) / ".chunks")
    indexes = [f.name for f in files if f.suffix.lower() in (".fidx", ".didx")]
    if not store and not indexes:
        return None
    return SourceError(
        f"{location} is a store of Proxmox Backup Server: its disks are in chunks",
        "restore one on the server: proxmox-backup-client restore SNAPSHOT ARCHIVE "
        "FILE; or restore the VM in Proxmox VE",
    )


def _check_start(path: Path, head: bytes) -> None:
    """Raise SourceError if *head*, how *path* begins, is that of something else."""
    if _HTML.match(head):
        raise SourceError(
            f"{path} is a web page (HTML), and no disk or description of a VM",
            "a browser may have saved a log-in page; download the file again",
        )
    if head.startswith(_EWF):
        raise SourceError(
            f"{path} is a forensic image (Expert Witness, EnCase)",
            "let ewfmount show the disk in it: ewfmount FILE FOLDER; then name "
            "FOLDER/ewf1, with --input-format raw",
        )
    tail = formats.ends(path, 0, None)[1]
    image = next(
        (kind for magic, kind in _IMAGES.items() if head.startswith(magic)), ""
    )
    if image or tail.startswith(_MAC_IMAGE):
        image = image or "dmg"
        raise SourceError(
            f"{path} is a disk image of the kind {image}, which is not read here",
            f"convert it where you trust it: qemu-img convert -f {image} -O qcow2 "
            "OLD NEW",
        )
    if path.suffix.lower() in _VMX and _DESCRIPTOR in head[:512].lower():
        raise SourceError(
            f"{path} is the descriptor of a VMDK disk, and no VMX",
            "name the .vmx of the VM; or give the descriptor its own name, .vmdk",
        )


def _may_be_disk(path: Path) -> bool:
    return formats.recognise(path) is not None or filesystem.has_table(path)


def _error(path: Path, thing: _Thing) -> SourceError:
    message = f"{path} is {thing.what}"
    if thing.remedy:
        return SourceError(message, thing.remedy)
    found = _found(path, thing.instead)
    if found:
        return SourceError(message, f"name {' or '.join(map(str, found))}")
    wanted = " or ".join(thing.instead)
    return SourceError(message, f"name the {wanted} that belongs to it")


def _found(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files with *suffixes* to which *path* belongs: the one of its name,
    or all of its folder, if these are few."""
    try:
        files = sorted(islice(path.parent.iterdir(), _MAX_FILES))
    except OSError:
        return []
    found = [f for f in files if f.suffix.lower() in suffixes and paths.is_file(f)]
    # web01.vhdx.rct, web01-Snapshot3.vmsn
    named = [f for f in found if path.stem in (f.name, f.stem)]
    return named[:1] or (found if len(found) < 3 else [])


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
