# SPDX-License-Identifier: GPL-2.0-or-later
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import any_input
from v2v import maps
from v2v.document import VM
from v2v.errors import SourceError
from v2v.sources import Request, detect, parallels, read
from v2v.sources.parallels import hdd

MIB = 2**20
TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
FIRST = "{11111111-1111-4111-8111-111111111111}"
NONE = "{00000000-0000-0000-0000-000000000000}"
Keys = dict[str, str | int]
MAC_PATH = "/Users/user/Parallels/web01.pvm"


def device(name: str, **keys: str | int) -> str:
    given: Keys = {"Index": 0, "Enabled": 1, "Connected": 1}
    given.update(keys)
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in given.items())
    return f"<{name}>{inside}</{name}>"


def hard_disk(name: str = "a.hdd", **keys: str | int) -> str:
    given: Keys = {"SystemName": f"{MAC_PATH}/{name}", "InterfaceType": 2}
    given.update(keys)
    return device("Hdd", **given)


def written(hardware: str = "", settings: str = "") -> bytes:
    """Return a config.pvs as Parallels Desktop writes one."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ParallelsVirtualMachine>'
        "<AppVersion>16.0</AppVersion>"
        "<Identification><VmName>web01</VmName></Identification>"
        f"<Settings>{settings}</Settings><Hardware><Cpu><Number>2</Number></Cpu>"
        f"<Memory><RAM>2048</RAM></Memory>{hardware}</Hardware>"
        "</ParallelsVirtualMachine>"
    ).encode()


def parse(hardware: str = "", settings: str = "") -> VM:
    return parallels.parse(written(hardware, settings), Path("/x.pvm/config.pvs"))[0]


def image(guid: str, name: str, kind: str = "Plain") -> str:
    return f"<Image><GUID>{guid}</GUID><Type>{kind}</Type><File>{name}</File></Image>"


def shot(guid: str, parent: str) -> str:
    return f"<Shot><GUID>{guid}</GUID><ParentGUID>{parent}</ParentGUID></Shot>"


def descriptor(images: str, shots: str = "", top: str = "", storages: int = 1) -> bytes:
    storage = f"<Storage><Start>0</Start>{images}</Storage>" * storages
    named = f"<TopGUID>{top}</TopGUID>" if top else ""
    return (
        f"<Parallels_disk_image><StorageData>{storage}</StorageData>"
        f"<Snapshots>{named}{shots or shot(TOP, NONE)}</Snapshots>"
        "</Parallels_disk_image>"
    ).encode()


def bundle(folder: Path, data: bytes) -> VM:
    """Read a machine in *folder* whose one disk has the descriptor *data*."""
    (folder / "config.pvs").write_bytes(written(hard_disk()))
    (folder / "a.hdd").mkdir(exist_ok=True)
    (folder / "a.hdd" / "DiskDescriptor.xml").write_bytes(data)
    (vm,) = read(Request(location=str(folder)))
    return vm


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def test_a_machine_is_read() -> None:
    vm = parse(
        hard_disk()
        + device("CdRom", SystemName="/Users/x/a.iso", InterfaceType=2, StackIndex=1)
        + device("NetworkAdapter", MAC="001C42000001", AdapterType=4, EmulatedType=2)
        + device("NetworkAdapter", Enabled=0, MAC="001C42000002"),
        "<Startup><Bios><EfiEnabled>1</EfiEnabled><EfiSecureBoot>1</EfiSecureBoot></Bios>"
        "</Startup>",
    )
    assert (vm.name, vm.memory, vm.vcpus, vm.firmware, vm.secure_boot) == (
        *("web01", 2048 * MIB, 2, "efi"),
        True,
    )
    assert [(d.slot, d.bus) for d in vm.disks] == [("sata:0", "sata")]
    assert [(r.slot, r.path, r.connected) for r in vm.removable] == [
        ("sata:1", "a.iso", True)
    ]
    (nic,) = vm.nics
    assert (nic.mac, nic.model, nic.type) == ("00:1c:42:00:00:01", "virtio", "bridge")


def test_the_boot_order_goes_by_numbers_and_use() -> None:
    def entry(kind: int, index: int, number: int, used: int = 1) -> str:
        return (
            f"<BootDevice><Index>{index}</Index><Type>{kind}</Type>"
            f"<BootingNumber>{number}</BootingNumber><InUse>{used}</InUse></BootDevice>"
        )

    order = entry(6, 0, 1) + entry(5, 0, 0, 0) + entry(6, 1, 0) + entry(8, 0, 2)
    vm = parse(
        hard_disk() + hard_disk("b.hdd", Index=1) + device("NetworkAdapter"),
        f"<Startup><BootingOrder>{order}</BootingOrder></Startup>",
    )
    assert [d.boot for d in vm.disks] == [2, 1]
    assert vm.nics[0].boot == 3


@pytest.mark.parametrize(
    ("keys", "code"),
    [({"Encrypted": 1}, "disk-encrypted"), ({"Passthrough": 1}, "disk-missing")],
)
def test_a_disk_that_cannot_be_had_is_a_finding(
    keys: dict[str, Any], code: str
) -> None:
    (finding,) = parse(hard_disk("a.hdd", **keys)).findings
    assert (finding.code, finding.severity, finding.disk) == (code, "block", "sda")


def test_a_plain_disk_is_found_in_its_bundle(tmp_path: Path) -> None:
    data = descriptor(image(TOP, f"{MAC_PATH}/a.hdd/a.0.hds"))
    (tmp_path / "a.hdd").mkdir()
    (tmp_path / "a.hdd" / "a.0.hds").write_bytes(bytes(MIB))
    vm = bundle(tmp_path, data)
    (disk,) = vm.disks
    assert disk.source
    assert (disk.size, disk.source.path, disk.source.format, codes(vm)) == (
        *(MIB, str(tmp_path / "a.hdd" / "a.0.hds"), "raw"),
        [],
    )


def test_a_disk_bundle_is_a_source_too(tmp_path: Path) -> None:
    folder = tmp_path / "a.hdd"
    folder.mkdir()
    (folder / "a.hds").write_bytes(bytes(MIB))
    (folder / "DiskDescriptor.xml").write_bytes(descriptor(image(TOP, "a.hds")))
    (vm,) = read(Request(location=str(folder)))
    assert (vm.name, vm.source.kind, vm.disks[0].size) == ("a", "parallels", MIB)


def test_snapshots_and_a_saved_state_are_told(tmp_path: Path) -> None:
    (tmp_path / "Snapshots.xml").write_text(
        "<ParallelsSavedStates><SavedStateItem><Name/><SavedStateItem>"
        "<Name>before</Name></SavedStateItem></SavedStateItem></ParallelsSavedStates>"
    )
    (tmp_path / "x.sav").write_bytes(b"x")
    (tmp_path / "a.hdd").mkdir()
    (tmp_path / "a.hdd" / "a.hds").write_bytes(bytes(MIB))
    vm = bundle(tmp_path, descriptor(image(TOP, "a.hds")))
    assert codes(vm) == ["suspended", "snapshots-dropped"]
    assert "before" in vm.findings[-1].message


def test_a_missing_bundle_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "config.pvs").write_bytes(written(hard_disk()))
    (vm,) = read(Request(location=str(tmp_path)))
    assert codes(vm) == ["disk-missing"]
    assert "a.hdd" in vm.findings[0].message


def bios(firmware: int) -> str:
    return f"<Startup><Bios><EfiEnabled>{firmware}</EfiEnabled></Bios></Startup>"


@pytest.mark.parametrize(
    ("number", "firmware", "arch"),
    [
        (0, "bios", "x86_64"),
        (1, "efi", "x86_64"),
        (2, "efi", "x86_64"),
        (5, "efi", "aarch64"),
    ],
)
def test_a_machine_of_apple_silicon_is_for_arm(
    number: int, firmware: str, arch: str
) -> None:
    vm = parse("", bios(number))
    assert (vm.firmware, vm.arch) == (firmware, arch)


def test_a_drive_of_the_mac_is_an_empty_one_and_a_disk_of_it_blocks() -> None:
    real = {"EmulatedType": 0}
    vm = parse(
        device("CdRom", SystemName="Default CD/DVD-ROM", **real)
        + hard_disk("Boot Camp", **real)
    )
    assert [drive.path for drive in vm.removable] == [None]
    (finding,) = vm.findings
    assert (finding.code, finding.severity) == ("disk-missing", "block")
    assert "disk of the host" in finding.message


@pytest.mark.parametrize(
    ("hardware", "code"),
    [
        (device("GenericPciDevice"), "device-lost"),
        (device("PciVideoAdapter"), "device-lost"),
        (device("Serial", EmulatedType=0), "device-lost"),
        (device("NetworkAdapter", EmulatedType=2), "mac-made"),
        (
            device("NetworkAdapter", MAC="001C42000001", EmulatedType=3),
            "nic-unattached",
        ),
    ],
)
def test_what_stays_behind_is_told(hardware: str, code: str) -> None:
    assert codes(parse(hardware)) == [code]
    assert codes(parse(hardware.replace("<Enabled>1", "<Enabled>0"))) == []


def test_what_the_firmware_knew_is_told_and_files_of_macos_are_passed_over(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.pvs").write_bytes(written("", bios(1)))
    for name in ("NVRAM.dat", "._x.sav", "._Snapshots.xml"):
        (tmp_path / name).write_bytes(b"x")
    (vm,) = read(Request(location=str(tmp_path)))
    assert codes(vm) == ["nvram-lost"]


def test_a_broken_configuration_tells_of_its_copy(tmp_path: Path) -> None:
    (tmp_path / "config.pvs").write_bytes(written()[:-40])
    with pytest.raises(SourceError) as e:
        list(read(Request(location=str(tmp_path))))
    assert "backup" not in e.value.remedy
    (tmp_path / "config.pvs.backup").write_bytes(written())
    with pytest.raises(SourceError) as e:
        list(read(Request(location=str(tmp_path))))
    assert "config.pvs.backup" in e.value.remedy


def test_a_linked_clone_has_its_base_where_the_user_says(tmp_path: Path) -> None:
    """Its chain ends in the bundle of the machine that it was cloned from."""
    for name in ("clone.pvm/a.hdd", "base.pvm/b.hdd"):
        (tmp_path / name).mkdir(parents=True)
    base = tmp_path / "base.pvm" / "b.hdd" / "b.hds"
    base.write_bytes(bytes(MIB))
    images = image(TOP, "top.hds") + image(FIRST, f"{MAC_PATH}/b.hdd/b.hds")
    (tmp_path / "clone.pvm" / "a.hdd" / "top.hds").write_bytes(expanding(MIB))
    data = descriptor(images, shot(FIRST, NONE) + shot(TOP, FIRST)).replace(
        b"<Type>Plain</Type><File>top", b"<Type>Compressed</Type><File>top"
    )
    with pytest.raises(SourceError, match="No such file"):
        bundle(tmp_path / "clone.pvm", data)
    allow = maps.use([f"{MAC_PATH}/b.hdd={tmp_path}/base.pvm/b.hdd"])
    try:
        (vm,) = read(Request(location=str(tmp_path / "clone.pvm"), allow=allow))
    finally:
        maps.use(())
    layer = vm.disks[0].source
    assert layer
    assert [file.path for file in layer.backing] == [str(base)]


def test_a_disk_outside_the_bundle_is_where_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "disks" / "a.hdd").mkdir(parents=True)
    (tmp_path / "disks" / "a.hdd" / "a.hds").write_bytes(bytes(MIB))
    data = descriptor(image(TOP, "a.hds"))
    (tmp_path / "disks" / "a.hdd" / "DiskDescriptor.xml").write_bytes(data)
    (tmp_path / "x.pvm").mkdir()
    (tmp_path / "x.pvm" / "config.pvs").write_bytes(written(hard_disk()))
    allow = maps.use([f"{MAC_PATH}={tmp_path}/disks"])
    try:
        (vm,) = read(Request(location=str(tmp_path / "x.pvm"), allow=allow))
    finally:
        maps.use(())
    assert codes(vm) == []
    assert [d.source and d.source.path for d in vm.disks] == [
        str(tmp_path / "disks" / "a.hdd" / "a.hds")
    ]


def expanding(size: int) -> bytes:
    """Return an expanding image of *size* bytes in which nothing was written."""
    sectors = size // 512
    head = struct.pack(
        *("<16s5IQI", b"WithouFreSpacExt", 2, 16, 1, 2048, sectors // 2048 or 1),
        *(sectors, 0),
    )
    return head.ljust(2 * MIB, b"\0")


# The descriptor of a disk


def test_the_chain_goes_from_the_topmost_snapshot_to_the_first() -> None:
    images = image(FIRST, "base.hds") + image(TOP, "top.hds")
    shots = shot(FIRST, NONE) + shot(TOP, FIRST)
    (part,) = hdd.parse(descriptor(images, shots), "d")
    assert [f.path for f in part.files] == ["top.hds", "base.hds"]
    (part,) = hdd.parse(descriptor(images, shots, top=FIRST), "d")
    assert [f.path for f in part.files] == ["base.hds"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (descriptor(image(TOP, "a.hds"), storages=2001), "split into 2001 parts"),
        (descriptor(image(TOP, "a.hds", "Sparse")), "'sparse'"),
        (
            descriptor(
                image(TOP, "a.hds")
                + f"<Encryption><Engine>{FIRST}</Engine></Encryption>"
            ),
            "encrypted",
        ),
    ],
)
def test_what_is_not_read_is_a_finding(tmp_path: Path, data: bytes, said: str) -> None:
    vm = bundle(tmp_path, data)
    assert codes(vm) == ["disk-missing"]
    assert said in vm.findings[0].message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (descriptor(""), "no image for the snapshot"),
        (descriptor(image(TOP, "a.hds"), storages=2), "part 1 of 2"),
        (descriptor(image(TOP, "a.hds"), shot(TOP, TOP)), "in a circle"),
        (descriptor(image(TOP, "a.hds"))[:-20], "broken XML"),
        (b"<!DOCTYPE a><Parallels_disk_image/>", "document type"),
        (b"<other/>", "no disk descriptor"),
        (descriptor(image(TOP, "a.hds"), shot(TOP, NONE), NONE), "names no image"),
    ],
)
def test_a_broken_descriptor_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said) as e:
        bundle(tmp_path, data)
    assert "\n" not in e.value.message
    assert e.value.remedy


def split(*parts: tuple[int, int, str], size: int = 0) -> bytes:
    """Return the descriptor of a disk in *parts*: the sectors from and to, a name."""
    storages = "".join(
        f"<Storage><Start>{start}</Start><End>{end}</End>{image(TOP, name)}</Storage>"
        for start, end, name in parts
    )
    return (
        f"<Parallels_disk_image><Disk_size>{size}</Disk_size>"
        f"<StorageData>{storages}</StorageData></Parallels_disk_image>"
    ).encode()


def test_plain_parts_are_strung_together_in_the_order_of_the_disk(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.hdd").mkdir()
    for name, size in (("x.hds", 5), ("y.hds", 9)):
        (tmp_path / "a.hdd" / name).write_bytes(bytes(size * 512))
    vm = bundle(tmp_path, split((5, 14, "y.hds"), (0, 5, "x.hds"), size=14))
    layer = vm.disks[0].source
    assert vm.findings == ()
    assert layer
    assert (layer.server, layer.format) == ("file", "raw")
    found = [(Path(p.path).name, p.length) for p in layer.parts]
    assert found == [("x.hds", 5 * 512), ("y.hds", 9 * 512)]


@pytest.mark.parametrize(
    ("parts", "size", "said"),
    [
        ([(0, 5, "x.hds"), (6, 9, "y.hds")], 0, "part 2 of 2"),
        ([(0, 5, "x.hds"), (4, 9, "y.hds")], 0, "part 2 of 2"),
        ([(1, 5, "x.hds"), (5, 9, "y.hds")], 0, "part 1 of 2"),
        ([(0, 5, "x.hds"), (5, 5, "y.hds")], 0, "part 2 of 2"),
        ([(0, 5, "x.hds"), (5, 9, "y.hds")], 10, "the disk has 5120"),
        ([(0, 2**40, "x.hds"), (2**40, 2**50, "y.hds")], 0, "its 2 parts hold"),
        ([(0, 5, "x.hds"), (5, 9, "missing.hds")], 0, "missing.hds"),
        ([(0, 5, "x.hds"), (5, 9, "../../secret")], 0, "outside the folders"),
    ],
)
def test_parts_that_are_not_the_disk_are_told(
    tmp_path: Path, parts: list[tuple[int, int, str]], size: int, said: str
) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "vm"
    (folder / "a.hdd").mkdir(parents=True)
    for name in ("x.hds", "y.hds"):
        (folder / "a.hdd" / name).write_bytes(bytes(512 * 20))
    with pytest.raises(SourceError) as e:
        bundle(folder, split(*parts, size=size))
    assert said in e.value.message
    assert "\n" not in e.value.message


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../../../../../../../../../../../../etc/hostname"]
)
def test_an_image_outside_the_bundle_is_not_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="outside the folders"):
        bundle(tmp_path, descriptor(image(TOP, name)))


def test_a_bundle_that_leads_elsewhere_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "away.hdd").mkdir()
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "a.hdd").symlink_to(tmp_path / "away.hdd")
    with pytest.raises(SourceError, match="outside the folders"):
        bundle(tmp_path / "vm", descriptor(image(TOP, "a.hds")))


# Hostile and real


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no XML"),
        (b"[System]\nGuest OS = 1\n", "Workstation"),
        (written()[:-30], "broken XML"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "document type"),
        (
            written(
                "",
                "<VmEncryptionInfo><Enabled>1</Enabled></VmEncryptionInfo>",
            ),
            "is encrypted",
        ),
        (written(hard_disk() * 600), "600 disks"),
    ],
)
def test_what_is_no_machine_is_said_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said) as e:
        parallels.parse(data, Path("/x.pvm/config.pvs"))
    assert "\n" not in e.value.message
    assert e.value.remedy


WORDS = st.one_of(
    st.integers(-5, 10**30).map(str), st.text("{}-0aF/.\\x é", max_size=40)
)
KEYS = ("SystemName", "InterfaceType", "StackIndex", "Index", "MAC", "EmulatedType")


@given(st.dictionaries(st.sampled_from(KEYS), WORDS), WORDS)
def test_any_value_gives_a_document_or_one_line(
    values: dict[str, str], word: str
) -> None:
    data = written(
        hard_disk("a.hdd", **values)
        + device("NetworkAdapter", **values)
        + device("CdRom"),
        f"<General><VmDescription>{word}</VmDescription></General>",
    ).replace(b"web01<", f"{word}<".encode())
    any_input.gives_a_document_or_one_line(
        lambda: parallels.parse(data, Path("/x.pvm/config.pvs"))[0]
    )


CORPUS = Path(__file__).parents[4] / "shared" / "corpus" / "expected.json"


@pytest.mark.report("https://github.com/NickSmet/PRV")
def test_the_corpus_is_read_as_expected(shared: Path) -> None:
    known = json.loads(CORPUS.read_text())
    names = [name for name in known if name.startswith("parallels/")]
    for name in names:
        path = shared / "corpus" / name
        assert detect(str(path)) == "parallels"
        facts = known[name]["facts"]
        vm, files = parallels.parse(path.read_bytes(), path)
        got = (vm.name, vm.memory, vm.vcpus, vm.firmware, vm.secure_boot, vm.tpm)
        words = ("name", "memory_bytes", "vcpus", "firmware", "secure_boot", "tpm")
        assert got == tuple(facts[word] for word in words)
        disks = [(d.slot, d.bus, file) for d, file in zip(vm.disks, files, strict=True)]
        assert disks == [(d["slot"], d["bus"], d["file"]) for d in facts["disks"]]
        assert [(r.type, r.slot, r.path) for r in vm.removable] == [
            (r["type"], r["slot"], r["file"]) for r in facts["removable"]
        ]
        # Here models are numbers, with what they are believed to be.
        cards = [(n.mac, f"({n.model})", n.network) for n in vm.nics]
        assert cards == [
            (n["mac"], n["model"].split()[1], n["network"]) for n in facts["nics"]
        ]
    assert names
