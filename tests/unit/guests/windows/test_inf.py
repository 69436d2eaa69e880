# SPDX-License-Identifier: GPL-2.0-or-later
"""An INF is read as Windows' SetupAPI reads it, and a hostile one is refused."""

from __future__ import annotations

import datetime
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v.errors import HostError
from v2v.guests.windows import described, inf
from v2v.guests.windows.hive import binary, dword, multi_sz, sz

DISK = r"""; made for tests
[VERSION]
Signature = "$WINDOWS NT$"
Class = SCSIAdapter
ClassGuid = {4d36e97b-e325-11ce-bfc1-08002be10318}
Provider = %Maker%  ; a string
DriverVer = 09/16/2024,100.95.104.26200
CatalogFile = viostor.cat

[Manufacturer]
%Maker% = Disks,NTamd64,NTamd64.6.3,NTamd64.10.0,NTx86

[Disks.NTamd64]
"old" = disk_inst, PCI\VEN_1AF4&DEV_1001
[Disks.NTamd64.6.3]
"later" = disk_inst, PCI\VEN_1AF4&DEV_1001
[disks.ntamd64.10.0]
%Disk.Desc% = disk_inst, PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00, \
    PCI\VEN_1AF4&DEV_1042
[Disks.NTx86]
%Disk.Desc% = disk32, PCI\VEN_1AF4&DEV_1001

[disk_inst]
CopyFiles = @viostor.sys
[disk_inst.Services]
AddService = helper,, helper_service
AddService = viostor, 0x00000002, disk_service
[helper_service]
ServiceType = 16
[disk_service]
ServiceType = %SERVICE_KERNEL_DRIVER%
StartType = 0x0
ErrorControl = 1
ServiceBinary = %12%\viostor.sys
LoadOrderGroup = "SCSI miniport"
AddReg = pnp, more

[pnp]
HKR, "Parameters\PnpInterface", "5", 0x00010001, 0x00000001
HKR, Parameters, BusType, %DWORD%, 1
[more]
HKR, Parameters, Old, 0x4
HKR, Parameters, , 0x10
HKLM, Software\x, y, , z
HKR, , Names, 0x10000, one, "two, three"
HKR, , "Say", , "a ""word"" ; no comment "
HKR, , Bytes, 1, 0a, FF, 0x01
HKR, , Four, 0x10001, 1,2,0,0

[Strings]
Maker = "Nobody in particular"
disk.desc = "Der Plattentreiber"
SERVICE_KERNEL_DRIVER = 1
DWORD = 0x00010001
[Strings.0409]
Disk.Desc = "A disk's driver, ""virtio"" too"
"""


def read(text: str = DISK, system: tuple[int, int, int] = (10, 0, 19045)) -> inf.Inf:
    return inf.parse("viostor.inf", text.encode(), system)


def test_its_version_is_read() -> None:
    found = read()
    assert found.provider == "Nobody in particular"
    assert found.class_name == "SCSIAdapter"
    assert found.class_guid == "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
    assert found.version == (100, 95, 104, 26200)
    assert found.date == datetime.date(2024, 9, 16)
    assert found.catalog == "viostor.cat"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]
)
def test_any_encoding_that_windows_takes_is_read(encoding: str) -> None:
    text = DISK.replace("Nobody", "Löwe").replace("\n", "\r\n")
    assert inf.parse("x.inf", text.encode(encoding)).provider.startswith("Löwe")


def test_the_models_are_of_the_newest_windows_that_is_not_newer() -> None:
    described_as = 'A disk\'s driver, "virtio" too'
    assert read().models("x86_64") == [
        (r"PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00", "disk_inst", described_as),
        (r"PCI\VEN_1AF4&DEV_1042", "disk_inst", described_as),
    ]
    assert [m[2] for m in read(system=(6, 3, 9600)).models("x86_64")] == ["later"]
    assert [m[2] for m in read(system=(6, 1, 7601)).models("x86_64")] == ["old"]
    assert [m[1] for m in read().models("i386")] == ["disk32"]
    assert read().models("aarch64") == []


