# SPDX-License-Identifier: GPL-2.0-or-later
"""Ask nbdkit for the size of what a plugin of it serves, and for all of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from v2v import process, sandbox
from v2v.views.transports.found import BrokenOffError

_PATIENCE = 90.0  # seconds; connecting takes at most 30
PIECE = 2**20
# As nbdkit says whose error it is: "nbdkit: ssh[1]: error: ".
_WHOSE = re.compile(r"^nbdkit: (?:\w+(?:\[\d+\])?: )?(?:error: )?")


class RefusedError(Exception):
    """nbdkit cannot serve it; has the lines that it said, without its name."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Keep *lines*."""
        super().__init__(lines[0] if lines else "nbdkit gives no reason")
        self.text = "\n".join(lines)


# A connection that is lost is made again.
_RETRY = "--filter=retry"
# FUSE asks for 128 KiB, QEMU's VMDK for 64: each would wait for an answer of its own.
# By 1 MiB at a time a copy takes a ninth of the time where answers take 50 ms
# (benchmarks/slow-links).  The latest blocks are kept, in a file without a name; QEMU
# has 32 MiB in work at a time, and with no more than that each would come twice.
_BLOCK = "1M"
_KEPT = 2**26
_CACHE = (
    *(f"cache-min-block-size={_BLOCK}", f"cache-max-size={_KEPT}"),
    "cache-on-read=true",
)


def command(plugin: Sequence[str]) -> list[str]:
    """Return the argv that serves *plugin*, a plugin's name and parameters."""
    return ["nbdkit", "-f", "-r", "--filter=cache", _RETRY, *plugin, *_CACHE]


def walls(*reads: Path) -> list[str]:
    """Return the argv that shuts nbdkit in: with the network, and *reads* to read."""
    return sandbox.helper("nbdkit", reads=reads, network=True, scratch=2 * _KEPT)


def _client(script: str, plugin: Sequence[str], *filters: str) -> list[str]:
    """Return the argv that runs *script* with $uri, and ends with it.

    A client that starts nbdkit itself, "[ nbdkit ]", leaves it running in libnbd 1.22
    if it cannot open the file; and nobody would see the end of its output.
    """
    return ["nbdkit", "-r", "-U", "-", "--run", script, *filters, *plugin]


def size(plugin: Sequence[str], within: Sequence[str]) -> int:
    """Return the size in bytes of what *plugin* serves.  Raises RefusedError."""
    asked = _client('exec nbdinfo --size "$uri"', plugin)
    try:
        done = process.run(asked, within=within, seconds=_PATIENCE, ok=range(127))
    except process.ToolError as e:
        raise RefusedError([e.message]) from e
    if done.returncode:
        raise RefusedError(_said(done.stderr))
    return int(done.stdout)


def pieces(plugin: Sequence[str], within: Sequence[str]) -> Iterator[bytes]:
    """Yield all that *plugin* serves.  Raises BrokenOffError if it ends too early."""
    asked = _client('exec nbdcopy "$uri" -', plugin, _RETRY)
    with tempfile.TemporaryFile() as nothing:
        try:
            yield from process.output(asked, nothing, PIECE, within=within)
        except process.ToolError as e:
            raise BrokenOffError(e.message) from e


def _said(stderr: bytes) -> list[str]:
    """Return the lines of nbdkit in *stderr*, and not those of its client."""
    lines = stderr.decode(errors="replace").splitlines()
    return [_WHOSE.sub("", line) for line in lines if not line.startswith("nbdinfo:")]
