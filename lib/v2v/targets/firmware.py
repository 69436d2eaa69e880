# SPDX-License-Identifier: GPL-2.0-or-later
"""Which UEFI firmware of this host suits a VM.

Chosen by the descriptors that distributions ship for just this purpose (QEMU's
docs/interop/firmware.json), not by guessing file names: code and variable store must
be a pair, and a build that needs SMM does not start without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from v2v.errors import TargetError

# Earlier places hide files of the same name in later ones.
_PLACES = ("/etc/qemu/firmware", "/usr/share/qemu/firmware")
# Versioned names, as the descriptors' patterns have them.
_MACHINES = {"q35": "pc-q35-0.0", "pc": "pc-i440fx-0.0"}


@dataclass(frozen=True, kw_only=True)
class Image:
    """A flash image: its file, and the format that this is in."""

    path: Path
    format: str


@dataclass(frozen=True, kw_only=True)
class Firmware:
    """A pair of flash images: the code, and an empty store for the variables.

    ``smm``: whether it starts only on a machine with System Management Mode.
    """

    code: Image
    vars: Image
    smm: bool


def choose(
    machine: str,
    *,
    secure_boot: bool,
    arch: str = "x86_64",
    folders: tuple[str, ...] = (),
) -> Firmware:
    """Return the UEFI firmware for a *machine* (q35 or pc).

    With *secure_boot* it has Microsoft's keys enrolled, else it boots anything.
    Raises TargetError if this host has none.
    """
    for path in _descriptors(folders or _places()):
        found = _suitable(_read(path), _MACHINES[machine], arch, secure_boot)
        if found and found.code.path.exists() and found.vars.path.exists():
            return found
    kind = "UEFI firmware with secure boot" if secure_boot else "UEFI firmware"
    raise TargetError(
        f"this host has no {kind} for {machine} machines", "install ovmf (edk2-ovmf)"
    )


def _places() -> tuple[str, ...]:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return (f"{home}/qemu/firmware", *_PLACES)


def _descriptors(folders: tuple[str, ...]) -> Iterator[Path]:
    """Yield the descriptors by name: that is their order of preference."""
    by_name: dict[str, Path] = {}
    for folder in reversed(folders):
        by_name |= {path.name: path for path in Path(folder).glob("*.json")}
    for name in sorted(by_name):
        yield by_name[name]


def _read(path: Path) -> dict[str, Any]:
    """Return what the descriptor says; an empty file masks one of the same name."""
    try:
        said = json.loads(path.read_bytes() or b"{}")
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _suitable(
    said: dict[str, Any], machine: str, arch: str, secure_boot: bool
) -> Firmware | None:
    mapping = said.get("mapping", {})
    features = set(said.get("features", ()))
    targets = said.get("targets", ())
    wanted = (
        {"secure-boot", "enrolled-keys"} <= features
        if secure_boot
        else not {"secure-boot", "enrolled-keys", "requires-smm"} & features
    )
    fits = any(
        target.get("architecture") == arch
        and any(fnmatch(machine, pattern) for pattern in target.get("machines", ()))
        for target in targets
    )
    # Only a split pair keeps the guest's boot entries from one run to the next.
    split = mapping.get("device") == "flash" and mapping.get("mode", "split") == "split"
    if not (wanted and fits and split and "uefi" in said.get("interface-types", ())):
        return None
    return Firmware(
        code=_image(mapping["executable"]),
        vars=_image(mapping["nvram-template"]),
        smm="requires-smm" in features,
    )


def _image(said: dict[str, str]) -> Image:
    return Image(path=Path(said["filename"]), format=said.get("format", "raw"))
