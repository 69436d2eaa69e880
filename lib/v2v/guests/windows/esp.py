# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a UEFI Windows bootable without the NVRAM of its old machine.

An empty NVRAM makes the firmware start EFI\\Boot\\bootx64.efi (ia32, aa64).  The boot
manager of Windows is copied there; it finds its store by its own path.  Nothing is
deleted: what another system has put there stays, shim, systemd-boot or GRUB, as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Change, Finding
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action
from v2v.guests.windows.files import read, spelled
from v2v.guests.windows.place import Work

FINDINGS = frozenset({"efi-other-loader", "efi-no-boot-manager", "efi-narrow"})
_MANAGER = "EFI/Microsoft/Boot/bootmgfw.efi"
_SUFFIXES = {"x86_64": "x64", "i386": "ia32", "aarch64": "aa64"}
_MOST = 16 * 2**20  # bytes of a boot manager; those of Microsoft have two
# What a boot manager of Windows has in its resources, and no other loader.
_MARKS = ("Microsoft Corporation".encode("utf-16-le"), b"bootmgfw.pdb")
_FOREIGN = {
    "shimx64.efi": "shim",
    "grubx64.efi": "GRUB",
    "mmx64.efi": "MokManager",
    "mokmanager.efi": "MokManager",
}


def plan(work: Work) -> Iterator[Action]:
    """Yield the copy of Windows' boot manager, if the firmware would not find it."""
    fallback, manager = _paths(work)
    if not fallback or not manager:
        return
    state = _state(work.appliance, fallback, manager)
    if state in ("missing", "outdated"):
        yield _copy(work.appliance, manager, fallback)


def findings(work: Work) -> Iterator[Finding]:
    """Yield what else the firmware of a new machine would start."""
    fallback, manager = _paths(work)
    if fallback and work.guest.arch == "i386":
        yield Finding(
            code="efi-narrow",
            severity="warn",
            message="this Windows of 32 bits starts by UEFI, which must have 32 bits "
            "too: the firmware of most hosts has 64",
            remedy="give the VM a firmware for IA32 (ovmf-ia32) when it is defined",
        )
    if fallback and not manager:
        yield Finding(
            code="efi-no-boot-manager",
            severity="warn",
            message=f"the EFI system partition has no {_MANAGER}: Windows' own boot "
            "manager is missing",
            remedy="run bcdboot C:\\Windows /s on the source",
        )
    if fallback and manager and _state(work.appliance, fallback, manager) == "other":
        yield Finding(
            code="efi-other-loader",
            severity="warn",
            message=f"the firmware of a new machine starts {_name(work, fallback)}, "
            "which is not Windows' boot manager; it is kept",
            remedy="see that it starts Windows; else choose Windows once in the "
            "firmware's boot menu",
        )


def _paths(work: Work) -> tuple[str | None, str | None]:
    """Return what the firmware starts, and Windows' boot manager if it is there."""
    suffix = _SUFFIXES.get(work.guest.arch or "")
    if not suffix or work.esp is None:
        return None, None
    fallback = spelled(work.appliance, work.esp, f"EFI/Boot/boot{suffix}.efi", {})
    manager = spelled(work.appliance, work.esp, _MANAGER, {})
    return fallback, manager if _is_program(work.appliance, manager) else None


def _is_program(appliance: Appliance, path: str) -> bool:
    g = appliance.g
    return g.is_file(path) and 0 < g.filesize(path) <= _MOST


def _state(appliance: Appliance, fallback: str, manager: str) -> str:
    """Return what *fallback* is: missing, same, outdated (an older Windows') or other.

    A folder, an empty or a huge file is other: it is not for us to replace.
    """
    g = appliance.g
    if not g.exists(fallback):
        return "missing"
    if not _is_program(appliance, fallback):
        return "other"
    there, ours = read(appliance, fallback), read(appliance, manager)
    if there == ours:
        return "same"
    return "outdated" if any(mark in there for mark in _MARKS) else "other"


def _name(work: Work, fallback: str) -> str:
    """Return the loader at *fallback*, with what stands beside it."""
    folder = fallback.rpartition("/")[0]
    there = {name.lower() for name in work.appliance.names(folder)}
    known = sorted({_FOREIGN[name] for name in there if name in _FOREIGN})
    beside = f" (beside it: {', '.join(known)})" if known else ""
    own = fallback.removeprefix(work.esp or "").lstrip("/")
    return f"{own} of the ESP{beside}"


def _copy(appliance: Appliance, source: str, to: str) -> Action:
    def apply(running: Appliance) -> None:
        running.g.mkdir_p(to.rpartition("/")[0])
        # Whole before it has its name: the firmware may be all that starts the guest.
        running.g.cp(source, f"{to}.new")
        running.g.mv(f"{to}.new", to)

    change = Change(
        path=to,
        kind="edit" if appliance.g.exists(to) else "create",
        reason="the firmware of a new machine starts nothing else",
        after=f"copy of {source}",
    )
    return Action(
        change=change, apply=apply, space=appliance.g.filesize(source), also=(to,)
    )
