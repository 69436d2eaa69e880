# SPDX-License-Identifier: GPL-2.0-or-later
"""Configurations of Proxmox VE: /etc/pve/qemu-server/ID.conf, or a copy of one.

Source: qm.conf(5) and PVE/QemuServer.pm, whose defaults hold for what a file leaves
out.  Lines are "key: value"; after [NAME] come those of a snapshot.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from v2v.document import VM, Cpu, Display, Finding, Nic, Source
from v2v.errors import SourceError
from v2v.sources import Request, descriptions, macs, new_id, placing, proxmoxdisks
from v2v.sources.proxmoxdisks import Settings, Storages, options, order

_MAX_FILE = descriptions.MIB
_LINE = re.compile(r"([a-z][a-z0-9_-]*):[ \t]*(.*)")
_SECTION = re.compile(r"\[([^\]]+)\][ \t]*")
_SURE = re.compile(
    rb"^(scsihw|ostype|bios|bootdisk|memory|cores|sockets|smbios1|vmgenid|net[0-9]+"
    rb"|(?:virtio|scsi|sata|ide)[0-9]+|efidisk0):[ \t]",
    re.MULTILINE,
)
_DEFAULT_MEMORY = 512
_MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3", "i82551", "i82557b")
_WINDOWS = re.compile(r"w(xp|2k|in|vista)")


def claims(location: str) -> bool:
    """See sources.Source."""
    if not location.lower().endswith(".conf"):
        return False
    start = descriptions.head(location)
    return b"\0" not in start and len(set(_SURE.findall(start))) > 1


def read(request: Request) -> Iterator[VM]:
    """See sources.Source."""
    path = Path(request.location).absolute()
    data = descriptions.content(path, _MAX_FILE, "a configuration of Proxmox VE")
    folder = path.parent
    images = (folder / "images", folder / "images" / path.stem, folder / path.stem)
    places = placing.Places(
        folder=folder, root=folder, others=images, allow=request.allow
    )
    yield placing.placed(parse(data, path, proxmoxdisks.storages(folder)), places)


def parse(data: bytes, path: Path, known: Storages | None = None) -> VM:
    """Return the VM that the configuration *data* of *path* describes.

    Its disks have the paths that the storages *known* give them, or else the volumes'
    names; nothing else is opened.  Raises SourceError if this is no such file.
    """
    known = known or Storages()
    text = data.decode("utf-8", "replace")
    settings, snapshots = sections(text)
    if "rootfs" in settings or not _SURE.search(data):
        raise SourceError(
            f"{path} is no configuration of a VM of Proxmox VE",
            "name the file in /etc/pve/qemu-server; a container cannot be converted",
        )
    vm_id = new_id()
    told = list(proxmoxdisks.disks(settings, known, path))
    return VM(
        id=vm_id,
        name=descriptions.name(settings.get("name", ""), path.stem),
        uuid=_uuid(options(settings.get("smbios1", "")).get("uuid", "")),
        genid=_uuid(settings.get("vmgenid", "")),
        description=_description(text),
        arch="aarch64" if settings.get("arch") == "aarch64" else "x86_64",
        memory=_memory(settings) or _DEFAULT_MEMORY * descriptions.MIB,
        vcpus=descriptions.processors(_sockets(settings) * _cores(settings)) or 1,
        cpu=_cpu(settings),
        firmware="efi" if settings.get("bios") == "ovmf" else "bios",
        secure_boot=settings.get("bios") == "ovmf"
        and options(settings.get("efidisk0", "")).get("pre-enrolled-keys") == "1",
        tpm="tpmstate0" in settings,
        clock=_clock(settings),
        display=_display(settings),
        sound=options(settings.get("audio0", "")).get("device") or None,
        disks=tuple(disk for disk, _ in told),
        removable=tuple(proxmoxdisks.removable(settings, known)),
        nics=tuple(_nics(settings, vm_id)),
        passthrough=tuple(_passthrough(settings)),
        source=Source(
            kind="proxmox",
            location=str(path),
            hw_version=settings.get("machine") or None,
            os_hint=settings.get("ostype") or None,
        ),
        findings=(
            *(finding for _, said in told for finding in said),
            *_findings(settings),
            *descriptions.snapshots(snapshots),
        ),
    )


def sections(text: str) -> tuple[Settings, list[str]]:
    """Return the lines of the machine as it is now, and the names of its snapshots.

    Pending changes are not yet the machine's.
    """
    found: dict[str, str] = {}
    names = []
    for line in text.splitlines():
        if match := _SECTION.fullmatch(line):
            names.append(match[1])
        elif not names and (match := _LINE.fullmatch(line.rstrip())):
            found.setdefault(match[1], match[2].strip())
    apart = ("PENDING", "special:")
    return found, [name for name in names if not name.startswith(apart)]


def _description(text: str) -> str | None:
    """Return the comment in front, which is percent-encoded."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(unquote(line[1:], errors="replace").replace("\0", ""))
    return "\n".join(lines).strip() or None


