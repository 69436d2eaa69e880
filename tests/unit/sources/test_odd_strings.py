# SPDX-License-Identifier: GPL-2.0-or-later
"""Names, addresses, paths and notes of every kind of source, as odd as they can be."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import archives
from odd_strings import ESCAPES, ODD, harmless
from v2v import sources
from v2v.sources import Request
from writers import vmcx, xl
from writers.hyperv_xml import Tree

MIB = 2**20
PLAIN = {
    "NAME": "web01",
    "MAC": "00:16:3e:00:00:01",
    "PATH": "a.img",
    "NOTE": "a machine",
    "NET": "lan",
}
Words = dict[str, str]
# Each word is itself half of the time: an odd one elsewhere must not hide behind it.
WORDS = st.fixed_dictionaries(
    {key: st.one_of(st.just(plain), ODD) for key, plain in PLAIN.items()}
)


def same(text: str) -> str:
    return text


def in_vmx(text: str) -> str:
    return "".join(f"|{ord(c):02X}" if c in '"|\n\r\0' else c for c in text)


# Each example is a whole description, read, shown and made a domain of.
EXAMPLES = settings(max_examples=min(settings().max_examples, 400))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A description with places for words, which ``escape`` makes fit."""

    name: str
    file: str
    text: str
    escape: Callable[[str], str] = escape
    charset: str = "utf-8"


