# SPDX-License-Identifier: GPL-2.0-or-later
"""How the systems that people run are set up to boot, and the exact edits of each.

A file of tests/data/boot is a guest: lines that start with a blank stay, "-" and "+"
are before and after, and "@" says which section of the specification demands it.
Further lines: ``kernel VERSION IMAGE KIND [SUFFIX] [PATH]``, ``link``, ``folder``,
``program``; ``append``, ``run`` and ``create`` are what must happen besides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guest_folder import (
    DISK,
    Files,
    Folder,
    applied,
    guest,
    image,
    modules,
    ready,
    vmlinuz,
)
from v2v.document import Disk, Filesystem, Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot, drivers, kernels, virtual
from v2v.guests.linux.stable import Names
from v2v.guests.plan import Action

CORPUS = Path(__file__).parents[2] / "data" / "boot"
NAMES = sorted(path.stem for path in CORPUS.glob("*.guest"))
SYSTEM = Guest(
    type="linux",
    root="/dev/sda2",
    filesystems=(
        Filesystem(device="/dev/sda1", type="ext4", uuid="u1", mountpoint="/boot"),
        Filesystem(device="/dev/sda2", type="ext4", uuid="u2", mountpoint="/"),
        Filesystem(device="/dev/sda3", type="swap", uuid="u3"),
    ),
)
UDEV = {"init": "#!/bin/sh\n", "sbin/udevd": ""}


def nash(*loaded: str) -> bytes:
    lines = "".join(f"insmod /lib/{name}.ko\n" for name in loaded)
    files: Files = {f"lib/{name}.ko": "" for name in DISK}
    return image({"init": f"#!/bin/nash\n{lines}", "bin/nash": "", **files})


KINDS = {
    "bare": image(UDEV),
    "none": image(UDEV),
    "alpine": image({"init": "#!/bin/sh\n", "sbin/nlplug-findfs": ""}),
    "busybox": image({"init": "#!/bin/sh\n", "bin/busybox": ""}),
    "list": image({**UDEV, "run_all.sh": ""}),
    "nash": nash("ata_piix"),
}


@dataclass(kw_only=True)
class Case:
    """A guest before, and what must be of it after."""

    before: Files = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    programs: list[str] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)
    besides: set[tuple[str, str]] = field(default_factory=set)
    uncited: list[str] = field(default_factory=list)


def case(name: str) -> Case:
    found = Case()
    lines = (CORPUS / f"{name}.guest").read_text().splitlines(keepends=True)
    path, cited, size = "", False, 0
    for line in lines:
        mark, rest = line[0], line[1:]
        if mark in " -+":
            if mark in " -":
                found.before[path] = str(found.before[path]) + rest
            if mark in " +":
                found.after[path] += rest
            if mark in "-+" and not cited:
                found.uncited.append(line)
            cited = cited and mark != " "
        elif mark == "@":
            cited = True
        else:
            _finish(found, path, size)
            word, *words = line.split()
            path, size = "", 0
            if word in ("file", "env"):
                path, size = words[0], 1024 if word == "env" else 0
                found.before[path], found.after[path] = "", ""
            else:
                _noted(found, word, words)
    _finish(found, path, size)
    return found


def _finish(found: Case, path: str, size: int) -> None:
    if size:
        for texts in (found.before, found.after):
            texts[path] = str(texts[path]).ljust(size, "#")


def _noted(found: Case, word: str, words: list[str]) -> None:
    match word:
        case "kernel":
            version, path, kind, *more = words
            suffix = next((m for m in more if m.startswith(".")), "")
            own = next((m for m in more if m.startswith("/")), None)
            _kernel(found, version, path, kind, suffix, own)
        case "link":
            found.before[words[0]] = f"-> {words[1]}"
            found.links[words[0]] = words[-1]
        case "folder":
            found.before[f"{words[0]}/README"] = ""
        case "program":
            found.programs.append(words[0])
        case "append" | "run" | "create":
            found.besides.add(({"append": "edit"}.get(word, word), words[0]))


def _kernel(
    found: Case, version: str, path: str, kind: str, suffix: str, own: str | None
) -> None:
    good = ready(version, suffix)
    found.before[own or f"/boot/vmlinuz-{version}"] = vmlinuz(version)
    found.before[path] = good if kind == "ready" else KINDS[kind]
    found.made[path] = nash(*DISK) if kind == "nash" else good
    if kind == "none":
        found.before[f"/lib/modules/{version}/modules.dep"] = ""
    else:
        found.before |= modules(version, suffix)


def made(root: Path, wanted: Case) -> Appliance:
    """Return the guest, with programs that make the initramfs that they are told."""

    def run(folder: Folder, arguments: list[str]) -> None:
        for path, data in wanted.made.items():
            if any(path in argument for argument in arguments) or (
                arguments[0].endswith("make-initrd")
            ):
                target = next((a for a in arguments if a.startswith(path)), path)
                folder.write(target, data)

    return guest(root, wanted.before, dict.fromkeys(wanted.programs, run))


def planned(there: Appliance) -> list[Action]:
    found = SYSTEM.having(kernels=kernels.found(there))
    names = Names(found, (Disk(id="sda", bus="scsi"),))
    return [
        *boot.plan(there, names.stable, found),
        *drivers.plan(there, found, names),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_system_gets_these_edits_and_no_others(name: str, tmp_path: Path) -> None:
    wanted = case(name)
    assert wanted.uncited == []
    there = made(tmp_path, wanted)
    actions = planned(there)
    applied(there, actions)
    for path, text in wanted.after.items():
        assert (tmp_path / path[1:]).read_text() == text, path
    for path, target in wanted.links.items():
        assert (tmp_path / path[1:]).readlink() == Path(target)
    edited = {p for p, text in wanted.after.items() if text != wanted.before[p]}
    besides = {
        (a.change.kind, a.change.path)
        for a in actions
        if a.change.path not in edited and a.change.kind != "link"
    }
    assert besides == wanted.besides


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_changes_nothing_and_what_is_there_would_boot(
    name: str, tmp_path: Path
) -> None:
    there = made(tmp_path, case(name))
    applied(there, planned(there))
    again = guest(tmp_path)
    assert planned(again) == []
    found = SYSTEM.having(kernels=kernels.found(again))
    boot.verify(again, renamed=True)
    drivers.verify(found)
    assert virtual.devices(found, "libvirt", agent=False).block == "virtio"
    assert [k.default for k in found.kernels].count(True) == 1
    assert list(boot.findings(again, found)) == []


def test_the_corpus_is_there() -> None:
    assert len(NAMES) >= 20
