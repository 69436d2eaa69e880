# SPDX-License-Identifier: GPL-2.0-or-later
"""What speaks of the old machine in files of /etc: modules, displays, consoles.

A row for each kind of file; which of them are there is asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial

from v2v.document import Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import console, modprobe, repositories, xorg
from v2v.guests.plan import Action, edit

_Edit = Callable[[str], str]
_MAX_FILES = 200
_MAX_TEXT = 2**20  # characters
_DISPLAYS = "/usr/{lib,lib64,lib/*}/xorg/modules/drivers/{modesetting,vesa}_drv.so"
_TOOLS = "/{sbin,usr/sbin,bin,usr/bin}/{mkinitrd,dracut,update-initramfs}"


def plan(appliance: Appliance, guest: Guest) -> Iterator[Action]:
    """Yield edits of files that would fail, or hold something up, on KVM."""
    patterns = ",".join(pattern for pattern, _, _ in _ROWS)
    for path in appliance.glob("/etc/{" + patterns + "}")[:_MAX_FILES]:
        text = appliance.read(path)
        if text is None or len(text) > _MAX_TEXT:
            continue
        for pattern, chosen, reason in _ROWS:
            if fnmatchcase(path, f"/etc/{pattern}"):
                yield from edit(path, text, chosen(appliance, guest)(text), reason)
                break


def _always(edited: _Edit) -> Callable[[Appliance, Guest], _Edit]:
    return lambda _appliance, _guest: edited


def _display(appliance: Appliance, _: Guest) -> _Edit:
    """Name a driver that this guest's X server has."""
    modern = any("modesetting" in path for path in appliance.glob(_DISPLAYS))
    return partial(xorg.edited, display="modesetting" if modern else "vesa")


def _inittab(_: Appliance, guest: Guest) -> _Edit:
    return partial(console.inittab, xenserver="xen" in guest.tools)


def _job(appliance: Appliance, _: Guest) -> _Edit:
    """Move a login to ttyS0, if none is there yet."""
    return str if appliance.g.exists("/etc/init/ttyS0.conf") else console.job


def _aliases(appliance: Appliance, guest: Guest) -> _Edit:
    """Change aliases only where a mkinitrd reads them, and virtio is there."""
    tools = {path.rpartition("/")[2] for path in appliance.glob(_TOOLS)}
    able = guest.kernels and all("virtio_blk" in k.drivers for k in guest.kernels)
    return modprobe.aliases if tools == {"mkinitrd"} and able else str


_HARDWARE = "its hardware is not on KVM"
_REPOSITORY = "VMware's tools are of no use on KVM"
_XORG = "the X server starts only with a display that is there"
_XEN = "Xen's console is the first serial port on KVM"
_ALIASES = "mkinitrd puts the drivers that are named here into an initrd"

# Pattern under /etc, what chooses the edit of such a file, and the reason.
_ROWS: tuple[tuple[str, Callable[[Appliance, Guest], _Edit], str], ...] = (
    ("modules", _always(modprobe.loaded), _HARDWARE),
    ("modules-load.d/*.conf", _always(modprobe.loaded), _HARDWARE),
    ("yum.repos.d/*.repo", _always(repositories.ini), _REPOSITORY),
    ("zypp/repos.d/*.repo", _always(repositories.ini), _REPOSITORY),
    ("apt/sources.list.d/*.list", _always(repositories.apt_list), _REPOSITORY),
    ("apt/sources.list.d/*.sources", _always(repositories.apt_sources), _REPOSITORY),
    ("X11/xorg.conf", _display, _XORG),
    ("X11/XF86Config*", _display, _XORG),
    ("X11/xorg.conf.d/*.conf", _display, _XORG),
    ("inittab", _inittab, _XEN),
    ("securetty", _always(console.securetty), _XEN),
    ("init/hvc0.conf", _job, _XEN),
    ("init/xvc0.conf", _job, _XEN),
    ("modprobe.conf", _aliases, _ALIASES),
    ("modules.conf", _aliases, _ALIASES),
    ("conf.modules", _aliases, _ALIASES),
)
