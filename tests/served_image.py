# SPDX-License-Identifier: GPL-2.0-or-later
"""An image on a socket, for an appliance to write to."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines import wait_for


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
