# SPDX-License-Identifier: GPL-2.0-or-later
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v import maps, paths
from v2v.document import VM
from v2v.errors import SourceError, UsageError
from v2v.sources import Request, read

MIB = 2**20


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test maps holds for no other."""
    yield
    maps.use(())


@pytest.mark.parametrize(
    ("said", "name", "rest"),
    [
        (r"C:\VMs", r"c:\vms\web\a.vhdx", "web/a.vhdx"),
        ("C:/VMs/", r"C:\VMs\\a.vhdx", "a.vhdx"),
        ("C:\\", r"\\?\C:\a.vhdx", "a.vhdx"),
        (r"\\files\vms", r"\\FILES\vms\a.vhdx", "a.vhdx"),
        (r"\\files\vms", r"\\?\UNC\files\vms\a.vhdx", "a.vhdx"),
        (r"\\?\Volume{12}", r"\\?\Volume{12}\a.vhdx", "a.vhdx"),
        ("[ds 1]", "[ds 1] web/a.vmdk", "web/a.vmdk"),
        ("[ds 1] web", "[ds 1] web/a.vmdk", "a.vmdk"),
        ("/vmfs/volumes/x", "/vmfs/volumes/x/a.vmdk", "a.vmdk"),
        ("local:", "local:100/vm-100-disk-0.qcow2", "100/vm-100-disk-0.qcow2"),
        ("/a/one.img", "/a/one.img", ""),
    ],
)
def test_a_name_is_found_below_what_was_mapped(
    tmp_path: Path, said: str, name: str, rest: str
) -> None:
    maps.use([f"{said}={tmp_path}"])
    assert maps.find(name) == tmp_path / rest


@pytest.mark.parametrize(
    "name",
    [
        r"C:\VMs2\a.vhdx",
        r"D:\VMs\a.vhdx",
        "a.vhdx",
        r"C:\VMs\..\Windows\a.vhdx",
        "C:/VMs/a\0b",
        "C:/VMs/" + "x/" * 5000,
    ],
)
def test_what_is_elsewhere_or_leads_there_is_not(tmp_path: Path, name: str) -> None:
    maps.use([rf"C:\VMs={tmp_path}"])
    assert maps.find(name) is None


def test_the_longest_path_decides_and_case_does_not(tmp_path: Path) -> None:
    for name in ("all", "one"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "A.VHDX").touch()
    maps.use([rf"C:\={tmp_path}/all", rf"C:\VMs\web={tmp_path}/one"])
    assert maps.find(r"c:\vms\WEB\a.vhdx") == tmp_path / "one" / "A.VHDX"
    assert maps.find(r"c:\vms\a.vhdx") == tmp_path / "all" / "vms" / "a.vhdx"


@pytest.mark.parametrize("word", ["", "C:", "=/tmp", "C:=", "C:=/no/such/folder"])
def test_what_is_no_map_is_a_mistake_of_the_user(word: str) -> None:
    with pytest.raises(UsageError) as e:
        maps.use([word])
    assert e.value.remedy


@given(said=st.text(min_size=1), name=st.text())
def test_nothing_leads_out_of_what_was_mapped(
    tmp_path: Path, said: str, name: str
) -> None:
    try:
        maps.use([f"{said}={tmp_path}"])
    except UsageError:
        return
    for found in (maps.find(name), maps.find(f"{said}/{name}")):
        assert found is None or found.resolve().is_relative_to(tmp_path.resolve())


PVE = """name: web01
memory: 1024
scsihw: virtio-scsi-pci
scsi0: fast:vm-100-disk-0,size=8M
scsi1: local:100/vm-100-disk-1.raw,size=8M
boot: order=scsi0
"""


def described(source: Path, folders: list[str]) -> VM:
    allow = maps.use(folders)
    (vm,) = read(Request(location=str(source), allow=allow))
    return maps.granted(vm)


def test_storages_of_proxmox_are_where_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    conf = tmp_path / "conf" / "100.conf"
    conf.write_text(PVE)
    # What storage.cfg says of the old host does not matter then.
    (tmp_path / "conf" / "storage.cfg").write_text("dir: local\n\tpath /var/lib/vz\n")
    for place in ("fast", "dir/100"):
        (tmp_path / place).mkdir(parents=True)
    for file in ("fast/vm-100-disk-0", "dir/100/vm-100-disk-1.raw"):
        (tmp_path / file).write_bytes(bytes(8 * MIB))
    vm = described(conf, [f"fast:={tmp_path}/fast", f"local:={tmp_path}/dir"])
    assert not vm.findings
    assert [disk.source and disk.source.path for disk in vm.disks] == [
        f"{tmp_path}/fast/vm-100-disk-0",
        f"{tmp_path}/dir/100/vm-100-disk-1.raw",
    ]
    # Later stages may open them by the document alone.
    assert tmp_path / "fast" in paths.roots(vm)


VMX = """displayName = "web01"
memsize = "1024"
scsi0.present = "TRUE"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "[one] web/disk.vmdk"
scsi0:1.present = "TRUE"
scsi0:1.fileName = "/vmfs/volumes/two/web/disk.vmdk"
"""


def vmdk(file: Path) -> None:
    file.parent.mkdir(parents=True)
    command = ["qemu-img", "create", "-q", "-f", "vmdk", str(file), "8M"]
    subprocess.run(command, check=True)


def test_two_disks_of_one_name_are_told_apart_only_by_their_folders(
    tmp_path: Path,
) -> None:
    """Without the folders both would be the same file, and one disk be lost."""
    vmx = tmp_path / "vm" / "web.vmx"
    for place in ("vm", "one/web", "two/web"):
        vmdk(tmp_path / place / "disk.vmdk")
    vmx.write_text(VMX)
    (finding,) = (f for f in described(vmx, []).findings if f.severity == "block")
    assert (finding.code, finding.disk) == ("disk-ambiguous", "sdb")
    assert "--map" in finding.remedy
    vm = described(vmx, [f"[one]={tmp_path}/one", f"/vmfs/volumes/two={tmp_path}/two"])
    assert not [f for f in vm.findings if f.severity == "block"]
    assert [d.source and d.source.path for d in vm.disks] == [
        f"{tmp_path}/one/web/disk.vmdk",
        f"{tmp_path}/two/web/disk.vmdk",
    ]


def test_a_link_in_a_mapped_folder_leads_to_nothing_else(tmp_path: Path) -> None:
    vmx = tmp_path / "vm" / "web.vmx"
    vmx.parent.mkdir()
    vmx.write_text(VMX)
    vmdk(tmp_path / "elsewhere" / "disk.vmdk")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "web").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="outside the folders"):
        described(vmx, [f"[one]={tmp_path}/one"])


def test_a_missing_disk_of_another_host_tells_of_the_option(tmp_path: Path) -> None:
    vmx = tmp_path / "web.vmx"
    vmx.write_text(VMX.replace("[one] web/", ""))
    relative, absolute = described(vmx, []).findings
    assert "--map" not in relative.remedy
    assert "--map FROM=TO" in absolute.remedy
