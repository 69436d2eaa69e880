# SPDX-License-Identifier: GPL-2.0-or-later
"""Serve the disks of a VM over NBD: read-only, or with writes kept in an overlay."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from v2v import layers, overlays, sandbox, server
from v2v.document import VM, Disk, Layer, layer_of, top
from v2v.errors import LockedError, SourceError, UsageError
from v2v.servers import Access, Graph, Keys
from v2v.servers.nbd import SERVER_CREDENTIALS, credentials
from v2v.stage import Done


@dataclass(kw_only=True)
class Export:
    """What the user asked of v2v-export, and the servers that run.

    ``listen`` is an address for TCP, HOST[:PORT] (empty: a Unix socket on this host),
    and ``advertise`` the name by which other hosts reach it.
    """

    servers: ExitStack
    overlay: bool = False
    work: Path | None = None
    listen: str = ""
    advertise: str = ""
    insecure: bool = False
    keys: Keys = field(default_factory=Keys)
    ahead: int = 4
    served: int = 0


def check(options: Export) -> None:
    """Raise UsageError if what was asked would serve disks to anybody."""
    if not options.listen:
        return
    host, _ = _address(options.listen)
    secure = options.keys.psk or options.keys.folder
    if not secure and not (options.insecure and _is_loopback(host)):
        raise UsageError(
            f"--listen {options.listen} without TLS would show the disks to everybody",
            "give --tls-psk FILE or --tls-dir DIR (only on a loopback address, as "
            "for an ssh tunnel, --insecure does without)",
        )
    if _is_wildcard(host) and not options.advertise:
        raise UsageError(
            f"--listen {options.listen} is every address of this host",
            "say by which name others reach it: --advertise HOST",
        )


def export(vm: VM, options: Export, access: Access) -> Done:
    """Return *vm* with an endpoint for each disk, served until *options* is closed.

    Raises LockedError for more VMs than may be served at once, SourceError if a disk
    cannot be opened.
    """
    if not vm.disks:
        raise SourceError("the VM has no disk to serve", "attach it on the source")
    if options.served >= options.ahead:
        raise LockedError(
            f"{options.ahead} VMs are served at once already",
            "serve more with --ahead N, or use v2v, which makes a pipeline per VM",
        )
    vm = vm.having(disks=tuple(map(overlays.rehomed, vm.disks)))
    if options.overlay:
        vm = overlays.made(vm, access, options.work)
    # All disks or none: with an error no reader would let go of the others.
    with ExitStack() as servers:
        disks = tuple(_exported(disk, options, access, servers) for disk in vm.disks)
        options.servers.push(servers.pop_all())
    options.served += 1
    return Done(vm=vm.having(disks=disks))


def _exported(disk: Disk, options: Export, access: Access, servers: ExitStack) -> Disk:
    """Return *disk* with an endpoint over its topmost layer, served by *servers*."""
    name = top(disk)
    layer = layer_of(disk, name) if name else None
    if layer is None:
        raise SourceError(
            f"disk {disk.id} has no content that could be served",
            "see what v2v-inspect says of this disk's files",
        )
    write = options.overlay and not layer.readonly
    made = layers.graph(disk, access, name=name, write=write)
    size = layers.measured(disk, access, name=name)
    endpoint = Layer(
        server="nbd", over=name, readonly=not write, generation=layer.generation
    )
    if options.listen:
        place = _tcp(made, options, access, servers, write=write)
    else:
        uri = servers.enter_context(layers.serving(made, write=write))
        layers.size(uri, disk)  # proves that it answers
        place = {"uri": uri, "host": socket.gethostname()}
    return disk.having(endpoint=endpoint.having(**place), size=size)


def _tcp(
    made: Graph, options: Export, access: Access, servers: ExitStack, *, write: bool
) -> dict[str, str | None]:
    """Serve *made* on TCP; return the fields of its address."""
    command = layers.command(made, write=write)
    keys_of_server: list[str] = []
    host, port = _address(options.listen)
    keys = options.keys
    kind = "psk" if keys.psk else "x509" if keys.folder else None
    user = None
    if kind:
        proof = credentials(kind, access, user=None, server=True)
        keys_of_server.append(proof)
        command[1:1] = ["--object", proof, "--tls-creds", SERVER_CREDENTIALS]
    if keys.psk:
        user = _psk_user(keys.psk)
    within = sandbox.walls("qemu-nbd", made, write=write, objects=keys_of_server)
    serving = server.serve_tcp(command, host, port, within=within)
    bound = servers.enter_context(serving)
    shown = options.advertise or host
    shown = f"[{shown}]" if ":" in shown else shown
    name = f"{user}@" if user else ""
    uri = f"{'nbds' if kind else 'nbd'}://{name}{shown}:{bound}/"
    return {"uri": uri, "tls": kind, "tls_user": user}


def _psk_user(file: Path) -> str:
    """Return the user of the first key of *file* (lines of user:key, as psktool makes).

    Raises UsageError.
    """
    try:
        user, colon, _ = file.read_text().partition(":")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--tls-psk {file}: {e}", "make one with psktool(1)") from e
    if not colon or not user.strip():
        raise UsageError(
            f"--tls-psk {file} holds no line of the form user:key",
            "make one with psktool(1)",
        )
    return user.strip()


def _address(text: str) -> tuple[str, int]:
    """Return host and port of HOST, HOST:PORT, [V6] or [V6]:PORT; port 0 is any.

    Raises UsageError.
    """
    bare = text.count(":") != 1
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.lstrip(":")
    elif bare:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise UsageError(f"--listen {text}: {port!r} is no port", "write HOST:PORT")
    return host, int(port or 0)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
