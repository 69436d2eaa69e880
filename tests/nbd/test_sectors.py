# SPDX-License-Identifier: GPL-2.0-or-later
"""How disks with sectors of 4096 bytes are known, whatever container they are in."""

from pathlib import Path

import pytest

from containers import access
from differencing import image
from target_vm import make_vm
from v2v import layers, paths
from v2v.document import Devices, Disk, Guest, Layer
from v2v.journal import Journal
from v2v.sources import images
from v2v.steps import fixup, sectors
from v2v.steps.inside import Fixup


@pytest.mark.parametrize(
    ("places", "size"), [((), 512), ((4096,), 4096), ((512, 4096), 512)]
)
def test_a_partition_table_in_a_container_is_seen(
    tmp_path: Path, places: tuple[int, ...], size: int
) -> None:
    data = bytearray(2**20)
    data[450], data[510:512] = 0xEE, b"\x55\xaa"
    for place in places:
        data[place : place + 8] = b"EFI PART"
    image(tmp_path / "a.qcow2", bytes(data), "qcow2")
    reach = access(tmp_path, tmp_path / "private")
    layer, _ = images.layer(tmp_path / "a.qcow2", "qcow2", reach.checked)
    disk = Disk(id="sda", source=layer)
    with layers.served(disk, reach) as uri:
        seen = sectors.seen(make_vm(disks=(disk,)), [uri])
        assert sectors.block_sizes(seen) == (size,)
        # What the description says stays, whatever table is there.
        said = make_vm(disks=(disk.having(logical_block_size=4096),))
        assert sectors.block_sizes(sectors.seen(said, [uri])) == (4096,)


def test_a_disk_of_one_sector_has_no_table(tmp_path: Path) -> None:
    reach = access(tmp_path, tmp_path / "private")
    (tmp_path / "a.img").write_bytes(b"x" * 512)
    layer, _ = images.layer(tmp_path / "a.img", "raw", reach.checked)
    disk = Disk(id="sda", source=layer)
    with layers.served(disk, reach) as uri:
        vm = make_vm(disks=(disk,))
        assert sectors.seen(vm, [uri]) is vm


def test_they_are_still_known_when_a_commit_is_completed(tmp_path: Path) -> None:
    """That fixup was killed in, after it had found them."""
    (tmp_path / "a.raw").write_bytes(bytes(2**20))
    target = Layer(server="file", path=str(tmp_path / "a.raw"), readonly=False)
    disk = Disk(id="sda", size=2**20, target=target)
    vm = make_vm(disks=(disk,))
    reach = access(tmp_path, tmp_path / "private")
    work = tmp_path / "work"
    journal = Journal(vm, paths.work_folder(vm, work))
    journal.made(disk, reach)
    seen = (disk.having(logical_block_size=4096),)
    found = vm.having(disks=seen, guest=Guest(), devices=Devices(block="virtio"))
    journal.write(found, 1)
    done = fixup.fixup(vm, Fixup(work=work), reach).vm
    assert sectors.block_sizes(done) == (4096,)
    assert done.devices and done.devices.block == "virtio"
