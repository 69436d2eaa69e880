# SPDX-License-Identifier: GPL-2.0-or-later
import json
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import any_input
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, detect, read, xl
from v2v.sources.xl import drives as xldrives
from v2v.sources.xl import text as xltext

MIB = 2**20
BASE = 'name = "web01"\nmemory = 512\ntype = "hvm"\n'


def parse(text: str, base: str = BASE) -> VM:
    return xl.parse((base + text).encode(), Path("/etc/xen/web01.cfg"))


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def described(folder: Path, text: str, allow: tuple[Path, ...] = ()) -> VM:
    (folder / "web01.cfg").write_text(BASE + text)
    (vm,) = read(Request(location=str(folder), allow=allow))
    return vm


# The text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = 1", "1"),
        ("a=0x10 # sixteen", "0x10"),
        ("a = 'x\"y'", 'x"y'),
        (r'a = "x\"y\\z"', 'x"y\\z'),
        ('a = """x\'"\ny"""', "x'\"\ny"),
        ("a = ''", ""),
        ("a = [ ]", []),
        ("a = [ 'x', # one\n 'y',\n]", ["x", "y"]),
        ("a = [['x', 1], 2]", [["x", "1"], "2"]),
        ("a = 1; a = 2", "2"),
        ("a = 'x'\na += 'y'", "xy"),
        ("a = ['x']\na += 'y'", ["x", "y"]),
        ("a = \\\n 'x'", "x"),
    ],
)
def test_literals_are_read(text: str, value: xltext.Value) -> None:
    assert xltext.parse(text, "f").values == {"a": value}


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "a = os.uname()[4]",
        "a = '/usr/' + lib",
        "if x:",
        "a == 1",
        "a = [1 2]",
        "a = " + "[" * 20,
        "a =",
        "=",
    ],
)
def test_what_is_no_literal_is_passed_over_and_told(text: str) -> None:
    found = xltext.parse(f"{text}\nb = 1\n", "f")
    assert "b" in found.values
    assert found.unread[0] == (1, text[:60])


def test_a_string_that_is_not_closed_is_refused() -> None:
    with pytest.raises(SourceError, match="f, line 2: a string is not closed"):
        xltext.parse("a = 1\nb = 'x\n'", "f")