NIL = "11111111-1111-4111-8111-111111111111"
KINDS = {
    "vmx": Kind(
        name="vmx",
        file="a.vmx",
        escape=in_vmx,
        text='.encoding = "UTF-8"\ndisplayName = "@NAME@"\nmemsize = "64"\n'
        'annotation = "@NOTE@"\nscsi0.present = "TRUE"\nscsi0:0.present = "TRUE"\n'
        'scsi0:0.fileName = "@PATH@"\nethernet0.present = "TRUE"\n'
        'ethernet0.addressType = "static"\nethernet0.address = "@MAC@"\n'
        'ethernet0.networkName = "@NET@"\nide1:0.present = "TRUE"\n'
        'ide1:0.fileName = "@PATH@"\nide1:0.deviceType = "cdrom-image"\n'
        'ethernet0.virtualDev = "@NOTE@"\nfirmware = "@NOTE@"\nguestOS = "@NAME@"\n',
    ),
    "libvirtxml": Kind(
        name="libvirtxml",
        file="a.xml",
        text="<domain type='kvm'><name>@NAME@</name><memory>65536</memory>"
        "<description>@NOTE@</description><os><type>hvm</type></os><devices>"
        '<disk type="file" device="disk"><source file="@PATH@"/><target dev="vda"/>'
        "<serial>@NOTE@</serial></disk>"
        '<disk type="network" device="disk"><source protocol="@NOTE@" name="@PATH@"/>'
        '</disk><disk type="network" device="disk"><source protocol="nbd" '
        'name="@PATH@"><host name="@NET@" port="@NOTE@"/></source>'
        '<target dev="vdb"/></disk>'
        '<interface type="bridge"><mac address="@MAC@"/><source bridge="@NET@"/>'
        '<target dev="@NOTE@"/></interface><interface type="@NOTE@"/>'
        '<hostdev type="@NOTE@"/><filesystem model="@NOTE@"/></devices></domain>',
    ),
    "ovf": Kind(
        name="ovf",
        file="a.ovf",
        text='<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r">'
        '<References><File ovf:id="f" ovf:href="@PATH@"/></References>'
        '<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="1048576" '
        'ovf:format="@NOTE@"/></DiskSection><VirtualSystem ovf:id="@NAME@">'
        "<Name>@NAME@</Name><AnnotationSection><Annotation>@NOTE@</Annotation>"
        "</AnnotationSection><VirtualHardwareSection>"
        "<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>6"
        "</rasd:ResourceType><rasd:ElementName>@NOTE@</rasd:ElementName></Item>"
        "<Item><rasd:InstanceID>2</rasd:InstanceID><rasd:Parent>1</rasd:Parent>"
        "<rasd:HostResource>ovf:/disk/d</rasd:HostResource>"
        "<rasd:ResourceType>17</rasd:ResourceType></Item>"
        "<Item><rasd:InstanceID>3</rasd:InstanceID><rasd:Address>@MAC@</rasd:Address>"
        "<rasd:Connection>@NET@</rasd:Connection><rasd:ElementName>@NOTE@"
        "</rasd:ElementName><rasd:ResourceType>10</rasd:ResourceType></Item>"
        "</VirtualHardwareSection></VirtualSystem></Envelope>",
    ),
    "vbox": Kind(
        name="vbox",
        file="a.vbox",
        text='<VirtualBox version="@NOTE@"><Machine name="@NAME@" OSType="@NOTE@">'
        "<Description>@NOTE@</Description><MediaRegistry><HardDisks><HardDisk "
        f'uuid="{{{NIL}}}" location="@PATH@" format="RAW"/></HardDisks></MediaRegistry>'
        '<Hardware><Memory RAMSize="64"/><Network><Adapter slot="0" enabled="true" '
        'MACAddress="@MAC@"><BridgedInterface name="@NET@"/></Adapter><Adapter '
        'slot="1" enabled="true" type="@NOTE@"/></Network><SharedFolders><SharedFolder '
        'name="@NOTE@"/></SharedFolders><Firmware type="@NOTE@"/></Hardware>'
        '<StorageControllers><StorageController type="@NOTE@"><AttachedDevice '
        f'port="0"><Image uuid="{{{NIL}}}"/></AttachedDevice></StorageController>'
        '</StorageControllers><Snapshot name="@NOTE@"/></Machine></VirtualBox>',
    ),
    "xl": Kind(
        name="xl",
        file="a.cfg",
        escape=lambda text: xl.quoted(text)[1:-1],
        text='name = "@NAME@"\nmemory = 64\ndisk = ["@PATH@,raw,xvda,w", '
        '"format=@NOTE@,vdev=@NET@,target=@PATH@"]\nvif = ["mac=@MAC@,bridge=@NET@",'
        '"vifname=@NOTE@,script=vif-route"]\nbootloader = "@NOTE@"\nkeymap = "@NOTE@"\n'
        'pci = ["@NOTE@"]\nuuid = "@NOTE@"\nsoundhw = "@NOTE@"\n',
    ),
    "proxmox": Kind(
        name="proxmox",
        file="100.conf",
        escape=lambda text: text.replace("\n", " "),
        text="#@NOTE@\nname: @NAME@\nmemory: 64\nostype: @NOTE@\nscsi0: @PATH@\n"
        "scsi1: local:@PATH@,serial=@NOTE@\nnet0: virtio=@MAC@,bridge=@NET@\n"
        "args: @NOTE@\nlock: @NOTE@\nunused0: @PATH@\nusb0: @NOTE@\n"
        "cpu: @NOTE@\nide2: @PATH@,media=cdrom\n[@NOTE@]\n",
    ),
    "parallels": Kind(
        name="parallels",
        file="config.pvs",
        text="<ParallelsVirtualMachine><AppVersion>@NOTE@</AppVersion><Identification>"
        "<VmName>@NAME@</VmName></Identification><Settings><General><VmDescription>"
        "@NOTE@</VmDescription></General></Settings><Hardware><Cpu><Number>1</Number>"
        "</Cpu><Memory><RAM>64</RAM></Memory><Hdd><Index>0</Index><Enabled>1</Enabled>"
        "<SystemName>@PATH@</SystemName></Hdd><NetworkAdapter><Index>0</Index>"
        "<Enabled>1</Enabled><MAC>@MAC@</MAC><VirtualNetworkID>@NET@</VirtualNetworkID>"
        "</NetworkAdapter></Hardware></ParallelsVirtualMachine>",
    ),
    "hyperv": Kind(
        name="hyperv",
        file="a.xml",
        charset="utf-16",
        text='<?xml version="1.0"?><configuration><properties><name type="string">'
        '@NAME@</name><subtype type="integer">0</subtype><notes type="string">@NOTE@'
        '</notes></properties><settings><memory><bank><size type="integer">64</size>'
        '</bank></memory><processors><count type="integer">1</count></processors>'
        "</settings><_83f8638b-8dca-4152-9eda-2ca8b33039b4_><controller0><drive0>"
        '<type type="string">VHD</type><pathname type="string">@PATH@</pathname>'
        "</drive0></controller0></_83f8638b-8dca-4152-9eda-2ca8b33039b4_><manifest>"
        '<vdev001><device type="string">2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778</device>'
        '<instance type="string">aaaa-1</instance></vdev001></manifest><_aaaa-1_>'
        '<MacAddress type="string">@MAC@</MacAddress><SwitchName type="string">@NET@'
        "</SwitchName></_aaaa-1_></configuration>",
    ),
    "xva folder": Kind(
        name="xva",
        file="ova.xml",
        text='<appliance version="0.1"><vm name="vm"><label>@NAME@</label>'
        '<shortdesc>@NOTE@</shortdesc><config mem_set="67108864" vcpus="1"/>'
        '<hacks is_hvm="false" kernel_boot_cmdline="@NOTE@"/><vbd device="@NET@" '
        'function="root" mode="w" vdi="v"/></vm><vdi name="v" size="1048576" '
        'source="file://@PATH@" type="dir-gzipped-chunks"/></appliance>',
    ),
}
KEPT = [kind for kind in KINDS if kind != "xva folder"]


