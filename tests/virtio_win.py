# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtio-win of our own: the names of a real one's files, and INFs that say as much.

The drivers are no programs, but say their version as drivers do.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pycdlib

from v2v.guests.windows.controllers import SCSI_ADAPTER

LABEL = "virtio-win-0.1.271"
VERSION = (100, 95, 104, 26200)
_NET = "{4D36E972-E325-11CE-BFC1-08002BE10318}"
_SYSTEM = "{4D36E97D-E325-11CE-BFC1-08002BE10318}"
_HID = "{745A17A0-74D3-11D0-B6FE-00A0C90F57DA}"
_DISPLAY = "{4D36E968-E325-11CE-BFC1-08002BE10318}"
_ALL = ("w7", "2k8R2", "w8.1", "2k12R2", "w10", "w11", "2k16", "2k19", "2k22")
_8 = _ALL[2:]
_10 = _ALL[4:]


def _ids(old: str, new: str, kind: str) -> tuple[str, ...]:
    """Return the ids of a virtio device of before 1.0, and of 1.0."""
    return (
        rf"PCI\VEN_1AF4&DEV_{old}&SUBSYS_{kind}1AF4&REV_00",
        rf"PCI\VEN_1AF4&DEV_{new}&SUBSYS_11001AF4&REV_01",
    )


# Folder, INF, service, class, start, ids, and the versions that it is for (facts 2.3).
_DRIVERS = (
    (
        "viostor",
        "viostor",
        "viostor",
        SCSI_ADAPTER,
        0,
        _ids("1001", "1042", "0002"),
        _ALL,
    ),
    (
        "vioscsi",
        "vioscsi",
        "vioscsi",
        SCSI_ADAPTER,
        0,
        _ids("1004", "1048", "0008"),
        _ALL,
    ),
    ("NetKVM", "netkvm", "netkvm", _NET, 3, _ids("1000", "1041", "0001"), _ALL),
    ("Balloon", "balloon", "BALLOON", _SYSTEM, 3, _ids("1002", "1045", "0005"), _ALL),
    (
        "vioserial",
        "vioser",
        "VirtioSerial",
        _SYSTEM,
        3,
        _ids("1003", "1043", "0003"),
        _ALL,
    ),
    ("viorng", "viorng", "VirtRng", _SYSTEM, 3, _ids("1005", "1044", "0004"), _ALL),
    (
        *("pvpanic", "pvpanic", "PVPanic", _SYSTEM, 3),
        (r"ACPI\QEMU0001", r"PCI\VEN_1B36&DEV_0011"),
        _ALL,
    ),
    ("vioinput", "vioinput", "VirtioInput", _HID, 3, (r"PCI\VEN_1AF4&DEV_1052",), _ALL),
    ("viofs", "viofs", "VirtioFsDrv", _SYSTEM, 3, (r"PCI\VEN_1AF4&DEV_105A",), _8),
    (
        *("viogpudo", "viogpudo", "VioGpuDod", _DISPLAY, 3),
        (r"PCI\VEN_1AF4&DEV_1050",),
        ("2k12R2", *_10),
    ),
    ("fwcfg", "fwcfg", "FwCfg", _SYSTEM, 3, (r"ACPI\QEMU0002",), _8),
    ("qemufwcfg", "qemufwcfg", "", _SYSTEM, 3, (r"ACPI\QEMU0002",), _10),
    (
        *("smbus", "smbus", "", _SYSTEM, 3),
        (r"PCI\VEN_8086&DEV_2930&SUBSYS_11001AF4",),
        _ALL,
    ),
    ("sriov", "netkvmno", "netkvm", _NET, 3, _ids("1000", "1041", "0001"), _8),
)
# As a catalogue has it that Microsoft signed.
SIGNED = b"0\x82 Microsoft Windows Hardware Compatibility Publisher0"
_BITS_32 = ("w7", "w8.1", "w10")
# What the INFs of disks set below their services.
_PARAMETERS = {
    "viostor": ((r"Parameters\PnpInterface", "5", 1), ("Parameters", "BusType", 1)),
    "vioscsi": ((r"Parameters\PnpInterface", "5", 1), ("Parameters", "BusType", 10)),
}


def certificate(issuer: bytes, serial: int) -> bytes:
    """Return what begins as a certificate of X.509 does, in DER."""
    fields = (
        *(_der(0xA0, _der(2, b"\2")), _der(2, bytes([serial])), _der(0x30)),
        _der(0x30, _der(0x13, issuer)),
    )
    return _der(0x30, _der(0x30, *fields), _der(0x30), _der(3, b"\0"))


def catalogue(signer: bytes, *others: bytes, order: int = 1) -> bytes:
    """Return a catalogue that has certificates, of which *signer* is who signed it."""
    own = (_der(0x30, _der(0x13, b"issuer")), _der(2, b"\7"))
    signed = _der(
        0x30,
        *(_der(2, b"\1"), _der(0x31), _der(0x30, _der(6, b"\x2a"))),
        _der(0xA0, *(signer, *others)[::order]),
        _der(0x31, _der(0x30, _der(2, b"\1"), _der(0x30, *own), _der(0x30))),
    )
    return _der(0x30, _der(6, b"\x2a\x86\x48"), _der(0xA0, signed))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 255])
    return bytes([tag]) + length + content


