# SPDX-License-Identifier: GPL-2.0-or-later
"""Convert test guests by the real commands, and look at what came out."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guests import boot
from guests.containers import MAC, NAME
from pipelines import Pipeline, command, vms

MIB = 2**20
# Where the partitions of debian12-bios lie: mount point -> offset and size, bytes.
PARTITIONS = {"/": (MIB, 900 * MIB), "/data": (901 * MIB, 64 * MIB)}
ADDRESS = "192.0.2.20/24"
SUFFIXES = (".vmx", ".ova", ".vhd", ".vhdx", ".vdi", ".qcow2", ".img")


def description(container: Path) -> list[str]:
    """Return the arguments that make v2v-inspect read a *container*."""
    [found] = [
        file
        for suffix in SUFFIXES
        for file in sorted(container.glob(f"*{suffix}"))
        if suffix == ".vmx" or not list(container.glob("*.vmx"))
    ]
    # A bare disk and an OVA of VMware's do not say which address the card had.
    mac = [] if found.suffix == ".vmx" else ["--mac", MAC]
    return [*mac, str(found)]


def five_stages(
    arguments: Sequence[str], out: Path, log: Path, *fixup: str
) -> tuple[Pipeline, dict[str, Any]]:
    """Run the five commands joined by pipes; return the job and the VM's document."""
    job = Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", *arguments),
            command("v2v-export", "--overlay"),
            command("v2v-fixup", *fixup),
            command("v2v-convert", "-o", out),
            command("v2v-define", "-t", "local"),
        ]
    ).start(log)
    [vm] = vms(job.finish(600))
    return job, vm


def assert_runs_well(xml: Path, *, data: bool = True) -> boot.Boot:
    """Boot what *xml* describes: root, data and swap are there, and the address."""
    machine = boot.domain(xml)
    done = boot.boot(machine)
    assert not done.failure, f"{done.failure}\n{done.console[-3000:]}"
    assert machine.bus == "virtio"
    [(name, driver, address)] = done.nics
    assert (name, driver, address) == ("ens192", "virtio_net", ADDRESS)
    assert done.report["data"] == ("/dev/vda2" if data else "none")
    assert done.report["swap"] != "none"
    assert done.report["failed"] == ""
    return done


def files(image: Path, kind: str, folder: Path) -> dict[str, str]:
    """Return path -> digest of every file, link target included, in a guest's disk."""
    raw = folder / "look.raw"
    convert = ["qemu-img", "convert", "-f", kind, "-O", "raw", str(image), str(raw)]
    subprocess.run(convert, check=True)
    place = folder / "look"
    place.mkdir(exist_ok=True)
    found: dict[str, str] = {}
    for point, (offset, size) in PARTITIONS.items():
        # Without the size a loop device that is just going away seems to overlap.
        options = f"ro,noload,loop,offset={offset},sizelimit={size}"
        subprocess.run(["mount", "-o", options, str(raw), str(place)], check=True)
        try:
            for file in sorted(place.rglob("*")):
                name = f"{point.rstrip('/')}/{file.relative_to(place)}"
                if file.is_symlink():
                    found[name] = f"-> {file.readlink()}"
                elif file.is_file():
                    with file.open("rb") as opened:
                        found[name] = hashlib.file_digest(opened, "sha256").hexdigest()
        finally:
            subprocess.run(["umount", str(place)], check=True)
    raw.unlink()
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the paths that differ."""
    return {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}


def validate(xml: Path) -> None:
    """Check *xml* against libvirt's own schema."""
    from lxml import etree

    schema = etree.RelaxNG(etree.parse("/usr/share/libvirt/schemas/domain.rng"))
    schema.assertValid(etree.parse(xml))


__all__ = ["MAC", "NAME"]
