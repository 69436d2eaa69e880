# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk controllers that a guest meets on KVM, by the ids that Windows knows.

As qemu and libvirt make them: on q35 a virtio device has the ids of virtio 1, on pc
those of before; so a driver must answer to both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Bus = Literal["virtio", "scsi", "sata", "ide", "nvme"]

HDC = "{4D36E96A-E325-11CE-BFC1-08002BE10318}"
SCSI_ADAPTER = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"

# What a controller's driver enumerates, and disk.sys answers to.
DISK_ID = "GenDisk"
_HARDWARE_ID = re.compile(
    r"(?P<card>VEN_[0-9A-F]{4}&DEV_[0-9A-F]{4})(?:&SUBSYS_[0-9A-F]{8})?"
    r"(?:&REV_[0-9A-F]{2})?",
    re.I,
)


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A function on the PCI bus: all in capital hexadecimal digits, as Windows says.

    ``card`` is VEN_vvvv&DEV_dddd, ``class_code`` six digits.
    """

    name: str
    card: str
    subsystem: str
    revision: str
    class_code: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that Windows looks for, best first: hardware ids, compatible ids.

        Facts 2.6, from Enum's HardwareID and CompatibleIDs.
        """
        own, code = self.card, self.class_code
        vendor = own.partition("&")[0]
        return (
            f"{own}&SUBSYS_{self.subsystem}&REV_{self.revision}",
            f"{own}&SUBSYS_{self.subsystem}",
            f"{own}&CC_{code}",
            f"{own}&CC_{code[:4]}",
            f"{own}&REV_{self.revision}",
            own,
            f"{vendor}&CC_{code}",
            f"{vendor}&CC_{code[:4]}",
            vendor,
            f"CC_{code}",
            f"CC_{code[:4]}",
        )


def _virtio(name: str, device: str, subsystem: str, revision: str) -> Controller:
    return Controller(
        name=name,
        card=f"VEN_1AF4&DEV_{device}",
        subsystem=f"{subsystem}1AF4",
        revision=revision,
        class_code="010000",
    )


# By bus; where there are two, a guest that is moved meets one or the other.
BUSES: Mapping[Bus, tuple[Controller, ...]] = MappingProxyType(
    {
        "virtio": (
            _virtio("virtio-blk", "1042", "1100", "01"),
            _virtio("virtio-blk of before 1.0", "1001", "0002", "00"),
        ),
        "scsi": (
            _virtio("virtio-scsi", "1048", "1100", "01"),
            _virtio("virtio-scsi of before 1.0", "1004", "0008", "00"),
        ),
        "sata": (
            Controller(
                name="AHCI of ICH9",
                card="VEN_8086&DEV_2922",
                subsystem="11001AF4",
                revision="02",
                class_code="010601",
            ),
        ),
        "ide": (
            Controller(
                name="IDE of PIIX3",
                card="VEN_8086&DEV_7010",
                subsystem="11001AF4",
                revision="00",
                class_code="010180",
            ),
        ),
        "nvme": (
            Controller(
                name="NVMe",
                card="VEN_1B36&DEV_0010",
                subsystem="11001AF4",
                revision="02",
                class_code="010802",
            ),
        ),
    }
)
# Drivers of controllers whose disks are behind a channel that atapi.sys must drive,
# and what the channel is called: PIIX has two of them, msahci one for each port.
CHANNELS: Mapping[str, str] = MappingProxyType(
    {
        "intelide": "Primary_IDE_Channel",
        "pciide": "Primary_IDE_Channel",
        "msahci": "Internal_IDE_Channel",
    }
)


def card(hardware_id: str) -> str | None:
    """Return VEN_vvvv&DEV_dddd of *hardware_id* (an INF's); None if it is no card's."""
    bus, _, rest = hardware_id.partition("\\")
    found = _HARDWARE_ID.fullmatch(rest)
    return found["card"].upper() if found and bus.upper() == "PCI" else None


def spellings(hardware_id: str) -> tuple[str, ...]:
    """Return the ids, without "PCI\\", that lead Windows before 8 to a device.

    *hardware_id* is an INF's.  With subsystem, with revision, and with neither, which
    survives odd subsystems (facts 2.6); none if it is no PCI card's.
    """
    bare = card(hardware_id)
    if not bare:
        return ()
    whole = hardware_id.partition("\\")[2].upper()
    parts = [part for part in whole.split("&") if part.startswith(("SUBSYS", "REV"))]
    return tuple(dict.fromkeys([whole, bare, *(f"{bare}&{part}" for part in parts)]))
