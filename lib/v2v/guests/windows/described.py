# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver's package, made from what its INF says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from v2v.errors import HostError
from v2v.guests.windows import controllers
from v2v.guests.windows.inf import Inf
from v2v.guests.windows.packages import Arch, Device, Package


def package(inf: Inf, name: str, content: bytes, arch: Arch, folder: str) -> Package:
    """Return the package of *inf*, whose file is *name* with *content*.

    *folder* is where the guest will find it.  Raises HostError if the INF has no device
    or no service for *arch*: it is none of virtio-win's.
    """
    own = inf.driver(arch)
    if own is None:
        raise HostError(
            f"{name} of virtio-win has no driver for {arch}",
            "use another release of virtio-win with --virtio-win",
        )
    return Package(
        inf=name,
        content=content,
        arch=arch,
        provider=inf.provider,
        catalog=inf.catalog,
        class_guid=inf.class_guid,
        date=inf.date,
        version=inf.version,
        devices=tuple(_devices(inf.models(arch))),
        service=replace(own, image=rf"system32\drivers\{own.file}"),
        folder=folder,
    )


def has_service(inf: Inf, arch: str) -> bool:
    """Whether *inf* installs a driver for *arch*; some do no more than give a name."""
    return inf.driver(arch) is not None


def _devices(models: Sequence[tuple[str, str, str]]) -> Iterator[Device]:
    """Yield the INF's devices, and each card's bare id unless it is among them.

    That survives odd subsystem ids (facts 2.6).
    """
    of_card: Counter[str | None] = Counter()
    known: set[str] = set()
    for hardware_id, section, description in models:
        if hardware_id.upper() in known:
            continue
        known.add(hardware_id.upper())
        card = controllers.card(hardware_id)
        of_card[card] += 1
        rank = of_card[card] if card else 1
        yield Device(
            id=hardware_id, section=section, description=description, rank=rank
        )
    for hardware_id, section, description in models:
        bare = rf"PCI\{controllers.card(hardware_id)}"
        if controllers.card(hardware_id) and bare not in known:
            known.add(bare)
            yield Device(id=bare, section=section, description=description, rank=2)
