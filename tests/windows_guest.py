# SPDX-License-Identifier: GPL-2.0-or-later
"""Phony Windows guests: the files and hives of one, as tests/windows/NAME.toml says.

Nothing in them runs; but all that v2v goes by is there as that version has it: in-box
drivers and their databases, class keys, adapters, the boot store.  A guest can be made
as folders of this host (windows_folder.py), or (windows_disk.py) as a disk for an
appliance.
"""

from __future__ import annotations

import struct
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import bitlocker
import hives
import virtio_win
import windows_store
from guest_folder import put
from hives import Content
from v2v.document import VM, Cpu, Disk, Nic, Source
from v2v.guests.linux import addresses
from v2v.guests.wanted import Wanted

FOLDER = Path(__file__).parent / "windows"
SIGNATURE = 0x5CBEA03E
DISK_GUID = "5a1b2c3d-0000-4000-8000-0000000000aa"
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_BASIC = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
_GUIDS = (
    "6d0f3c1a-7b52-4c0e-8f5d-2a3b4c5d6e7f",
    "6d0f3c1a-7b52-4c0e-8f5d-2a3b4c5d6e80",
)
# Where the partitions begin, in MiB: the loader's, and Windows' own.
STARTS = (1, 41)
HEADS = 0x1A  # where NTFS says how many the BIOS has
_MACHINES = {"i386": 0x014C, "x86_64": 0x8664, "aarch64": 0xAA64}
_WORDS = {"i386": ("x86", 0), "x86_64": ("AMD64", 9), "aarch64": ("ARM64", 12)}
_HDC = "{4d36e96a-e325-11ce-bfc1-08002be10318}"
_NET = "{4d36e972-e325-11ce-bfc1-08002be10318}"
_BOOT = "bootmgfw: Microsoft Corporation".encode("utf-16-le")
# In-box drivers of disks: the first version that has it, its id, and its INF.
_DRIVERS = (
    ("intelide", (5, 1), "PCI", "VEN_8086&DEV_7010", "mshdc.inf"),
    ("atapi", (5, 1), "", "Primary_IDE_Channel", "mshdc.inf"),
    ("msahci", (6, 0), "PCI", "CC_010601", "mshdc.inf"),
    ("LSI_SAS", (6, 0), "PCI", "VEN_1000&DEV_0054", "lsi_sas.inf"),
    ("storahci", (6, 2), "PCI", "CC_010601", "mshdc.inf"),
    ("stornvme", (6, 3), "PCI", "CC_010802", "stornvme.inf"),
)
Keys = dict[str, dict[str, Content]]


@dataclass(frozen=True, kw_only=True)
class Phony:
    """One guest: ``spec`` is the whole of its TOML."""

    name: str
    spec: dict[str, Any]

    @property
    def windows(self) -> dict[str, Any]:
        """What version it is, and how it was installed."""
        return cast(dict[str, Any], self.spec["windows"])

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = str(self.windows["version"]).split(".")
        return int(major), int(minor)

    @property
    def arch(self) -> str:
        """The processor, as documents have it."""
        return str(self.windows.get("arch", "x86_64"))

    @property
    def efi(self) -> bool:
        """Whether it boots by UEFI."""
        return bool(self.windows.get("efi", False))

    @property
    def root(self) -> str:
        """The system's folder on its volume."""
        return str(self.windows.get("root", "/Windows"))

    @property
    def drive(self) -> str:
        """The letter of its volume."""
        return str(self.windows.get("drive", "C:"))

    @property
    def vm(self) -> VM:
        """The VM as inspection has it."""
        said = self.spec.get("vm", {})
        return VM(
            id=self.name,
            name=self.name,
            memory=2**32,
            vcpus=said.get("vcpus", 2),
            cpu=Cpu(sockets=said.get("vcpus", 2), cores=1),
            firmware="efi" if self.efi else "bios",
            secure_boot=said.get("secure_boot", False),
            disks=tuple(
                Disk(id=f"sd{chr(97 + i)}", bus="scsi")
                for i in range(said.get("disks", 1))
            ),
            nics=tuple(Nic(mac=mac) for mac in said.get("nics", ())),
            source=Source(kind="vmx", location=f"/{self.name}.vmx"),
        )

    def wanted(self, folder: Path) -> Wanted:
        """Return what the user asks for; a virtio-win that is wanted is in *folder*."""
        said = self.spec["vm"]
        media = None
        if said.get("virtio_win", False):
            folder.mkdir(exist_ok=True)
            # The community's: of somebody else than Microsoft.
            other = virtio_win.catalogue(virtio_win.certificate(b"issuer", 7))
            own = virtio_win.SIGNED if said.get("signed", False) else other
            made = virtio_win.files(catalogue=own)
            if said.get("old", False):
                made = virtio_win.old_files()
            media = virtio_win.folder(folder, made)
        return Wanted(
            virtio_win=media,
            trust_publisher=said.get("trust_publisher", False),
            firstboot=said.get("firstboot", "service"),
            remove_tools=said.get("remove_tools", False),
            addresses=addresses.asked(said.get("macs", ())),
        )


