# SPDX-License-Identifier: GPL-2.0-or-later
"""Let the initramfs that the guest makes next hold the virtio drivers as well.

A tool that looks at the running machine would find them on KVM; one that goes by its
configuration, or runs before the first boot there, would not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from v2v.document import Change, Kernel
from v2v.guests.appliance import Appliance
from v2v.guests.linux import kernels
from v2v.guests.plan import Action, create, edit

_SUM = re.compile(r"([0-9a-f]{40})  (/\S{1,300})\n?")
_REASON = "the next initramfs needs virtio as well"
_INITRAMFS_TOOLS = "/etc/initramfs-tools/modules"
_DRACUT = "/etc/dracut.conf.d"
_SNIPPET = f"{_DRACUT}/50-v2v-virtio.conf"
_MKINITCPIO = "/etc/mkinitcpio.conf"
_MKINITFS = "/etc/mkinitfs/mkinitfs.conf"
_SUSE = "/etc/sysconfig/kernel"
_ALL = (
    "/etc/{initramfs-tools/modules,dracut.conf.d,mkinitcpio.conf,mkinitfs/mkinitfs.conf"
    "}"
)
_ARRAY = re.compile(r"^(MODULES=)([(\"'])([^()\"'\n]*)([)\"'])", re.MULTILINE)
_FEATURES = re.compile(r"^(features=)([\"'])([^\"'\n]*)([\"'])", re.MULTILINE)
_INITRD_MODULES = re.compile(
    r"^(INITRD_MODULES=)([\"'])([^\"'\n]*)([\"'])", re.MULTILINE
)


def plan(appliance: Appliance, drivers: Sequence[str]) -> Iterator[Action]:
    """Yield what makes each tool's configuration name *drivers*.

    Each must be a module that the guest's kernel has as a file.
    """
    there = {path.rstrip("/") for path in appliance.glob(_ALL)}
    if _INITRAMFS_TOOLS in there:
        text = appliance.read(_INITRAMFS_TOOLS) or ""
        yield from edit(_INITRAMFS_TOOLS, text, with_lines(text, drivers), _REASON)
    if _DRACUT in there:
        yield from _snippet(appliance, drivers)
    for path, pattern, words in (
        (_MKINITCPIO, _ARRAY, drivers),
        (_MKINITFS, _FEATURES, ["virtio"]),
        (_SUSE, _INITRD_MODULES, drivers),
    ):
        # SUSE's file is there on other systems too, and is read by itself.
        if path in there or path == _SUSE:
            text = appliance.read(path) or ""
            yield from edit(path, text, with_words(text, pattern, words), _REASON)


def checksum(appliance: Appliance, kernel: Kernel) -> Iterator[Action]:
    """Yield what lets update-initramfs take the new image of *kernel* for its own.

    Until 2021 it kept the SHA-1 of each, and refused to update one that had another.
    """
    path = f"/var/lib/initramfs-tools/{kernel.version}"
    match = _SUM.fullmatch(appliance.read(path) or "")
    image = kernel.initramfs
    if not match or image is None or match[2] != image:
        return

    def apply(running: Appliance) -> None:
        data = kernels.content(running, image)
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        running.write(path, f"{digest}  {image}\n")

    change = Change(
        path=path,
        kind="edit",
        reason="update-initramfs refuses to change an image that it did not make",
        before=match[1],
        after=f"the SHA-1 of the new {image}",
    )
    yield Action(change=change, apply=apply, space=4096)


def _snippet(appliance: Appliance, drivers: Sequence[str]) -> Iterator[Action]:
    # dracut.conf(5): values are joined as they are, so blanks must be around them.
    text = f'add_drivers+=" {" ".join(drivers)} "\n'
    before = appliance.read(_SNIPPET)
    if before is None:
        yield create(_SNIPPET, text, _REASON)
    else:
        yield from edit(_SNIPPET, before, text, _REASON)


def with_lines(text: str, drivers: Sequence[str]) -> str:
    """Return *text*, a list of modules by line, with those of *drivers* it lacks."""
    listed = {line.strip() for line in text.splitlines()}
    more = [name for name in drivers if name not in listed]
    gap = "" if not more or text.endswith("\n") or not text else "\n"
    return f"{text}{gap}" + "".join(f"{name}\n" for name in more)


def with_words(text: str, pattern: re.Pattern[str], words: Sequence[str]) -> str:
    """Return *text* with *words* added to the shell variable that *pattern* finds.

    The last assignment decides, as it does for the shell.  One that is not there, or
    is written in another way, is not made.
    """
    found = list(pattern.finditer(text))
    if not found:
        return text
    match = found[-1]
    listed = match[3].split()
    more = [word for word in words if word not in listed]
    if not more:
        return text
    value = " ".join([match[3].rstrip(), *more]).lstrip()
    return text[: match.start(3)] + value + text[match.end(3) :]
