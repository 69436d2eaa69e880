#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot disks in QEMU and say what the guest reports of itself.

    boot.py --domain FILE.xml       as ``v2v-define -t local`` describes the VM
    boot.py --script FILE.sh        by what ``v2v-define -t qemu`` wrote
    boot.py DISK [--uefi]           a qcow2 on virtio

Disks are never written: each gets a throw-away overlay (but with --script).  The
guest's console is on its first serial port, and a line FIXTURE-REPORT there says which
devices it runs on.  Exit status 0: it reached its login prompt; 1: it did not.
"""

from __future__ import annotations

import argparse
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lxml import etree

ANSI = re.compile(rb"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")
# Seen on the console, these end the wait: the boot has failed.
FAILURES = re.compile(
    rb"Kernel panic|\(initramfs\) |You are in emergency mode|grub rescue>|dracut:/# "
    rb"|No bootable device|No bootable option or device|UEFI Interactive Shell"
)
REPORT = re.compile(r"FIXTURE-REPORT (.*)")
_REPORTED = re.compile(rb"FIXTURE-REPORT .*\n")  # the whole of it
OVMF = Path("/usr/share/OVMF")


@dataclass(kw_only=True)
class Machine:
    """What is booted: disks as (path, format), on ``bus``; cards as (model, MAC).

    With ``keep`` the disks, qcow2 then, are written; else they stay as they are.
    """

    disks: Sequence[tuple[Path, str]]
    bus: Literal["virtio", "sata", "ide", "pvscsi"] = "virtio"
    nics: Sequence[tuple[str, str]] = ()
    uefi: bool = False
    machine: str = "q35"
    keep: bool = False
    # Of each disk, in bytes; by default 512 of all.
    block_sizes: Sequence[int] = ()


@dataclass(kw_only=True)
class Boot:
    """How a boot went; ``report`` is the guest's own, by key."""

    console: str
    seconds: float
    failure: str = ""
    report: dict[str, str] = field(default_factory=dict)

    @property
    def nics(self) -> list[tuple[str, ...]]:
        """The guest's cards as (name, driver, address)."""
        return [tuple(nic.split(":", 2)) for nic in self.report["nics"].split(",")]

    @property
    def over(self) -> dict[str, str]:
        """The addresses of what is made over the cards: bonds, VLANs, bridges."""
        pairs = (each.partition(":") for each in self.report["over"].split(","))
        return {name: address for name, _, address in pairs}


def boot(
    machine: Machine, seconds: float = 240, answers: Mapping[bytes, bytes] | None = None
) -> Boot:
    """Boot *machine* until it shows a login prompt and its report.

    ``answers``: what is typed when the console shows something, once for each.
    """
    with tempfile.TemporaryDirectory(prefix="v2v-boot-") as folder:
        return watch(_command(machine, Path(folder)), seconds, answers=answers)


def domain(path: Path) -> Machine:
    """Return the machine that the libvirt XML at *path* describes."""
    root = etree.parse(path).getroot()
    disks, sizes = [], []
    bus = "virtio"
    for disk in root.iterfind("devices/disk[@device='disk']"):
        source, driver, target = (disk.find(n) for n in ("source", "driver", "target"))
        assert source is not None and driver is not None and target is not None
        disks.append((Path(source.get("file", "")), driver.get("type", "")))
        bus = target.get("bus", "")
        sectors = disk.find("blockio")
        size = "512" if sectors is None else sectors.get("logical_block_size", "")
        sizes.append(int(size))
    nics = []
    for card in root.iterfind("devices/interface"):
        model, mac = card.find("model"), card.find("mac")
        assert model is not None and mac is not None
        name = model.get("type", "")
        known = {"virtio": "virtio-net-pci", "virtio-net-pci": name}
        nics.append((known.get(name, name), mac.get("address", "")))
    system = root.find("os")
    kind = root.find("os/type")
    assert system is not None and kind is not None
    return Machine(
        disks=disks,
        bus=bus,  # type: ignore[arg-type]
        nics=nics,
        uefi=system.get("firmware") == "efi",
        block_sizes=sizes,
        machine="pc"
        if kind.get("machine", "").startswith(("pc-i440fx", "pc"))
        else "q35",
    )