def names() -> list[str]:
    """Return the names of all phony guests that can be fixed."""
    return [name for name in _names() if "refused" not in load(name).spec]


def refused() -> list[str]:
    """Return the names of those that must not be changed."""
    return [name for name in _names() if "refused" in load(name).spec]


def _names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Phony:
    """Return the guest that NAME.toml describes."""
    with (FOLDER / f"{name}.toml").open("rb") as file:
        return Phony(name=name, spec=tomllib.load(file))


def program(arch: str, mark: bytes = b"") -> bytes:
    """Return a program of Windows, of which the head alone is right."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    return head + struct.pack("<4sH", b"PE\0\0", _MACHINES[arch]) + bytes(250) + mark


def facts(phony: Phony, device: str) -> dict[str, str]:
    """Return what blkid says of a partition."""
    number = int(device[-1])
    boots = number == 1
    own = phony.windows.get("volume", "ntfs")
    found = {
        "TYPE": "vfat" if boots and phony.efi else "ntfs" if boots else own,
        "PART_ENTRY_OFFSET": str(STARTS[number - 1] * 2048),
    }
    if phony.efi:
        return found | {
            "PART_ENTRY_SCHEME": "gpt",
            "PART_ENTRY_TYPE": ESP if boots else _BASIC,
            "PART_ENTRY_UUID": _GUIDS[number - 1],
        }
    return found | {
        "PART_ENTRY_SCHEME": "dos",
        "PART_ENTRY_TYPE": "0x7",
        "PART_ENTRY_UUID": f"{SIGNATURE:08x}-{number:02x}",
    }


def boot_sector(phony: Phony, device: str) -> bytes:
    """Return what begins the volume, where something goes by that.

    Of a Windows before Vista: the heads of its old machine's BIOS.
    """
    if device != "/dev/sda2":
        return b""
    if phony.windows.get("volume") == "BitLocker":
        return bytes(bitlocker.volume(*phony.windows["protectors"]))
    if phony.version >= (6, 0):
        return b""
    return b"\xeb\x52\x90NTFS    ".ljust(HEADS, b"\0") + b"\x10\0"


def placed(phony: Phony, folder: Path) -> dict[str, Path]:
    """Write *phony* into *folder*; return the folder of each device's file system."""
    folders = {f"/dev/sda{n}": folder / f"sda{n}" for n in (1, 2)}
    for place in folders.values():
        place.mkdir(parents=True)
    for device, files in content(phony, folder).items():
        for path, data in files.items():
            put(folders[device], path, data)
    return folders


