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
