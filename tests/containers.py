# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a disk as the stages do, and watch that nothing of it is copied."""

import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from v2v import layers, paths, servers
from v2v.document import Disk, Layer
from v2v.servers import Access


def access(folder: Path, private: Path) -> Access:
    """Return the right to open what is under *folder*."""
    private.mkdir(exist_ok=True)
    checked = partial(paths.checked, allowed=(folder.resolve(),))
    return Access(checked=checked, private=lambda: private)


def node(layer: Layer, reach: Access) -> servers.Graph:
    """Return the graph of *layer*."""
    return servers.load(layer.server).graph(layer, reach, write=False)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let neither us nor what we start write a file larger than *size*, anywhere.

    So whoever makes a copy of a larger disk, even of holes or into memory, fails; QEMU
    may write 16 MiB (v2v.sandbox).
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def served(layer: Layer, reach: Access) -> bytes:
    """Return the bytes of *layer*, as a server gives them to an NBD client.

    The disk must be larger than 16 MiB: that no copy of it is made is seen.
    """
    import nbd

    disk = Disk(id="sda", source=layer)
    with no_file_above(4 * 2**20), layers.served(disk, reach) as uri:
        connection = nbd.NBD()
        connection.connect_uri(uri)
        size = connection.get_size()
        step = 2**20
        pieces = [
            connection.pread(min(step, size - at), at) for at in range(0, size, step)
        ]
        connection.shutdown()
    return b"".join(bytes(piece) for piece in pieces)


def converted(made: servers.Graph) -> bytes:
    """Return the bytes that qemu-img copies from *made*."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as out:
        command = ["qemu-img", "convert", "-O", "raw", layers.argument(made), out.name]
        subprocess.run(command, check=True, timeout=60)
        return Path(out.name).read_bytes()


def allocated(folder: Path) -> int:
    """Return how many bytes the regular files under *folder* take."""
    files = (f for f in folder.rglob("*") if not f.is_symlink() and f.is_file())
    return sum(file.stat().st_blocks * 512 for file in files)