def content(phony: Phony, folder: Path) -> dict[str, dict[str, str | bytes]]:
    """Return all files of each device, by path; hives are made in *folder*."""
    own = f"{phony.root}/System32"
    config = f"{own}/{'config' if phony.version > (5, 1) else 'CONFIG'}"
    files: dict[str, str | bytes] = {
        f"{own}/cmd.exe": program(phony.arch),
        f"{phony.root}/inf/": "",
        f"{phony.root}/Temp/": "",
        "/Program Files/": "",
        f"{config}/SYSTEM": hive(folder, system(phony)),
        f"{config}/SOFTWARE": hive(folder, software(phony)),
    }
    for service in _services(phony):
        files[f"{own}/drivers/{service}.sys"] = program(phony.arch)
    for key, values in phony.spec.get("SYSTEM", {}).items():
        if values.get("Type") == 1 and key.startswith("CS\\Services\\"):
            name = key.rpartition("\\")[2]
            files[f"{own}/drivers/{name}.sys"] = program(phony.arch)
    for path, said in phony.spec.get("files", {}).items():
        files[path] = _file(phony, said)
    for name in phony.windows.get("dirty", ()):
        files[f"{config}/{name}"] = _dirty(cast(bytes, files[f"{config}/{name}"]))
    if phony.version >= (10, 0):
        files[f"{config}/DRIVERS"] = hive(folder, _database(phony, ()))
    return {"/dev/sda1": _boot(phony, folder), "/dev/sda2": files}


def _file(phony: Phony, said: Any) -> bytes:
    """Return a file of the TOML: a text, or a program by its version."""
    if isinstance(said, str):
        return said.encode()
    machine = _MACHINES[phony.arch]
    return virtio_win.program(tuple(said), machine)


def _dirty(hive_: bytes) -> bytes:
    """Return a hive that was in use when its machine stopped."""
    head = bytearray(hive_[:4096])
    first, second = struct.unpack_from("<II", head, 4)
    struct.pack_into("<II", head, 4, first + 1, second)
    struct.pack_into("<I", head, 0x1FC, hives.checksum(bytes(head)))
    return bytes(head) + hive_[4096:]


def _boot(phony: Phony, folder: Path) -> dict[str, str | bytes]:
    """Return the files of what the loader is on."""
    if phony.version < (6, 0):
        line = r"multi(0)disk(0)rdisk(0)partition(2)"
        text = f'[boot loader]\r\n[operating systems]\r\n{line}="Windows"\r\n'
        return {"/boot.ini": text, "/ntldr": ""}
    if phony.efi:
        device, manager = (windows_store.gpt(g, DISK_GUID) for g in _GUIDS[::-1])
    else:
        device, manager = (
            windows_store.mbr(SIGNATURE, start * 2**20) for start in STARTS[::-1]
        )
    off = bool(phony.windows.get("graphics_off", False))
    keys = windows_store.keys(device, efi=phony.efi, graphics_off=off, manager=manager)
    store = hive(folder, keys)
    if not phony.efi:
        return {"/Boot/BCD": store, "/bootmgr": ""}
    files: dict[str, str | bytes] = {
        "/EFI/Microsoft/Boot/BCD": store,
        "/EFI/Microsoft/Boot/bootmgfw.efi": program(phony.arch, _BOOT),
    }
    for path in phony.spec.get("loaders", ()):
        files[path] = program(phony.arch, b"another system's")
    return files


def hive(folder: Path, keys: Keys) -> bytes:
    """Return a hive with *keys*."""
    file = folder / "hive"
    data = hives.made(file, keys).read_bytes()
    file.unlink()
    return data


def system(phony: Phony) -> Keys:
    """Return what is in SYSTEM."""
    said = phony.windows
    sets = [f"ControlSet{n:03d}" for n in said.get("control_sets", [1])]
    found: Keys = {
        "Select": {"Current": 1, "Default": 1, "Failed": 0, "LastKnownGood": len(sets)},
        "MountedDevices": {rf"\DosDevices\{phony.drive}": _volume(phony)},
    }
    for own in sets:
        found |= {rf"{own}\{key}": v for key, v in _control_set(phony).items()}
        for key, values in _said(phony, "SYSTEM").items():
            if key.startswith("CS\\"):
                found.setdefault(own + key[2:], {}).update(values)
    for key, values in _said(phony, "SYSTEM").items():
        if not key.startswith("CS\\"):
            found.setdefault(key, {}).update(values)
    return found | (_database(phony, _services(phony)) if _has_database(phony) else {})


