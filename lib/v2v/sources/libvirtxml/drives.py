# SPDX-License-Identifier: GPL-2.0-or-later
"""The <disk> elements of libvirt's domain XML (formatdomain.html, "Hard drives").

Read in two steps: what the XML says, and then where the files are.  A disk that
cannot be reached from here is described, with a finding that says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast, get_args
from urllib.parse import quote

from lxml import etree

from v2v import formats, paths
from v2v.document import (
    Bus,
    Disk,
    File,
    Finding,
    Format,
    Layer,
    Removable,
    disk_id,
)
from v2v.errors import SourceError
from v2v.sources import Request, disks, images, nbd
from v2v.sources.descriptions import caution, number

Element = etree._Element

# libvirt's words for formats; "vhd" and "aio" are those of its Xen driver.
_FORMATS: Mapping[str, Format] = {
    "raw": "raw",
    "aio": "raw",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vpc": "vpc",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vdi": "vdi",
}
# Where the bus is left out, the target's name says it: virDomainDiskDefParse.
_BUS_OF_NAME = {"hd": "ide", "sd": "scsi", "vd": "virtio", "xvd": "xen"}
_REMEDIES = {
    "volume": "write its path in place of the pool: virsh vol-path --pool POOL VOLUME",
    "network": "make it a file, or serve it: qemu-nbd --read-only, and name that in a "
    "<source protocol='nbd'>",
}
_OTHER_REMEDY = "copy the disk into a file on the source, and name that"


def elements(domain: Element) -> list[Element]:
    """Return the <disk> elements that are hard disks, in the order of the XML."""
    found = domain.findall("devices/disk")
    return [e for e in found if e.get("device", "disk") in ("disk", "lun")]


def described(domain: Element) -> tuple[list[Disk], list[Finding]]:
    """Return the hard disks as the XML has them, and what cannot be had of them."""
    found = []
    findings = []
    for index, element in enumerate(elements(domain)):
        disk = _disk(domain, element, disk_id(index))
        try:
            layer = _layer(element, _default_format(domain, element))
            disk = disk.having(source=layer)
            disk = disk.having(source=layer.having(backing=tuple(_backing(element))))
        except SourceError as e:
            findings.append(_unreachable(disk.id, element, e))
        found.append(disk)
        findings += _encryption(element, disk.id)
        findings += _odd_sectors(element, disk.id)
        if element.find("transient") is not None:
            findings.append(
                caution(
                    "disk-mode",
                    f"{disk.id} is transient: what was written to it was forgotten "
                    "when the VM stopped; it will not be",
                )
            )
    return _booted(domain, found), findings


def _unreachable(name: str, element: Element, e: SourceError) -> Finding:
    return Finding(
        code="disk-missing",
        severity="block",
        message=f"{name} ({_address(element):.300}) cannot be read: {e.message:.600}",
        remedy=e.remedy,
        disk=name,
    )


def _disk(domain: Element, element: Element, name: str) -> Disk:
    return Disk(
        id=name,
        bus=_bus(element),
        model=_controller_model(domain, element),
        slot=attribute(element, "target", "dev"),
        boot=number(attribute(element, "boot", "order")),
        logical_block_size=4096 if _block_size(element) == 4096 else 512,
        serial=text(element, "serial") or None,
        readonly=element.find("readonly") is not None,
        shared=element.find("shareable") is not None,
    )


def _block_size(element: Element) -> int:
    """Return of how many bytes the disk's sectors are; 0 stands for the default."""
    return number(attribute(element, "blockio", "logical_block_size")) or 512


def _odd_sectors(element: Element, name: str) -> list[Finding]:
    size = _block_size(element)
    if size in (512, 4096):
        return []
    return [
        Finding(
            code="disk-sectors",
            severity="block",
            message=f"{name}: {_address(element)} has sectors of {size} bytes; only "
            "those of 512 and 4096 are known here",
            remedy="copy its partitions onto a disk with such sectors on the source; "
            "or correct <blockio> in the XML",
            disk=name,
        )
    ]


def _encryption(element: Element, name: str) -> list[Finding]:
    if element.find(".//encryption") is None:
        return []
    return [
        Finding(
            code="disk-encrypted",
            severity="block",
            message=f"{name}: {_address(element):.300} is encrypted by the source's "
            "host",
            remedy="make a copy without encryption there: qemu-img convert",
            disk=name,
        )
    ]