@given(st.text(alphabet="ab=+[]'\"\\,;#\n 1(", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = xltext.parse(text, "f")
    except SourceError as e:
        assert "\n" not in e.message
    else:
        assert all(line >= 1 for line, _ in found.unread)


@pytest.mark.parametrize(
    "piece",
    ['a = """', "[", "a = [", "'\\", "a += 'x'\n", "# \\\n", "[\n", "a+=[1]\n"],
)
def test_reading_takes_linear_time(piece: str) -> None:
    start = time.monotonic()
    with suppress(SourceError):
        xltext.parse(piece * (MIB // len(piece)), "f")
    assert time.monotonic() - start < 20


# The machine


def test_python_is_not_run_and_does_not_hinder() -> None:
    vm = parse(
        "import os, re\narch = os.uname()[4]\nif re.search('64', arch):\n  x = 1\n"
    )
    assert codes(vm) == ["config-unread"]
    assert "lines 4, 5, 6" in vm.findings[0].message


@pytest.mark.parametrize(
    "text", ["memory = 2 * 256", "disk = disks()", "vif = [mac()]"]
)
def test_python_that_says_what_is_needed_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"line 4: .* is not a plain value") as e:
        parse(text)
    assert e.value.remedy


@pytest.mark.parametrize(
    ("text", "firmware", "known"),
    [
        ("builder = 'hvm'", "bios", True),
        ("type = 'hvm'\nbios = 'ovmf'", "efi", True),
        ("type = 'hvm'\nfirmware = 'uefi'", "efi", True),
        ("type = 'pvh'", "bios", False),
        ("bootloader = 'pygrub'", "bios", False),
    ],
)
def test_the_firmware_is_known_of_hvm_guests_only(
    text: str, firmware: str, known: bool
) -> None:
    vm = parse(text, "memory = 512\n")
    assert (vm.firmware, vm.firmware_known) == (firmware, known)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("memory = 512\nmaxmem = 1024", 1024 * MIB),
        ("memory = '0x200'", 512 * MIB),
        ("memory = 01000", 512 * MIB),
    ],
)
def test_memory_is_the_most_that_it_may_have(text: str, size: int) -> None:
    assert parse(text, "").memory == size


def test_a_memory_size_that_is_not_known_is_told() -> None:
    vm = parse("memory = -1", "vif = ['']\n")
    assert (vm.memory, codes(vm)) == (128 * MIB, ["memory-unknown", "mac-made"])


def test_cards_are_read_and_one_without_an_address_gets_one() -> None:
    vm = parse(
        "vif = ['mac=00:16:3E:00:00:01, bridge=br0,model=e1000', '', 'type=vif']\n"
        "boot = 'nc'"
    )
    assert [(n.mac_source, n.model, n.network, n.boot) for n in vm.nics] == [
        ("static", "e1000", "br0", 1),
        ("made", None, None, None),
        ("made", "netfront", None, None),
    ]
    assert vm.nics[0].mac == "00:16:3e:00:00:01"


def test_what_only_the_host_has_is_told_as_lost() -> None:
    vm = parse("pci = ['01:00.0']\nusbdevice = 'tablet'\nkernel = '/boot/vmlinuz'\n")
    assert vm.passthrough == ("pci 01:00.0",)
    assert codes(vm) == ["direct-kernel", "device-lost"]


def test_passwords_stay_behind() -> None:
    vm = parse("vnc = 1\nvncpasswd = 's3cret'\nkeymap = 'de'\n")
    assert (vm.display.type, vm.display.keymap) == ("vnc", "de")
    assert "s3cret" not in vm.model_dump_json()
    assert parse("", "memory=64\n").display.type == "none"


def test_what_python_decides_is_refused() -> None:
    """Both branches look like assignments; which one holds, only Python knows."""
    text = "if arch:\n    disk = ['/d/a,raw,xvda']\nelse:\n    disk = ['/d/b,raw,xvda']"
    with pytest.raises(SourceError, match="line 7: whether disk has this value"):
        parse(text)


def test_blanks_before_a_value_do_no_harm_where_there_is_no_python() -> None:
    assert len(parse("  disk = ['/d/a,raw,xvda'] # here\n").disks) == 1
    vm = parse("arch = os.uname()[4]\n  vcpus = 2\n")
    assert (vm.vcpus, codes(vm)) == (2, ["config-unread"])


@pytest.mark.parametrize("text", ["disk = [['phy:/d/a', 'hda', 'w']]", "vif = [['a']]"])
def test_a_list_of_lists_is_not_taken_for_an_empty_one(text: str) -> None:
    with pytest.raises(SourceError, match="is no list of strings"):
        parse(text)


def test_a_number_of_processors_that_cannot_be_is_told() -> None:
    vm = parse("vcpus = 'many'")
    assert (vm.vcpus, codes(vm)) == (1, ["vcpus-unknown"])
    assert parse("vcpus = 2\nmaxvcpus = 8").vcpus == 8


@pytest.mark.parametrize(
    ("text", "firmware", "told"),
    [
        ("bios = 'OVMF'", "efi", []),
        ("firmware_override = '/usr/share/OVMF/x.fd'", "efi", []),
        ("bios = 'seabios'\nfirmware_override = '/x/ovmf.bin'", "bios", []),
        ("bios = 'coreboot'", "bios", ["firmware-unknown"]),
        ("bios = 'ovmf'\nnvram = '/x/vars.fd'", "efi", ["nvram-lost"]),
    ],
)
def test_the_firmware_is_told_by_name_or_file(
    text: str, firmware: str, told: list[str]
) -> None:
    vm = parse(text)
    assert (vm.firmware, codes(vm)) == (firmware, told)


@pytest.mark.report("https://github.com/guestisp/xen-to-pve/issues/4")
def test_a_guest_that_pygrub_starts_may_have_no_boot_loader() -> None:
    vm = parse("bootloader = '/usr/bin/pygrub'", "memory = 64\n")
    assert codes(vm) == ["direct-kernel"]
    assert "/usr/bin/pygrub" in vm.findings[0].message
    assert "boot loader" in vm.findings[0].remedy


@pytest.mark.parametrize(
    ("card", "type", "network", "vlan", "told"),
    [
        ("bridge=br0,script=vif-bridge", "bridge", "br0", None, []),
        ("bridge=ovs0.10,script=vif-openvswitch", "bridge", "ovs0", 10, []),
        (
            *("bridge=ovs0:20:30,script=/etc/xen/scripts/vif-openvswitch", "bridge"),
            *("ovs0", None, ["vlan-trunk"]),
        ),
        ("bridge=br0.10", "bridge", "br0.10", None, []),
        ("script=vif-nat", "user", None, None, []),
        (
            *("script=vif-route,ip=192.0.2.7,rate=1Mb/s", "none", None, None),
            ["nic-unattached", "settings-lost"],
        ),
    ],
)
def test_the_script_says_how_a_card_is_attached(
    card: str, type: str, network: str | None, vlan: int | None, told: list[str]
) -> None:
    vm = parse(f"vif = ['mac=00:16:3e:00:00:01,{card}']")
    (nic,) = vm.nics
    assert (nic.type, nic.network, nic.vlan, codes(vm)) == (type, network, vlan, told)


def test_more_cards_than_can_be_are_refused() -> None:
    with pytest.raises(SourceError, match="65 network cards"):
        parse("vif = [" + "''," * 65 + "]")


def test_a_frame_buffer_of_a_paravirtual_guest_is_read() -> None:
    text = "memory = 64\nvfb = ['type=sdl,keymap=fr,vncpasswd=s3cret']\n"
    vm = parse("", text)
    assert (vm.display.type, vm.display.keymap) == ("sdl", "fr")
    assert "s3cret" not in vm.model_dump_json()
    assert parse("", "memory = 64\nvfb = ['vnc=1']\n").display.type == "vnc"


def test_what_has_no_counterpart_is_told_by_name() -> None:
    vm = parse(
        "vtpm = ['backend=vtpm0']\nvnuma = [['pnode=0', 'size=512']]\ncpus = '0-3'\n"
        "rtc_timeoffset = 0\nseclabel = 's3cret'\nserial = '/dev/ttyS0'\n"
        "device_model_args = ['-device', 's3cret']\nparallel = 'none'\n"
    )
    assert vm.tpm
    assert vm.passthrough == ("serial /dev/ttyS0", "device_model_args, for qemu itself")
    assert codes(vm) == [
        *("tpm-state-lost", "device-lost", "device-lost"),
        *("numa-lost", "settings-lost"),
    ]
    assert vm.findings[-1].message.endswith(": cpus, seclabel")
    assert "s3cret" not in vm.model_dump_json()
    assert not parse("vtpm = []").tpm


def test_a_thousand_devices_of_the_host_are_told_in_part() -> None:
    vm = parse("pci = [" + "'01:00.0'," * 1000 + "]")
    assert (len(vm.passthrough), len(vm.findings)) == (64, 64)


# Disks


@pytest.mark.parametrize(
    ("text", "slot", "bus", "path", "format"),
    [
        ("/d/a.img,raw,xvda,rw", "xvda", "xen", "/d/a.img", "raw"),
        ("/d/a.img,,hda", "hda", "ide", "/d/a.img", "raw"),
        ("/d/a.img,hda,w", "hda", "ide", "/d/a.img", "raw"),
        ("phy:/dev/vg/lv,hda,w", "hda", "ide", "/dev/vg/lv", "raw"),
        ("phy:vg/lv,xvda,w", "xvda", "xen", "/dev/vg/lv", "raw"),
        ("file:/d/a.img,ioemu:hda,w", "hda", "ide", "/d/a.img", "raw"),
        ("tap:aio:/d/a.img,xvda,w", "xvda", "xen", "/d/a.img", "raw"),
        ("tap:qcow2:/d/a,sda,w", "sda", "scsi", "/d/a", "qcow2"),
        ("tap2:vhd:/d/a.vhd,xvda,w", "xvda", "xen", "/d/a.vhd", "vpc"),
        (
            *("format=qcow2, vdev=xvdb, target=/d/a,b=c,d", "xvdb", "xen"),
            *("/d/a,b=c,d", "qcow2"),
        ),
        ("/d/a.vhd,vhd,xvda,backendtype=qdisk", "xvda", "xen", "/d/a.vhd", "vpc"),
        ("vdev=d2,target=/d/a", "d2", "xen", "/d/a", "raw"),
        ("tap:vmdk:/d/a,hda,w", "hda", "ide", "/d/a", "vmdk"),
        ("ioemu:/d/a,hda,w", "hda", "ide", "/d/a", "raw"),
        ("file:/d/a,/dev/hda,w", "hda", "ide", "/d/a", "raw"),
        ("file:/d/a,0x301,w", "0x301", "ide", "/d/a", "raw"),
        ("/d/a,,xvda,w,discard", "xvda", "xen", "/d/a", "raw"),
        ("format=raw,access=rw,vdev=xvda,raw:/d/a", "xvda", "xen", "/d/a", "raw"),
    ],
)
def test_every_way_to_write_a_disk_is_read(
    text: str, slot: str, bus: str, path: str, format: str
) -> None:
    (disk,) = parse(f'disk = ["{text}"]').disks
    assert disk.source
    got = (disk.slot, disk.bus, disk.source.path, disk.source.format)
    assert got == (slot, bus, path, format)


@pytest.mark.report("https://github.com/lf-edge/eve/pull/510")
def test_a_format_in_capitals_is_known() -> None:
    (disk,) = parse("disk = ['/persist/a.qcow2,QCOW2,xvda,rw']").disks
    assert disk.source and disk.source.format == "qcow2"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("xvda", ("xen", 0, None)),
        ("xvdaa", ("xen", 26, None)),
        ("51712", ("xen", 0, None)),
        ("51728", ("xen", 1, None)),
        ("51713", ("xen", 0, 1)),
        ("0x0300", ("ide", 0, None)),
        ("0x340", ("ide", 1, None)),
        ("5632", ("ide", 2, None)),
        ("2064", ("scsi", 1, None)),
        ("268439552", ("xen", 16, None)),
        ("268435713", ("xen", 1, 1)),
        ("d4", ("xen", 4, None)),
        ("d4p2", ("xen", 4, 2)),
        ("99999", ("unknown", 1 << 30, None)),
        ("", ("unknown", 1 << 30, None)),
    ],
)
def test_a_device_may_be_a_number(
    name: str, place: tuple[str, int, int | None]
) -> None:
    """As xen-vbd-interface(7) has them: 202 << 8 is xvda, 3 << 8 is hda."""
    assert xldrives.Specification(vdev=name).place == place


