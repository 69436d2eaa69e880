# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile descriptions: XML that grows, names other files or nests, and odd numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostile.case import Case, Cases, Content, text

_MANY = 100_000
_QUOTE = '"'
_FIT = 7 * 2**20  # bytes: a description may have 8 MiB
_BOMB = "".join(
    f'<!ENTITY {name} "{10 * f"&{below};"}">'
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@dataclass(frozen=True, kw_only=True)
class Xml:
    """A kind of XML: ``file`` is its name, ``name`` and ``item`` stand in ``body``."""

    file: str
    root: str
    body: str
    item: str
    # What is said of a great number of items, if they are refused.
    many: str = "more than any machine|too (large|many)"


_KINDS = {
    "ovf": Xml(
        file="a.ovf",
        root="Envelope",
        body='<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"><References/>'
        "<VirtualSystem id='a'><Info/><Name>{name}</Name><VirtualHardwareSection>"
        "<Info/>{items}</VirtualHardwareSection></VirtualSystem></Envelope>",
        item="<Item><ElementName/><InstanceID>{n}</InstanceID><ResourceType>17"
        "</ResourceType></Item>",
    ),
    "libvirt": Xml(
        file="a.xml",
        root="domain",
        body="<domain type='kvm'><name>{name}</name><memory>1048576</memory>"
        "<devices>{items}</devices></domain>",
        item="<disk type='file' device='disk'><source file='{n}'/><target dev='sda'/>"
        "</disk>",
    ),
    "vbox": Xml(
        file="a.vbox",
        root="VirtualBox",
        body='<VirtualBox xmlns="http://www.virtualbox.org/" version="1.16-linux">'
        "<Machine uuid='{{f0000000-0000-0000-0000-000000000001}}' name='a'>"
        "<Description>{name}</Description><MediaRegistry><HardDisks/></MediaRegistry>"
        "<StorageControllers><StorageController name='S' type='AHCI'>{items}"
        "</StorageController></StorageControllers></Machine></VirtualBox>",
        item="<AttachedDevice type='HardDisk' port='{n}' device='0'><Image uuid='"
        "{{f0000000-0000-0000-0000-000000000002}}'/></AttachedDevice>",
    ),
    "pvs": Xml(
        file="a.pvm/config.pvs",
        root="ParallelsVirtualMachine",
        body="<ParallelsVirtualMachine><Identification><VmName>{name}</VmName>"
        "</Identification><Hardware>{items}</Hardware></ParallelsVirtualMachine>",
        item="<Hdd><Index>{n}</Index><Enabled>1</Enabled><SystemName>{n}.hdd"
        "</SystemName></Hdd>",
    ),
    "hyperv": Xml(
        file="a.xml",
        root="configuration",
        body="<configuration><properties><name type='string'>{name}</name></properties>"
        "<manifest>{items}</manifest></configuration>",
        many="",  # devices of no kind
        item="<vdev{n:03}><name type='string'>{n}</name></vdev{n:03}>",
    ),
    "xva-folder": Xml(
        file="ova.xml",
        root="appliance",
        body="<appliance version='0.1'><vm name='a'><label>{name}</label>{items}</vm>"
        "</appliance>",
        item="<vbd device='xvda' vdi='{n}' function='root' mode='w'/>"
        "<vdi name='{n}' size='1' source='file://{n}' type='dir-gzipped-chunks'/>",
    ),
}


def _xml(kind: Xml, items: str, name: str = "a", prolog: str = "") -> str:
    return f'<?xml version="1.0"?>{prolog}' + kind.body.format(name=name, items=items)


def _of(name: str, kind: Xml) -> Iterator[tuple[str, Case]]:
    file, root = kind.file, kind.root

    def made(what: str, content: Content, refused: str) -> tuple[str, Case]:
        return f"{name}-{what}", Case(make=text(file, content), refused=refused)

    bomb = f"<!DOCTYPE {root} [<!ENTITY a '{'lol' * 10}'>{_BOMB}]>"
    yield made("bomb", _xml(kind, "", "&i;", bomb), "document type")
    other = f"<!DOCTYPE {root} [<!ENTITY x SYSTEM 'file://@SECRET@'>]>"
    yield made("external", _xml(kind, "", "&x;", other), "document type")
    dtd = f"<!DOCTYPE {root} SYSTEM 'file://@SECRET@'>"
    yield made("dtd", _xml(kind, "", "a", dtd), "document type")
    late = f"<!-- {'x' * 70_000} -->{other}"
    yield made("late", _xml(kind, "", "&x;", late), "document type")
    deep = "<a>" * _MANY + "</a>" * _MANY
    yield made("deep", _xml(kind, deep), "broken XML|well-formed")
    yield made("many", lambda: _xml(kind, _items(kind, _MANY)), kind.many)
    fit = _FIT // len(kind.item)
    yield made("fit", lambda: _xml(kind, _items(kind, fit)), kind.many)
    yield made("long", lambda: _xml(kind, "", "a" * (2 * 2**20)), "")


def _items(kind: Xml, count: int) -> str:
    return "".join(kind.item.format(n=n) for n in range(count))


_NUMBERS = {
    "negative": "-1",
    "huge": "9" * 40,
    "digits": "9" * 20_000,
    "wide": "\u0661\u0662",  # digits, says Python, but not ours
    "hex": "0x" + "f" * 40,
    "real": "1e309",
    "blank": "",
}


def _vmx(number: str) -> str:
    return (
        f'config.version = "8"\ndisplayName = "a"\nmemSize = "{number}"\n'
        f'numvcpus = "{number}"\ncpuid.coresPerSocket = "{number}"\n'
        f'scsi0.present = "TRUE"\nscsi0.pciSlotNumber = "{number}"\n'
        f'ethernet0.present = "TRUE"\nethernet0.pciSlotNumber = "{number}"\n'
        f'vm.genid = "{number}"\nvm.genidX = "{number}"\n'
    )


def _ovf(number: str) -> str:
    item = (
        "<Item><AllocationUnits>byte * 2^{0}</AllocationUnits><ElementName/>"
        "<InstanceID>{0}</InstanceID><ResourceType>{1}</ResourceType><VirtualQuantity>{0}"
        "</VirtualQuantity><AddressOnParent>{0}</AddressOnParent><Parent>{0}</Parent>"
        "<HostResource>ovf:/disk/d</HostResource></Item>"
    )
    items = "".join(item.format(number, kind) for kind in (3, 4, 5, 6, 10, 17, number))
    return (
        '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">'
        f"<References><File ovf:id='f' ovf:href='f' ovf:size='{number}' "
        f"ovf:chunkSize='{number}'/></References><DiskSection><Info/><Disk "
        f"ovf:diskId='d' ovf:capacity='{number}' ovf:capacityAllocationUnits="
        f"'byte * 2^{number}'/></DiskSection><VirtualSystem ovf:id='a'><Info/>"
        f"<VirtualHardwareSection><Info/>{items}</VirtualHardwareSection>"
        "</VirtualSystem></Envelope>"
    )


def _libvirt(number: str) -> str:
    return (
        f"<domain type='kvm'><name>a</name><memory unit='EiB'>{number}</memory>"
        f"<vcpu current='{number}'>{number}</vcpu><cpu><topology sockets='{number}' "
        f"cores='{number}' threads='{number}'/></cpu><devices>"
        f"<disk type='file' device='disk'><source file='a' startupPolicy='optional'>"
        f"<slices><slice type='storage' offset='{number}' size='{number}'/></slices>"
        f"</source><target dev='sda'/><boot order='{number}'/><address type='drive' "
        f"controller='{number}' bus='0' unit='{number}'/></disk>"
        f"<video><model type='vga' vram='{number}'/></video></devices></domain>"
    )


def _vbox(number: str) -> str:
    return (
        '<VirtualBox xmlns="http://www.virtualbox.org/"><Machine uuid="'
        f'{{f0000000-0000-0000-0000-000000000001}}" name="a"><Hardware><CPU count='
        f'"{number}"/><Memory RAMSize="{number}"/><Network><Adapter slot="{number}" '
        'enabled="true"><NAT/></Adapter></Network></Hardware></Machine></VirtualBox>'
    )


def _pvs(number: str) -> str:
    return (
        "<ParallelsVirtualMachine><Identification><VmName>a</VmName></Identification>"
        f"<Hardware><Cpu><Number>{number}</Number></Cpu><Memory><RAM>{number}</RAM>"
        f"</Memory><Hdd><Index>{number}</Index><Enabled>1</Enabled><StackIndex>{number}"
        f"</StackIndex><InterfaceType>{number}</InterfaceType><SystemName>a.hdd"
        "</SystemName></Hdd></Hardware></ParallelsVirtualMachine>"
    )


def _hyperv(number: str) -> str:
    return (
        "<configuration><properties><name type='string'>a</name>"
        f"<version type='integer'>{number}</version></properties><settings><memory>"
        f"<bank><size type='integer'>{number}</size></bank></memory><processors>"
        f"<count type='integer'>{number}</count></processors></settings>"
        "</configuration>"
    )


def _xl(number: str) -> str:
    return (
        f"name='a'\nmemory={number or 0}\nvcpus={number or 0}\nmaxmem='{number}'\n"
        "disk=['a.img,raw,xvda,w']\n"
    )


def _proxmox(number: str) -> str:
    return (
        f"name: a\nmemory: {number}\ncores: {number}\nsockets: {number}\n"
        f"scsi0: local:100/a.raw,size={number}G\nnet0: virtio,tag={number}\n"
    )


def _xva_folder(number: str) -> str:
    return (
        f"<appliance version='0.1'><vm name='a'><label>a</label><config mem_set="
        f"'{number}' vcpus='{number}'/><vbd device='xvda' vdi='v' function='root' "
        f"mode='w'/></vm><vdi name='v' size='{number}' source='file://v' "
        "type='dir-gzipped-chunks'/></appliance>"
    )


_SIZED = {
    "vmx": ("a.vmx", _vmx),
    "ovf": ("a.ovf", _ovf),
    "libvirt": ("a.xml", _libvirt),
    "vbox": ("a.vbox", _vbox),
    "pvs": ("a.pvm/config.pvs", _pvs),
    "hyperv": ("a.xml", _hyperv),
    "xl": ("a.cfg", _xl),
    "proxmox": ("100.conf", _proxmox),
    "xva-folder": ("ova.xml", _xva_folder),
}


def _lines() -> Iterator[tuple[str, Case]]:
    """Yield descriptions that are no XML, with very many or very long lines."""
    vmx = 'config.version = "8"\ndisplayName = "a"\nmemSize = "512"\n'
    xl = "name='a'\nmemory=512\ndisk=["
    conf = "name: a\nmemory: 512\n"

    def vmx_disks() -> str:
        line = 'scsi{0}:{1}.present = "TRUE"\nscsi{0}:{1}.fileName = "{1}.vmdk"\n'
        return vmx + "".join(line.format(n % 4, n) for n in range(_MANY // 4))

    def cards() -> str:
        return vmx + "".join(f'ethernet{n}.present = "TRUE"\n' for n in range(_MANY))

    def places() -> str:
        return conf + "".join(f"scsi{n}: local:1/{n}.raw\n" for n in range(30_000))

    def shots() -> str:
        return conf + "".join(f"[s{n}]\nparent: s{n - 1}\n" for n in range(30_000))

    lines: dict[str, tuple[str, Content, str]] = {
        "vmx-many": ("a.vmx", vmx_disks, ""),
        "vmx-cards": ("a.vmx", cards, ""),
        "vmx-escapes": ("a.vmx", lambda: f'{vmx}a = "{"|41" * 10**6}"\n', ""),
        "vmx-quotes": ("a.vmx", lambda: f"{vmx}annotation = {_QUOTE * 10**6}", ""),
        "xl-many": ("a.cfg", lambda: xl + "'a,raw,xvda,w'," * 25_000 + "]\n", "more"),
        "xl-open": ("a.cfg", lambda: xl + "[" * _MANY, "plain value"),
        "xl-quotes": ("a.cfg", lambda: xl + "'''" * _MANY, "plain value"),
        "xl-plus": ("a.cfg", lambda: f"{xl}'a']\n" + "disk+=['a']\n" * 50_000, "more"),
        "proxmox-many": ("100.conf", places, ""),
        "proxmox-commas": ("100.conf", lambda: f"{conf}scsi0: {',' * 900_000}\n", ""),
        "proxmox-sections": ("100.conf", shots, ""),
        "vmx-escape": ("a.vmx", vmx.replace('"a"', '"a\x1b]0;x\x07\x1b[2J\u202e"'), ""),
    }
    for name, (file, content, refused) in lines.items():
        yield name, Case(make=text(file, content), refused=refused)


def _hosts() -> Iterator[tuple[str, Case]]:
    """Yield domains with a disk on the network, at places that are none."""
    for what, host in {
        "none": "",
        "bare": "<host/>",
        "unix": "<host transport='unix'/>",
        "socket": f"<host transport='unix' socket='/{'a' * 5000}'/>",
        "line": "<host transport='unix' socket='/a&#10;b'/>",
        "bracket": "<host name='[' port='1'/>",
        "colons": "<host name='::g' port='1'/>",
        "port": "<host name='a.invalid' port='99999999'/>",
        "path": "<host name='a/../b' port='1'/>",
        "long": f"<host name='{'a' * 5000}.invalid' port='1'/>",
    }.items():
        disk = (
            "<disk type='network' device='disk'><driver type='raw'/><source protocol="
            f"'nbd' name='../x'>{host}</source><target dev='vda'/></disk>"
        )
        body = _KINDS["libvirt"].body.format(name="a", items=disk)
        yield (
            f"libvirt-nbd-{what}",
            Case(make=text("a.xml", body), found="disk-missing|correct|NBD"),
        )


def cases() -> Cases:
    """Return the hostile descriptions."""
    found = dict([*_lines(), *_hosts()])
    for name, kind in _KINDS.items():
        found.update(_of(name, kind))
    for name, (file, write) in _SIZED.items():
        for what, number in _NUMBERS.items():
            found[f"{name}-{what}"] = Case(
                make=text(file, write(number)), found="memory-unknown"
            )
    return found
