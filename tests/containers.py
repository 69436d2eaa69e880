# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a disk as the stages do, and watch that nothing of it is copied."""

import subprocess
import tempfile
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


def served(layer: Layer, reach: Access) -> bytes:
    """Return the bytes of *layer*, as a server gives them to an NBD client."""
    import nbd

    disk = Disk(id="sda", source=layer)
    with layers.served(disk, reach) as uri:
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
