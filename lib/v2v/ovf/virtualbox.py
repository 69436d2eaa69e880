# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtualBox's own section, which says more than the items: MACs, firmware, TPM.

It is the <Machine> of a .vbox file, within <VirtualSystem>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from v2v.document import Firmware
from v2v.ovf import units
from v2v.ovf.text import Element, attribute, children, descendants


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What VirtualBox says of the VM; ``macs`` of its enabled cards, in slot order."""

    uuid: str | None = None
    firmware: Firmware = "bios"
    secure_boot: bool = False
    tpm: bool = False
    local_time: bool = False
    macs: tuple[str, ...] = ()
    connected: tuple[bool, ...] = ()


def read(system: Element) -> Extension | None:
    """Return VirtualBox's section of *system*; None if it has none."""
    for machine in children(system, "Machine"):
        return _extension(machine)
    return None


def _extension(machine: Element) -> Extension:
    cards = sorted(_cards(machine), key=_slot)
    uuid = re.fullmatch(r"\{?([0-9a-fA-F-]{36})\}?", attribute(machine, "uuid"))
    tpm = _attribute(machine, "TrustedPlatformModule", "type").lower()
    return Extension(
        uuid=uuid[1].lower() if uuid else None,
        firmware=_firmware(_attribute(machine, "Firmware", "type")),
        secure_boot=_attribute(machine, "SecureBoot", "enabled") == "true",
        tpm=tpm not in ("", "none"),
        local_time=_attribute(machine, "RTC", "localOrUTC").lower() == "local",
        macs=tuple(attribute(card, "MACAddress") for card in cards),
        connected=tuple(attribute(card, "cable") != "false" for card in cards),
    )


def _attribute(machine: Element, element: str, name: str) -> str:
    found = next(iter(descendants(machine, element)), None)
    return "" if found is None else attribute(found, name)


def _firmware(word: str) -> Firmware:
    """EFI, EFI32, EFI64 and EFIDUAL are all EFI.  Files name it only if it is one."""
    return "efi" if word.upper().startswith("EFI") else "bios"


def _cards(machine: Element) -> Iterator[Element]:
    for card in descendants(machine, "Adapter"):
        if attribute(card, "enabled") == "true":
            yield card


def _slot(card: Element) -> int:
    return units.number(attribute(card, "slot")) or 0
