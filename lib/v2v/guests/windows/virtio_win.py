# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-win, the drivers of virtio for Windows: the ISO, or a folder with its files.

All names are compared in lower case: the ISO's three layouts mix them (facts 2.1).
Nothing of it is believed: counts and sizes are bounded, and links of a folder that lead
out of it are left out.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from v2v.document import Finding
from v2v.errors import HostError

# Where Red Hat's package puts it, and so does Debian's for want of one.
DEFAULTS = (
    Path("/usr/share/virtio-win/virtio-win.iso"),
    Path("/usr/share/virtio-win"),
)
FINDINGS = ("virtio-win-missing",)
MAX_FILE = 2**26  # bytes; the largest, an installer, has half of it
_MOST_FILES = 50_000
_INFO = "data/info.json"
_MAX_INFO = 2**16  # characters of it that are looked at
_RELEASE = re.compile(r"(?<![\d.])0\.1\.(\d{1,4})(?!\d)")
_REMEDY = (
    "give the ISO of virtio-win, or a folder with what is in it, with --virtio-win"
)


@dataclass(frozen=True)
class VirtioWin:
    """A virtio-win that is open; ``names`` are its files: lower-case path -> its own.

    Paths are relative, with slashes; ``label`` is what it calls itself.
    """

    where: Path
    names: Mapping[str, str]
    label: str
    _read: Callable[[str], bytes]

    def read(self, name: str) -> bytes:
        """Return the file *name*, in lower case.  Raises HostError if it cannot be."""
        return self._read(self.names[name])

    @property
    def release(self) -> int | None:
        """The last number of a public release: 271 of 0.1.271; None of others.

        Of the label, else of what it says inside, else of its file's name.
        """
        for said in (self.label, self._info(), self.where.resolve().name):
            if match := _RELEASE.search(said):
                return int(match[1])
        return None

    def _info(self) -> str:
        if _INFO not in self.names:
            return ""
        return self.read(_INFO)[:_MAX_INFO].decode("utf-8", "replace")


def opened(
    given: Path | None, defaults: tuple[Path, ...] = DEFAULTS
) -> AbstractContextManager[VirtioWin | None]:
    """Open virtio-win: what is *given*, else the first of *defaults* that is there.

    None if there is none.  Raises HostError if it is none, or broken.
    """
    where = given or next((path for path in defaults if path.exists()), None)
    if where is None:
        return nullcontext(None)
    if where.is_dir():
        return nullcontext(_folder(where))
    if not where.exists():
        raise HostError(f"--virtio-win {where}: no such file", _REMEDY)
    return _iso(where)


def missing() -> Finding:
    """Return the finding that there is no virtio-win."""
    return Finding(
        code="virtio-win-missing",
        severity="warn",
        message="virtio-win is not on this host: Windows guests without virtio drivers "
        "of their own get emulated hardware, which is slow",
        remedy=f"{_REMEDY}; get it from "
        "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/",
    )


def _named(where: Path, paths: Iterator[str]) -> dict[str, str]:
    """Return *paths* by their lower case; the first of several is taken."""
    found: dict[str, str] = {}
    for count, path in enumerate(paths):
        if count >= _MOST_FILES:
            raise HostError(
                f"{where} has more than {_MOST_FILES} files: it is no virtio-win",
                _REMEDY,
            )
        found.setdefault(path.lower(), path)
    if not any(name.endswith(".inf") for name in found):
        raise HostError(f"{where} has no drivers: it is no virtio-win", _REMEDY)
    return found


def _folder(where: Path) -> VirtioWin:
    top = where.resolve()

    def read(path: str) -> bytes:
        try:
            with (top / path).open("rb") as file:
                return _bounded(where, path, file.read(MAX_FILE + 1))
        except OSError as e:
            raise HostError(f"{where / path}: {e.strerror}", _REMEDY) from e

    return VirtioWin(where, _named(where, _paths(top)), "", read)


def _paths(top: Path) -> Iterator[str]:
    """Yield the files in *top*; the package's links to others in it count as such."""
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            real = path.resolve() if path.is_symlink() else path
            if real.is_relative_to(top) and real.is_file():
                yield path.relative_to(top).as_posix()


def _bounded(where: Path, path: str, content: bytes) -> bytes:
    if len(content) > MAX_FILE:
        raise HostError(
            f"{where}: {path} has more than {MAX_FILE // 2**20} MiB: it is no "
            "virtio-win",
            _REMEDY,
        )
    return content


@contextlib.contextmanager
def _iso(where: Path) -> Iterator[VirtioWin]:
    # It takes a moment to load, and is not needed for other guests.
    import pycdlib

    disc = pycdlib.PyCdlib()
    with _reading(where):
        disc.open(str(where))
    with closing(disc):
        names = _names(disc)

        def read(path: str) -> bytes:
            with _reading(where):
                own = {names: f"/{path}"}
                if disc.get_record(**own).get_data_length() > MAX_FILE:
                    return _bounded(where, path, bytes(MAX_FILE + 1))
                content = io.BytesIO()
                disc.get_file_from_iso_fp(content, **own)
                return content.getvalue()

        with _reading(where):
            label = disc.pvd.volume_identifier.decode("ascii", "replace").strip()
            found = _named(where, _files(disc, names))
        if names == "iso_path":
            found = {_plain(name): path for name, path in found.items()}
        yield VirtioWin(where, found, label, read)


def _names(disc: object) -> str:
    """Return the names to go by: Joliet's and Rock Ridge's are the whole ones."""
    if disc.has_joliet():  # type: ignore[attr-defined]
        return "joliet_path"
    return "rr_path" if disc.has_rock_ridge() else "iso_path"  # type: ignore[attr-defined]


def _files(disc: object, names: str) -> Iterator[str]:
    for folder, _, files in disc.walk(**{names: "/"}):  # type: ignore[attr-defined]
        for name in files:
            yield f"{folder.strip('/')}/{name}".lstrip("/")


def _plain(name: str) -> str:
    """Return a plain ISO 9660 name without its version ("X.INF;1", "CERT.;1")."""
    return name.partition(";")[0].rstrip(".")


@contextlib.contextmanager
def _reading(where: Path) -> Iterator[None]:
    """Make what pycdlib raises a line for people.

    For a broken ISO it raises more than its own exceptions.
    """
    from pycdlib.pycdlibexception import PyCdlibException

    broken = (PyCdlibException, struct.error, LookupError, ValueError, TypeError)
    try:
        yield
    except OSError as e:
        raise HostError(f"{where}: {e.strerror or e}", _REMEDY) from e
    except (*broken, AttributeError, RecursionError, MemoryError) as e:
        raise HostError(f"{where} is no ISO, or broken: {e}", _REMEDY) from e
