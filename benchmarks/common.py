# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: the source VM, the clock, and the proof by a boot."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
MAC = "00:50:56:01:02:03"
ENV = {
    **os.environ,
    "LIBGUESTFS_BACKEND": "direct",
    "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
}
sys.path.insert(0, str(ROOT / "tests"))


def run_in_venv() -> None:
    """Go on in .venv, if this is another Python."""
    if sys.prefix == sys.base_prefix and (BIN / "python").exists():
        os.execv(BIN / "python", [str(BIN / "python"), *sys.argv])


def image(guest: str) -> Path:
    """Return the raw disk of a test guest, which is built if it is not there."""
    from guests import build

    return build.built(guest)


def vmx(guest: str, folder: Path) -> Path:
    """Return a VM of VMware's, as Workstation leaves it."""
    from guests import containers

    command = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", str(image(guest))]
    subprocess.run([*command, str(folder / "web01.vmdk")], check=True)
    containers.write_vmx(folder / "web01.vmx", "web01.vmdk")
    return folder / "web01.vmx"


def timed(command: list[str], log: Path) -> float:
    """Run *command*, whose output goes to *log*; return the seconds that it took.

    If it fails, says what it said, and ends the benchmark.
    """
    start = time.monotonic()
    with log.open("wb") as out:
        done = subprocess.run(command, check=False, env=ENV, stdout=out, stderr=out)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {log.read_text(errors='replace')[-2000:]}")
    return time.monotonic() - start


def report(disk: Path, kind: str = "qcow2") -> str:
    """Return what the guest on *disk* says of its network when it is booted."""
    from guests import boot

    machine = boot.Machine(disks=[(disk, kind)], nics=[("virtio-net-pci", MAC)])
    done = boot.boot(machine)
    return done.failure or done.report["nics"]
