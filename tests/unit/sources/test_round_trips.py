# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that is written down and read again is the same VM, as far as words go."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import plausible_vm
from plausible_vm import said
from v2v.document import VM, Disk, Format, Layer, Source, disk_id
from v2v.sources import Request, libvirtxml
from v2v.sources import hyperv as hyperv_reader
from v2v.sources import ovf as ovf_reader
from v2v.sources import parallels as parallels_reader
from v2v.sources import proxmox as proxmox_reader
from v2v.sources import vbox as vbox_reader
from v2v.sources import vmx as vmx_reader
from v2v.sources import xl as xl_reader
from v2v.sources import xva as xva_reader
from v2v.sources.proxmox import drives as proxmoxdrives
from v2v.sources.xl import drives as xldrives
from writers import (
    domain,
    hyperv_xml,
    ovf,
    parallels,
    proxmox,
    vbox,
    vmcx,
    vmx,
    xl,
    xva,
)


def booting_from_the_first(vm: VM) -> VM:
    """Return *vm* as a description without the choice of UEFI's boot manager has it."""
    if vm.firmware == "bios":
        return vm
    disks = (d.having(boot=None if n else 1) for n, d in enumerate(vm.disks))
    return vm.having(disks=tuple(disks))


def worst(vm: VM) -> set[str]:
    """Return the severities of what was said of *vm*, but that a TPM keeps secrets."""
    return {f.severity for f in vm.findings if f.code != "tpm-state-lost"}


@given(vm=plausible_vm.vms())
def test_vmx(vm: VM) -> None:
    read = vmx_reader.parse(vmx.write(vm), Path("/vms/any.vmx"))
    assert said(read, *vmx.UNSAID) == said(booting_from_the_first(vm), *vmx.UNSAID)
    assert worst(read) <= {"info"}


BUSES = ("virtio", "scsi", "sata", "ide", "usb", "nvme", "xen")


@given(vm=plausible_vm.vms(buses=("scsi", "sata", "ide", "nvme")), data=st.data())
def test_domain(vm: VM, data: st.DataObject) -> None:
    buses = st.sampled_from(BUSES)
    disks = tuple(d.having(bus=data.draw(buses)) for d in vm.disks)
    kinds = st.sampled_from(["bridge", "network"])
    nics = tuple(n.having(type=data.draw(kinds)) for n in vm.nics)
    vm = vm.having(disks=disks, nics=nics)
    (found,) = libvirtxml.domains(domain.write(vm), "any.xml")
    read = libvirtxml.machine(found, Source(kind="libvirtxml", location="any.xml"))
    assert said(read, *domain.UNSAID) == said(vm, *domain.UNSAID)
    assert worst(read) <= {"info"}


@given(vm=plausible_vm.vms())
def test_ovf(vm: VM, tmp_path: Path) -> None:
    # A network of this name, in any case, means that a card is not attached.
    vm = vm.having(
        nics=tuple(n for n in vm.nics if (n.network or "").lower() != "none")
    )
    path = tmp_path / "any.ovf"
    path.write_bytes(ovf.write(vm))
    (read,) = ovf_reader.read(Request(location=str(path)))
    assert said(read, *ovf.UNSAID) == said(vm, *ovf.UNSAID)


def in_order(vm: VM) -> VM:
    """Return *vm* with the disk that it starts from in front, its id and place too."""
    disks = sorted(vm.disks, key=lambda disk: disk.boot != 1)
    return vm.having(
        disks=tuple(d.having(id=disk_id(n)) for n, d in enumerate(disks)),
    )


def with_static(vm: VM) -> VM:
    """Return *vm* as a description that has no word for a generated address has it."""
    return vm.having(nics=tuple(n.having(mac_source="static") for n in vm.nics))


def but(vm: VM, *codes: str) -> set[str]:
    """Return the codes of what was said of *vm*, less *codes*."""
    return {f.code for f in vm.findings} - {"tpm-state-lost", "medium-lost", *codes}


@given(
    vm=plausible_vm.vms(suffix=".vdi"),
    new=st.booleans(),
    data=st.data(),
)
def test_vbox(vm: VM, new: bool, data: st.DataObject) -> None:
    kinds = st.sampled_from(["bridge", "network", "internal"])
    nics = tuple(n.having(type=data.draw(kinds)) for n in with_static(vm).nics)
    disks = tuple(_in_format(d, "vdi") for d in vm.disks)
    drives = tuple(d.having(connected=True) for d in vm.removable)
    vm = vm.having(nics=nics, disks=disks, removable=drives)
    read, folder = vbox_reader.parse(vbox.write(vm, new=new), Path("/vms/a.vbox"))
    assert said(read, *vbox.UNSAID) == said(vm, *vbox.UNSAID)
    assert folder == "Snapshots"
    assert but(read) == set()


def _in_format(disk: Disk, format: Format) -> Disk:
    layer = disk.source
    return disk.having(source=layer and layer.having(format=format))


# xl.cfg has no escape for a comma, and Open vSwitch none for a dot or colon.
PLAIN = st.from_regex(r"[A-Za-z][A-Za-z0-9 _-]{0,14}[a-z]", fullmatch=True)


