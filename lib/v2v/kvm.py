# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether KVM really works here.

/dev/kvm may be there and its guests hang or crash (nested virtualisation, MSR
filters).  So a guest of 512 bytes is run once a boot: it ends QEMU with a status that
no accident gives.  The answer is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from v2v import process
from v2v.errors import HostError

_SECONDS = 6.0
# isa-debug-exit ends QEMU with (value << 1) | 1.
_VALUE = 0x2A
# mov al, VALUE; out 0xf4, al; hlt; and the mark of a boot sector.
_SECTOR = bytes([0xB0, _VALUE, 0xE6, 0xF4, 0xF4]).ljust(510, b"\0") + b"\x55\xaa"


@cache
def usable() -> bool:
    """Whether a guest can be run by KVM on this host.

    V2V_ACCEL=kvm or tcg decides; LIBGUESTFS_BACKEND_SETTINGS=force_tcg, which people
    set for just this reason, is taken as a no.  Raises HostError for another V2V_ACCEL.
    """
    asked = os.environ.get("V2V_ACCEL", "")
    if asked not in ("", "kvm", "tcg"):
        raise HostError(f"V2V_ACCEL={asked}: neither kvm nor tcg", "unset it")
    if asked:
        return asked == "kvm"
    if "force_tcg" in os.environ.get("LIBGUESTFS_BACKEND_SETTINGS", ""):
        return False
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    known = _remembered()
    if known.exists():
        return known.read_text() == "yes"
    answer = _tried()
    with contextlib.suppress(OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        fresh = known.with_name(f"{known.name}.{os.getpid()}")
        fresh.write_text("yes" if answer else "no")
        fresh.rename(known)  # so that nobody reads half an answer
    return answer


def _remembered() -> Path:
    """Return the file for the answer: of this boot, this QEMU, this user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    facts = Path("/proc/sys/kernel/random/boot_id").read_text()
    qemu = shutil.which("qemu-system-x86_64")
    facts += str(Path(qemu).stat().st_mtime_ns) if qemu else ""
    return Path(home) / "v2v" / f"kvm-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def _tried() -> bool:
    with tempfile.NamedTemporaryFile(prefix="v2v-kvm-") as disk:
        disk.write(_SECTOR)
        disk.flush()
        try:
            done = process.run(_command(disk.name), seconds=_SECONDS, ok=range(256))
        except (process.ToolError, HostError):
            return False
    return done.returncode == (_VALUE << 1) | 1


def _command(disk: str) -> list[str]:
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-accel", "kvm", "-cpu", "host", "-m", "32"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        *("-drive", f"file={disk},format=raw,if=ide,read-only=off,snapshot=on"),
    ]
