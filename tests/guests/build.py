#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build test guests, and containers of them, once per machine.

    build NAME...        build what is missing; print the path of each

Results are under $V2V_GUESTS (/var/tmp/v2v-guests), in a folder whose name depends on
the builders' content; they appear whole or not at all, and a lock keeps two test runs
from building the same thing.  Building takes root, loop devices and mount namespaces,
but neither KVM nor an appliance.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from guests import containers  # noqa: E402

GUESTS = {
    "debian12-bios": ["build-debian12-bios"],
    "debian12-dep": ["build-debian12-bios", "--dep"],
    "debian12-uefi-lvm": ["build-debian12-uefi-lvm"],
    **{
        f"debian12-{stack}": ["build-debian12-bios", "--network", stack]
        for stack in ("netplan", "networkmanager", "networkd", "bond")
    },
    "bls-dracut": ["build-bls-dracut"],
    "bls-dracut-cut": ["build-bls-dracut", "--cut"],
    "systemd-boot": ["build-systemd-boot"],
    "loader-grub-legacy": ["build-loader", "grub-legacy"],
    "loader-extlinux": ["build-loader", "extlinux"],
    "loader-uki": ["build-loader", "uki"],
    "debian12-btrfs": ["build-debian12-btrfs"],
    "debian12-luks": ["build-debian12-luks"],
    "debian12-raid": ["build-debian12-raid"],
    "debian12-raid-second": ["build-debian12-raid", "--second"],
}
# What is made from another guest: that is built first.
MADE_FROM = {"debian12-raid-second": "debian12-raid"}
SOURCE = "debian12-bios"


def home() -> Path:
    """Return where guests are kept."""
    return Path(os.environ.get("V2V_GUESTS") or "/var/tmp/v2v-guests")


def built(name: str) -> Path:
    """Return the image or folder called *name*, built if it is not there yet."""
    place = home() / f"built-{_key()}"
    place.mkdir(parents=True, exist_ok=True)
    path = place / (f"{name}.img" if name in GUESTS else name)
    if path.exists():
        return path
    with _locked(place / f".{name}.lock"):
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            _remove(part)
            _maker(name)(part)
            part.rename(path)
    return path


def _maker(name: str) -> Callable[[Path], None]:
    if name in GUESTS:
        if name in MADE_FROM:
            built(MADE_FROM[name])
        return lambda part: _run(GUESTS[name], part)
    if name in containers.MAKERS:
        return lambda part: containers.MAKERS[name](built(SOURCE), part)
    known = ", ".join([*GUESTS, *containers.MAKERS])
    raise SystemExit(f"build: no guest is called {name}; there are {known}")


def _run(command: list[str], part: Path) -> None:
    cache = home() / "cache"
    env = {
        **os.environ,
        "OUT": str(part),
        "IMAGES": str(part.parent),
        "CACHE": str(cache),
    }
    log = part.with_suffix(".log")  # debian12-bios.img.log
    with log.open("wb") as out:
        script = ["bash", str(HERE / command[0]), *command[1:]]
        done = subprocess.run(script, env=env, stdout=out, stderr=out, check=False)
    if done.returncode:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise SystemExit(f"build: {' '.join(command)} failed:\n" + "\n".join(tail))


def _key() -> str:
    """Return what changes when a builder does."""
    digest = hashlib.sha256()
    python = (HERE / f"{n}.py" for n in ("containers", "luks_encrypt", "md_superblock"))
    for file in sorted([HERE / "lib.sh", *python, *HERE.glob("build-*")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(built(wanted))