def _has_database(phony: Phony) -> bool:
    return phony.version >= (6, 2)


def _volume(phony: Phony) -> bytes:
    if phony.efi:
        return b"DMIO:ID:" + uuid.UUID(_GUIDS[1]).bytes_le
    return struct.pack("<IQ", SIGNATURE, STARTS[1] * 2**20)


def _services(phony: Phony) -> list[str]:
    """Return the in-box drivers of disks."""
    own = [name for name, since, *_ in _DRIVERS if since <= phony.version]
    if phony.version >= (6, 2):
        own.remove("msahci")
    return [*own, "disk", "partmgr"]


def _control_set(phony: Phony) -> Keys:
    said = phony.windows
    is_client = said.get("installation", "Client") == "Client"
    word, _ = _WORDS[phony.arch]
    found: Keys = {
        r"Services\Tcpip\Parameters": {"Hostname": phony.name.upper()},
        r"Control\ProductOptions": {
            "ProductType": "WinNT" if is_client else "ServerNT"
        },
        r"Control\Session Manager\Environment": {"PROCESSOR_ARCHITECTURE": word},
        r"Control\CrashControl": {"AutoReboot": 1},
        r"Control\TimeZoneInformation": {"TimeZoneKeyName": "W. Europe Standard Time"},
        rf"Control\Class\{_HDC}": {"Class": "hdc"},
    }
    starts = said.get("starts", {})
    for name in _services(phony):
        found[rf"Services\{name}"] = {
            "Type": 1,
            "Start": starts.get(name, 0),
            "ErrorControl": 1,
            "Group": "SCSI miniport",
            "ImagePath": hives.expand(rf"system32\drivers\{name}.sys"),
        }
        if name in said.get("overridden", ()):
            found[rf"Services\{name}\StartOverride"] = {"0": 3}
    sans = {} if is_client else {"SanPolicy": 2}
    if phony.version >= (6, 0):
        found[r"Services\partmgr\Parameters"] = {"SanPolicy": 1, **sans}
    if phony.version >= (6, 2):
        # Fast startup would be a hibernated kernel.
        power = {"HiberbootEnabled": 1 if is_client else 0}
        found[r"Control\Session Manager\Power"] = dict(power)
    if not _has_database(phony):
        found |= _critical(phony)
    for number, card in enumerate(phony.spec.get("cards", ())):
        found |= _card(phony, number, card)
    return found


def _critical(phony: Phony) -> Keys:
    """Return the CriticalDeviceDatabase of before Windows 8."""
    found: Keys = {}
    for name, since, bus, device_id, _ in _DRIVERS:
        if since <= phony.version:
            key = f"{bus}#{device_id}" if bus else device_id
            found[rf"Control\CriticalDeviceDatabase\{key}"] = {
                "Service": name,
                "ClassGUID": _HDC.upper(),
            }
    if phony.version >= (6, 0):
        found[r"Control\CriticalDeviceDatabase\Internal_IDE_Channel"] = {
            "Service": "atapi",
            "ClassGUID": _HDC.upper(),
        }
    return found


