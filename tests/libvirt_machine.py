# SPDX-License-Identifier: GPL-2.0-or-later
"""Domain XMLs of libvirt for tests, and what is read from them."""

import shlex
import subprocess
from pathlib import Path

from v2v.document import VM, Source
from v2v.errors import SourceError
from v2v.sources import Request, libvirtxml, read

MIB = 2**20


def domain(inside: str = "", devices: str = "", kind: str = "kvm") -> str:
    return (
        f"<domain type='{kind}'><name>web01</name><memory unit='MiB'>512</memory>"
        f"{inside}<devices>{devices}</devices></domain>"
    )


def machine(inside: str = "", devices: str = "", kind: str = "kvm") -> VM:
    """Return the VM of an XML, without a look at its files."""
    xml = domain(inside, devices, kind).encode()
    (found,) = libvirtxml.domains(xml, "web01.xml")
    return libvirtxml.machine(found, Source(kind="libvirtxml", location="web01.xml"))


def file_disk(name: str, format: str = "raw", more: str = "") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{format}'/>"
        f"<source file='{name}'/><target dev='vda' bus='virtio'/>{more}</disk>"
    )


def described(folder: Path, xml: str, allow: tuple[Path, ...] = ()) -> VM:
    (folder / "web01.xml").write_text(xml)
    location = str(folder / "web01.xml")
    (vm,) = read(Request(location=location, allow=allow))
    return vm


def codes(vm: VM) -> list[str]:
    return [finding.code for finding in vm.findings]


def qemu_img(folder: Path, arguments: str) -> None:
    subprocess.run(["qemu-img", *shlex.split(arguments)], cwd=folder, check=True)


def vm_or_refusal(folder: Path, xml: str) -> VM | SourceError:
    try:
        return described(folder, xml)
    except SourceError as e:
        return e
