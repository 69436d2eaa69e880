# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver's package has what its INF says."""

from __future__ import annotations

import pytest

from v2v.errors import HostError
from v2v.guests.windows import described
from v2v.guests.windows import inf as infs
from v2v.guests.windows.controllers import SCSI_ADAPTER
from v2v.guests.windows.hive import dword
from v2v.guests.windows.inf import Inf, Setting

OLD = r"PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00"
NEW = r"PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01"
BARE = r"PCI\VEN_1AF4&DEV_1001"


VALUES = (Setting(key="Parameters", name="BusType", value=dword(1)),)


def inf(*ids: str) -> Inf:
    """Return an INF for x86-64 alone, with devices *ids*."""
    models = "".join(f"a disk = inst, {i}\n" for i in ids)
    text = rf"""
[Version]
Signature="$WINDOWS NT$"
Class=SCSIAdapter
ClassGuid={SCSI_ADAPTER}
Provider=Somebody
DriverVer=01/02/2024,1.2.3.4
CatalogFile=viostor.cat
[Manufacturer]
Somebody=Models,NTamd64
[Models.NTamd64]
{models}
[inst.Services]
AddService=viostor, 2, service
[service]
ServiceType=1
StartType=0
ErrorControl=1
LoadOrderGroup=SCSI miniport
ServiceBinary=%12%\viostor.sys
AddReg=values
[values]
HKR, Parameters, BusType, 0x10001, 1
"""
    return infs.parse("viostor.inf", text.encode())


def ranks(*ids: str) -> dict[str, int]:
    folder = r"C:\x"
    made = described.package(inf(*ids), "viostor.inf", b"", "x86_64", folder)
    return {device.id: device.rank for device in made.devices}


def test_a_bare_id_is_added_for_each_card() -> None:
    assert ranks(OLD, NEW) == {
        OLD: 1,
        NEW: 1,
        BARE: 2,
        r"PCI\VEN_1AF4&DEV_1042": 2,
    }


def test_an_id_that_the_inf_has_is_its_own() -> None:
    assert ranks(OLD, BARE, OLD.lower()) == {OLD: 1, BARE: 2}
    assert ranks(BARE) == {BARE: 1}


def test_what_is_no_card_is_taken_as_it_is() -> None:
    assert ranks(r"ACPI\QEMU0001") == {r"ACPI\QEMU0001": 1}


def test_the_service_has_its_file_where_drivers_are() -> None:
    made = described.package(inf(OLD), "viostor.inf", b"", "x86_64", r"C:\x")
    assert made.service.image == r"system32\drivers\viostor.sys"
    assert made.service.values == VALUES
    assert made.sections == ["inst"]
    assert made.version == (1, 2, 3, 4)


def test_an_inf_for_another_processor_is_refused() -> None:
    with pytest.raises(HostError, match="has no driver for i386"):
        described.package(inf(OLD), "viostor.inf", b"", "i386", r"C:\x")