def _database(phony: Phony, services: Any) -> Keys:
    """Return a DriverDatabase that has the packages of *services*."""
    _, number = _WORDS[phony.arch]
    found: Keys = {
        "DriverDatabase": {
            "Version": 0x06030000 if phony.version < (10, 0) else 0x0A000000,
            "Architecture": number,
            "OemInfMap": b"\x80",
        },
        r"DriverDatabase\DeviceIds": {},
        r"DriverDatabase\DriverPackages": {},
        r"DriverDatabase\DriverInfFiles": {},
    }
    for name, _, bus, device_id, inf in _DRIVERS:
        if name not in services:
            continue
        label = f"{inf}_made_0123456789abcdef"
        package = rf"DriverDatabase\DriverPackages\{label}"
        place = rf"{bus}\{device_id}" if bus else device_id
        files = found.setdefault(rf"DriverDatabase\DriverInfFiles\{inf}", {})
        files.update({"": [label], "Active": label})
        ids = found.setdefault(rf"DriverDatabase\DeviceIds\{place}", {})
        ids[inf] = b"\x01\xff\0\0"
        found[rf"{package}\Descriptors\{place}"] = {"Configuration": f"{name}_inst"}
        found[rf"{package}\Configurations\{name}_inst"] = {"Service": name}
    return found


def _card(phony: Phony, number: int, card: Mapping[str, Any]) -> Keys:
    """Return the keys of a network card that has a static address, or none."""
    guid, mac = card["guid"], bytes.fromhex(card["mac"].replace(":", ""))
    own = rf"Control\Class\{_NET}\{number:04d}"
    connection = rf"Control\Network\{_NET.upper()}\{guid}\Connection"
    serial = f"{mac[:3].hex()}FFFF{mac[3:].hex()}00".upper()
    found: Keys = {
        own: {"NetCfgInstanceId": guid, "DriverDesc": card["description"]},
        connection: {
            "Name": card.get("name", f"Ethernet{number}"),
            "PnpInstanceID": rf"PCI\VEN_8086&DEV_10D3&SUBSYS_07D015AD&REV_00\{serial}",
        },
    }
    values = dict(card.get("values", {}))
    found[rf"Services\Tcpip\Parameters\Interfaces\{guid}"] = values or {"EnableDHCP": 1}
    if phony.version >= (10, 0):
        kernel = rf"Control\NetworkSetup2\Interfaces\{guid}\Kernel"
        found[kernel] = {"PermanentAddress": mac, "CurrentAddress": mac}
    return found


def software(phony: Phony) -> Keys:
    """Return what is in SOFTWARE."""
    said = phony.windows
    major, minor = phony.version
    folder = phony.drive + phony.root.replace("/", "\\")
    current: dict[str, Content] = {
        "ProductName": said["product"],
        "CurrentVersion": "6.3" if major > 6 else f"{major}.{minor}",
        "CurrentBuildNumber": str(said["build"]),
        "SystemRoot": folder,
        "PathName": folder,
    }
    if major > 5:
        current["EditionID"] = said["edition"]
        current["InstallationType"] = said.get("installation", "Client")
    if "release" in said:
        current |= {"DisplayVersion": said["release"], "UBR": said["patch"]}
    if major > 6:
        current |= {"CurrentMajorVersionNumber": major, "CurrentMinorVersionNumber": 0}
    found: Keys = {
        r"Microsoft\Windows NT\CurrentVersion": current,
        r"Microsoft\Windows\CurrentVersion": {
            "DevicePath": hives.expand(r"%SystemRoot%\inf")
        },
        r"Microsoft\Windows\CurrentVersion\Run": {},
        r"Microsoft\Windows\CurrentVersion\Uninstall": {},
    }
    for key, values in _said(phony, "SOFTWARE").items():
        found.setdefault(key, {}).update(values)
    return found


def _said(phony: Phony, name: str) -> Keys:
    """Return the keys of a hive that the TOML adds; "hex:…" is binary."""
    return {
        key: {value: _value(content) for value, content in values.items()}
        for key, values in phony.spec.get(name, {}).items()
    }


def _value(content: Any) -> Content:
    if isinstance(content, str) and content.startswith("hex:"):
        return bytes.fromhex(content.removeprefix("hex:"))
    if isinstance(content, str) and content.startswith("expand:"):
        return hives.expand(content.removeprefix("expand:"))
    return cast(Content, content)
