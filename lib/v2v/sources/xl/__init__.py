# SPDX-License-Identifier: GPL-2.0-or-later
"""Xen domain configurations: the files of xl, and of xm before it.

Sources: xl.cfg(5), xl-network-configuration(5), and xm's examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from v2v.document import VM, Cpu, Disk, Finding, Source
from v2v.errors import SourceError
from v2v.sources import Request, descriptions, new_id, placing
from v2v.sources.xl import devices
from v2v.sources.xl import drives as xldrives
from v2v.sources.xl import text as xltext
from v2v.sources.xl.text import Settings, strings, true, word

_MAX_FILE = descriptions.MIB
_SUFFIXES = ("", ".cfg", ".conf", ".xl", ".xm", ".hvm", ".pv", ".pvh", ".xen")
_SURE = re.compile(rb"^[ \t]*(?:disk|vif)[ \t]*\+?=[ \t]*\[", re.MULTILINE)
_KINDS = re.compile(rb"^[ \t]*(?:builder|type|kernel|bootloader)[ \t]*=", re.MULTILINE)
_MEMORY = re.compile(rb"^[ \t]*memory[ \t]*=", re.MULTILINE)
# What a machine cannot be described without: these are never passed over.
_NEEDED = re.compile(r"(disk|vif|memory|maxmem|vcpus|maxvcpus|builder|type)\b\s*\+?=")
_DEFAULT_MEMORY = 128 * descriptions.MIB
_UEFI = ("ovmf", "uefi")
_FIRMWARE = ("", "seabios", "rombios", "bios", *_UEFI)
_MAX_LOST = 64
# A block of Python, whose lines are indented.
_BLOCK = re.compile(r"(if|elif|else|for|while|def|try|except|finally|with|class)\b")
_LISTS = ("disk", "vif")


def claims(location: str) -> bool:
    """See sources.Source."""
    path = Path(location)
    if path.suffix.lower() not in _SUFFIXES and not path.stem.startswith("xen"):
        return False
    start = descriptions.head(path)
    # A disk can begin with text, if its guest wants it to; it is not so small.
    if not start or b"\0" in start or path.stat().st_size > _MAX_FILE:
        return False
    named = _KINDS.search(start) and _MEMORY.search(start)
    return bool(_SURE.search(start) or named)


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, _MAX_FILE, "a Xen configuration")
    places = placing.Places(folder=path.parent, root=path.parent, allow=request.allow)
    yield placing.placed(parse(data, path), places)


def parse(data: bytes, path: Path) -> VM:
    """Return the VM that the configuration *data* of *path* describes.

    Its disks have the file's names as their paths; nothing else is opened.  Raises
    SourceError if this is no such file, or says what a machine needs in Python.
    """
    text = _decoded(data)
    found = xltext.parse(text, str(path))
    settings = found.values
    if not settings.keys() & {"disk", "vif", "memory", "builder", "type"}:
        raise SourceError(
            f"{path} is no configuration of a Xen domain: it has none of xl's keys",
            "name the file that xl create takes",
        )
    unread = list(_unread(found, text, path))
    specs = xldrives.ordered(strings(settings.get("disk")), path)
    told = list(xldrives.disks(specs))
    vm_id = new_id()
    mode = _mode(settings)
    network = _order(settings, mode).find("n") + 1 or None
    cards = devices.limited(settings, str(path))
    nics = list(devices.nics(cards, vm_id, mode, network))
    drives = tuple(xldrives.drives(specs))
    return VM(
        id=vm_id,
        name=descriptions.name(word(settings, "name"), path.stem),
        uuid=descriptions.uuid_of(word(settings, "uuid")),
        memory=_memory(settings) or _DEFAULT_MEMORY,
        vcpus=_vcpus(settings) or 1,
        cpu=Cpu(nested=true(settings, "nestedhvm")),
        firmware="efi" if _is_uefi(settings) else "bios",
        # A paravirtual guest has none: its disks decide.
        firmware_known=mode == "hvm",
        tpm=_has_tpm(settings),
        clock="localtime" if true(settings, "localtime") else "utc",
        display=devices.display(settings, mode),
        sound=word(settings, "soundhw").split(",")[0].strip() or None,
        disks=_booted([disk for disk, _ in told], settings, mode),
        removable=drives,
        nics=tuple(nics),
        passthrough=tuple(islice(devices.passthrough(settings), _MAX_LOST)),
        source=Source(kind="xl", location=str(path), producer="xen", hw_version=mode),
        findings=(
            *unread,
            *(finding for _, said in told for finding in said),
            *descriptions.medium_lost(drives),
            *_findings(settings, mode),
            *devices.findings(settings, nics),
        ),
    )


def _decoded(data: bytes) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _unread(found: xltext.Configuration, text: str, path: Path) -> Iterator[Finding]:
    """Yield what was passed over: old files hold programs in Python.

    Raises SourceError if what a machine needs is among it, depends on it, or is no
    list of strings.
    """
    for name in _LISTS:
        value = found.values.get(name, "")
        if not isinstance(value, str) and not all(isinstance(v, str) for v in value):
            raise SourceError(
                f"{path}: {name} is no list of strings", "write each of them as one"
            )
    blocks = any(_BLOCK.match(start) for _, start in found.unread)
    for name, at in found.indented.items() if blocks else ():
        if _NEEDED.match(f"{name}="):
            line = text.count("\n", 0, at) + 1
            raise SourceError(
                f"{path}, line {line}: whether {name} has this value is decided by "
                "Python, and nothing in it is run",
                "leave only the value that holds, without blanks before it",
            )
    for line, start in found.unread:
        if _NEEDED.match(start):
            raise SourceError(
                f"{path}, line {line}: {start!r} is not a plain value, and nothing in "
                "it is run",
                "write the value itself there, as xm list --long DOMAIN shows it",
            )
    if found.unread:
        lines = ", ".join(str(line) for line, _ in found.unread[:10])
        yield descriptions.caution(
            "config-unread",
            f"{path.name} holds Python, which is not run: lines {lines}",
            "see whether they say something of the machine's hardware",
        )


def _number(settings: Settings, name: str) -> int | None:
    """Return a number as C reads it: 0x is hexadecimal, a leading 0 octal."""
    text = word(settings, name)
    if re.fullmatch(r"0[0-7]{1,18}", text):
        return int(text, 8)
    return descriptions.number(text)


def _has_tpm(settings: Settings) -> bool:
    return any(strings(settings.get("vtpm")))


def _is_uefi(settings: Settings) -> bool:
    """Whether its firmware is a UEFI: by its name, or by that of its file."""
    name = word(settings, "bios", "firmware").lower()
    file = word(settings, "firmware_override", "bios_path_override")
    return name in _UEFI or (not name and "ovmf" in file.lower())


def _mode(settings: Settings) -> str:
    """Return hvm, pv or pvh.  Without a word of it xl makes a pv."""
    kind = word(settings, "type").lower()
    if kind in ("hvm", "pv", "pvh"):
        return kind
    return "hvm" if word(settings, "builder").lower() == "hvm" else "pv"


def _memory(settings: Settings) -> int | None:
    """Return what the guest may grow to: its kernel has room for as much."""
    sizes = (_number(settings, name) for name in ("maxmem", "memory"))
    return next(filter(None, map(descriptions.memory, sizes)), None)


def _vcpus(settings: Settings) -> int | None:
    counts = (_number(settings, name) for name in ("maxvcpus", "vcpus"))
    return next(filter(None, map(descriptions.processors, counts)), None)


def _order(settings: Settings, mode: str) -> str:
    """Return the letters of what is started from: c disk, d CD, n network."""
    if mode != "hvm":
        return "c"
    return word(settings, "boot").lower() or "c"


def _booted(found: list[Disk], settings: Settings, mode: str) -> tuple[Disk, ...]:
    """Return the disks with the first marked, if it is started from at all."""
    place = _order(settings, mode).find("c") + 1
    if not found or not place:
        return tuple(found)
    return (found[0].having(boot=place), *found[1:])


def _findings(settings: Settings, mode: str) -> Iterator[Finding]:
    if _memory(settings) is None:
        yield descriptions.memory_unknown("Xen's 128 MiB")
    if settings.keys() & {"vcpus", "maxvcpus"} and _vcpus(settings) is None:
        yield descriptions.vcpus_unknown()
    yield from _of_start(settings, mode)
    if _has_tpm(settings):
        yield descriptions.tpm_lost()
    if word(settings, "nvram"):
        yield descriptions.nvram_lost("in its nvram")


def _of_start(settings: Settings, mode: str) -> Iterator[Finding]:
    """Yield what is to be said of how the guest is started."""
    kernel = word(settings, "kernel")
    if kernel and "hvmloader" not in kernel:
        yield descriptions.caution(
            "direct-kernel",
            "the VM starts a kernel from the source's host, not from its disk",
            "install a boot loader in the guest if it has none",
        )
    elif mode != "hvm" and (loader := word(settings, "bootloader")):
        yield descriptions.caution(
            "direct-kernel",
            f"{loader:.100}, a program of the source's host, finds the kernel on the "
            "guest's disk: that may have no boot loader of its own",
            "install a boot loader in the guest if it has none",
        )
    name = word(settings, "bios", "firmware").lower()
    if mode == "hvm" and name not in _FIRMWARE:
        yield descriptions.caution(
            "firmware-unknown",
            f"the firmware is called {name:.60}, which is not known",
        )
