# SPDX-License-Identifier: GPL-2.0-or-later
"""An INF is read as SetupAPI reads it, and a broken one is refused."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtio_win
from v2v.errors import HostError
from v2v.guests.windows import described, inf, inffile
from v2v.guests.windows.hive import binary, dword, expand_sz, multi_sz, qword, sz
from v2v.guests.windows.inf import Inf, InfValue, Target

WIN10 = Target("x86_64", (10, 0), 19045)
VIOSTOR = virtio_win.DRIVERS[0]
HEAD = (
    "[Version]\nClass=System\nClassGuid={4d36e97d-e325-11ce-bfc1-08002be10318}\n"
    "Provider=%P%\nDriverVer=1/2/2023,1.2.3.4\n[Strings]\nP=Maker\n"
)
SERVICE = HEAD + (
    "[Manufacturer]\nX=M,NTamd64\n[M.NTamd64]\nthing=i,PCI\\1\n[i.Services]\n"
    "AddService=s,2,s_inst\n[s_inst]\nServiceType=1\nStartType=3\nErrorControl=1\n"
    "ServiceBinary=%12%\\s.sys\nAddReg=values\n[values]\n"
)


def read(text: str, target: Target = WIN10) -> Inf:
    return inf.parsed("x.inf", text.encode(), target)


def only(text: str, key: str = "k") -> tuple[str, ...]:
    """Return the fields of the line for *key* in section "s"."""
    line = inffile.read(f"[s]\n{text}".encode()).entry("s", key)
    assert line
    return line.fields


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_driver_is_read_in_any_encoding(encoding: str) -> None:
    content = virtio_win.inf(VIOSTOR).encode(encoding)
    found = inf.parsed("viostor.inf", content, WIN10)
    assert found.provider == "Made Up, Inc."
    assert (found.class_name, found.class_guid) == VIOSTOR.kind
    assert found.version == (100, 95, 104, 26200)
    assert found.date == datetime.date(2024, 7, 11)
    assert found.catalog == "viostor.cat"
    assert found.sources == ("viostor.inf", "viostor.cat", "viostor.sys")
    for arch in ("i386", "x86_64", "aarch64"):
        assert found.models(arch) == [
            (name, "viostor_inst", "Made-up viostor") for name in VIOSTOR.ids
        ]
    service = found.service("viostor_inst")
    assert service
    assert (service.name, service.type, service.start) == ("viostor", 1, 0)
    assert (service.error_control, service.group) == (1, "SCSI miniport")
    assert service.image == r"%12%\viostor.sys"
    assert service.values == (
        InfValue(r"Parameters\PnpInterface", "5", dword(1)),
        InfValue("Parameters", "BusType", dword(10)),
    )


def test_it_is_what_a_package_is_made_from() -> None:
    content = virtio_win.inf(VIOSTOR).encode()
    found = inf.parsed("viostor.inf", content, WIN10)
    package = described.package(found, "viostor.inf", content, "x86_64", r"C:\x")
    assert package.service.image == r"system32\drivers\viostor.sys"
    assert [device.id for device in package.devices][:2] == list(VIOSTOR.ids)


def test_a_null_inf_has_no_service() -> None:
    smbus = next(made for made in virtio_win.DRIVERS if made.inf == "smbus")
    found = read(virtio_win.inf(smbus))
    assert found.models("x86_64")
    assert not described.has_service(found, "x86_64")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("k = a, b ,c", ("a", "b", "c")),
        ('K="a, b;c=d" ; no', ("a, b;c=d",)),
        ('k="a ""b"" c",', ('a "b" c', "")),
        ("k=a,\\\n  b,\\ ; more\n c", ("a", "b", "c")),
        ('k="C:\\', ("C:\\",)),
        ("k=%%x%%", ("%x%",)),
        ("k=%12%\\a.sys", ("%12%\\a.sys",)),
        ("k=100%", ("100%",)),
        ("k=", ("",)),
    ],
)
def test_lines_are_those_of_setupapi(text: str, fields: tuple[str, ...]) -> None:
    assert only(text) == fields


def test_sections_of_one_name_are_one_in_any_case() -> None:
    found = inffile.read(b"[A]\nx=1\n[b]\n[a]\ny=2\n[A]\nbare, 3\n")
    assert [line.fields for line in found.lines("a")] == [("1",), ("2",), ("bare", "3")]
    assert found.lines("none") == ()


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ("[Strings]\nx=common\n[Strings.0409]\nx=english\n", "english"),
        ("[Strings.0409]\nX=english\n[Strings]\nx=common\n", "english"),
        ("[Strings.0407]\nx=deutsch\n[Strings]\nx=common\n", "common"),
        ("[Strings.0407]\nx=deutsch\n", "deutsch"),
        ("[Strings.0407]\ny=deutsch\n", "%x%"),
    ],
)
def test_strings_are_english_if_they_can_be(sections: str, wanted: str) -> None:
    found = inffile.read(f"{sections}[s]\nk=%X%\n".replace("%X%", "%x%").encode())
    assert found.text("s", "k") == wanted


DECORATED = ["NTamd64", "NTamd64.6.1", "NTamd64.10.0", "NTamd64.10.0...16299"]


@pytest.mark.parametrize(
    ("decorations", "target", "wanted"),
    [
        (DECORATED, WIN10, "NTamd64.10.0...16299"),
        (DECORATED, Target("x86_64", (10, 0), 14393), "NTamd64.10.0"),
        (DECORATED, Target("x86_64", (6, 3), 9600), "NTamd64.6.1"),
        (DECORATED, Target("x86_64", (6, 0), 6002), "NTamd64"),
        (DECORATED, Target("i386", (10, 0), 19045), ""),
        (DECORATED, Target("aarch64", (10, 0), 22631), None),
        (["NTamd64", "NT.10.0"], WIN10, "NT.10.0"),
        (["NTamd64.6.1.1", "NTamd64.6.1.3"], WIN10, "NTamd64.6.1.1"),
        (
            ["NTamd64.6.1.1", "NTamd64.6.1.3"],
            Target("x86_64", (6, 1), 7601, is_server=True),
            "NTamd64.6.1.3",
        ),
        (["nonsense", "NTamd64.10.0.0.0.0.0"], WIN10, None),
    ],
)
def test_models_are_those_of_this_windows(
    decorations: list[str], target: Target, wanted: str | None
) -> None:
    text = f"{HEAD}[Manufacturer]\nX=M,{','.join(decorations)}\n[M]\nd=,i\n"
    for name in decorations:
        text += f"[M.{name}]\nd={name},i\n"
    found = read(text, target).models(target.arch)
    assert found == ([] if wanted is None else [("i", wanted, "d")])


def test_the_services_of_its_own_processor_come_first() -> None:
    text = SERVICE + (
        "[i.NT.Services]\nAddService=nt,2,s_inst\n"
        "[i.NTamd64.Services]\nAddService=other,0,s_inst\nAddService=mine,2,s_inst\n"
    )
    assert [read(text).service(name) is None for name in ("i", "j")] == [False, True]
    service = read(text).service("I")
    assert service and service.name == "mine"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("HKR,k,n,,text", sz("text")),
        ("HKR,k,n,0x20000,%SystemRoot%", expand_sz("%SystemRoot%")),
        ("HKR,k,n,0x00010000,a,,b", multi_sz(["a", "", "b"])),
        ("HKR,k,n,0x10001,17", dword(17)),
        ("HKR,k,n,65537,-1", dword(0xFFFFFFFF)),
        ("HKR,k,n,0x10001,01,02,00,00", dword(0x201)),
        ("HKR,k,n,0x10003,0x11", dword(17)),
        ("HKR,k,n,0xB0001,0x11", qword(17)),
        ("HKR,k,n,1,0A,ff,\\\n0", binary(b"\x0a\xff\0")),
    ],
)
def test_values_have_their_types(line: str, value: object) -> None:
    service = read(f"{SERVICE}{line}\n").service("i")
    assert service and service.values == (InfValue("k", "n", value),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line", ["HKLM,k,n,,x", "HKR,k,n,4,x", "HKR,k,,0x10", "HKR,k,n,0x70001,x"]
)
def test_what_sets_nothing_of_the_service_is_left_out(line: str) -> None:
    service = read(f"{SERVICE}{line}\n").service("i")
    assert service and service.values == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not name the class"),
        (b"x=1\n", "in no section"),
        (b"[x\n", "does not end"),
        (b"\xff\xfe[", "no text"),
        (b"[a]\nx\0y\n", "no text"),
        (b"[a]\n" + b"x" * inffile.MAX_SIZE, "bytes, of at most"),
        (b"[a]\n" + b"x\n" * 20_001, "more than 20000 lines"),
        (HEAD.replace("1/2/2023", "31/31/2023").encode(), "no version"),
        (HEAD.replace("1.2.3.4", "1.2.70000").encode(), "no version"),
        (HEAD.replace("DriverVer", "Other").encode(), "no DriverVer"),
        (SERVICE.replace("ServiceBinary", "Other").encode(), "s has no file"),
        (SERVICE.replace("StartType=3", "StartType=x").encode(), "'x' is no number"),
        (SERVICE.replace("=s,2", "=..\\s,2").encode(), "name of its service"),
        ((SERVICE + "HKR,,n,1,zz\n").encode(), "bytes that are none"),
        ((SERVICE + "HKR,,n,0x10001,1\n" * 1001).encode(), "more than 1000 values"),
        ((SERVICE + "[M.NTamd64]\nd=i" + ",x" * 1001).encode(), "1000 devices"),
    ],
)
def test_a_broken_one_is_refused_in_a_line(content: bytes, said: str) -> None:
    with pytest.raises(HostError, match=said) as raised:
        inf.parsed("x.inf", content, WIN10)
    assert raised.value.message.startswith("x.inf of virtio-win is broken: ")
    assert raised.value.remedy


def test_strings_cannot_make_much_of_little() -> None:
    text = f"[Strings]\na={'x' * 4000}\n[s]\nk={'%a%' * 100_000}\n"
    with pytest.raises(inffile.InfError, match="too long with its strings"):
        inffile.read(text.encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for start in (b"", b"\xff\xfe", b"[Version]\n", SERVICE.encode()):
        try:
            inf.parsed("x.inf", start + content, WIN10)
        except HostError as e:
            assert "x.inf of virtio-win is broken" in e.message
