# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of an OVF package: members of an archive, or files beside the OVF.

An href is a name as the OVF has it, percent-encoded or literal.  None leads out of
the package, but to a folder that the user allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from v2v import formats, paths, views
from v2v.errors import SourceError
from v2v.formats import Part
from v2v.mapping.zipped import is_zip
from v2v.ovf import archive, text, zipped

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_DRIVE = re.compile(r"[A-Za-z]:")
_NUMBER = re.compile(r"[0-9]{1,9}")
_LONGEST = 4095
_LONGEST_PART = 255
# Pieces of one file at URLs: each takes two programs while it is read.
_MOST_FETCHED = 257


class RefusedError(SourceError):
    """A name leads out of the package, to what must not be opened."""


class MissingError(SourceError):
    """There is no file of that name."""


class Piece(NamedTuple):
    """A piece of a file that is stored in several."""

    number: int
    part: Part


class Package(Protocol):
    """Where the files of an OVF are."""

    @property
    def path(self) -> Path:
        """The file that the user named."""
        ...

    @property
    def name(self) -> str:
        """The name of the OVF in the package."""
        ...

    def ovf(self) -> bytes:
        """Return the text of the OVF.  Raises SourceError if it cannot be read."""
        ...

    def manifest(self) -> tuple[str, Part] | None:
        """Return the name of the manifest, and the manifest; None if there is none."""
        ...

    def certificate(self) -> tuple[str, Part] | None:
        """Return the name of the certificate, and the certificate; None if none."""
        ...

    def find(self, href: str) -> Part:
        """Return the file that *href* means.

        Raises RefusedError if it leads elsewhere, MissingError if there is none.
        """
        ...

    def pieces(self, href: str) -> list[Piece]:
        """Return the files HREF.000000000, HREF.000000001 …, in order."""
        ...

    def checked(self, path: str | Path) -> Path:
        """Return *path*, which a disk image names, if it may be opened.

        Raises SourceError if not.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An OVA: all files are members of one archive.

    ``program`` unpacks it; ``padded``: each member is followed by zeroes, as in tar.
    """

    path: Path
    name: str
    members: Mapping[str, Part]
    program: str = "tar"
    padded: bool = True

    def ovf(self) -> bytes:
        """See Package."""
        return whole(self.members[self.name], self.name, text.MAX_SIZE)

    def manifest(self) -> tuple[str, Part] | None:
        """See Package."""
        return self._beside_ovf(".mf")

    def certificate(self) -> tuple[str, Part] | None:
        """See Package."""
        return self._beside_ovf(".cert")

    def _beside_ovf(self, suffix: str) -> tuple[str, Part] | None:
        name = _same_name(self.name, suffix, self.members)
        return (name, self.members[name]) if name else None

    def find(self, href: str) -> Part:
        """See Package."""
        for name in _readings(href):
            if name in self.members:
                return self.members[name]
            if _leads_away(name):
                return _fetched(href)
        # Exporters do not agree with themselves on case: .VMDK.
        same = self._any_case.get(_readings(href)[0].lower(), [])
        if len(same) == 1:
            return self.members[same[0]]
        raise MissingError(
            f"{self.path} has no member {href!r:.300}",
            "copy or export the OVA again: it is not whole",
        )

    @cached_property
    def _any_case(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.members:
            found.setdefault(name.lower(), []).append(name)
        return found

    @cached_property
    def _numbered(self) -> dict[str, list[tuple[int, str]]]:
        return _numbered(self.members)

    def pieces(self, href: str) -> list[Piece]:
        """See Package."""
        for name in _readings(href):
            if found := self._numbered.get(name):
                return [Piece(number, self.members[piece]) for number, piece in found]
        return []

    def checked(self, path: str | Path) -> Path:
        """See Package."""
        raise SourceError(
            f"a disk in {self.path} names another file, {Path(path).name!r:.300}",
            f"unpack the OVA with {self.program}, and name the .ovf in it",
        )


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A lone OVF: its files lie beside it."""

    path: Path
    allow: tuple[Path, ...] = ()
    _listings: dict[str, dict[str, list[tuple[int, str]]]] = field(
        default_factory=dict, compare=False
    )
    _files: dict[Path, dict[str, list[Path]]] = field(
        default_factory=dict, compare=False
    )

    @property
    def name(self) -> str:
        """See Package."""
        return self.path.name

    @property
    def _folder(self) -> Path:
        return self.path.parent

    def ovf(self) -> bytes:
        """See Package."""
        return whole(formats.part(self.path, 0, None), str(self.path), text.MAX_SIZE)

    def manifest(self) -> tuple[str, Part] | None:
        """See Package."""
        return self._beside_ovf(".mf")

    def certificate(self) -> tuple[str, Part] | None:
        """See Package."""
        return self._beside_ovf(".cert")

    def _beside_ovf(self, suffix: str) -> tuple[str, Part] | None:
        views.bring(self.path.with_suffix(suffix))
        names = [file.name for file in _listed(self._folder)]
        name = _same_name(self.name, suffix, names)
        return (name, self.find(name)) if name else None

    def find(self, href: str) -> Part:
        """See Package."""
        # Many names look encoded and are not, so the literal one goes first.
        for name in _readings(href):
            if _leads_away(name):
                return self._elsewhere(href, name)
            if file := self._beside(name):
                break
        else:
            raise MissingError(
                f"{self._folder}: no such file as {href!r:.300}",
                "put the file beside the OVF, under this name",
            )
        try:
            return formats.part(self.checked(file), 0, None)
        except SourceError as e:
            raise RefusedError(e.message, e.remedy) from e

    def _beside(self, name: str) -> Path | None:
        """Return the file *name*; one in another case if no other is like it."""
        if len(name) > _LONGEST or "\0" in name:
            return None
        if max(len(part.encode()) for part in name.split("/")) > _LONGEST_PART:
            return None
        file = self._folder / name
        if file.is_file() or views.bring(file):
            return file
        same = self._in_any_case(file.parent).get(file.name.lower(), [])
        return same[0] if len(same) == 1 else None

    def _in_any_case(self, folder: Path) -> dict[str, list[Path]]:
        """Return the files in *folder* by their names in lower case; read once."""
        if folder not in self._files:
            found = self._files[folder] = {}
            for file in _listed(folder):
                found.setdefault(file.name.lower(), []).append(file)
        return self._files[folder]

    def _elsewhere(self, href: str, name: str) -> Part:
        """Return the file *name* if it lies where the user allowed us to read."""
        if not _REMOTE.match(name) and "\0" not in name and len(name) < _LONGEST_PART:
            try:
                file = self.checked(self._folder / name)
                if file.is_file():
                    return formats.part(file, 0, None)
            except SourceError as e:
                raise _refused(href) from e
        return _fetched(href)

    def pieces(self, href: str) -> list[Piece]:
        """See Package."""
        for name in _readings(href):
            if _leads_away(name):
                continue
            self._bring_pieces(name)
            place, _, base = name.rpartition("/")
            found = self._numbered_in(place).get(base)
            if found:
                files = (f"{place}/{piece}" if place else piece for _, piece in found)
                return [
                    Piece(number, self.find(file))
                    for (number, _), file in zip(found, files, strict=True)
                ]
        return []

    def _bring_pieces(self, name: str) -> None:
        """Let the pieces of *name* appear, if they are at a URL: nothing lists them.

        Up to the first that is not there.  Raises SourceError if they do not end.
        """
        widths = (9, *range(1, 9))  # nine digits, says DSP0243
        first = (w for w in widths if views.bring(self._folder / f"{name}.{0:0{w}}"))
        width = next(first, None)
        if width is None:
            return
        for number in range(1, _MOST_FETCHED):
            if not views.bring(self._folder / f"{name}.{number:0{width}}"):
                return
        raise SourceError(
            f"{name:.300} is in more than {_MOST_FETCHED - 1} pieces at a URL",
            "download the package, and name the .ovf in its folder",
        )

    def _numbered_in(self, place: str) -> dict[str, list[tuple[int, str]]]:
        """Return the pieces in the folder *place* of the package."""
        if place not in self._listings:
            names = [file.name for file in _listed(self._folder / place)]
            self._listings[place] = _numbered(names)
        return self._listings[place]

    def checked(self, path: str | Path) -> Path:
        """See Package."""
        places = (self._folder, *self.allow)
        return paths.checked(path, [place.resolve() for place in places])


def of(path: Path, allow: tuple[Path, ...]) -> Package:
    """Return the package that *path* is: an archive, or an OVF with files beside it.

    Raises SourceError for an archive that is broken or hostile, or holds no OVF.
    """
    head, _ = formats.ends(path, 0, None)
    if is_zip(head):
        path = path.resolve()
        return _archive(path, zipped.Members(path), program="unzip", padded=False)
    if not archive.is_tar(head):
        if path.suffix.lower() == ".ova" and not text.root_name(head):
            raise SourceError(
                f"{path} is no tar archive", "copy or download it again; compare sizes"
            )
        return Folder(path=path, allow=allow)
    # Later stages open the file itself, and may only where it really is.
    path = path.resolve()
    return _archive(path, archive.index(path), program="tar", padded=True)


def _archive(
    path: Path, members: Mapping[str, Part], *, program: str, padded: bool
) -> Archive:
    """Return the archive of *members*.  Raises SourceError if it has not one OVF."""
    found = [name for name in members if name.lower().endswith(".ovf")]
    if len(found) != 1:
        shown = ", ".join(found[:5])
        raise SourceError(
            f"{path} holds {f'several OVFs: {shown}' if found else 'no OVF'}",
            f"export the VM again, or unpack the archive with {program} and name one "
            "description in it",
        )
    return Archive(
        path=path, name=found[0], members=members, program=program, padded=padded
    )


def _readings(href: str) -> list[str]:
    """Return what *href* can mean: the literal name, and the decoded one."""
    names = (href, unquote(href))
    return list(dict.fromkeys(n.replace("\\", "/").removeprefix("./") for n in names))


def _leads_away(name: str) -> bool:
    """Whether *name* is not simply a name below the package's own folder."""
    away = _DRIVE.match(name) or _REMOTE.match(name) or name.startswith("/")
    return bool(away) or ".." in name.split("/") or name in ("", ".")


def _fetched(href: str) -> Part:
    """Return the file at the URL *href*, if the user allowed it.

    Raises RefusedError if not, MissingError if it cannot be had.
    """
    try:
        found = views.fetched(href)
    except SourceError as e:
        raise MissingError(e.message, e.remedy) from e
    if found is None:
        raise _refused(href)
    return formats.part(found, 0, None)


def _refused(href: str) -> RefusedError:
    if folder := views.folder(href):
        return RefusedError(
            f"{views.shown(href)!r:.300} is on the network, from where nothing is "
            "fetched unasked",
            "if it really belongs to this VM, add --allow-url "
            f"{folder}; or download it, put it beside the OVF and correct the href",
        )
    return RefusedError(
        f"{href!r:.300} leads out of the folder of the OVF",
        "put the file beside the OVF and correct the href; or, if it really belongs "
        "to this VM, name its folder with --allow-path",
    )


def _numbered(names: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """Return those of *names* that are NAME.NUMBER, by NAME and in order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for full in names:
        name, _, number = full.rpartition(".")
        if name and _NUMBER.fullmatch(number):
            found.setdefault(name, []).append((int(number), full))
    return {name: sorted(pieces) for name, pieces in found.items()}


def _same_name(ovf: str, suffix: str, names: Iterable[str]) -> str:
    """Return which of *names* is that of *ovf* with *suffix*; empty if none is.

    The only one of that suffix is it, under whatever name, if *ovf* is the only OVF.
    """
    found = [name for name in names if name.lower().endswith(suffix)]
    own = f"{ovf.rpartition('.')[0]}{suffix}".lower()
    same = [name for name in found if name.lower() == own]
    others = [name for name in names if name.lower().endswith(".ovf")]
    if not same and len(found) == 1 and len(others) == 1:
        return found[0]
    return same[0] if len(same) == 1 else ""


def _listed(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:
        return


def whole(part: Part, name: str, most: int) -> bytes:
    """Return all of the text *part*, called *name*, if it is at most *most* bytes.

    Raises SourceError if not.
    """
    if part.length > most:
        raise SourceError(
            f"{name} is too large for a description: {part.length} bytes",
            "name the .ovf or the .ova of the package",
        )
    return part.read(0, part.length)