@given(
    vm=plausible_vm.vms(buses=("scsi", "ide"), suffix=".qcow2"),
    positional=st.booleans(),
    data=st.data(),
)
def test_xl(vm: VM, positional: bool, data: st.DataObject) -> None:
    buses = st.sampled_from(("scsi", "ide", "xen"))
    disks = tuple(
        _in_format(d.having(bus=data.draw(buses), boot=None if n else 1), "qcow2")
        for n, d in enumerate(vm.disks)
    )
    nics = tuple(n.having(network=data.draw(PLAIN)) for n in with_static(vm).nics)
    drives = tuple(d for d in vm.removable if d.type == "cdrom")
    vm = vm.having(disks=disks, nics=nics, removable=drives)
    text = xl.write(vm, positional=positional)
    read = xl_reader.parse(text, Path("/etc/xen/a.cfg"))
    assert said(read, *xl.UNSAID) == said(vm, *xl.UNSAID)
    assert but(read) == set()


TARGETS = st.text(
    st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40
).filter(lambda text: not xldrives._PREFIX.match(text))


@given(target=TARGETS)
def test_a_target_of_xl_holds_anything(target: str) -> None:
    """It is the last key: commas, equals signs and other keys may be in it."""
    text = f"vdev=xvda,target=/d/{target}"
    config = f"disk = [ {xl.quoted(text)} ]\nmemory = 64\n".encode()
    (disk,) = xl_reader.parse(config, Path("/a.cfg")).disks
    assert disk.source and disk.source.path == f"/d/{target}"


@given(
    vm=plausible_vm.vms(buses=("scsi", "sata", "ide"), suffix=".qcow2"),
    data=st.data(),
)
def test_proxmox(vm: VM, data: st.DataObject) -> None:
    order = proxmoxdrives.BUSES
    buses = st.sampled_from(order)
    drawn = [_in_format(d.having(bus=data.draw(buses)), "qcow2") for d in vm.disks]
    disks = sorted(drawn, key=lambda disk: order.index(disk.bus))
    nics = tuple(n.having(network=data.draw(PLAIN)) for n in with_static(vm).nics)
    drives = tuple(d for d in vm.removable if d.type == "cdrom")
    vm = vm.having(disks=tuple(disks), nics=nics, removable=drives)
    read = proxmox_reader.parse(proxmox.write(vm), Path("/etc/pve/100.conf"))
    wanted = said(in_order(vm), *proxmox.UNSAID)
    for item in (*wanted["disks"], *wanted["removable"]):
        for key in ("file", "path"):
            if item.get(key):
                folder = "iso" if item.get("type") else "100"
                item[key] = f"{folder}/{item[key]}"
    assert said(read, *proxmox.UNSAID) == wanted
    assert [d.boot for d in read.disks] == [1] * bool(disks) + [None] * (len(disks) - 1)
    assert but(read, "nvram-lost") == set()


@given(
    vm=plausible_vm.vms(buses=("ide", "scsi"), suffix=".vhdx"),
    models=st.lists(st.sampled_from(["netvsc", "tulip"]), min_size=4, max_size=4),
    per_table=st.integers(1, 100),
)
def test_hyperv(vm: VM, models: list[str], per_table: int) -> None:
    nics = (n.having(model=model) for n, model in zip(vm.nics, models, strict=False))
    disks = (d.having(boot=None if n else 1) for n, d in enumerate(vm.disks))
    vm = vm.having(nics=tuple(nics), disks=tuple(disks))
    for data in (hyperv_xml.write(vm), vmcx.write(vm, per_table)):
        read = hyperv_reader.parse(data, Path("/vms/any"))
        assert said(read, *vmcx.UNSAID) == said(vm, *vmcx.UNSAID)
        assert worst(read) <= {"info"}


def for_xen(vm: VM) -> VM:
    """Return *vm* with what XenServer has: all disks in one archive, one bus."""
    archive = Layer(server="xva", path="/vms/any.xva")
    disks = tuple(
        d.having(
            bus="xen",
            slot=f"xvd{chr(ord('a') + 3 * n)}",
            size=(n + 1) * plausible_vm.MIB,
            source=archive.having(member=f"Ref:{n + 10}"),
        )
        for n, d in enumerate(vm.disks)
    )
    nics = tuple(
        n.having(model=None, vlan=None, connected=True, boot=None if index else 3)
        for index, n in enumerate(vm.nics)
    )
    cpu = vm.cpu.having(threads=None)
    return vm.having(disks=disks, nics=nics, cpu=cpu)


@given(vm=plausible_vm.vms())
def test_xva(vm: VM) -> None:
    vm = for_xen(vm)
    (read,) = xva_reader.parse(xva.write(vm), Path("/vms/any.xva"))
    assert said(read, *xva.UNSAID) == said(vm, *xva.UNSAID)
    assert [d.source and d.source.member for d in read.disks] == [
        d.source and d.source.member for d in vm.disks
    ]
    assert worst(read) <= {"info"}


@given(
    vm=plausible_vm.vms(buses=("ide", "scsi", "sata"), suffix=".hdd"),
    data=st.data(),
)
def test_parallels(vm: VM, data: st.DataObject) -> None:
    models = st.sampled_from(sorted(parallels.MODELS))
    kinds = st.sampled_from(sorted(parallels.NETWORKS))
    nics = tuple(
        n.having(model=data.draw(models), type=data.draw(kinds)) for n in vm.nics
    )
    vm = vm.having(nics=nics)
    read, names = parallels_reader.parse(
        parallels.write(vm), Path("/vms/any.pvm/config.pvs")
    )
    assert said(read, *parallels.UNSAID) == said(vm, *parallels.UNSAID)
    assert names == [disk.source and disk.source.path for disk in vm.disks]
    assert worst(read) <= {"info"}
