# SPDX-License-Identifier: GPL-2.0-or-later
"""Shut in the programs that read what is hostile: those of qemu, and what fetches.

What we give to qemu has been looked into (v2v.formats), and qemu is still a large
parser of hostile bytes, which has been made to open other files of the host (that
CVE-2022-47951) or to eat its memory.  So it runs under bwrap(1) and sees but its own
programs, the files of its block graph, and no network unless the graph has an
address there; and under prlimit(1).  Only ``qemu-img create`` does without: it reads
nothing.

The files are read off the graph itself, so there is no second list to keep.  What
fetches and unpacks (nbdkit, curl, zstd ...) says itself what it needs.  nbdfuse(1) must
mount where we see it, which takes the rights that walls take away: it has limits alone.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from v2v import process
from v2v.errors import HostError, SourceError
from v2v.servers import Graph, Node

# What qemu may allocate, bytes.  Measured with qemu 7.2: 265 MiB for a VDI of 60 TiB,
# 100 MiB for a qcow2 with clusters of 512 bytes, 20 MiB for anything common; and 64
# threads with stacks of 8 MiB.  RLIMIT_AS would not do: each thread reserves 64 MiB
# that it never uses, so what is enough depends on the number of CPUs.
_MEMORY = 3 * 2**29
_MEMORY_PER_NODE = 2**27
# What a program that writes no disk may write: what it has to say.
_SAID = 2**24
# bwrap takes 1.3 s for a thousand files, and no more than 3000.
_MAX_FILES = 64
_PROGRAM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_STORES = ("/nix/store", "/gnu/store")
_SETTINGS = ("/etc/ld.so.cache", "/etc/crypto-policies", "/etc/gnutls")
# What finds the address of a host by its name.
_RESOLVER = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf"),
    *("/etc/gai.conf", "/etc/services"),
)
# As qemu calls the files of TLS, in the folder that it is given.
_KEYS = (
    *("ca-cert.pem", "ca-crl.pem", "dh-params.pem", "keys.psk"),
    *("server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Reach:
    """What a program may get at; paths as it will spell them."""

    files: dict[Path, bool] = field(default_factory=dict)  # and whether it writes
    network: bool = False
    nodes: int = 0
    # Bytes that it may keep in a /tmp of its own.
    scratch: int = 0

    def add(self, path: str | Path, *, write: bool = False) -> None:
        """Let *path* be read; if it is to be written at any place, also that."""
        self.files[Path(path)] = self.files.get(Path(path), False) or write

    @property
    def writes(self) -> bool:
        return any(self.files.values())


def walls(
    program: str,
    *graphs: Graph,
    write: bool = False,
    files: Iterable[Path] = (),
    objects: Sequence[str] = (),
    seconds: int | None = None,
) -> list[str]:
    """Return the argv that runs *program* with *graphs*, and nothing else, in reach.

    ``write``: the graphs may be written where they say so.  ``files``: what it writes
    besides; they exist.  ``objects``: as Graph.objects, of a server.  ``seconds``: the
    CPU time it may take.

    Without bwrap the limits remain, which is said once.  Raises HostError if that is
    not wanted (V2V_SANDBOX=require).
    """
    reach = _Reach()
    for graph in graphs:
        _walk(graph.node, reach, write=write)
    for item in (*(o for graph in graphs for o in graph.objects), *objects):
        _walk_object(item, reach)
    for file in files:
        reach.add(file, write=True)
    memory = _MEMORY + reach.nodes * _MEMORY_PER_NODE
    limits = limited(memory=memory, most=None if reach.writes else _SAID)
    if seconds is not None:
        limits.append(f"--cpu={seconds}:{seconds + 1}")  # XCPU first, that has a name
    return _shut_in(program, reach, limits)


def helper(
    program: str,
    *,
    reads: Iterable[Path] = (),
    network: bool = False,
    scratch: int = 0,
    most: int = _SAID,
) -> list[str]:
    """Return the argv that runs *program*, which is none of qemu, and shuts it in.

    It can read *reads*, files and folders with all that is in them; those that are not
    there do not matter.  ``scratch``: bytes that it may keep for itself; ``most``: if
    none, those that it may say.  Raises as walls does.
    """
    reach = _Reach(network=network, scratch=scratch)
    for path in reads:
        reach.add(path)
    limits = limited(most=None if scratch else most)
    return _shut_in(program, reach, limits)


def _shut_in(program: str, reach: _Reach, limits: list[str]) -> list[str]:
    # Of a program that is not there, only its own absence is to be told.
    if shutil.which(program) is None or not usable():
        return limits
    return [*limits, *_confined(program, reach)]


def limited(*, memory: int = _MEMORY, most: int | None = _SAID) -> list[str]:
    """Return the argv of limits alone, for what cannot be shut in.

    ``memory``: bytes that it may allocate; ``most``: those that it may say; None: it
    may write.
    """
    words = ["prlimit", f"--data={memory}", "--core=0"]
    return words if most is None else [*words, f"--fsize={most}"]


def inherited() -> dict[str, str]:
    """Return the environment of our own commands: they need not say again what we did.

    Raises as walls does.
    """
    return {} if usable() else {"V2V_SANDBOX": "off"}


@cache
def usable() -> bool:
    """Whether programs can be shut in on this host; if not, say so.

    Raises HostError if they cannot and V2V_SANDBOX=require.
    """
    asked = os.environ.get("V2V_SANDBOX", "")
    if asked not in ("", "require", "off"):
        raise HostError(f"V2V_SANDBOX={asked}: neither require nor off", "unset it")
    if asked == "off":
        return False
    try:
        process.run([*_confined("qemu-img", _Reach()), "qemu-img", "--version"])
    except (process.ToolError, HostError) as e:
        if asked == "require":
            raise HostError(
                f"qemu cannot be shut in, as V2V_SANDBOX=require demands: {e.message}",
                "install bubblewrap, and let this user make namespaces",
            ) from e
        log.warning(
            "host: warning: programs run without a sandbox, with limits only: %s",
            e.message,
        )
        return False
    return True


def _walk(top: Node, reach: _Reach, *, write: bool) -> None:
    """Enter all that *top* and the nodes below it name.  A chain may be long."""
    waiting = [(top, write)]
    while waiting:
        node, write = waiting.pop()
        reach.nodes += 1
        # As qemu has it: a file is as its image is, a backing file is only read.
        write = write and not node.get("read-only", False)
        if "filename" in node:
            reach.add(node["filename"], write=write)
        if "server" in node:
            _walk_server(node["server"], reach)
        if node["driver"] == "vmdk":
            _walk_extents(node, reach, write=write)
        for name, child in node.items():
            if isinstance(child, dict) and "driver" in child:
                below = name == "backing" and child.get("read-only") is not False
                waiting.append((child, write and not below))


def _walk_server(place: Node, reach: _Reach) -> None:
    if place["type"] == "unix":
        reach.add(place["path"])
    else:
        reach.network = True


def _walk_extents(node: Node, reach: _Reach, *, write: bool) -> None:
    """Enter the parts that lie beside the descriptor of a VMDK, and no others."""
    from v2v.formats import vmdk  # start-up counts, and most graphs have none

    storage = node["file"]
    if storage["driver"] != "file":
        return
    path = Path(storage["filename"])
    try:
        extents = vmdk.descriptor(path).extents
    except SourceError:
        return  # a sparse VMDK without a descriptor, or qemu will say what is wrong
    for extent in extents:
        if extent.name and Path(extent.name).name == extent.name:
            reach.add(path.parent / extent.name, write=write)


def _walk_object(item: str, reach: _Reach) -> None:
    """Enter the keys in the folder that *item*, a --object of qemu, names."""
    # A comma in a value is doubled.
    words = item.replace(",,", "\0").split(",")
    for word in words:
        key, _, value = word.replace("\0", ",").partition("=")
        if key == "dir":
            for file in _KEYS:
                reach.add(Path(value) / file)


def _confined(program: str, reach: _Reach) -> list[str]:
    """Return the argv of bwrap; *program* with its arguments follows."""
    found = shutil.which(program)
    if found and not found.startswith(("/usr/", "/bin/")):
        reach.add(found)
    words = [
        *("bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc"),
        *("--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"),
    ]
    if os.getuid():
        words.append("--unshare-user")
    else:
        # Root in a user namespace could not open what belongs to somebody else.
        words += ["--cap-add", "CAP_DAC_OVERRIDE"]
    if not reach.network:
        words.append("--unshare-net")
    words += [*_programs(), *_bound(_SETTINGS)]
    words += _bound(_RESOLVER) if reach.network else []
    for device in _DEVICES:
        words += ["--dev-bind", device, device]
    words += _folder(reach)
    if reach.scratch:
        words += ["--size", str(reach.scratch), "--tmpfs", "/tmp"]
        words += ["--setenv", "TMPDIR", "/tmp"]
    for path, write in sorted(_few(reach.files).items()):
        words += _file(path, write=write)
    return [*words, "--remount-ro", "/", "--"]


def _programs() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for folder in map(Path, _PROGRAM_FOLDERS):
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            words += ["--ro-bind", str(folder), str(folder)]
    return words + _bound(_STORES)


def _bound(paths: Iterable[str]) -> list[str]:
    return [word for path in paths for word in ("--ro-bind-try", path, path)]


def _folder(reach: _Reach) -> list[str]:
    """Return what makes the current folder, if a path is relative to it."""
    if all(path.is_absolute() for path in reach.files):
        return ["--chdir", "/"]
    here = str(Path.cwd())
    return ["--dir", here, "--chdir", here]


def _file(path: Path, *, write: bool) -> list[str]:
    """Return what makes *path* seen at its place, be it a link or not.

    What is not there is left out: qemu says that better.
    """
    real = Path(os.path.realpath(path))
    kind = "--bind-try" if write else "--ro-bind-try"
    if real.is_block_device():
        kind = "--dev-bind-try"
    return [kind, str(real), str(path.absolute())]


def _few(files: dict[Path, bool]) -> dict[Path, bool]:
    """Return *files*; of a great number, the folders of those that are many in one."""
    while len(files) > _MAX_FILES:
        crowds: dict[Path, list[Path]] = {}
        for path, write in files.items():
            folder = path.absolute().parent
            # Never all of /home or /images, and devices are each their own.
            if not write and len(folder.parts) > 2 and folder.parts[1] != "dev":
                crowds.setdefault(folder, []).append(path)
        crowds = {folder: many for folder, many in crowds.items() if len(many) > 2}
        if not crowds:
            break
        for folder, many in crowds.items():
            # In its folder a link is but a link: what it leads to must be seen too.
            ends = [Path(os.path.realpath(p)) for p in many if p.is_symlink()]
            gone = set(many)
            files = {path: w for path, w in files.items() if path not in gone}
            files |= dict.fromkeys([folder, *ends], False)
    return files
