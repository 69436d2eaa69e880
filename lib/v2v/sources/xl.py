# SPDX-License-Identifier: GPL-2.0-or-later
"""Xen domain configurations: the files of xl, and of xm before it.

Sources: xl.cfg(5), xl-network-configuration(5), and xm's examples.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from v2v.document import VM, Cpu, Disk, Display, Finding, Nic, Source
from v2v.errors import SourceError
from v2v.sources import Request, descriptions, macs, new_id, placing, xldisks, xltext
from v2v.sources.xltext import Value, strings

_MAX_FILE = descriptions.MIB
_SUFFIXES = ("", ".cfg", ".conf", ".xl", ".xm", ".hvm", ".pv", ".pvh", ".xen")
_SURE = re.compile(rb"^[ \t]*(?:disk|vif)[ \t]*\+?=[ \t]*\[", re.MULTILINE)
_KINDS = re.compile(rb"^[ \t]*(?:builder|type|kernel|bootloader)[ \t]*=", re.MULTILINE)
_MEMORY = re.compile(rb"^[ \t]*memory[ \t]*=", re.MULTILINE)
# What a machine cannot be described without: these are never passed over.
_NEEDED = re.compile(r"(disk|vif|memory|maxmem|vcpus|maxvcpus|builder|type)\b\s*\+?=")
_DEFAULT_MEMORY = 128 * descriptions.MIB
_UEFI = ("ovmf", "uefi")
_MAX_NICS = 64

Settings = Mapping[str, Value]


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
    found = xltext.parse(_decoded(data), str(path))
    settings = found.values
    if not settings.keys() & {"disk", "vif", "memory", "builder", "type"}:
        raise SourceError(
            f"{path} is no configuration of a Xen domain: it has none of xl's keys",
            "name the file that xl create takes",
        )
    unread = list(_unread(found, path))
    specs = xldisks.ordered(strings(settings.get("disk")), path)
    told = list(xldisks.disks(specs))
    vm_id = new_id()
    mode = _mode(settings)
    return VM(
        id=vm_id,
        name=descriptions.name(_text(settings, "name"), path.stem),
        uuid=_uuid(_text(settings, "uuid")),
        memory=_memory(settings) or _DEFAULT_MEMORY,
        vcpus=_vcpus(settings) or 1,
        cpu=Cpu(nested=_true(settings, "nestedhvm")),
        firmware="efi" if _text(settings, "bios", "firmware") in _UEFI else "bios",
        # A paravirtual guest has none: its disks decide.
        firmware_known=mode == "hvm",
        tpm="vtpm" in settings,
        clock="localtime" if _true(settings, "localtime") else "utc",
        display=_display(settings, mode),
        sound=_text(settings, "soundhw").split(",")[0].strip() or None,
        disks=_booted([disk for disk, _ in told], settings, mode),
        removable=tuple(xldisks.drives(specs)),
        nics=tuple(_nics(settings, vm_id, mode)),
        passthrough=tuple(_passthrough(settings)),
        source=Source(kind="xl", location=str(path), producer="xen", hw_version=mode),
        findings=(
            *unread,
            *(finding for _, said in told for finding in said),
            *_findings(settings),
        ),
    )


def _decoded(data: bytes) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _unread(found: xltext.Configuration, path: Path) -> Iterator[Finding]:
    """Yield what was passed over: old files hold programs in Python."""
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


def _text(settings: Settings, *names: str) -> str:
    """Return the first of the values *names* that is there, if it is no list."""
    for name in names:
        value = settings.get(name)
        if isinstance(value, str):
            return value.strip()
    return ""


def _number(settings: Settings, name: str) -> int | None:
    """Return a number as C reads it: 0x is hexadecimal, a leading 0 octal."""
    word = _text(settings, name)
    if re.fullmatch(r"0[0-7]{1,18}", word):
        return int(word, 8)
    return descriptions.number(word)


def _true(settings: Settings, name: str) -> bool:
    return _text(settings, name).lower() not in ("", "0", "false", "none", "no")


def _uuid(word: str) -> str | None:
    try:
        return str(uuid.UUID(word))
    except ValueError:
        return None


def _mode(settings: Settings) -> str:
    """Return hvm, pv or pvh.  Without a word of it xl makes a pv."""
    kind = _text(settings, "type").lower()
    if kind in ("hvm", "pv", "pvh"):
        return kind
    return "hvm" if _text(settings, "builder").lower() == "hvm" else "pv"


def _memory(settings: Settings) -> int | None:
    """Return what the guest may grow to: its kernel has room for as much."""
    sizes = (_number(settings, name) for name in ("maxmem", "memory"))
    return next(filter(None, map(descriptions.memory, sizes)), None)


def _vcpus(settings: Settings) -> int | None:
    counts = (_number(settings, name) for name in ("maxvcpus", "vcpus"))
    return next(filter(None, map(descriptions.processors, counts)), None)


def _display(settings: Settings, mode: str) -> Display:
    """A paravirtual guest without vfb has only a console.  Passwords stay behind."""
    keymap = _text(settings, "keymap") or None
    if _true(settings, "spice"):
        return Display(type="spice", keymap=keymap)
    if _true(settings, "sdl") and not _true(settings, "vnc"):
        return Display(type="sdl", keymap=keymap)
    if mode != "hvm" and "vfb" not in settings and not _true(settings, "vnc"):
        return Display(type="none")
    return Display(type="vnc", keymap=keymap)


def _order(settings: Settings, mode: str) -> str:
    """Return the letters of what is started from: c disk, d CD, n network."""
    if mode != "hvm":
        return "c"
    return _text(settings, "boot").lower() or "c"


def _booted(found: list[Disk], settings: Settings, mode: str) -> tuple[Disk, ...]:
    """Return the disks with the first marked, if it is started from at all."""
    place = _order(settings, mode).find("c") + 1
    if not found or not place:
        return tuple(found)
    return (found[0].having(boot=place), *found[1:])


def _nics(settings: Settings, vm_id: str, mode: str) -> Iterator[Nic]:
    """Yield the network cards.  One without an address gets one of ours: Xen would
    make another at each start."""
    place = _order(settings, mode).find("n") + 1
    for index, text in enumerate(strings(settings.get("vif"))):
        if index >= _MAX_NICS:
            return
        pairs = (word.partition("=")[::2] for word in text.split(","))
        options = {key.strip().lower(): value.strip() for key, value in pairs}
        mac = macs.parse(options.get("mac"))
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=_nic_model(options, mode),
            type="bridge",
            network=options.get("bridge") or None,
            slot=options.get("vifname") or None,
            vlan=descriptions.number(options.get("vlan")),
            boot=place or None if index == 0 else None,
        )


def _nic_model(options: Mapping[str, str], mode: str) -> str | None:
    if options.get("type") in ("vif", "netfront") or mode != "hvm":
        return "netfront"
    return options.get("model") or None


def _passthrough(settings: Settings) -> Iterator[str]:
    """Yield what belongs to the source's host: no other can give it."""
    for key in ("pci", "usbdev", "usbdevice", "p9", "dtdev", "ioports", "irqs"):
        for text in strings(settings.get(key)):
            if text and (key != "usbdevice" or text.startswith("host:")):
                yield f"{key} {text:.60}"
    if _true(settings, "gfx_passthru"):
        yield "gfx_passthru"


def _findings(settings: Settings) -> Iterator[Finding]:
    if _memory(settings) is None:
        yield descriptions.caution(
            "memory-unknown", "no usable memory size; Xen's 128 MiB taken"
        )
    kernel = _text(settings, "kernel")
    if kernel and "hvmloader" not in kernel:
        yield descriptions.caution(
            "direct-kernel",
            "the VM starts a kernel from the source's host, not from its disk",
            "install a boot loader in the guest if it has none",
        )
    if "vtpm" in settings:
        yield descriptions.caution("tpm-state-lost", "the TPM's secrets stay behind")
    for name in _passthrough(settings):
        yield descriptions.caution("device-lost", f"{name} cannot be taken over")
