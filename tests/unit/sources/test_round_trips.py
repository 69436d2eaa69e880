# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that is written down and read again is the same VM, as far as words go."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import plausible_vm
from plausible_vm import said
from v2v.document import VM, Layer, Source
from v2v.sources import Request, libvirtxml
from v2v.sources import hyperv as hyperv_reader
from v2v.sources import ovf as ovf_reader
from v2v.sources import parallels as parallels_reader
from v2v.sources import vmx as vmx_reader
from v2v.sources import xva as xva_reader
from writers import domain, hyperv_xml, ovf, parallels, vmcx, vmx, xva


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
    # A network of this name means that a card is not attached.
    vm = vm.having(nics=tuple(n for n in vm.nics if n.network != "None"))
    path = tmp_path / "any.ovf"
    path.write_bytes(ovf.write(vm))
    (read,) = ovf_reader.read(Request(location=str(path)))
    assert said(read, *ovf.UNSAID) == said(vm, *ovf.UNSAID)


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
