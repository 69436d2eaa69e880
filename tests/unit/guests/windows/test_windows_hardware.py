# SPDX-License-Identifier: GPL-2.0-or-later
from typing import Any

import pytest

from target_vm import make_vm
from v2v.document import Devices, Windows
from v2v.guests.windows import hardware


def of(build: int, clock: Any = "localtime", tpm: bool = False, **more: Any) -> Devices:
    windows = Windows(id="win", build=build, **more)
    return hardware.completed(Devices(), make_vm(tpm=tpm), windows, clock)


@pytest.mark.parametrize(
    ("build", "usb", "hyperv"),
    [(2600, "ehci", False), (7601, "ehci", True), (9200, "xhci", True)],
)
def test_each_version_gets_what_it_knows(build: int, usb: str, hyperv: bool) -> None:
    found = of(build)
    assert (found.usb, found.hyperv) == (usb, hyperv)


@pytest.mark.parametrize(
    ("build", "installation", "source", "tpm"),
    [
        (22631, "client", False, True),
        (19045, "client", False, False),
        (19045, "client", True, True),
        (20348, "server", False, False),
        (26100, "server", True, True),
    ],
)
def test_windows_11_gets_a_tpm_and_others_keep_theirs(
    build: int, installation: str, source: bool, tpm: bool
) -> None:
    assert of(build, tpm=source, installation=installation).tpm is tpm


@pytest.mark.parametrize(
    ("edition", "installation", "sockets"),
    [
        ("Professional", "client", 2),
        ("Core", "client", 1),
        ("CoreSingleLanguage", "client", 1),
        ("HomePremium", "client", 1),
        (None, "client", 2),
        ("ServerStandard", "server", None),
        ("ServerDatacenter", "server-core", None),
    ],
)
def test_clients_use_few_sockets(
    edition: str | None, installation: str, sockets: int | None
) -> None:
    assert of(19045, edition=edition, installation=installation).sockets == sockets


@pytest.mark.report("https://github.com/kubevirt/kubevirt/issues/8507")
@pytest.mark.parametrize("clock", ["localtime", "utc"])
def test_the_clock_is_what_the_guest_takes_it_for(clock: str) -> None:
    assert of(19045, clock=clock).clock == clock
