# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot store (BCD): what starts Windows, and from which partition.

A store is a hive: Objects\\{GUID} with a Description (Type) and Elements, each a key
named by its number with a value Element.  The numbers are those of bcdedit(8)'s names;
devices are read as two real stores have them (facts 6).
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from v2v.document import Finding
from v2v.guests.appliance import Appliance, printable
from v2v.guests.windows.hive import Hive, binary
from v2v.guests.windows.partition import Place

FINDINGS = frozenset({"bcd-device-mismatch", "bcd-other-systems"})

MANAGER = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
LOADER, RESUME, FIRMWARE = 0x10200003, 0x10200004, 0x101FFFFF
_GUID = re.compile(r"\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}", re.IGNORECASE)
_MAX_OBJECTS = 500
_SHOWN = 10
_CONTROLS = {code: " " for code in (*range(32), 127)}
_NUMBER = re.compile(r"(?:p(?=\d+$))?\d+$")  # of a partition
_HEX = re.compile(r"[0-9a-f]{1,8}")
# Elements, by bcdedit's names for them.
_DEVICE, _PATH, _DESCRIPTION = "11000001", "12000002", "12000004"
_DEFAULT, _ORDER = "23000003", "24000001"
_OS_DEVICE, _OS_FOLDER = "21000001", "22000002"
_GRAPHICS_OFF, _STATUS_POLICY = "16000046", "250000E0"
_IGNORE_ALL_FAILURES = (1).to_bytes(8, "little")
# Of a device: kind, and the style of its disk's partitions.
_RAMDISK, _PARTITION, _GPT, _MBR = 0, 6, 0, 1
_ONE = 0x58  # bytes of a device that is no file


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An object that something can be started by.

    ``place`` is where its file ``path`` is; None for a RAM disk (``ramdisk``), the
    volume that the loader itself came from, or what is not known here.
    """

    guid: str
    type: int
    path: str = ""
    description: str = ""
    place: Place | None = None
    ramdisk: bool = False

    @property
    def is_loader(self) -> bool:
        """Whether it starts a Windows, or its recovery."""
        return self.type == LOADER


@dataclass(frozen=True)
class Default:
    """The system that is started: its volume, and its folder there ("\\Windows")."""

    place: Place
    folder: str


def entries(store: Hive) -> tuple[Entry, ...]:
    """Return all that can be started, in the store's order.

    Raises GuestError if the store is broken.
    """
    names = [name for name in store.keys("Objects") if _GUID.fullmatch(name)]
    return tuple(filter(None, (_entry(store, n) for n in names[:_MAX_OBJECTS])))


def default(store: Hive) -> Entry | None:
    """Return what is started if nobody chooses; None if the store does not say."""
    wanted = (_text(store, MANAGER, _DEFAULT) or "").lower()
    return next((e for e in entries(store) if e.guid == wanted), None)


def system(store: Hive) -> Default | None:
    """Return the system that is started if nobody chooses.

    None if that is on no partition (WinPE), or the store does not say.
    """
    own = _text(store, MANAGER, _DEFAULT) or ""
    if not _GUID.fullmatch(own):
        return None
    device = store.value(_element(own, _OS_DEVICE), "Element")
    where = place(device.data) if device else None
    folder = _text(store, own, _OS_FOLDER) or ""
    return Default(where.volume, folder) if where else None


def order(store: Hive) -> tuple[str, ...]:
    """Return the GUIDs, with braces, of what the boot menu offers."""
    guids = store.texts(_element(MANAGER, _ORDER), "Element")
    return tuple(guid.lower() for guid in guids if _GUID.fullmatch(guid))


def firmware(store: Hive) -> Literal["bios", "efi"] | None:
    """Return what the default loader is started by; None if that is not known.

    It is winload.efi or winload.exe; that of a RAM disk does not count.
    """
    found = default(store)
    if found is None or not found.is_loader:
        return None
    by_name: dict[str, Literal["bios", "efi"]] = {".efi": "efi", ".exe": "bios"}
    return by_name.get(found.path.lower()[-4:])


def foreign(store: Hive) -> tuple[Entry, ...]:
    """Return the firmware's entries in the store that start no Windows.

    Windows writes down what is in the NVRAM: a second system is seen here.
    """
    return tuple(
        entry
        for entry in entries(store)
        if entry.type == FIRMWARE
        and entry.path
        and not entry.path.lower().startswith(r"\efi\microsoft")
        and not entry.path.lower().startswith(r"\efi\boot")
    )


def show(store: Hive) -> None:
    """Have each Windows loader show what it does.

    With UEFI an element that graphics are off leaves the console without a picture
    under OVMF.
    """
    for entry in entries(store):
        if entry.is_loader and not entry.ramdisk:
            store.remove(
                _element(entry.guid, _GRAPHICS_OFF),
                "the console has no picture under UEFI with graphics off",
            )


def ignore_failures(store: Hive) -> None:
    """Have the default loader not go into the automatic repair after a reset.

    For the first boots, which put it back: policy() tells what was there.
    """
    found = default(store)
    if found and found.is_loader and not found.ramdisk:
        store.set(
            _element(found.guid, _STATUS_POLICY),
            "Element",
            binary(_IGNORE_ALL_FAILURES),
            "a reset in the first boots must not lead into the automatic repair",
        )


def policy(store: Hive) -> int | None:
    """Return the default loader's bootstatuspolicy; None if it has none."""
    found = default(store)
    if not found:
        return None
    value = store.value(_element(found.guid, _STATUS_POLICY), "Element")
    return int.from_bytes(value.data[:8], "little") if value else None


