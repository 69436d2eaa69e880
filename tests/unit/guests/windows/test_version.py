# SPDX-License-Identifier: GPL-2.0-or-later
"""Which Windows a guest is, for all that are made by their registry."""

import struct
from pathlib import Path

import pytest

import hives
from v2v.errors import GuestError
from v2v.guests.windows import version
from v2v.guests.windows.version import VERSION
from windows_registry import registry


def told(folder: Path, **values: hives.Content) -> version.Version:
    """Return the version of a guest whose SOFTWARE says *values*; None: no such."""
    return version.version(registry(folder, software={VERSION: values}))


def modern(build: str, installation: str) -> dict[str, hives.Content]:
    return {
        "CurrentMajorVersionNumber": 10,
        "CurrentMinorVersionNumber": 0,
        "CurrentVersion": "6.3",
        "CurrentBuildNumber": build,
        "InstallationType": installation,
        "ProductName": "Windows 10 Home",
    }


@pytest.mark.parametrize(
    ("build", "installation", "id_"),
    [
        ("10240", "Client", "win10"),
        ("19045", "Client", "win10"),
        ("22000", "Client", "win11"),
        ("22631", "Client", "win11"),
        ("26200", "Client", "win11"),
        ("14393", "Server", "win2k16"),
        ("16299", "Server Core", "win2k16"),
        ("17763", "Server", "win2k19"),
        ("19042", "Server Core", "win2k19"),
        ("20348", "Server", "win2k22"),
        ("25398", "Server Core", "win2k22"),
        ("26100", "Server", "win2k25"),
        ("14393", "Nano Server", "win2k16"),
    ],
)
def test_the_build_decides_from_10_on(
    tmp_path: Path, build: str, installation: str, id_: str
) -> None:
    found = told(tmp_path, **modern(build, installation))
    assert (found.id, found.build) == (id_, int(build))
    assert found.is_server == (installation != "Client")


@pytest.mark.parametrize(
    ("numbers", "build", "product", "id_"),
    [
        ("5.0", "2195", "Microsoft Windows 2000", "win2k"),
        ("5.1", "2600", "Microsoft Windows XP", "winxp"),
        ("5.2", "3790", "Microsoft Windows XP Professional x64", "winxp"),
        ("5.2", "3790", "Microsoft Windows Server 2003", "win2k3"),
        ("5.2", "3790", "Microsoft Windows Server 2003 R2", "win2k3r2"),
        ("6.0", "6002", "Windows Vista (TM) Business", "winvista"),
        ("6.1", "7601", "Windows 7 Professional", "win7"),
        ("6.2", "9200", "Windows 8 Pro", "win8"),
        ("6.3", "9600", "Windows 8.1 Pro", "win8.1"),
    ],
)
def test_earlier_ones_are_told_by_their_version(
    tmp_path: Path, numbers: str, build: str, product: str, id_: str
) -> None:
    found = told(
        tmp_path,
        CurrentVersion=numbers,
        CurrentBuildNumber=build,
        CurrentBuild="1.511.1 () (Obsolete data - do not use)",
        ProductName=product,
    )
    assert (found.id, found.build) == (id_, int(build))


@pytest.mark.parametrize(
    ("numbers", "id_"),
    [("6.0", "win2k8"), ("6.1", "win2k8r2"), ("6.2", "win2k12"), ("6.3", "win2k12r2")],
)
def test_servers_before_10_are_told_by_their_product_type(
    tmp_path: Path, numbers: str, id_: str
) -> None:
    options = {r"ControlSet001\Control\ProductOptions": {"ProductType": "LanmanNT"}}
    found = version.version(
        registry(
            tmp_path, system=options, software={VERSION: {"CurrentVersion": numbers}}
        )
    )
    assert (found.id, found.installation, found.build) == (id_, "server", 0)


def test_a_client_of_many_users_is_a_client(tmp_path: Path) -> None:
    """Windows 10 Enterprise multi-session reports ServerNT."""
    options = {r"ControlSet001\Control\ProductOptions": {"ProductType": "ServerNT"}}
    found = version.version(
        registry(
            tmp_path,
            system=options,
            software={
                VERSION: {**modern("19045", "Client"), "EditionID": "ServerRdsh"}
            },
        )
    )
    assert (found.id, found.edition) == ("win10", "ServerRdsh")


def test_what_is_no_known_windows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="does not say which"):
        told(tmp_path, ProductName="Windows")
    with pytest.raises(GuestError, match=r"NT 4\.0"):
        told(tmp_path, CurrentVersion="4.0")


def test_windows_pe_is_no_system_to_convert(tmp_path: Path) -> None:
    keys: hives.Keys = {**hives.SOFTWARE, rf"{VERSION}\WinPE": {"Version": "10"}}
    with pytest.raises(GuestError, match="Windows PE"):
        version.version(registry(tmp_path, software=keys))


def program(machine: int, at: int = 0x80) -> bytes:
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", at)
    return head.ljust(at, b"\0") + b"PE\0\0" + struct.pack("<H", machine)


@pytest.mark.parametrize(
    ("data", "arch"),
    [
        (program(0x014C), "i386"),
        (program(0x8664), "x86_64"),
        (program(0xAA64), "aarch64"),
        (program(0x0200), None),
        (program(0x8664)[:-1], None),
        (program(0x8664, at=2**16), "x86_64"),
        (b"MZ".ljust(0x3C, b"\0") + b"\xff\xff\xff\xff", None),
        (b"MZ", None),
        (b"", None),
        (b"\x7fELF".ljust(200, b"\0"), None),
    ],
)
def test_the_machine_is_the_one_of_the_program(data: bytes, arch: str | None) -> None:
    assert version.architecture(data) == arch


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("win7-x86-vmware-static", "i386"),
        ("win81-x64-virtualbox", "x86_64"),
        ("win10-x64-vmware", "x86_64"),
        ("win10-1709-x64-physical-dirty", "x86_64"),
    ],
)
def test_real_hives_say_their_machine(
    shared: Path, tmp_path: Path, name: str, arch: str
) -> None:
    system = hives.real(shared, f"{name}-SYSTEM", tmp_path)
    assert version.processor(registry(tmp_path, file=system)) == arch


@pytest.mark.parametrize(
    ("build", "product"), [(22631, "Windows 11 Home"), (19045, "Windows 10 Home")]
)
def test_windows_11_is_called_what_it_is_sold_as(
    tmp_path: Path, build: int, product: str
) -> None:
    keys: hives.Keys = {
        VERSION: {
            "ProductName": "Windows 10 Home",
            "CurrentMajorVersionNumber": 10,
            "CurrentBuildNumber": str(build),
            "InstallationType": "Client",
        }
    }
    assert version.version(registry(tmp_path, software=keys)).product == product