def program(
    version: tuple[int, int, int, int] = VERSION, machine: int = 0x8664
) -> bytes:
    """Return what begins as a program does, and says its *version*."""
    head = b"MZ".ljust(0x3C, b"\0") + (0x40).to_bytes(4, "little")
    head += b"PE\0\0" + machine.to_bytes(2, "little")
    name = "VS_VERSION_INFO\0".encode("utf-16-le")
    high, low = version[0] << 16 | version[1], version[2] << 16 | version[3]
    block = struct.pack("<4I", 0xFEEF04BD, 0x10000, high, low)
    return head.ljust(512, b"\0") + name + b"\0\0" + block + bytes(64)


def inf(name: str, service: str, guid: str, start: int, ids: tuple[str, ...]) -> str:
    """Return an INF for x86 and x86-64."""
    models = "".join(f"%Disk% = inst, {i}\n" for i in ids)
    added = f"{service}, 2, service" if service else ",2"
    more = "blnsvr.exe = 1\n" if name == "balloon" else ""
    parameters = "".join(
        f'HKR, "{key}", "{value}", 0x00010001, {number}\n'
        for key, value, number in _PARAMETERS.get(name, ())
    )
    return rf"""; made for tests
[Version]
Signature="$WINDOWS NT$"
Class=Some
ClassGuid={guid}
Provider=%Maker%
DriverVer=09/16/2024,{".".join(map(str, VERSION))}
CatalogFile={name}.cat
[Manufacturer]
%Maker%=Models,NTamd64,NTx86
[Models.NTamd64]
{models}[Models.NTx86]
{models}[SourceDisksFiles]
{name}.sys = 1
{more}[inst.NT]
CopyFiles=@{name}.sys
[inst.NT.Services]
AddService = {added}
[service]
ServiceType=1
StartType={start}
ErrorControl=1
ServiceBinary=%12%\{name}.sys
LoadOrderGroup="SCSI miniport"
AddReg=parameters
[parameters]
{parameters}[Strings]
Maker="Tests"
Disk="{name} of a test"
"""


def files(
    without: tuple[str, ...] = (), *, catalogue: bytes = b"catalogue"
) -> dict[str, bytes]:
    """Return all files of an ISO by path, but for those that begin as *without*."""
    made: dict[str, bytes] = {}
    for folder, name, service, guid, start, ids, systems in _DRIVERS:
        text = inf(name, service, guid, start, ids).encode("utf-16")
        for system in systems:
            for arch in ("amd64", "x86")[: 2 if system in _BITS_32 else 1]:
                at = f"{folder}/{system}/{arch}"
                machine = 0x8664 if arch == "amd64" else 0x14C
                made[f"{at}/{name}.inf"] = text
                made[f"{at}/{name}.cat"] = catalogue
                made[f"{at}/{name}.sys"] = program(machine=machine)
                made[f"{at}/{name}.pdb"] = b"symbols"
                if name == "balloon":
                    made[f"{at}/blnsvr.exe"] = program(machine=machine)
    made["guest-agent/qemu-ga-x86_64.msi"] = b"agent of 64 bits"
    made["guest-agent/qemu-ga-i386.msi"] = b"agent of 32 bits"
    made["NetKVM/w10/amd64/README.txt"] = b"read me"
    return {k: v for k, v in made.items() if not k.startswith(without)}


def old_files() -> dict[str, bytes]:
    """Return files of an ISO that has drivers for XP yet, which know no virtio 1.0."""
    made: dict[str, bytes] = {}
    for place, name, service, guid, start, ids, _ in _DRIVERS:
        if name in ("viostor", "netkvm", "balloon", "vioser"):
            text = inf(name, service, guid, start, ids[:1])
            at = f"{place}/xp/x86"
            made[f"{at}/{name}.inf"] = text.replace("NTx86", "NTx86.5.1").encode()
            made[f"{at}/{name}.cat"] = b"catalogue"
            made[f"{at}/{name}.sys"] = program((62, 77, 104, 17200), 0x14C)
    return made


def folder(root: Path, made: dict[str, bytes]) -> Path:
    """Put *made* into the folder *root*; return it."""
    for path, content in made.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def iso(file: Path, made: dict[str, bytes], names: str = "both") -> Path:
    """Make *file* an ISO with *made*, with names of Rock Ridge, Joliet, or its own."""
    image = pycdlib.PyCdlib()
    rock, joliet = names in ("both", "rr"), names in ("both", "joliet")
    image.new(
        interchange_level=4 if names == "iso" else 3,
        rock_ridge="1.09" if rock else None,
        joliet=3 if joliet else None,
    )
    # Joliet's own label, half as long, would not take it.
    image.pvd.volume_identifier = LABEL.ljust(32).encode()
    short: dict[str, str] = {"": ""}
    for path, content in made.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            _made(image, "/".join(parts[:depth]), short, names)
        base = short["/".join(parts[:-1])]
        name = f"/{base}F{len(short):07}.;1".replace("//", "/")
        if names == "iso":
            name = f"/{path}"
        short[path] = name
        image.add_fp(
            io.BytesIO(content),
            len(content),
            iso_path=name,
            rr_name=parts[-1] if rock else None,
            joliet_path=f"/{path}" if joliet else None,
        )
    image.write(str(file))
    image.close()
    return file


def _made(image: pycdlib.PyCdlib, path: str, short: dict[str, str], names: str) -> None:
    if path in short:
        return
    above, _, name = path.rpartition("/")
    short[path] = f"{short[above]}D{len(short):07}/"
    image.add_directory(
        iso_path=f"/{path}" if names == "iso" else f"/{short[path].rstrip('/')}",
        rr_name=name if names in ("both", "rr") else None,
        joliet_path=f"/{path}" if names in ("both", "joliet") else None,
    )