def test_a_disk_without_a_device_is_the_last_and_told() -> None:
    vm = parse("disk = ['target=/d/a', '/d/b,raw,xvdb']")
    assert [(d.slot, d.bus) for d in vm.disks] == [("xvdb", "xen"), (None, "unknown")]
    assert codes(vm) == ["bus-unknown"]


def test_disks_are_in_the_order_of_their_letters() -> None:
    names = ["xvdaa", "xvdb", "xvda"]
    vm = parse("disk = [" + ",".join(f"'/d/{n},raw,{n}'" for n in names) + "]")
    assert [(d.slot, d.boot) for d in vm.disks] == [
        ("xvda", 1),
        ("xvdb", None),
        ("xvdaa", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "/i/a.iso,raw,hdc,devtype=cdrom",
        "/i/a.iso,,hdc,cdrom",
        "file:/i/a.iso,hdc:cdrom,r",
        "vdev=hdc,devtype=cdrom,target=/i/a.iso",
    ],
)
def test_a_cd_is_a_drive(text: str) -> None:
    vm = parse(f"disk = ['{text}']")
    (drive,) = vm.removable
    assert (drive.type, drive.slot, drive.path) == ("cdrom", "hdc", "/i/a.iso")
    assert vm.disks == ()


def test_a_drive_may_be_empty() -> None:
    for text in (",raw,hdc,r,devtype=cdrom", "/x,empty,hdc,r,cdrom", "hdc:cdrom"):
        vm = parse(f"disk = ['{text}']" if "," in text else f"disk = [',{text}']")
        (drive,) = vm.removable
        assert (drive.path, drive.slot, codes(vm)) == (None, "hdc", [])


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("rbd:pool/a,raw,xvda", "disk-missing", "network or by a script"),
        ("drbd:r0,xvda,w", "disk-missing", "network or by a script"),
        ("vg/a,raw,xvda,w,script=block-x", "disk-missing", "network or by a script"),
        ("/d/a,qed,xvda", "disk-missing", "'qed'"),
        ("vdev=xvda", "disk-missing", "no source"),
        ("enbd:host:1,xvda,w", "disk-missing", "network or by a script"),
        ("/d/a,raw,xvda,backend=storage", "disk-missing", "domain, storage, has it"),
        ("phy:/d/a,51713,w", "disk-is-partition", "51713"),
        ("/d/a,raw,xvda1", "disk-is-partition", "xvda1"),
        ("/d/a,raw,d0p1", "disk-is-partition", "d0p1"),
    ],
)
def test_a_disk_that_cannot_be_had_is_a_finding(
    text: str, code: str, said: str
) -> None:
    (finding,) = parse(f"disk = ['{text}']").findings
    assert (finding.code, finding.severity, finding.disk) == (code, "block", "sda")
    assert said in finding.message