def _booted(domain: Element, found: list[Disk]) -> list[Disk]:
    """Where no device has an order of its own, os/boot says it for each class."""
    if not found or domain.find("devices/*/boot") is not None:
        return found
    classes = [e.get("dev") for e in domain.findall("os/boot")] or ["hd"]
    if "hd" not in classes:
        return found
    return [found[0].having(boot=classes.index("hd") + 1), *found[1:]]


def _bus(element: Element) -> Bus:
    name = attribute(element, "target", "bus")
    if name is None:
        letters = (attribute(element, "target", "dev") or "").rstrip("0123456789")
        name = _BUS_OF_NAME.get(letters[:-1], "unknown")
    return cast(Bus, name) if name in get_args(Bus) else "unknown"


def _controller_model(domain: Element, element: Element) -> str | None:
    """Return the model of the disk's controller, or else its own."""
    index = attribute(element, "address", "controller") or "0"
    bus = attribute(element, "target", "bus")
    for controller in domain.findall("devices/controller"):
        if controller.get("type") == bus and controller.get("index", "0") == index:
            return controller.get("model") or attribute(element, "target", "model")
    return element.get("model")


def _default_format(domain: Element, element: Element) -> Format:
    """Without a driver type libvirt takes a disk as raw.  Its esx driver writes none,
    and there all disks are VMDKs."""
    if domain.get("type") == "vmware" and _address(element).endswith(".vmdk"):
        return "vmdk"
    return "raw"


def _layer(element: Element, default: Format) -> Layer:
    """Return where the disk is, with names as in the XML.

    Raises SourceError if it cannot be reached from here.
    """
    kind = element.get("type", "file")
    format = _format(attribute(element, "driver", "type"), default)
    if kind == "network":
        return _network(element, format)
    part = _slice(element.find("source"))
    return Layer(
        server="file" if format == "raw" else "qemu",
        path=_file(element),
        format=format,
        offset=part.offset if part else None,
        length=part.length if part else None,
    )


def _file(element: Element) -> str:
    """Return the name of the file or device of a disk or <backingStore>."""
    kind = element.get("type", "file")
    if kind not in ("file", "block"):
        raise SourceError(
            f"disks of type {kind} cannot be read from here",
            _REMEDIES.get(kind, _OTHER_REMEDY),
        )
    name = attribute(element, "source", "file" if kind == "file" else "dev")
    if not name:
        raise SourceError("it has no source", "name its file in the XML")
    return name


def _format(name: str | None, default: Format) -> Format:
    if name is None:
        return default
    if name not in _FORMATS:
        raise SourceError(
            f"it is in the format {name}, which is not read here",
            "convert it on the source: qemu-img convert -O qcow2",
        )
    return _FORMATS[name]


def _slice(source: Element | None) -> images.Part | None:
    """Return the part of the file that <slices> makes the image."""
    if source is None or (found := source.find("slices/slice")) is None:
        return None
    offset, length = number(found.get("offset")), number(found.get("size"))
    if offset is None or not length:
        raise SourceError("its slice has no size", "correct the XML")
    return images.Part(offset=offset, length=length)


def _backing(element: Element) -> Iterator[File]:
    """Yield the chain that the XML declares.  An empty <backingStore> ends it."""
    below = element.find("backingStore")
    while below is not None and len(below):
        format = attribute(below, "format", "type")
        if format is None or below.find("source/slices") is not None:
            raise SourceError(
                "its chain has a file without a format or in a slice",
                "make the disk whole on the source: qemu-img convert -O qcow2",
            )
        yield File(path=_file(below), format=_format(format, "raw"))
        below = below.find("backingStore")


def _network(element: Element, format: Format) -> Layer:
    source = element.find("source")
    protocol = source.get("protocol") if source is not None else None
    if source is None or protocol != "nbd" or format != "raw":
        what = f"{format} over {protocol}" if protocol == "nbd" else protocol
        raise SourceError(
            f"network disks of {what} cannot be read from here", _REMEDIES["network"]
        )
    if source.find("slices") is not None:
        raise SourceError("it is a slice of a network disk", _REMEDIES["network"])
    return nbd.layer_of(nbd.split(_uri(source)))


