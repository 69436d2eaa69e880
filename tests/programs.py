# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of this host, with the libraries they need, for a guest made by hand."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest


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