def written(kind: Kind, words: Words, *, raw: bool = False) -> bytes:
    """Return the description with *words*, *raw* or escaped as it must be."""
    text = kind.text
    for key, word in words.items():
        text = text.replace(f"@{key}@", word if raw else kind.escape(word))
    return text.encode(kind.charset, "surrogatepass")


@pytest.mark.parametrize("kind", KINDS)
@EXAMPLES
@given(words=WORDS, raw=st.booleans())
@example(words=dict.fromkeys(PLAIN, ESCAPES), raw=True)
@example(words=dict.fromkeys(PLAIN, "\n"), raw=False)
@example(words=dict.fromkeys(PLAIN, "a://b"), raw=False)
@example(words=dict.fromkeys(PLAIN, "\ud800"), raw=False)
@example(words=dict.fromkeys(PLAIN, "a" * 10240), raw=False)
@example(words=dict.fromkeys(PLAIN, "\u202e%s\0"), raw=False)
def test_no_word_of_a_description_does_harm(
    kind: str, words: Words, raw: bool, tmp_path: Path
) -> None:
    path = tmp_path / KINDS[kind].file
    path.write_bytes(written(KINDS[kind], words, raw=raw))
    request = Request(location=str(path))
    harmless(lambda: sources.read(request, KINDS[kind].name))


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("word", ["a  b", "\u202egnp.exe", "名前", "%s%n", "{0}"])
def test_a_name_is_kept_as_it_is(kind: str, word: str, tmp_path: Path) -> None:
    """The descriptions above are whole ones: these words come through."""
    path = tmp_path / KINDS[kind].file
    path.write_bytes(written(KINDS[kind], PLAIN | {"NAME": word, "NET": "a b"}))
    (vm,) = harmless(lambda: sources.read(Request(location=str(path))))
    assert vm.name == word
    assert vm.source.kind == KINDS[kind].name
    assert vm.nics[0].mac == PLAIN["MAC"]


XVA = (
    "<value><struct><member><name>objects</name><value><array><data>{}</data></array>"
    "</value></member></struct></value>"
)


def member(name: str, value: str) -> str:
    return f"<member><name>{name}</name>{value}</member>"


def object_of(id: str, kind: str, **fields: str) -> str:
    inside = "".join(
        member(key, f"<value>{escape(value)}</value>") for key, value in fields.items()
    )
    return (
        "<value><struct>"
        + member("id", f"<value>{id}</value>")
        + member("class", f"<value>{kind}</value>")
        + member("snapshot", f"<value><struct>{inside}</struct></value>")
        + "</struct></value>"
    )