def test_a_build_in_a_decoration_counts() -> None:
    text = DISK.replace("NTamd64.10.0,", "NTamd64.10.0...22000,").replace(
        "ntamd64.10.0]", "NTamd64.10.0...22000]"
    )
    assert [m[2] for m in read(text).models("x86_64")] == ["later"]
    assert len(read(text, (10, 0, 26100)).models("x86_64")) == 2


def test_models_without_a_decoration_are_for_x86() -> None:
    decorated = "Disks,NTamd64,NTamd64.6.3,NTamd64.10.0,NTx86"
    text = DISK.replace(decorated, "Disks").replace("[Disks.NTx86]", "[Disks]")
    assert len(read(text).models("i386")) == 1
    assert read(text).models("x86_64") == []


def test_the_install_section_is_the_processors_own() -> None:
    text = DISK.replace("[disk_inst.Services]", "[disk_inst.NTamd64.Services]")
    assert read(text).models("x86_64")[0][1] == "disk_inst.NTamd64"
    service = read(text).service("disk_inst.NTamd64")
    assert service and service.name == "viostor"


def test_the_service_is_that_of_the_device() -> None:
    service = read().service("disk_inst")
    assert service is not None
    assert (service.name, service.type, service.start) == ("viostor", 1, 0)
    assert service.error_control == 1
    assert service.group == "SCSI miniport"
    assert service.image == r"%12%\viostor.sys"
    assert read().service("disk32") is None


def test_its_values_are_those_of_addreg() -> None:
    service = read().service("disk_inst")
    assert service is not None
    made = {(v.key, v.name): v.value for v in service.values}
    assert made == {
        (r"Parameters\PnpInterface", "5"): dword(1),
        ("Parameters", "BusType"): dword(1),
        ("", "Names"): multi_sz(["one", "two, three"]),
        ("", "Say"): sz('a "word" ; no comment '),
        ("", "Bytes"): binary(b"\x0a\xff\x01"),
        ("", "Four"): dword(0x201),
    }


def test_it_is_what_packages_are_made_of() -> None:
    made = described.package(read(), "viostor.inf", b"", "x86_64", r"C:\x")
    assert made.service.image == r"system32\drivers\viostor.sys"
    assert [device.rank for device in made.devices] == [1, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("Signature", "Signs", "no signature"),
        ("09/16/2024", "13/45/2024", "no date"),
        ("09/16/2024", "1/1/1500", "no date"),
        ("100.95.104.26200", "100.95.104.99999", "no date"),
        ("100.95.104.26200", "one", "no date"),
        ("DriverVer", "Ver", "no DriverVer"),
        ("{4d36e97b", "{4d36", "ClassGuid"),
        ("Maker", "Ma\0ker", "no text"),
        ("; made", "x" * 2**21, "larger than"),
        ("; made", "\n" * 30000, "lines"),
        ("; made", "a\\\n" * 10000, "too long"),
        ("; made", "[x]\na=" + "%Maker%" * 4000, "too many strings"),
    ],
)
def test_what_is_none_is_refused(old: str, new: str, what: str) -> None:
    with pytest.raises(HostError, match=rf"viostor\.inf of virtio-win .*{what}"):
        read(DISK.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [("StartType = 0x0", "StartType = x"), ("0a, FF", "zz, FF"), ("0x10000,", "0xg,")],
)
def test_numbers_that_are_none_are_refused(old: str, new: str) -> None:
    with pytest.raises(HostError, match=r"is no (number|byte)"):
        read(DISK.replace(old, new)).service("disk_inst")


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(data: bytes) -> None:
    try:
        found = inf.parse("x.inf", DISK.encode() + b"\n" + data)
        for arch in ("i386", "x86_64"):
            for _, section, _ in found.models(arch):
                found.service(section)
    except HostError:
        pass


def test_a_hostile_one_takes_no_time() -> None:
    began = time.monotonic()
    for text in ('"' * 2**19, "," * 2**19, "%" * 2**19, "a=b\n" * 19000, "[" * 2**19):
        with pytest.raises(HostError):
            inf.parse("x.inf", text.encode())
    assert time.monotonic() - began < 10