def watch(
    command: Sequence[str],
    seconds: float,
    cwd: Path | None = None,
    answers: Mapping[bytes, bytes] | None = None,
) -> Boot:
    """Run *command*, whose stdout is a guest's console, until the guest is up."""
    start = time.monotonic()
    # Should we be killed, the machine dies with us.
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
    )
    assert child.stdout
    console, failure = b"", ""
    waiting = dict(answers or {})
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not (failure := _failed(console, start, seconds)):
                if b" login: " in console and _REPORTED.search(console):
                    break
                if selector.select(1):
                    chunk = child.stdout.read1(65536)  # type: ignore[attr-defined]
                    if not chunk:
                        failure = f"qemu ended with status {child.wait()}"
                        break
                    console = ANSI.sub(b"", console + chunk).replace(b"\r", b"")
                for question in [q for q in waiting if q in console]:
                    assert child.stdin
                    child.stdin.write(waiting.pop(question))
                    child.stdin.flush()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        assert child.stdin
        child.stdin.close()
    text = console.decode("utf-8", "replace")
    found = REPORT.search(text)
    pairs = (word.partition("=") for word in found[1].split()) if found else ()
    report = {key: value for key, _, value in pairs}
    took = time.monotonic() - start
    return Boot(console=text, seconds=took, failure=failure, report=report)


def _failed(console: bytes, start: float, seconds: float) -> str:
    if match := FAILURES.search(console):
        return f"the console shows {match[0].decode().strip()!r}"
    return "timeout" if time.monotonic() - start > seconds else ""


def _command(machine: Machine, folder: Path) -> list[str]:
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-machine", f"{machine.machine},graphics=off,vmport=off"),
        *("-accel", "tcg,tb-size=256", "-m", "768", "-smp", "1"),
        *("-display", "none", "-monitor", "none", "-serial", "stdio"),
        # GRUB's gfxterm hangs where there is no video adapter at all.
        *("-device", "VGA", "-device", "virtio-rng-pci"),
    ]
    if machine.uefi:
        command += _firmware(folder)
    for index, (path, kind) in enumerate(machine.disks):
        file = path if machine.keep else _overlay(path, kind, folder / f"{index}")
        command += _disk(machine, index, file)
    for index, (model, mac) in enumerate(machine.nics):
        command += ["-netdev", f"user,id=n{index},restrict=on"]
        command += ["-device", f"{model},netdev=n{index},mac={mac},romfile="]
    return command


def _firmware(folder: Path) -> list[str]:
    """Return OVMF with an empty NVRAM."""
    variables = folder / "vars.fd"
    shutil.copyfile(OVMF / "OVMF_VARS_4M.fd", variables)
    flash = "if=pflash,format=raw"
    code = f"{flash},readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}"
    return ["-drive", code, "-drive", f"{flash},file={variables}"]


def _overlay(path: Path, kind: str, overlay: Path) -> Path:
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b"]
    subprocess.run([*create, str(path.absolute()), str(overlay)], check=True)
    return overlay


def _disk(machine: Machine, index: int, overlay: Path) -> list[str]:
    drive = f"if=none,id=d{index},file={overlay},format=qcow2,cache=unsafe"
    boot_index = f"drive=d{index},bootindex={index + 1}"
    before: list[str] = []
    match machine.bus:
        case "virtio":
            device = f"virtio-blk-pci,{boot_index}"
        case "pvscsi":
            before = ["-device", "pvscsi,id=scsi0"] if index == 0 else []
            device = f"scsi-hd,bus=scsi0.0,scsi-id={index},{boot_index}"
        case "sata":
            before = ["-device", "ich9-ahci,id=ahci0"] if index == 0 else []
            device = f"ide-hd,bus=ahci0.{index},{boot_index}"
        case _:
            device = f"ide-hd,bus=ide.{index // 2},unit={index % 2},{boot_index}"
    if machine.block_sizes and machine.block_sizes[index] != 512:
        device += f",logical_block_size={machine.block_sizes[index]}"
        device += f",physical_block_size={machine.block_sizes[index]}"
    return [*before, "-drive", drive, "-device", device]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("disk", nargs="*", type=Path)
    parser.add_argument("--domain", type=Path)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--uefi", action="store_true")
    asked = parser.parse_args()
    if asked.script:
        script = asked.script.absolute()
        done = watch(["sh", str(script)], 300, script.parent)
    elif asked.domain:
        done = boot(domain(asked.domain))
    else:
        done = boot(Machine(disks=[(d, "qcow2") for d in asked.disk], uefi=asked.uefi))
    if done.failure:
        print("\n".join(done.console.splitlines()[-25:]))
        print(f"boot: FAILED after {done.seconds:.0f} s: {done.failure}")
        return 1
    prompt = next(line for line in done.console.splitlines() if " login: " in line)
    print(prompt.strip())
    print(f"boot: OK after {done.seconds:.0f} s")
    for key, value in done.report.items():
        print(f"  {key:<8} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
