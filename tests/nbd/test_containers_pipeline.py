# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole conversion of what lies in a container, and nothing of it in between."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archives
import ovf_package
from archives import content

MIB = 2**20
CONFIGURATION = b"""\
name: web01
scsi0: local:100,size=40M
#qmdump#map:scsi0:drive-scsi0:local:raw:
"""


def only_vm(output: bytes) -> Any:
    """Return the document in a stream of one VM, which may have signs of life too."""
    records = [json.loads(line) for line in output.splitlines()]
    (vm,) = (record for record in records if record["kind"] == "vm")
    return vm


@pytest.mark.parametrize("kind", ["vma", "xva"])
def test_a_container_is_converted_by_the_commands(tmp_path: Path, kind: str) -> None:
    data = content(9, 40 * MIB)
    path = tmp_path / f"a.{kind}"
    if kind == "vma":
        files = {"qemu-server.conf": CONFIGURATION}
        archives.vma(path, files, {"drive-scsi0": data}, list(range(640)))
    else:
        made = archives.xva_description("web01", "Ref:2", len(data))
        archives.xva(path, made, {"Ref:2": data})
    out = tmp_path / "out"
    line = f"v2v-inspect --no-guest {path} | v2v-convert -f raw -o {out}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        check=True,
        stdout=subprocess.PIPE,
        timeout=120,
    )
    vm = only_vm(done.stdout)
    assert "error" not in vm
    target = Path(vm["disks"][0]["target"]["path"])
    assert target.read_bytes() == data


def test_a_damaged_xva_is_not_converted_unless_it_shall_be(tmp_path: Path) -> None:
    data = b"boot" * 128 + content(9, 40 * MIB)[512:]
    path = tmp_path / "a.xva"
    archives.xva(
        path, archives.xva_description("web01", "Ref:2", len(data)), {"Ref:2": data}
    )
    raw = bytearray(path.read_bytes())
    place = raw.index(data[:512])  # in the first block
    raw[place + 100] ^= 1
    path.write_bytes(raw)
    out = tmp_path / "out"
    line = f"v2v-inspect --no-guest {path} | v2v-convert -f raw -o {out}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 12
    assert "block Ref:2/00000000 is damaged" in done.stderr
    assert not [file for file in out.iterdir() if file.suffix in (".raw", ".part")]
    taken = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{line} --no-verify-checksums"],
        check=True,
        stdout=subprocess.PIPE,
        timeout=120,
    )
    vm = only_vm(taken.stdout)
    wanted = bytearray(data)
    wanted[100] ^= 1
    assert Path(vm["disks"][0]["target"]["path"]).read_bytes() == wanted


def _many_xva(path: Path, disks: dict[str, bytes]) -> None:
    named = {f"Ref:9{name}": data for name, data in disks.items()}
    made = archives.xva_descriptions("many", {n: len(d) for n, d in named.items()})
    archives.xva(path, made, named)


def _many_vma(path: Path, disks: dict[str, bytes]) -> None:
    lines = ["name: many"]
    for number in range(len(disks)):
        lines.append(f"scsi{number}: local:{number},size=1M")
        lines.append(f"#qmdump#map:scsi{number}:drive-scsi{number}:local:raw:")
    named = {f"drive-scsi{n}": data for n, data in enumerate(disks.values())}
    text = "\n".join([*lines, ""]).encode()
    archives.vma(path, {"qemu-server.conf": text}, named, list(range(32)))


def _many_ova(path: Path, disks: dict[str, bytes]) -> None:
    items = "".join(
        ovf_package.disk_item(10 + n, f"d{name}", AddressOnParent=n)
        for n, name in enumerate(disks)
    )
    text = ovf_package.ovf(
        "".join(ovf_package.file_of(f"{n}.img", f"f{n}") for n in disks),
        "".join(ovf_package.disk_of(ovf_package.RAW, f"d{n}", f"f{n}") for n in disks),
        ovf_package.system(items, id="many"),
    )
    members = {"a.ovf": text.encode(), **{f"{n}.img": d for n, d in disks.items()}}
    ovf_package.archive(path, members)


@pytest.mark.parametrize(
    ("name", "make"), [("a.xva", _many_xva), ("a.vma", _many_vma), ("a.ova", _many_ova)]
)
def test_thirty_disks_keep_their_order(
    tmp_path: Path, name: str, make: Callable[[Path, dict[str, bytes]], None]
) -> None:
    disks = {
        f"{number:02}": f"disk {number:3}".encode() * 52429 for number in range(30)
    }
    disks = {key: data[: 2**19 - 512] for key, data in disks.items()}
    make(tmp_path / name, disks)
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            f"v2v-inspect --no-guest {name} | v2v-convert -f raw -o out",
        ],
        check=True,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        timeout=300,
    )
    vm = only_vm(done.stdout)
    assert [disk["id"] for disk in vm["disks"]][25:28] == ["sdz", "sdaa", "sdab"]
    for disk, data in zip(vm["disks"], disks.values(), strict=True):
        copied = Path(disk["target"]["path"]).read_bytes()
        assert copied == data.ljust(MIB, b"\0")
