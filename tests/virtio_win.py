# SPDX-License-Identifier: GPL-2.0-or-later
"""A made-up virtio-win: the names are those of the real one's list, the text is ours.

The INFs have the ids, services and values that the facts name; the drivers are heads of
programs with a version, and cannot run.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pycdlib

_MACHINES = {"x86": 0x014C, "amd64": 0x8664, "ARM64": 0xAA64}
_SCSI = ("SCSIAdapter", "{4D36E97B-E325-11CE-BFC1-08002BE10318}")
_NET = ("Net", "{4D36E972-E325-11CE-BFC1-08002BE10318}")
_SYSTEM = ("System", "{4D36E97D-E325-11CE-BFC1-08002BE10318}")
_DISPLAY = ("Display", "{4D36E968-E325-11CE-BFC1-08002BE10318}")
_LABEL_AT = 16 * 2048 + 40
VERSION = (100, 95, 104, 26200)
# The folders of Windows, oldest first.
OLD = ("w7", "2k8R2", "w8", "2k12", "w8.1", "2k12R2")
NEW = ("w10", "w11", "2k16", "2k19", "2k22", "2k25")


@dataclass(frozen=True)
class Made:
    """A driver: its folder, INF, class, service (None: a null INF), start and ids."""

    folder: str
    inf: str
    kind: tuple[str, str]
    service: str | None
    start: int
    ids: tuple[str, ...]
    folders: tuple[str, ...] = OLD + NEW
    others: tuple[str, ...] = ()


def _pci(old: str, subsystem: str, new: str) -> tuple[str, ...]:
    return (
        rf"PCI\VEN_1AF4&DEV_{old}&SUBSYS_{subsystem}1AF4&REV_00",
        rf"PCI\VEN_1AF4&DEV_{new}&SUBSYS_11001AF4&REV_01",
    )


DRIVERS = (
    Made("viostor", "viostor", _SCSI, "viostor", 0, _pci("1001", "0002", "1042")),
    Made("vioscsi", "vioscsi", _SCSI, "vioscsi", 0, _pci("1004", "0008", "1048")),
    Made(
        "NetKVM",
        "netkvm",
        _NET,
        "netkvm",
        3,
        _pci("1000", "0001", "1041"),
        others=("netkvmco.exe", "readme.doc"),
    ),
    Made(
        "Balloon",
        "balloon",
        _SYSTEM,
        "BALLOON",
        3,
        _pci("1002", "0005", "1045"),
        others=("blnsvr.exe", "blnsvr.pdb"),
    ),
    Made(
        "vioserial", "vioser", _SYSTEM, "VirtioSerial", 3, _pci("1003", "0003", "1043")
    ),
    Made("viorng", "viorng", _SYSTEM, "VirtRng", 3, _pci("1005", "0004", "1044")),
    Made("pvpanic", "pvpanic", _SYSTEM, "PVPanic", 3, (r"ACPI\QEMU0001",)),
    Made("fwcfg", "fwcfg", _SYSTEM, "FwCfg", 3, (r"ACPI\QEMU0002",), NEW),
    Made("qemufwcfg", "qemufwcfg", _SYSTEM, None, 3, (r"ACPI\QEMU0002",), NEW),
    Made("smbus", "smbus", _SYSTEM, None, 3, (r"PCI\VEN_8086&DEV_2930",), NEW),
    Made(
        "viogpudo",
        "viogpudo",
        _DISPLAY,
        "VioGpuDod",
        3,
        (r"PCI\VEN_1AF4&DEV_1050",),
        NEW,
        ("vgpusrv.exe",),
    ),
    Made("sriov", "vioprot", _NET, "vioprot", 3, (r"PCI\VEN_1AF4&DEV_10FF",), NEW),
)


def inf(made: Made, version: tuple[int, ...] = VERSION) -> str:
    """Return the INF of *made*; quotes, strings and a continued line are in it."""
    dotted = ".".join(map(str, version))
    models = "".join(
        f"%Dev% = {made.inf}_inst, \\\r\n    {name} ; one\r\n" for name in made.ids
    )
    head = (
        f'; {made.inf}, made up\r\n[Version]\r\nSignature="$WINDOWS NT$"\r\n'
        f"Class={made.kind[0]}\r\nClassGUID={made.kind[1]}\r\nProvider=%Maker%\r\n"
        f"DriverVer=07/11/2024,{dotted}\r\nCatalogFile={made.inf}.cat\r\n"
        "[SourceDisksFiles]\r\n"
        + "".join(f"{n} = 1\r\n" for n in (f"{made.inf}.sys", *made.others))
        + "[Manufacturer]\r\n%Maker% = Models,NTx86,NTamd64,NTARM64\r\n"
    )
    for arch in ("NTx86", "NTamd64", "NTARM64"):
        head += f"[Models.{arch}]\r\n{models}"
    service = "AddService = ,2\r\n"
    if made.service:
        service = (
            f"AddService = {made.service}, %SPSVCINST_ASSOCSERVICE%, made_service\r\n"
            "[made_service]\r\nServiceType = %SERVICE_KERNEL_DRIVER%\r\n"
            f"StartType = {made.start}\r\nErrorControl = 1\r\n"
            f"ServiceBinary = %12%\\{made.inf}.sys\r\n"
        )
        if made.kind == _SCSI:
            service += (
                "LoadOrderGroup = SCSI miniport\r\nAddReg = made_values\r\n"
                "[made_values]\r\n"
                'HKR, "Parameters\\PnpInterface", "5", %REG_DWORD%, 0x00000001\r\n'
                'HKR, "Parameters", "BusType", %REG_DWORD%, 0x0000000A\r\n'
            )
    return (
        f"{head}[{made.inf}_inst.NT]\r\n[{made.inf}_inst.NT.Services]\r\n{service}"
        '[Strings]\r\nMaker = "Made Up, Inc."\r\n'
        f'Dev = "Made-up {made.inf}"\r\n'
        "SPSVCINST_ASSOCSERVICE = 0x00000002\r\nSERVICE_KERNEL_DRIVER = 1\r\n"
        "REG_DWORD = 0x00010001\r\n"
    )


def program(arch: str, version: tuple[int, ...] = VERSION) -> bytes:
    """Return the head of a driver for *arch* ("amd64"), and its version resource."""
    head = b"MZ".ljust(0x3C, b"\0") + (0x40).to_bytes(4, "little")
    head += b"PE\0\0" + _MACHINES[arch].to_bytes(2, "little")
    first, second, third, fourth = version
    fixed = struct.pack(
        "<4I", 0xFEEF04BD, 0x10000, first << 16 | second, third << 16 | fourth
    )
    name = "VS_VERSION_INFO\0".encode("utf-16-le")
    resource = struct.pack("<3H", 0x5C, 52, 0) + name + b"\0\0" + fixed.ljust(52, b"\0")
    return head.ljust(512, b"\0") + resource


def _of(made: Made, arch: str) -> dict[str, bytes]:
    text = inf(made)
    # Both are met in the real one.
    content = text.encode("utf-16") if made.inf == "netkvm" else text.encode()
    files = {
        f"{made.inf}.inf": content,
        f"{made.inf}.cat": b"a catalogue",
        f"{made.inf}.pdb": b"symbols",
    }
    if made.service:
        files[f"{made.inf}.sys"] = program(arch)
    return files | {name: name.encode() for name in made.others}


def tree(
    arches: Iterable[str] = ("x86", "amd64"),
    *,
    without: Iterable[str] = (),
    release: str | None = "0.1.271",
) -> dict[str, bytes]:
    """Return the files of an ISO, but for the folders of Windows in *without*."""
    files = {
        "guest-agent/qemu-ga-x86_64.msi": b"agent of 64 bits",
        "guest-agent/qemu-ga-i386.msi": b"agent of 32 bits",
        "virtio-win-guest-tools.exe": b"tools",
    }
    if release:
        info = {"package-version": f"{release}-1", "build": release}
        files["data/info.json"] = json.dumps(info).encode()
    for made in DRIVERS:
        for folder in made.folders:
            for arch in arches:
                if folder in without or (arch == "x86" and folder[0] == "2"):
                    continue
                for name, content in _of(made, arch).items():
                    files[f"{made.folder}/{folder}/{arch}/{name}"] = content
    return files


def by_arch(arch: str, folder: str) -> dict[str, bytes]:
    """Return the files of a layout in which all drivers share a folder."""
    return {
        f"{arch}/{folder}/{name}": content
        for made in DRIVERS[:3]
        for name, content in _of(made, arch).items()
    }


def put(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write *files* below *folder*, and return it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def iso(
    files: Mapping[str, bytes],
    file: Path,
    *,
    joliet: bool = True,
    rock_ridge: bool = False,
    label: str = "virtio-win-0.1.271",
) -> Path:
    """Write *files* as an ISO to *file*, and return it."""
    made = pycdlib.PyCdlib()
    made.new(
        interchange_level=4,
        joliet=3 if joliet else None,
        rock_ridge="1.09" if rock_ridge else None,
    )
    done: set[str] = set()

    def also(path: str) -> dict[str, Any]:
        names = {"joliet_path": path} if joliet else {}
        return names | ({"rr_name": path.rpartition("/")[2]} if rock_ridge else {})

    for name, content in files.items():
        parts = name.split("/")
        for at in range(1, len(parts)):
            folder = "/" + "/".join(parts[:at])
            if folder not in done:
                done.add(folder)
                made.add_directory(folder, **also(folder))
        made.add_fp(io.BytesIO(content), len(content), f"/{name}", **also(f"/{name}"))
    made.write(str(file))
    made.close()
    # Joliet's label has 16 characters at most, and pycdlib has one for both.
    with file.open("r+b") as written:
        written.seek(_LABEL_AT)
        written.write(label.encode().ljust(32))
    return file
