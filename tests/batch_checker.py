# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be told of a batch file without Windows: faults that cmd.exe finds late.

A label that is not there ends a script in the middle; a line feed alone makes cmd.exe
miss labels; a parenthesis expands its variables too early.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Of cmd.exe itself, and by %SYS% what XP and all later ones have, or a step tests for.
BUILT_IN = frozenset(
    (
        *("call", "cd", "copy", "del", "dir", "echo", "exit", "for", "goto", "if"),
        *("mkdir", "move", "rem", "rmdir", "set", "setlocal", "start", "type", "ver"),
    )
)
PROGRAMS = frozenset(
    (
        *("bcdedit", "fc", "mode", "msiexec", "ping", "pnputil", "reg", "sc"),
        *("shutdown", "powershell"),
    )
)
_LABEL = re.compile(r":([a-z_]+)", re.A)
_TARGET = re.compile(r"\b(?:goto|call) +(:?)([a-z_]+)", re.A | re.I)
_SYSTEM = re.compile(r'"%SYS%\\([a-z.]+)"', re.A | re.I)
_LEVEL = re.compile(r"if +errorlevel +(\d+)", re.I)
_QUOTED = re.compile(r'"[^"]*"')


def faults(data: bytes) -> Iterator[str]:
    """Yield what is wrong with the batch file *data*, by line."""
    if not data.isascii():
        yield "not ASCII: the code page is the guest's"
    if not data.endswith(b"\r\n") or re.search(rb"(?<!\r)\n|\r(?!\n)", data):
        yield "its lines do not all end with CR LF"
    lines = data.decode("ascii", "replace").split("\r\n")
    if lines[0] != "@echo off":
        yield "1: it shows its commands"
    labels = [m[1] for line in lines if (m := _LABEL.match(line))]
    for label in {one for one in labels if labels.count(one) > 1}:
        yield f"{label} is there twice"
    for number, line in enumerate(lines, 1):
        if line.startswith((":", "rem ")) or not line:
            continue
        yield from (f"{number}: {fault}" for fault in _faults(line, labels))
    yield from _levels(lines)
    yield from _fall_through(lines)


def _faults(line: str, labels: list[str]) -> Iterator[str]:
    if line.count('"') % 2:
        yield "a quote is left open"
    bare = _QUOTED.sub('""', line)
    if "(" in re.sub(r"\bin \([^()]*\)", "", bare):
        yield "a block: its variables would be expanded before it begins"
    if "!" in bare or "enabledelayedexpansion" in line.lower():
        yield "delayed expansion eats exclamation marks"
    if len(line) > 1000:
        yield "too long"
    if "^" in line:
        yield "an escape: call takes one more off"
    for colon, label in _TARGET.findall(bare):
        if (colon or "goto" in bare.lower()) and label not in labels:
            yield f"no label {label}"
    yield from _words(bare, line)


def _words(bare: str, line: str) -> Iterator[str]:
    """Yield words that begin a command and are none that may be used."""
    command = re.sub(
        r"^(?:(?:@|>+\S+ |if +(?:/i +)?(?:not +)?(?:exist +\S+|defined +\S+|"
        r"errorlevel +\d+|\S+==\S+) +|for (?:/f \S+ )?%%\w in \([^()]*\) do ))+",
        "",
        bare,
        flags=re.I,
    )
    word = re.split(r"[ ./]", command, maxsplit=1)[0].lower()
    if word not in BUILT_IN and not line.startswith(
        '"%SystemRoot%\\System32\\cmd.exe"'
    ):
        yield f"{word!r} is no command that may be used"
    for program in _SYSTEM.findall(line):
        if program.lower() not in PROGRAMS:
            yield f"{program} is not in every Windows"
    if re.search(r"%(?:DATE|TIME|CD|RANDOM|USERNAME|COMPUTERNAME|PATH)", line, re.I):
        yield "text of the guest, in which anything may be"


def _levels(lines: list[str]) -> Iterator[str]:
    """Yield "if errorlevel N" after a smaller N: it means N and more."""
    before = None
    for number, line in enumerate(lines, 1):
        match = _LEVEL.match(line)
        level = int(match[1]) if match else None
        if level is not None and before is not None and level > before:
            yield f"{number}: errorlevel {level} after {before} is never reached"
        before = level


def _fall_through(lines: list[str]) -> Iterator[str]:
    """Yield an end that is none: a routine would run on into the file's end."""
    code = [line for line in lines if line and not line.startswith("rem ")]
    if not re.match(r"(?:.*& )?(?:exit|goto) ?", code[-1]):
        yield "it ends without exit"