def place(device: bytes) -> Place | None:
    """Return the partition that the data of a *device* element names, if it is one.

    GPT is as real stores have it; MBR as Windows' boot library declares it.
    """
    if len(device) < 0x48 or _kind(device) != _PARTITION:
        return None
    (style,) = struct.unpack_from("<I", device, 0x34)
    if style == _GPT:
        return Place(partition=_guid(device, 0x20), disk=_guid(device, 0x38))
    if style == _MBR:
        offset, signature = struct.unpack_from("<Q16xI", device, 0x20)
        return Place(offset=offset, signature=signature)
    return None


def _kind(device: bytes) -> int:
    kind: int = struct.unpack_from("<I", device, 0x10)[0]
    return kind


def _is_ramdisk(device: bytes) -> bool:
    """Whether *device* is a file that is unpacked into memory: WinPE's, WinRE's."""
    return len(device) > _ONE and _kind(device) == _RAMDISK


def _guid(data: bytes, at: int) -> str:
    return str(uuid.UUID(bytes_le=data[at : at + 16]))


def _entry(store: Hive, name: str) -> Entry | None:
    kind = store.number(rf"Objects\{name}\Description", "Type")
    if kind is None or kind >> 28 != 1:
        return None  # settings, or a device: nothing is started by these
    device = store.value(_element(name, _DEVICE), "Element")
    data = device.data if device else b""
    return Entry(
        guid=name.lower(),
        type=kind,
        path=_text(store, name, _PATH) or "",
        description=_text(store, name, _DESCRIPTION) or "",
        place=place(data),
        ramdisk=_is_ramdisk(data),
    )


def places(store: Hive) -> Iterator[tuple[Entry, Place]]:
    """Yield the default loader and the boot manager with their partitions."""
    found = default(store)
    for entry in entries(store):
        known = entry.guid == MANAGER or (found and entry.guid == found.guid)
        if known and entry.place:
            yield entry, entry.place


def _element(guid: str, number: str) -> str:
    return rf"Objects\{guid}\Elements\{number}"


def _text(store: Hive, guid: str, number: str) -> str | None:
    return store.text(_element(guid, number), "Element")


def volumes(appliance: Appliance) -> frozenset[Place]:
    """Return where each partition of the appliance's disks is, as a store names it."""
    g = appliance.g
    found = set()
    for name in g.list_partitions():
        try:
            facts = g.blkid(name)
            disk = g.blkid(_NUMBER.sub("", name))
        except RuntimeError:
            continue  # of what libblkid knows nothing, no store speaks
        found |= set(_volume(facts, disk))
    return frozenset(found)


def _volume(facts: Mapping[str, str], disk: Mapping[str, str]) -> Iterator[Place]:
    own = facts.get("PART_ENTRY_UUID", "").lower()
    if facts.get("PART_ENTRY_SCHEME") == "gpt":
        yield Place(partition=own, disk=disk.get("PTUUID", "").lower())
    sectors = facts.get("PART_ENTRY_OFFSET", "")
    signature = own.partition("-")[0]
    if (
        facts.get("PART_ENTRY_SCHEME") == "dos"
        and _HEX.fullmatch(signature)
        and sectors.isascii()
        and sectors.isdigit()
    ):
        yield Place(signature=int(signature, 16), offset=int(sectors) * 512)


def findings(store: Hive, there: Collection[Place]) -> Iterator[Finding]:
    """Yield what of *store* does not hold for disks whose volumes are *there*."""
    for entry, where in places(store):
        if where not in there:
            yield Finding(
                code="bcd-device-mismatch",
                severity="warn",
                message=f"the boot store looks for {_shown(entry)} on a partition that "
                "no disk of the VM has: it stops with 0xC000000E",
                remedy="see that all disks are there; or repair the store with bcdboot "
                "from Windows' installation medium",
            )
    others = [_shown(entry) for entry in foreign(store)]
    if others:
        yield Finding(
            code="bcd-other-systems",
            severity="info",
            message=f"the old firmware also started {', '.join(others[:_SHOWN])}; the "
            "new one starts Windows",
            remedy="choose it in the firmware's boot menu, or make an entry for it",
        )


def _shown(entry: Entry) -> str:
    name = entry.description or entry.path
    return printable(name.translate(_CONTROLS), 60)