def test_a_domain_in_a_folder_is_found_with_its_disks(tmp_path: Path) -> None:
    create = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        str(tmp_path / "a.qcow2"),
        "8M",
    ]
    subprocess.run(create, check=True)
    (tmp_path / "b.img").write_bytes(bytes(MIB))
    vm = described(
        tmp_path,
        f"disk = ['{tmp_path}/a.qcow2,qcow2,xvda', '/elsewhere/b.img,raw,xvdb']",
    )
    assert vm.source.kind == "xl"
    assert [(d.size, d.source and d.source.path) for d in vm.disks] == [
        (8 * MIB, str(tmp_path / "a.qcow2")),
        (MIB, str(tmp_path / "b.img")),
    ]
    assert codes(vm) == []


# Hostile


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../../../../../../../../../../../../etc/hostname"]
)
def test_a_disk_outside_the_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="outside the folders") as e:
        described(tmp_path, f"disk = ['{name},raw,xvda']")
    assert "--allow-path" in e.value.remedy


@pytest.mark.parametrize("place", [".", "sub", "/", "sub/.."])
def test_a_folder_is_no_disk(tmp_path: Path, place: str) -> None:
    (tmp_path / "sub").mkdir()
    try:
        vm = described(tmp_path, f"disk = ['{place},raw,xvda']")
    except SourceError as e:
        assert "\n" not in e.message
    else:
        assert codes(vm) == ["disk-missing"]