def _memory(settings: Settings) -> int | None:
    own = options(settings.get("memory", str(_DEFAULT_MEMORY)))
    return descriptions.memory(descriptions.number(own[""] or own.get("current")))


def _sockets(settings: Settings) -> int:
    return descriptions.number(settings.get("sockets")) or 1


def _cores(settings: Settings) -> int:
    return descriptions.number(settings.get("cores")) or 1


def _cpu(settings: Settings) -> Cpu:
    own = options(settings.get("cpu", ""))
    flags = own.get("flags", "").split(";")
    sockets, cores = _sockets(settings), _cores(settings)
    if not descriptions.processors(sockets * cores):
        return Cpu()
    return Cpu(
        sockets=sockets,
        cores=cores,
        threads=1,
        model=own[""] or own.get("cputype") or None,
        nested="+vmx" in flags or "+svm" in flags or own[""] == "host",
    )


def _clock(settings: Settings) -> Literal["utc", "localtime"]:
    """Guests that are said to be Windows get local time, unless told otherwise."""
    windows = bool(_WINDOWS.match(settings.get("ostype", "")))
    local = settings.get("localtime", "1" if windows else "0") == "1"
    return "localtime" if local else "utc"


def _display(settings: Settings) -> Display:
    own = options(settings.get("vga", ""))
    kind = own[""] or own.get("type", "")
    keymap = settings.get("keyboard") or None
    if kind.startswith("serial") or kind == "none":
        return Display(type="none")
    return Display(type="spice" if kind.startswith("qxl") else "vnc", keymap=keymap)


def _nics(settings: Settings, vm_id: str) -> Iterator[Nic]:
    boot = order(settings)
    keys = [key for key in settings if re.fullmatch(r"net[0-9]{1,2}", key)]
    for index, key in enumerate(sorted(keys, key=lambda key: int(key[3:]))):
        model, own = _card(settings[key])
        mac = macs.parse(own.get("macaddr") or own.get(model))
        bridge = own.get("bridge") or None
        yield Nic(
            mac=mac or macs.made(vm_id, index),
            mac_source="static" if mac else "made",
            model=model or None,
            # Without a bridge qemu's own NAT is taken.
            type="bridge" if bridge else "user",
            network=bridge,
            slot=key,
            vlan=descriptions.number(own.get("tag")),
            connected=own.get("link_down") != "1",
            boot=boot.index(key) + 1 if key in boot else None,
        )


def _card(value: str) -> tuple[str, Mapping[str, str]]:
    """Return the model of a card, and all its options: MODEL=MAC or MODEL is first."""
    own = options(value)
    named = own.get("model") or next((m for m in _MODELS if m in own), "")
    return named or own[""], own


def _uuid(word: str) -> str | None:
    """Return *word* if it is one; "1" asks for any, and "0" for none."""
    try:
        return str(uuid.UUID(word))
    except ValueError:
        return None


def _passthrough(settings: Settings) -> Iterator[str]:
    """Yield what belongs to the source's host, and arguments of qemu, never obeyed."""
    for key, value in settings.items():
        is_host = re.fullmatch(r"hostpci[0-9]+|virtiofs[0-9]+|usb[0-9]+", key)
        if is_host and not value.startswith("spice"):
            yield f"{key} {value:.60}"
    if "args" in settings:
        yield "args, for qemu itself"


def _findings(settings: Settings) -> Iterator[Finding]:
    if _memory(settings) is None:
        yield descriptions.memory_unknown("Proxmox VE's 512 MiB")
    if "vmstate" in settings or settings.get("lock", "").startswith("suspend"):
        yield descriptions.suspended()
    elif "lock" in settings:
        yield descriptions.caution(
            "source-locked",
            f"the source has a task that is not done: {settings['lock']:.60}",
            "let it end, and see that it has (qm unlock ID)",
        )
    if "tpmstate0" in settings:
        yield descriptions.tpm_lost()
    for name in _passthrough(settings):
        yield descriptions.caution("device-lost", f"{name} cannot be taken over")