@EXAMPLES
@given(words=WORDS)
def test_no_word_of_an_xva_does_harm(words: Words, tmp_path: Path) -> None:
    objects = (
        object_of(
            "Ref:0",
            "VM",
            name_label=words["NAME"],
            name_description=words["NOTE"],
            memory_static_max="67108864",
            PV_bootloader=words["NOTE"],
        ),
        object_of("Ref:1", "VBD", userdevice="0", type="Disk", VDI="Ref:3", VM="Ref:0"),
        object_of("Ref:3", "VDI", virtual_size="1048576", name_label=words["PATH"]),
        object_of(
            "Ref:5", "VIF", device="0", MAC=words["MAC"], network="Ref:6", VM="Ref:0"
        ),
        object_of("Ref:6", "network", name_label=words["NET"]),
    )
    text = XVA.format("".join(objects)).encode("utf-8", "surrogatepass")
    archives.xva(tmp_path / "a.xva", text, {"Ref:3": bytes(MIB)})
    request = Request(location=str(tmp_path / "a.xva"))
    harmless(lambda: sources.read(request, "xva"))


@EXAMPLES
@given(words=WORDS)
def test_no_word_of_a_vma_does_harm(words: Words, tmp_path: Path) -> None:
    # A text in a VMA has a length of 16 bits.
    text = written(KINDS["proxmox"], {k: word[:2000] for k, word in words.items()})
    device = words["NET"].encode("utf-8", "replace").decode()[:200]
    text += f"#qmdump#map:scsi0:{device}:l:raw:\n".encode()
    disks = {device: bytes(65536)} if device else {}
    archives.vma(tmp_path / "a.vma", {"qemu-server.conf": text}, disks, [0])
    harmless(lambda: sources.read(Request(location=str(tmp_path / "a.vma")), "vma"))


@EXAMPLES
@given(words=WORDS)
def test_no_word_of_a_vmcx_does_harm(words: Words, tmp_path: Path) -> None:
    tree: Tree = {
        "properties": {"name": words["NAME"], "notes": words["NOTE"]},
        "_83f8638b-8dca-4152-9eda-2ca8b33039b4_": {
            "controller0": {"drive0": {"type": "VHD", "pathname": words["PATH"]}}
        },
        "manifest": {
            "vdev001": {
                "device": "2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778",
                "instance": "aaaa-1",
            }
        },
        "_aaaa-1_": {"MacAddress": words["MAC"], "SwitchName": words["NET"]},
    }
    (tmp_path / "a.vmcx").write_bytes(vmcx.store(tree))
    found = harmless(
        lambda: sources.read(Request(location=str(tmp_path / "a.vmcx")), "hyperv")
    )
    assert len(found) <= 1


def test_the_vmcx_of_these_tests_is_a_whole_one(tmp_path: Path) -> None:
    tree: Tree = {"properties": {"name": "web01"}}
    (tmp_path / "a.vmcx").write_bytes(vmcx.store(tree))
    (vm,) = harmless(lambda: sources.read(Request(location=str(tmp_path / "a.vmcx"))))
    assert (vm.name, vm.source.kind) == ("web01", "hyperv")


@EXAMPLES
@given(name=ODD)
def test_no_name_of_a_disk_does_harm(name: str, tmp_path: Path) -> None:
    plain = name.replace("/", "_").replace("\0", "_")
    file = (
        tmp_path
        / f"{plain.encode('utf-8', 'replace')[:200].decode('utf-8', 'ignore')}.raw"
    )
    file.write_bytes(bytes(MIB))
    (vm,) = harmless(lambda: sources.read(Request(location=str(file))))
    assert vm.disks[0].size == MIB


@EXAMPLES
@given(name=ODD)
def test_no_location_does_harm(name: str) -> None:
    """Neither one that the shell gave in another charset, nor a whole text."""
    harmless(lambda: sources.read(Request(location=f"/nowhere/{name}")))


@EXAMPLES
@given(name=ODD, raw=st.booleans())
def test_no_export_of_nbd_does_harm(name: str, raw: bool) -> None:
    word = name if raw else quote(name, errors="replace")
    harmless(lambda: sources.read(Request(location=f"nbd://h/{word}"), "nbd"))
