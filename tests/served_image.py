# SPDX-License-Identifier: GPL-2.0-or-later
"""An image on a socket, for an appliance to write to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import wait_for
from v2v.guests import appliance
from v2v.guests.appliance import Appliance


@contextmanager
def served(image: Path, socket: Path) -> Iterator[str]:
    """Serve *image*, writable; yield the URI."""
    argv = ["qemu-nbd", "--persistent", "-f", "raw", "-k", str(socket), str(image)]
    with subprocess.Popen(argv) as child:
        try:
            assert wait_for(socket.exists)
            yield f"nbd+unix:///?socket={socket}"
        finally:
            child.terminate()


@contextmanager
def for_ntfs(folder: Path, mebibytes: int) -> Iterator[Appliance]:
    """Yield an appliance with an empty disk, that can make and change NTFS."""
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, mebibytes * 2**20)
    with (
        served(image, folder / "disk.sock") as uri,
        appliance.opened([uri], write=True) as own,
    ):
        if not own.g.feature_available(["ntfs3g", "ntfsprogs"]):
            pytest.skip("the appliance has no ntfs-3g")
        yield own
