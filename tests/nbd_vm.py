# SPDX-License-Identifier: GPL-2.0-or-later
"""Small VMs for tests of the pipes."""

import hashlib
from pathlib import Path


def write_vmx(folder: Path, name: str, disk: str) -> Path:
    """Write a .vmx for one disk; return its path."""
    path = folder / f"{name}.vmx"
    path.write_text(
        f'config.version = "8"\ndisplayName = "{name}"\nmemsize = "512"\n'
        f'scsi0.present = "TRUE"\nscsi0:0.present = "TRUE"\n'
        f'scsi0:0.fileName = "{disk}"\nethernet0.present = "TRUE"\n'
        f'ethernet0.generatedAddress = "00:50:56:01:02:03"\n'
    )
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