def test_more_disks_than_can_be_are_refused() -> None:
    with pytest.raises(SourceError, match="600 disks"):
        parse("disk = [" + "'/d/a,raw,xvda'," * 600 + "]")


def test_what_is_no_configuration_is_said() -> None:
    for text in ("", "\xff\xfe", "hello = 1", "[general]\nx = 1"):
        with pytest.raises(SourceError, match="no configuration of a Xen domain"):
            parse(text, "")


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.cfg", b"disk = [ '/d/a,raw,xvda' ]\n", "xl"),
        ("a", b'builder = "hvm"\nmemory = 512\n', "xl"),
        ("a.cfg", b"[section]\nmemory = 512\n", "disk"),
        ("a", b"disk = [ '/etc/shadow,raw,xvda' ]\n" + bytes(MIB), "disk"),
        ("a.img", b"disk = [ '/etc/shadow,raw,xvda' ]\n", "disk"),
    ],
)
def test_a_configuration_is_told_by_its_content(
    tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert detect(str(tmp_path / name)) == kind


KEYS = ("name", "memory", "vcpus", "disk", "vif", "type", "uuid", "boot", "pci", "bios")
VALUES = st.one_of(
    st.integers(-(10**25), 10**25).map(str),
    st.text(st.characters(exclude_characters="'\\\n"), max_size=40).map("'{}'".format),
    st.lists(st.text("axvd,=:rw0/cdrom", max_size=30)).map(
        lambda words: "[" + ",".join(f"'{word}'" for word in words) + "]"
    ),
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_value_gives_a_document_or_one_line(values: dict[str, str]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in values.items())
    any_input.gives_a_document_or_one_line(
        lambda: xl.parse(text.encode("utf-8", "replace"), Path("/x/web.cfg"))
    )


# Real domains

CORPUS = Path(__file__).parents[4] / "shared" / "corpus" / "expected.json"


def test_the_corpus_is_read_as_expected(shared: Path) -> None:
    known = json.loads(CORPUS.read_text())
    names = [
        name for name in known if name.startswith("xen/") and name.endswith(".cfg")
    ]
    for name in names:
        path = shared / "corpus" / name
        assert detect(str(path)) == "xl"
        facts = known[name]["facts"]
        vm = xl.parse(path.read_bytes(), path)
        got = (vm.name, vm.memory, vm.vcpus, vm.firmware)
        assert got == tuple(
            facts[k] for k in ("name", "memory_bytes", "vcpus", "firmware")
        )
        assert devices(vm) == wanted(facts), name
        elsewhere = [d["target"] for d in facts["disks"] if d["type"] == "network"]
        told = {f.disk for f in vm.findings}
        assert [d.slot for d in vm.disks if d.id in told] == elsewhere
    assert len(names) >= 6


def devices(vm: VM) -> dict[str, Any]:
    return {
        "disks": [(d.slot, d.bus, d.source and d.source.path) for d in vm.disks],
        "removable": [(r.type, r.slot, r.path) for r in vm.removable],
        "nics": [(n.mac, n.model, n.network) for n in vm.nics],
    }


def wanted(known: dict[str, Any]) -> dict[str, Any]:
    return {
        "disks": [
            (d["target"], d["bus"], None if d["type"] == "network" else d["file"])
            for d in known["disks"]
        ],
        "removable": [(r["type"], r["target"], r["file"]) for r in known["removable"]],
        "nics": [(n["mac"], n["model"], n["network"]) for n in known["nics"]],
    }
