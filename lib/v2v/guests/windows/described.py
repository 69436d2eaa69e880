# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver's package, made from what its INF says.

The protocols are all that is needed of inf.py's values.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from v2v.errors import HostError
from v2v.guests.windows import controllers
from v2v.guests.windows.hive import Value
from v2v.guests.windows.packages import Arch, Device, Package, Service, Setting


class InfValue(Protocol):
    """A value that AddReg sets below the service's key."""

    @property
    def key(self) -> str:
        """Return the key below the service's, or ""."""
        ...

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def value(self) -> Value:
        """Return what it is set to."""
        ...


class InfService(Protocol):
    """What AddService says; ``image`` is ServiceBinary, whatever its folder."""

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def start(self) -> int:
        """Return when it is started: 0 at boot."""
        ...

    @property
    def error_control(self) -> int:
        """Return what becomes of the start if it fails: 1, it goes on."""
        ...

    @property
    def group(self) -> str | None:
        """Return its group in the order of loading."""
        ...

    @property
    def image(self) -> str:
        """Return its file, whatever the folder."""
        ...

    @property
    def values(self) -> Sequence[InfValue]:
        """Return what AddReg sets."""
        ...


class Inf(Protocol):
    """What an INF says of itself.

    ``models`` yields hardware id, install section and description, in the INF's order;
    ``service`` is that of an install section.
    """

    @property
    def provider(self) -> str:
        """Return who made it."""
        ...

    @property
    def class_guid(self) -> str:
        """Return the class of its devices."""
        ...

    @property
    def version(self) -> tuple[int, int, int, int]:
        """Return the four numbers of DriverVer."""
        ...

    @property
    def date(self) -> datetime.date:
        """Return the date of DriverVer."""
        ...

    @property
    def catalog(self) -> str | None:
        """Return the file with its signatures."""
        ...

    def models(self, arch: str) -> Sequence[tuple[str, str, str]]:
        """Return id, section and description of each device, in order."""
        ...

    def service(self, section: str) -> InfService | None:
        """Return the service that a section installs."""
        ...


def package(inf: Inf, name: str, content: bytes, arch: Arch, folder: str) -> Package:
    """Return the package of *inf*, whose file is *name* with *content*.

    *folder* is where the guest will find it.  Raises HostError if the INF has no device
    or no service for *arch*: it is none of virtio-win's.
    """
    models = list(inf.models(arch))
    service = _service_of(inf, models)
    if service is None:
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
        devices=tuple(_devices(models)),
        service=_service(service),
        folder=folder,
    )


def has_service(inf: Inf, arch: str) -> bool:
    """Whether *inf* installs a driver for *arch*; some do no more than give a name."""
    return _service_of(inf, inf.models(arch)) is not None


def _service_of(inf: Inf, models: Sequence[tuple[str, str, str]]) -> InfService | None:
    return next(filter(None, (inf.service(section) for _, section, _ in models)), None)


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


def _service(service: InfService) -> Service:
    file = service.image.replace("/", "\\").rpartition("\\")[2]
    return Service(
        name=service.name,
        start=service.start,
        error_control=service.error_control,
        group=service.group,
        image=rf"system32\drivers\{file}",
        settings=tuple(
            Setting(key=v.key, name=v.name, value=v.value) for v in service.values
        ),
    )
