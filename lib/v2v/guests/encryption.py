# SPDX-License-Identifier: GPL-2.0-or-later
"""Open a guest's encrypted devices (LUKS), with keys that are only ever in files.

A key is named as virt-v2v names it, SELECTOR:file:FILE.  It is no part of any document,
of a command line, or of a message.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from v2v.errors import HostError, UsageError
from v2v.guests import devices
from v2v.guests.appliance import Appliance
from v2v.guests.devices import Device

_FORM = re.compile(r"(.+?):(key|file|clevis):?(.*)", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_KEY = 2**13  # bytes; cryptsetup's own limit for a passphrase is 512
_ALL = "all"
# LUKS in a volume of LVM that is in LUKS, and once more.
_ROUNDS = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A passphrase, and the device (or UUID, or "all") that it is for."""

    selector: str
    secret: str = field(repr=False)

    def fits(self, device: Device) -> bool:
        """Whether it is meant for *device*."""
        own = (device.uuid or "").lower()
        return self.selector in (_ALL, device.name) or self.selector.lower() == own


@cache
def keys(words: tuple[str, ...]) -> tuple[Key, ...]:
    """Return the keys that *words* name, each SELECTOR:file:FILE.

    Each file is read once, since it may be a pipe.  Raises UsageError for another form,
    and HostError for a file that cannot be read.
    """
    return tuple(_key(word) for word in words)


def _key(word: str) -> Key:
    match = _FORM.fullmatch(word)
    if not match:
        raise UsageError(
            "--key: not of the form SELECTOR:file:FILE",
            "write --key all:file:FILE, or a device or UUID in place of all",
        )
    selector, kind, value = match.groups()
    if kind == "key":
        # The word is not repeated here: messages are kept in logs.
        raise UsageError(
            f"--key {selector}:key:…: everybody on this host can read a command line",
            f"write the passphrase to a file of your own: --key {selector}:file:FILE "
            "(or /dev/fd/N)",
        )
    if kind == "clevis":
        raise UsageError(
            f"--key {selector}:clevis: keys from Tang servers or TPMs are not fetched",
            "add a passphrase to the device on the source: cryptsetup luksAddKey",
        )
    return Key(selector=selector, secret=_line(value))


def _line(file: str) -> str:
    """Return the first line of *file*, which is what virt-v2v takes."""
    try:
        with Path(file).open("rb") as opened:
            data = opened.readline(_MAX_KEY)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "no name of a file"
        raise HostError(
            f"--key: {file}: {reason}", "name a file with the passphrase in it"
        ) from e
    secret = data.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    if not secret or not secret.isprintable():
        raise HostError(
            f"--key: {file}: no passphrase in its first line",
            "only passphrases are supported, of letters and signs",
        )
    return secret


def opened(appliance: Appliance, keys_: Sequence[Key]) -> list[Device]:
    """Return the devices of *appliance*, after opening what *keys_* open.

    A device that no key opens stays as it is, with a warning if one was meant for it.
    """
    inside: dict[str, str] = {}
    there = devices.found(appliance)
    tried: set[str] = set()
    for _ in range(_ROUNDS):
        locked = [
            d for d in there if d.type in devices.ENCRYPTED and d.name not in tried
        ]
        if not keys_ or not locked:
            break
        tried |= {device.name for device in locked}
        fresh = dict(_unlocked(appliance, locked, keys_))
        if not fresh:
            break
        inside |= fresh
        appliance.g.lvm_scan(True)
        there = devices.found(appliance, inside)
    return there


def _unlocked(
    appliance: Appliance, locked: Sequence[Device], keys_: Sequence[Key]
) -> Iterator[tuple[str, str]]:
    """Open each of *locked*; yield what it is opened as, and its own name."""
    uses = Counter(device.uuid for device in locked)
    for device in locked:
        fitting = [key for key in keys_ if key.fits(device)]
        own = (device.uuid or "").lower()
        # A header may hold any text for a UUID, and a copied disk another one's.
        if not _UUID.fullmatch(own) or uses[device.uuid] > 1:
            own = device.name.replace("/", "_")
        name = f"luks-{own}"
        if any(_open(appliance, device, key, name) for key in fitting):
            yield f"/dev/mapper/{name}", device.name
        elif fitting:
            log.warning("warning: %s: no given key opens it", device.name)


def _open(appliance: Appliance, device: Device, key: Key, name: str) -> bool:
    try:
        appliance.g.cryptsetup_open(device.name, key.secret, name)
    except RuntimeError as e:
        log.debug("%s: %s", device.name, str(e).splitlines()[0])
        return False
    return True


def locked(there: Sequence[Device]) -> list[Device]:
    """Return the encrypted devices of *there* that are not opened."""
    inside = {device.container for device in there}
    return [d for d in there if d.type in devices.ENCRYPTED and d.name not in inside]
