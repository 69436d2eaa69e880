# SPDX-License-Identifier: GPL-2.0-or-later
"""Views of archives that hold the folder of a VM: a .vmx with its disks in a .zip.

All of it is unpacked once, so that the files find each other.  An archive with an OVF
is none of these: it is read in place (v2v.ovf).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from v2v import formats
from v2v.document import Finding, Stretch
from v2v.errors import SourceError
from v2v.formats import MAX_SIZE, Checked, Part
from v2v.mapping import zipped
from v2v.ovf import archive
from v2v.views import packed, store, unpacking
from v2v.views.packings import MEMBER, PLAIN, Packing
from v2v.views.view import View

_SUFFIXES = (".zip", ".tar")
# What a VM, or a disk of one, can be known by.
_DESCRIPTIONS = {
    *(".vmx", ".vmtx", ".vbox", ".pvs", ".vmcx", ".xml", ".cfg", ".conf"),
    *(".ova", ".xva", ".vma", ".qcow2", ".vmdk", ".vhd", ".vhdx", ".vdi"),
    *(".img", ".raw", ".hdd", ".hds"),
}
# The memory of a VM that ran: large, and of no use.
_LEFT_OUT = (".vmem",)
_XVA = re.compile(rb"(\./)?ova\.xml\0")

log = logging.getLogger(__name__)


def claims(location: str) -> bool:
    """See views.Kind: an archive of a VM, by its name, its first bytes and its members.

    Raises SourceError if it is broken or hostile.
    """
    path = Path(location)
    if not path.name.lower().endswith(_SUFFIXES) or not path.is_file():
        return False
    names = _members(path)
    if any(name.lower().endswith(".ovf") for name in names):
        return False
    return any(PurePosixPath(name).suffix.lower() in _DESCRIPTIONS for name in names)


def permit(origin: str, checked: Checked) -> str | None:
    """See views.Kind: that of packed files goes for archives too."""
    return None


def opened(location: str, most: int | None, below: View | None) -> View:
    """See views.Kind.  The view is the folder in which the VM lies."""
    path = Path(location).resolve()
    members = {
        name: member
        for name, member in _members(path).items()
        if not name.lower().endswith(_LEFT_OUT)
    }
    total = sum(size for _, _, size in members.values())
    if total > (most or MAX_SIZE):
        raise unpacking.too_large(path, most or MAX_SIZE)
    held = store.hold(store.key("archived", *packed.identity(path, below)))
    place = held.place("all")
    with store.making(place) as unfinished:
        if unfinished:
            log.info("unpacking %s, %d files", path, len(members))
            unfinished.mkdir(mode=0o700)
            _unpack(path, members, unfinished, most or MAX_SIZE)
    finding = _note(path, place)
    root = place / _common(list(members))
    return View(
        origin=str(path),
        path=root,
        place=root,
        finding=finding,
        inside=tuple(_inside(path, members, place, finding)),
    )


# Where a member lies and how it is packed, and how many bytes it is unpacked.
_Member = tuple[Part, Packing, int]


def _members(path: Path) -> dict[str, _Member]:
    """Return the files in the archive *path*; none if it is no archive, or an XVA.

    Raises SourceError as the readers of archives do, and for what cannot be unpacked.
    """
    head, _ = formats.ends(path, 0, None)
    if zipped.is_zip(head):
        return {
            name: _zip_member(path, member)
            for name, member in zipped.members(path).items()
        }
    if not archive.is_tar(head) or _XVA.match(head):
        return {}
    found = archive.index(path)
    return {name: (part, PLAIN, part.length) for name, part in found.items()}


def _zip_member(path: Path, member: zipped.Member) -> _Member:
    if member.encrypted or member.method not in (zipped.STORED, zipped.DEFLATED):
        raise zipped.unreadable(path, member)
    if member.method == zipped.STORED:
        part = Part(path=path, offset=member.data_at, length=member.size)
        return part, PLAIN, member.size
    length = member.end - member.start
    return Part(path=path, offset=member.start, length=length), MEMBER, member.size


def _unpack(path: Path, members: dict[str, _Member], folder: Path, most: int) -> None:
    """Write *members* of *path* below *folder*, which is new.  Raises SourceError."""
    for name, (part, packing, size) in members.items():
        file = folder / name
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise SourceError(
                f"{path}: its member {name!r:.300} cannot be written: {e.strerror}",
                "unpack it yourself, and name the description of the VM",
            ) from e
        found = unpacking.unpack(part, packing, file, most, quietly=True)
        if found != size:
            raise zipped.wrong_size(path, name, found, size)
        most -= size


def _common(names: list[str]) -> str:
    """Return the folder that all of *names* are in; empty if there is none."""
    folders = [PurePosixPath(name).parent.parts for name in names]
    common = []
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return "/".join(common)


def _inside(
    path: Path, members: dict[str, _Member], place: Path, finding: Finding
) -> Iterator[View]:
    for name, (part, _, _) in members.items():
        file = place / name
        yield View(
            origin=str(path),
            path=file,
            place=file,
            stretch=Stretch(offset=part.offset, length=part.length),
            finding=finding,
        )


def _note(path: Path, place: Path) -> Finding:
    files = [file.stat() for file in place.rglob("*") if file.is_file()]
    size = sum(facts.st_size for facts in files)
    room = sum(facts.st_blocks * 512 for facts in files)
    return Finding(
        code="unpacked",
        severity="info",
        message=f"{path} is an archive: unpacked for the time of this work to {place} "
        f"({size} bytes, of which {room} take room)",
    )
