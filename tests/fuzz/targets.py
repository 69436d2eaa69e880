# SPDX-License-Identifier: GPL-2.0-or-later
"""What is fuzzed: a reader of ours for each kind of hostile bytes, and how to begin."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event

import plausible_vm
from any_input import gives_a_document_or_one_line
from v2v import formats, paths, sources, stream
from v2v.document import Layer, decode
from v2v.errors import SourceError
from v2v.mapping import laid, vmfs, xvasums
from v2v.ovf import certificate, manifest, package
from v2v.servers import nbd
from v2v.sources import Request
from v2v.views import archived, packings, sizes, unpacking, urls
from writers import hyperv_xml, parallels, vmcx, xva

KIB = 2**10
_MOST_PIECES = 20_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader of a file called ``name``.

    ``seeds`` are inputs to begin with, ``corpus`` more of them, as a pattern in
    ../shared/corpus.  ``largest`` is the longest input, in bytes.
    """

    name: str
    read: Callable[[Path], None]
    seeds: tuple[bytes, ...] = (b"",)
    corpus: str = ""
    largest: int = 64 * KIB


def _source(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        request = Request(location=str(path))
        module = sources.load(kind)
        module.claims(str(path))
        vms = iter(module.read(request))
        gives_a_document_or_one_line(lambda: next(vms))

    return read


def _image(format: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        module = formats.load(format)
        module.matches(*formats.ends(path, 0, None))
        if format == "vmdk":
            with suppress(SourceError):
                laid.start(formats.part(path), formats.part(path))
        image = module.examine(path, partial(paths.checked, allowed=(path.parent,)))
        if image.mapped:
            list(islice(image.mapped.pieces(), _MOST_PIECES))

    return read


def _zipped(path: Path) -> None:
    with suppress(SourceError):
        archived.claims(str(path))
    _source("ovf")(path)


def _record(path: Path) -> None:
    for line in path.read_bytes().decode("utf-8", "replace").splitlines()[:10]:
        decode(stream.parse(line))


def _text(parse: Callable[[bytes], object]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        parse(path.read_bytes())

    return read


def _certificate(path: Path) -> None:
    """Verify the signature *path* of a package that lies beside it."""
    ovf, listed = path.with_suffix(".ovf"), path.with_suffix(".mf")
    if not listed.exists():
        ovf.write_bytes(_OVF)
        listed.write_text(f"SHA256(a.ovf)= {hashlib.sha256(_OVF).hexdigest()}\n")
    signed = package.Folder(path=ovf)
    digests, _ = manifest.listed(signed, [])
    list(certificate.verify(signed, certificate.ANYBODY, digests, []))


def _delta(path: Path) -> None:
    if found := vmfs.mapped(path):
        list(islice(found.pieces(), _MOST_PIECES))


def _sums(path: Path) -> None:
    xvasums.verify(path, "Ref:1", Event())


def _packed(path: Path) -> None:
    part = formats.part(path)
    packing = packings.of_member(part)
    sizes.declared(path, packing)
    made = path.with_name("unpacked")
    made.unlink(missing_ok=True)
    unpacking.unpack(part, packing, made, 2**24)


def _address(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    nbd.parse(text.partition("\n")[0])
    base = urls.parse("https://host/folder/a.ova")
    urls.shown(text)
    for take in (urls.parse, urls.folder, partial(urls.joined, base)):
        try:
            take(text).shown()
        except SourceError as e:
            assert "\n" not in e.message


def _initramfs(path: Path) -> None:
    from v2v.guests.linux import initramfs

    initramfs.parse(path.read_bytes())


def _hive(path: Path) -> None:
    from v2v.guests.windows import replay

    data = path.read_bytes()
    half = len(data) // 2
    if replay.state(data[:half]) == "dirty":
        replay.replayed(data[:half], [data[half:]])


def _archive(description: bytes) -> bytes:
    """Return an XVA with a chunk of a disk."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (("ova.xml", description), ("Ref:9/00000000", bytes(512))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


_MACHINE = plausible_vm.SAMPLE
_DISKS = _MACHINE.disks[:1]
_ON_MAC = _MACHINE.having(
    disks=_DISKS,
    nics=tuple(nic.having(model="e1000") for nic in _MACHINE.nics),
)
_IN_XEN = _MACHINE.having(
    disks=tuple(
        d.having(
            slot="xvda", size=512, source=Layer(server="xva", path="/a", member="Ref:9")
        )
        for d in _DISKS
    )
)
_VMX = (
    b'.encoding = "UTF-8"\nmemsize = "512"\nscsi0.present = "TRUE"\n'
    b'scsi0:0.fileName = "a.vmdk"\nethernet0.present = "TRUE"\n'
)
_DISK = b"<disk type='file' device='disk'><source file='a.img'/><target dev='vda'/>"
_DOMAIN = (
    b"<domain type='kvm'><name>a</name><memory unit='KiB'>1024</memory><devices>"
    + _DISK
    + b"</disk></devices></domain>"
)
_BUNDLE = (
    b"<Parallels_disk_image><Disk_size>9</Disk_size><StorageData><Storage><Start>0"
    b"</Start><End>9</End><Image><GUID>{1}</GUID><Type>Plain</Type><File>a.hds</File>"
    b"</Image></Storage></StorageData><Snapshots><TopGUID>{1}</TopGUID><Shot><GUID>{1}"
    b"</GUID><ParentGUID>{2}</ParentGUID></Shot></Snapshots></Parallels_disk_image>"
)
_OVF = (
    b'<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://'
    b'schemas.dmtf.org/ovf/envelope/1"><References/><VirtualSystem ovf:id="a"><Info/>'
    b"</VirtualSystem></Envelope>"
)
_NAME = b"{11111111-1111-4111-8111-111111111111}"
_VBOX = (
    b'<VirtualBox version="1.16"><Machine uuid="%s" name="a" aborted="true"><ExtraData>'
    b'<ExtraDataItem name="VBoxInternal/a" value=""/></ExtraData><MediaRegistry>'
    b'<HardDisks><HardDisk uuid="%s" location="a.vdi" format="iSCSI" type="Immutable">'
    b'<Property name="TargetName" value="a"/></HardDisk></HardDisks></MediaRegistry>'
    b'<Hardware><Network><Adapter slot="0" enabled="true" bootPriority="1"><NAT/>'
    b'</Adapter></Network><UART><Port slot="0" enabled="true" hostMode="HostDevice"/>'
    b'</UART></Hardware><StorageControllers><StorageController type="AHCI" '
    b'Bootable="false"><AttachedDevice type="HardDisk" port="0"><Image uuid="%s"/>'
    b"</AttachedDevice></StorageController></StorageControllers></Machine></VirtualBox>"
) % (_NAME, _NAME, _NAME)
_XL = (
    b"import os\nif a:\n  b = 1\ndisk = [ 'tap:vhd:a.vhd,0x301,w', "
    b'"vdev=hdc,devtype=cdrom,target=a,b" ]\nvif = [ \'mac=00:16:3e:00:00:01,'
    b"bridge=br0.1:2,script=vif-openvswitch' ]\ndisk += [ ',empty,d1p2,r' ]\n"
    b"vfb = [ 'type=vnc' ]\nvtpm = [ 'a' ]\npci = [ '01:00.0' ]\nboot = 'dn'\n"
)
_PROXMOX = (
    b"#a%20b\nbios: ovmf\nboot: order=scsi1;net0\nefidisk0: l:e,pre-enrolled-keys=1\n"
    b"cpu: host,flags=+vmx\nide2: none,media=cdrom\nlock: backup\nmemory: current=9\n"
    b"net0: virtio=BC:24:11:00:00:01,bridge=a,tag=7,trunks=1;2\nscsi1: l:9/base-9"
    b".qcow2/100/a.qcow2,serial=a%20b\nsmbios1: uuid=%s,serial=QQ==,base64=1\n"
    b"unused0: l:a\nusb0: host=1:1\n[PENDING]\ndelete: a\n[before]\nname: a\n"
).replace(b"%s", _NAME[1:-1])
_VM = {
    "v2v": 1,
    "kind": "vm",
    "id": "a",
    "name": "a",
    "memory": 1,
    "source": {"kind": "vmx", "location": "/a.vmx"},
}


def _zip(method: int, streamed: bool = False) -> bytes:
    """Return an archive with an OVF and a disk; *streamed*: sizes behind the data."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        made.writestr("a.ovf", _OVF)
        made.writestr("a.img", bytes(1024))
    data = bytearray(out.getvalue())
    if streamed:
        entry = data.index(b"PK\1\2")
        data[entry + 8] |= 8
        data[6] |= 8
    return bytes(data)


TARGETS = {
    "vmx": Target(name="a.vmx", read=_source("vmx"), seeds=(_VMX,), corpus="vmx/*"),
    "ovf": Target(name="a.ovf", read=_source("ovf"), seeds=(_OVF,), corpus="ovf/*"),
    "ova": Target(
        name="a.ova", read=_source("ovf"), seeds=(b"a.ovf".ljust(1536, b"\0"),)
    ),
    "zip": Target(name="a.zip", read=_zipped, seeds=(_zip(0), _zip(8), _zip(8, True))),
    "libvirt": Target(
        name="a.xml", read=_source("libvirtxml"), seeds=(_DOMAIN,), corpus="libvirt/*"
    ),
    "vbox": Target(
        name="a.vbox",
        read=_source("vbox"),
        seeds=(b"<VirtualBox><Machine name='a'/></VirtualBox>", _VBOX),
        corpus="vbox/*",
    ),
    "xl": Target(
        name="a.cfg",
        read=_source("xl"),
        seeds=(b"name='a'\nmemory=512\ndisk=['a.img,raw,xvda,w']\n", _XL),
        corpus="xen/*",
    ),
    "parallels": Target(
        name="config.pvs",
        read=_source("parallels"),
        seeds=(b"<ParallelsVirtualMachine/>", parallels.write(_ON_MAC)),
        corpus="parallels/*",
    ),
    "parallels-disk": Target(
        name="DiskDescriptor.xml",
        read=_source("parallels"),
        seeds=(_BUNDLE,),
    ),
    "hyperv": Target(
        name="a.xml",
        read=_source("hyperv"),
        seeds=(b"<configuration/>", hyperv_xml.write(_MACHINE)),
    ),
    "vmcx": Target(
        name="a.vmcx",
        read=_source("hyperv"),
        seeds=(vmcx.write(_MACHINE),),
        largest=128 * KIB,
    ),
    "proxmox": Target(
        name="100.conf",
        read=_source("proxmox"),
        seeds=(
            b"name: a\nmemory: 512\nscsi0: local:100/vm-100-disk-0.qcow2\n",
            _PROXMOX,
        ),
    ),
    "xva": Target(
        name="a.xva",
        read=_source("xva"),
        seeds=(b"ova.xml".ljust(1536, b"\0"), _archive(xva.write(_IN_XEN))),
    ),
    "vma": Target(
        name="a.vma", read=_source("vma"), seeds=(b"VMA\0".ljust(12800, b"\0"),)
    ),
    "vmdk": Target(
        name="a.vmdk",
        read=_image("vmdk"),
        seeds=(
            b"# Disk DescriptorFile\nversion=1\n",
            b"KDMV\1\0\0\0".ljust(1024, b"\0"),
        ),
        corpus="vmdk/*",
    ),
    "vhd": Target(
        name="a.vhd", read=_image("vpc"), seeds=(b"conectix".ljust(2048, b"\0"),)
    ),
    "vhdx": Target(
        name="a.vhdx",
        read=_image("vhdx"),
        seeds=(b"vhdxfile".ljust(320 * KIB, b"\0"),),
        largest=400 * KIB,
    ),
    "vdi": Target(
        name="a.vdi",
        read=_image("vdi"),
        seeds=(bytes(64) + b"\x7f\x10\xda\xbe\1\0\1\0".ljust(960, b"\0"),),
    ),
    "qcow2": Target(
        name="a.qcow2",
        read=_image("qcow2"),
        seeds=(b"QFI\xfb\0\0\0\3".ljust(1024, b"\0"),),
    ),
    "hdd": Target(
        name="a.hds",
        read=_image("parallels"),
        seeds=(b"WithouFreSpacExt".ljust(1024, b"\0"),),
    ),
    "disk": Target(
        name="a.img",
        read=_source("disk"),
        seeds=(bytes(512) + b"EFI PART".ljust(1536, b"\0"), b"QFI\xfb\0\0\0\2"),
    ),
    "xva-folder": Target(
        name="ova.xml",
        read=_source("xva"),
        seeds=(b"<appliance version='0.1'><vm name='a'/></appliance>",),
    ),
    "xva-sums": Target(
        name="b.xva",
        read=_sums,
        seeds=(b"Ref:1/00000000.checksum".ljust(1536, b"\0"),),
    ),
    "manifest": Target(
        name="a.mf",
        read=_text(manifest.parse),
        seeds=(b"SHA256(a.ovf)= 00\nSHA1 (b)=11\n",),
    ),
    "certificate": Target(
        name="a.cert",
        read=_certificate,
        seeds=(
            (
                b"SHA256(a.mf)= 00\n-----BEGIN CERTIFICATE-----\nAA==\n"
                b"-----END CERTIFICATE-----\n"
            ),
        ),
    ),
    "delta": Target(
        name="a-delta.vmdk",
        read=_delta,
        seeds=(
            b"COWD\1\0\0\0\3\0\0\0\0\x10\0\0\1\0\0\0\4\0\0\0\1\0\0\0".ljust(
                8192, b"\0"
            ),
            b"\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0".ljust(8192, b"\0"),
        ),
    ),
    "packed": Target(
        name="a.packed",
        read=_packed,
        seeds=(gzip.compress(b"a"), bz2.compress(b"a"), lzma.compress(b"a")),
    ),
    "address": Target(
        name="address",
        read=_address,
        seeds=(
            b"https://user@host:8/a/b.ova?sig=1#x",
            b"nbd+unix:///x?socket=/run/x",
            b"s3://bucket/key",
            b"ssh://user@[::1]:22/a",
        ),
    ),
    "record": Target(name="a.json", read=_record, seeds=(json.dumps(_VM).encode(),)),
    "initramfs": Target(
        name="initrd",
        read=_initramfs,
        seeds=(b"070701".ljust(110, b"0"), b"\x1f\x8b\x08", b"(\xb5/\xfd"),
    ),
    "hive": Target(
        name="SYSTEM",
        read=_hive,
        seeds=(b"regf".ljust(4096, b"\0") + b"hbin".ljust(4096, b"\0"),),
    ),
}
