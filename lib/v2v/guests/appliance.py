# SPDX-License-Identifier: GPL-2.0-or-later
"""The libguestfs appliance: the one place where a guest's file systems are opened.

A guest's files are read by a kernel and programs that run in a machine of their own,
never by this host.  Paths are the guest's; libguestfs resolves links inside it.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import guestfs

from v2v import kvm
from v2v.errors import GuestError, HostError

# Configuration that is larger is no configuration.
MAX_TEXT = 8 * 2**20  # bytes
_PIECE = 2**20
# Argon2 is made to take memory: up to 1 GiB by cryptsetup's default.
_UNLOCKING = 2560  # MiB
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

log = logging.getLogger(__name__)


class Appliance:
    """An appliance that runs, with the file systems of one guest mounted in it.

    Its methods raise GuestError for what the guest does not let be done.
    """

    def __init__(self, handle: guestfs.GuestFS) -> None:
        """Wrap *handle*, which is launched; ``g`` gives its other calls."""
        self.g = handle
        # What was made of files, by path; forgotten when they are written.
        self.known: dict[str, object] = {}

    def read(self, path: str) -> str | None:
        """Return the text at *path*; None if there is no such file.

        Bytes that are no UTF-8 survive a later write.
        """
        data = self.bytes(path)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def bytes(self, path: str) -> bytes | None:
        """Return the content of the regular file at *path*, if there is one."""
        if not self.g.is_file(path, followsymlinks=True):
            return None
        size = self.g.filesize(path)
        if size > MAX_TEXT:
            raise GuestError(
                f"{path} in the guest is too large to be read: "
                f"{size / 2**20:.0f} MiB of at most {MAX_TEXT // 2**20}",
                "see what it is, and move it away or shorten it on the source",
            )
        if size > _PIECE:
            return bytes(self.g.read_file(path))
        # One message to and fro, where a file's transfer takes several.
        return bytes(self.g.pread(path, _PIECE, 0))

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        """Write *text* to *path*; a file that is there keeps its owner and mode."""
        self.known.pop(path, None)
        self.g.write(path, text.encode("utf-8", "surrogateescape"))
        if mode is not None:
            self.g.chmod(mode, path)

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match *pattern*, sorted; none that are not UTF-8."""
        try:
            return sorted(self.g.glob_expand(pattern))
        except UnicodeDecodeError:
            # One such name, and the binding gives none at all.
            return sorted(
                path
                for one in expanded(pattern)
                for path in _matching(self, one.lstrip("/").split("/"), "")
            )

    def names(self, folder: str) -> list[str]:
        """Return the names in *folder*, but for those that are not UTF-8."""
        with tempfile.NamedTemporaryFile(prefix="v2v-") as file:
            self.g.ls0(folder, file.name)
            names = Path(file.name).read_bytes().split(b"\0")
        return sorted(name.decode() for name in names if name and _is_utf8(name))

    def fetched(self, path: str, folder: Path) -> Path:
        """Copy the file at *path* into *folder* of this host and return it."""
        fd, name = tempfile.mkstemp(dir=folder)
        os.close(fd)
        self.g.download(path, name)
        return Path(name)


def printable(text: str, most: int = 200) -> str:
    """Return *text* of a guest fit for a document: valid UTF-8 of *most* characters."""
    return text[:most].encode("utf-8", "replace").decode()


def _matching(appliance: Appliance, parts: list[str], folder: str) -> Iterator[str]:
    """Yield the paths under *folder* that match the pattern *parts*."""
    for name in fnmatch.filter(appliance.names(folder or "/"), parts[0]):
        path = f"{folder}/{name}"
        if len(parts) == 1:
            yield path
        elif appliance.g.is_dir(path, followsymlinks=True):
            yield from _matching(appliance, parts[1:], path)


def expanded(pattern: str) -> list[str]:
    """Return the patterns that *pattern* stands for: a{b,c{d,e}} is ab, acd and ace."""
    start = pattern.find("{")
    if start < 0:
        return [pattern]
    depth, words, word = 0, [], ""
    for end in range(start, len(pattern)):
        char = pattern[end]
        depth += (char == "{") - (char == "}")
        if depth == 0 or (depth == 1 and char == ","):
            words.append(word)
            word = ""
        elif end > start:
            word += char
        if depth == 0:
            break
    rest = expanded(pattern[end + 1 :])
    return [
        f"{pattern[:start]}{inside}{after}"
        for each in words
        for inside in expanded(each)
        for after in rest
    ]


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def opened(
    uris: Sequence[str],
    *,
    write: bool,
    unlocks: bool = False,
    block_sizes: Sequence[int] = (),
) -> Iterator[Appliance]:
    """Start an appliance on the disks at *uris* (NBD, Unix sockets); yield it.

    ``unlocks``: with memory enough to open LUKS.  ``block_sizes``: of how many bytes
    each disk's sectors are, 512 for all by default; its partitions are found by that.

    Errors of libguestfs within the block are raised as GuestError, and HostError if
    no appliance can be started.  While it runs a signal ends this process at once:
    Python's own handlers would wait for the call to libguestfs to return.
    """
    handle = guestfs.GuestFS(python_return_dict=True)
    handle.set_backend("direct")
    if not kvm.usable():
        handle.set_backend_setting("force_tcg", "1")
    if unlocks:
        handle.set_memsize(_UNLOCKING)
    for number, uri in enumerate(uris):
        socket = parse_qs(urlsplit(uri).query)["socket"][0]
        size = block_sizes[number] if block_sizes else 512
        _add(handle, socket, size, write=write)
        # On a host that is full QEMU would stop the appliance, and wait for ever.
        handle.config("-set", f"drive.hd{number}.werror=report")
    with _signals_end_us():
        try:
            _launch(handle)
            yield Appliance(handle)
            if write:
                handle.umount_all()
                handle.sync()
                handle.shutdown()
        except RuntimeError as e:
            # The bindings raise nothing else.
            raise GuestError(
                f"the guest's disks: {_line(e)}",
                "see what fsck in the guest says; -vv shows each step",
            ) from e
        except UnicodeDecodeError as e:
            raise GuestError(
                "the guest has a name that is not UTF-8 where one must be",
                "rename it on the source: volume labels, files in /boot and /etc",
            ) from e
        finally:
            handle.close()


def _add(handle: guestfs.GuestFS, socket: str, size: int, *, write: bool) -> None:
    place: dict[str, object] = {
        "protocol": "nbd",
        "server": [f"unix:{socket}"],
        "format": "raw",
    }
    if size != 512:
        place["blocksize"] = size
    if write:
        # The overlay is flushed as a whole before anything depends on it.
        handle.add_drive_opts("", **place, cachemode="unsafe", discard="besteffort")  # type: ignore[arg-type]
    else:
        handle.add_drive_opts("", **place, readonly=True)  # type: ignore[arg-type]


def _launch(handle: guestfs.GuestFS) -> None:
    try:
        handle.launch()
    except RuntimeError as e:
        raise HostError(
            f"no libguestfs appliance can be started: {_line(e)}",
            "libguestfs-test-tool shows why; a kernel must be readable in /boot",
        ) from e


def _line(e: RuntimeError) -> str:
    lines = str(e).strip().splitlines()
    return lines[0] if lines else type(e).__name__


@contextmanager
def _signals_end_us() -> Iterator[None]:
    before = [signal.signal(number, signal.SIG_DFL) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
