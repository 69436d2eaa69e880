# SPDX-License-Identifier: GPL-2.0-or-later
"""Open a disk where its bytes are: in its topmost layer.

The only way to a disk's bytes, for all stages.  A layer below one that has been
written to is never opened in its place.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from v2v import process, sandbox, server, servers, views
from v2v.document import Disk, Layer, LayerName, layer_of, top
from v2v.errors import SourceError
from v2v.servers import Access, Graph
from v2v.servers.nbd import parse

# What it may take to read the header of an image: CPU seconds.
_SECONDS = 30


def graph(
    disk: Disk, access: Access, *, name: LayerName | None = None, write: bool = False
) -> Graph:
    """Return the block graph of layer *name* of *disk* (default: the topmost).

    Raises SourceError if a file in it is missing, broken or must not be opened.
    """
    name = name or top(disk)
    layer = layer_of(disk, name) if name else None
    if layer and layer.over and not _is_there(layer):
        # An endpoint shows the bytes of what it lies over, so these are the same.
        return graph(disk, access, name=layer.over, write=write)
    if layer is None or name is None:
        raise SourceError(
            f"disk {disk.id} has no {name or 'layer'}",
            "see what v2v-inspect says of this disk's files",
        )
    layer, checked = views.placed(layer, access.checked)
    opening = replace(access, checked=checked)
    made = servers.load(layer.server).graph(layer, opening, write=write)
    if name == "overlay" and layer.over:
        below = graph(disk, access, name=layer.over)
        made.node["backing"] = below.node
        made.objects += below.objects
        made.remote |= below.remote
    return made


def topmost(disk: Disk) -> tuple[LayerName, Layer]:
    """Return the layer of *disk* where its bytes are.  Raises SourceError: none."""
    name = top(disk)
    layer = layer_of(disk, name) if name else None
    if name is None or layer is None:
        raise SourceError(
            f"disk {disk.id} has no content", "see what v2v-inspect says of its file"
        )
    return name, layer


def stacked(file: Path, below: Graph, *, write_below: bool = False) -> Graph:
    """Return the graph of the qcow2 overlay *file*, writable, over *below*."""
    storage = {"driver": "file", "filename": str(file), "discard": "unmap"}
    below.node["read-only"] = not write_below
    node = {"driver": "qcow2", "file": storage, "backing": below.node}
    return Graph(node=node, objects=below.objects, remote=below.remote)


def _is_there(layer: Layer) -> bool:
    """Whether *layer* is anything but an endpoint that died with its server.

    So a run that broke off can be resumed without the process that served it.
    """
    uri = layer.uri or ""
    if layer.server != "nbd" or "unix" not in uri.partition(":")[0]:
        return True
    if layer.host not in (None, socket.gethostname()):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(parse(uri)[0]["path"]) == 0


def argument(made: Graph) -> str:
    """Return *made* as the file name that qemu's programs take it in."""
    return "json:" + json.dumps(made.node)


def objects(made: Graph) -> list[str]:
    """Return the --object arguments that go with *made*."""
    return [word for item in made.objects for word in ("--object", item)]


def command(made: Graph, *, write: bool = False) -> list[str]:
    """Return the argv of a server for *made*, which clients may share."""
    mode = ["--discard=unmap", "--detect-zeroes=unmap"] if write else ["--read-only"]
    shared = ["--persistent", "--shared=0", "--cache=writeback"]
    return ["qemu-nbd", *shared, *mode, *objects(made), argument(made)]


@contextmanager
def serving(made: Graph, *, write: bool = False) -> Iterator[str]:
    """Serve *made* to this host; yield the URI."""
    within = sandbox.walls("qemu-nbd", made, write=write)
    with server.serve(command(made, write=write), within=within) as uri:
        yield uri


@contextmanager
def served(
    disk: Disk, access: Access, *, name: LayerName | None = None, write: bool = False
) -> Iterator[str]:
    """Serve layer *name* of *disk* (default: the topmost) to this host; yield the URI.

    Raises SourceError if it cannot be opened.
    """
    made = graph(disk, access, name=name, write=write)
    with serving(made, write=write) as uri:
        size(uri, disk)  # proves that it opens, while we know the disk's name
        yield uri


def size(uri: str, disk: Disk) -> int:
    """Return the size in bytes of what is served at *uri*.

    Raises SourceError if there is no answer, with what the server said if it is ours.
    """
    with _asked(uri, disk) as connection:
        found: int = connection.get_size()
    return found


def start(uri: str, disk: Disk, count: int) -> bytes:
    """Return the first *count* bytes of what is served at *uri*, or all if it has less.

    Raises SourceError as size does.
    """
    with _asked(uri, disk) as connection:
        count = min(count, connection.get_size())
        return bytes(connection.pread(count, 0)) if count else b""


@contextmanager
def _asked(uri: str, disk: Disk) -> Iterator[Any]:
    """Yield a connection to *uri*, where *disk* is served.  Raises SourceError."""
    import nbd

    connection = nbd.NBD()
    try:
        connection.connect_uri(uri)
        yield connection
        connection.shutdown()
    except nbd.Error as e:
        said = server.last_words(uri)
        if said:
            raise broken(disk, None, process.ToolError(said)) from e
        raise SourceError(
            f"disk {disk.id} cannot be opened: {e.string}",
            "check its file, or copy it again from the source",
        ) from e


def measured(disk: Disk, access: Access, *, name: LayerName | None = None) -> int:
    """Return the size in bytes of layer *name* of *disk*, as its own header has it.

    Raises SourceError if it cannot be opened.
    """
    made = graph(disk, access, name=name)
    # qemu-img info opens nothing below the top, and takes no options for it.
    made.node.pop("backing", None)
    asked = ["qemu-img", "info", "--output=json", *objects(made), argument(made)]
    try:
        within = sandbox.walls("qemu-img", made, seconds=_SECONDS)
        done = process.run(asked, within=within, seconds=2 * _SECONDS)
    except process.ToolError as e:
        raise broken(disk, name, e) from e
    found: int = json.loads(done.stdout)["virtual-size"]
    return found


def broken(disk: Disk, name: LayerName | None, e: process.ToolError) -> SourceError:
    """Return the error for a layer of *disk* that qemu could not open or read."""
    name = name or top(disk)
    layer = layer_of(disk, name) if name else None
    place = (layer.path or layer.uri) if layer else None
    shown = f" ({place})" if place else ""
    reason = e.message.rpartition("': ")[2] or e.message
    return SourceError(
        f"disk {disk.id}{shown} cannot be read: {reason}",
        "check the file, or copy it again from the source",
    )
