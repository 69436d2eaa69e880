# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of this host, with the libraries they need, for a guest made by hand."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from served_image import served
from v2v.guests import appliance
from v2v.guests.appliance import Appliance


def lend(root: Path, *programs: str) -> None:
    """Copy *programs* (names or paths) into the guest at *root*, as /bin/NAME."""
    folder = root / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed")
        shutil.copy(path, folder / Path(program).name)
        listed = subprocess.run(
            ["ldd", path], capture_output=True, text=True, check=False
        ).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            place = root / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                shutil.copy(library, place)


@contextmanager
def opened(
    folder: Path, files: Mapping[str, str], *programs: str
) -> Iterator[Appliance]:
    """Open, to write to, a guest of *files* and *programs* made in *folder*."""
    root = folder / "root"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    lend(root, *programs)
    for path in ("dev", "proc", "sys"):
        (root / path).mkdir()
    image = folder / "disk.img"
    make = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image), "64M"]
    subprocess.run(make, check=True)
    with (
        served(image, folder / "disk.sock") as uri,
        appliance.opened([uri], write=True) as running,
    ):
        running.g.mount("/dev/sda", "/")
        yield running