def _uri(source: Element) -> str:
    host = source.find("host")
    secure = "nbds" if source.get("tls") == "yes" else "nbd"
    export = quote(source.get("name") or "", safe="")
    if host is None:
        raise SourceError("it names no host", "correct the XML")
    if host.get("transport") == "unix":
        return f"{secure}+unix:///{export}?socket={quote(host.get('socket') or '')}"
    name = quote(host.get("name") or "localhost", safe=":.-")
    port = number(host.get("port")) or 10809
    place = f"[{name}]" if ":" in name else name
    return f"{secure}://{place}:{port}/{export}"


def _address(element: Element) -> str:
    """Return what people know the source as."""
    source = element.find("source")
    parts = ("file", "dev", "pool", "volume", "protocol", "name", "dir", "path")
    values = [] if source is None else [source.get(part) for part in parts]
    known = ":".join(filter(None, values)) or element.get("type", "file")
    return known[:300]


def located(
    disk: Disk, element: Element, folder: Path, request: Request
) -> tuple[Disk, list[Finding]]:
    """Return *disk* with its files found, and what is to be said of them.

    Raises SourceError for a file that is broken or must not be opened.
    """
    layer = disk.source
    if layer is None or layer.path is None or layer.server == "nbd":
        return disk, []
    absent = [
        disks.missing(disk.id, name, e)
        for name in (layer.path, *(file.path for file in layer.backing))
        if (e := _absence(name, folder, request))
    ]
    if absent:
        return disk, absent[:1]
    file = disks.find(layer.path, folder, request.allow)
    found, image = _examined(file, layer, folder, request)
    findings = images.snapshots(file, layer.format, disk.id)
    findings += images.doubtful(image, file, disk.id)
    if attribute(element, "driver", "type") is None and layer.format == "raw":
        findings += _doubt(file, disk.id)
    return images.held(disk, found, image), findings


def _absence(name: str, folder: Path, request: Request) -> SourceError | None:
    """Return why the file *name* is not to be had; None if it is, or is forbidden."""
    try:
        file = disks.find(name, folder, request.allow)
    except SourceError as e:
        return None if disks.exists(name, folder) else e
    if os.access(file, os.R_OK):
        return None
    return SourceError(
        f"{file} may not be read by this user", "run v2v as one who may, such as root"
    )


def _examined(
    file: Path, layer: Layer, folder: Path, request: Request
) -> tuple[Layer, formats.Image]:
    roots = tuple(place.resolve() for place in (folder, *request.allow))
    checked = partial(paths.checked, allowed=roots)
    backing = [
        b.having(path=str(disks.find(b.path, folder, request.allow)))
        for b in layer.backing
    ]
    part = None
    if layer.offset is not None and layer.length is not None:
        part = images.Part(offset=layer.offset, length=layer.length)
    return images.layer(file, layer.format, checked, backing=backing, part=part)


def _doubt(file: Path, name: str) -> list[Finding]:
    """A missing driver type means raw; but people forget it for images too."""
    format = formats.recognise(file)
    if format is None:
        return []
    return [
        Finding(
            code="format-doubtful",
            severity="block",
            message=f"{name}: the XML gives no driver type, which means raw, but "
            f"{file} looks like a {format} image",
            remedy=f"write <driver type='{format}'/> if it really is one; if it is a "
            "raw disk in which a guest wrote that, <driver type='raw'/>",
            disk=name,
        )
    ]


def removable(domain: Element) -> Iterator[Removable]:
    """Yield the CD and floppy drives, with the names of the media in them."""
    for element in domain.findall("devices/disk"):
        kind = element.get("device")
        if kind not in ("cdrom", "floppy"):
            continue
        medium = attribute(element, "source", "file") or attribute(
            element, "source", "dev"
        )
        yield Removable(
            type="cdrom" if kind == "cdrom" else "floppy",
            bus=_bus(element),
            slot=attribute(element, "target", "dev"),
            path=medium,
            connected=attribute(element, "target", "tray") != "open",
        )


def attribute(element: Element, child: str, name: str) -> str | None:
    """Return attribute *name* of the first *child* of *element*, if there is one."""
    found = element.find(child)
    return None if found is None else found.get(name)


def text(element: Element, child: str) -> str:
    """Return the text of the first *child* of *element*; empty if there is none."""
    return (element.findtext(child) or "").strip()
