# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold before anything is written into a guest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from v2v.document import Filesystem, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance
from v2v.guests.plan import Action

# Room that is left on each file system besides what is planned: bytes.
_SPARE = 2**20


def gate(guest: Guest, actions: Sequence[Action]) -> Guest:
    """Return *guest* with the room that *actions* need on each file system.

    Raises GuestError if one has too little.
    """
    needed: Counter[str] = Counter()
    points = [fs.mountpoint for fs in guest.filesystems if fs.mountpoint]
    for action in actions:
        needed[_place(action.change.path, points)] += action.space
    for fs in guest.filesystems:
        count = needed[fs.mountpoint or ""]
        if count and fs.free is not None and count + _SPARE > fs.free:
            raise GuestError(
                f"{_named(fs)} in the guest has {fs.free / 2**20:.1f} MiB free and "
                f"needs {(count + _SPARE) / 2**20:.1f} MiB",
                "remove old kernels or files there on the source",
            )
    return guest.having(
        filesystems=tuple(
            fs.having(needed=needed[fs.mountpoint or ""] or None)
            for fs in guest.filesystems
        )
    )


def _named(fs: Filesystem) -> str:
    """Return what a person knows *fs* by: one that v2v mounted for itself by device."""
    own = fs.mountpoint is None or fs.mountpoint.startswith("/.v2v-")
    return fs.device if own else f"{fs.mountpoint}"


def _place(path: str, points: list[str]) -> str:
    """Return the mount point that *path* is on."""
    fitting = [p for p in points if path == p or path.startswith(p.rstrip("/") + "/")]
    return max(fitting, key=len, default="/")


def prove_writable(
    appliance: Appliance, guest: Guest, actions: Sequence[Action]
) -> None:
    """Write to each file system that *actions* change.

    ntfs-3g may mount a volume read-only without a word.  Raises GuestError.
    """
    points = [fs.mountpoint for fs in guest.filesystems if fs.mountpoint]
    for place in {_place(action.change.path, points) for action in actions}:
        _prove_writable(appliance, place)


def _prove_writable(appliance: Appliance, place: str) -> None:
    probe = f"{place.rstrip('/')}/.v2v-probe"
    try:
        appliance.g.rm_f(probe)  # in /tmp anybody may have left a link there
        appliance.g.write(probe, b"")
        appliance.g.rm_f(probe)
    except RuntimeError as e:
        raise GuestError(
            f"{place} in the guest cannot be written: {e}",
            "repair the file system (fsck) on the source",
        ) from e
