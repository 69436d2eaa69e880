# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole conversion of what lies in a container, and nothing of it in between."""

import json
import subprocess
from pathlib import Path

import pytest

import archives
from archives import content

MIB = 2**20
CONFIGURATION = b"""\
name: web01
scsi0: local:100,size=40M
#qmdump#map:scsi0:drive-scsi0:local:raw:
"""


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
    vm = json.loads(done.stdout.splitlines()[0])
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
    vm = json.loads(taken.stdout.splitlines()[0])
    wanted = bytearray(data)
    wanted[100] ^= 1
    assert Path(vm["disks"][0]["target"]["path"]).read_bytes() == wanted
