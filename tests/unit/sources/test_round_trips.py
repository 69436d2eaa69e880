# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that is written down and read again is the same VM, as far as words go."""

from pathlib import Path

from hypothesis import given

import plausible_vm
from plausible_vm import said
from v2v.document import VM
from v2v.sources import vmx as vmx_reader
from writers import vmx


def booting_from_the_first(vm: VM) -> VM:
    """Return *vm* as a description without the choice of UEFI's boot manager has it."""
    if vm.firmware == "bios":
        return vm
    disks = (d.having(boot=None if n else 1) for n, d in enumerate(vm.disks))
    return vm.having(disks=tuple(disks))


@given(vm=plausible_vm.vms())
def test_vmx(vm: VM) -> None:
    read = vmx_reader.parse(vmx.write(vm), Path("/vms/any.vmx"))
    assert said(read, *vmx.UNSAID) == said(booting_from_the_first(vm), *vmx.UNSAID)
    assert {f.severity for f in read.findings if f.code != "tpm-state-lost"} <= {"info"}
