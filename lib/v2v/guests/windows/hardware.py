# SPDX-License-Identifier: GPL-2.0-or-later
"""What a version of Windows wants of its machine, whatever its drivers.

Disks and cards are buses.py's: they hang on drivers.  What is here is the facts' 7.
"""

from __future__ import annotations

from typing import Literal

from v2v.document import VM, Devices, Windows

# The first builds of these.
_7, _8, _11 = 7600, 9200, 22000
_MOST_SOCKETS = 2  # of a client
# Editions for homes use one; the rest of Core's are Home's for a country or language.
_HOME = ("core", "home", "starter")


def completed(
    devices: Devices, vm: VM, windows: Windows, clock: Literal["utc", "localtime"]
) -> Devices:
    """Return *devices* with all that does not hang on drivers.

    *clock* is what the registry takes the hardware clock for.
    """
    return devices.having(
        clock=clock,
        # Windows 8 is the first with a driver for xHCI.
        usb="xhci" if windows.build >= _8 else "ehci",
        # What is older gains nothing by Hyper-V's words, and was not tested with them.
        hyperv=windows.build >= _7,
        tpm=vm.tpm or needs_tpm(windows),
        sockets=sockets(windows),
    )


def needs_tpm(windows: Windows) -> bool:
    """Whether it updates itself only with a TPM: 11 does, no server.

    A server that had none is given none: some do not start with one (MTV-2014).
    """
    return windows.installation == "client" and windows.build >= _11


def sockets(windows: Windows) -> int | None:
    """Return the most sockets that this edition uses; None for a server's."""
    if windows.installation != "client":
        return None
    edition = (windows.edition or "").lower()
    return 1 if edition.startswith(_HOME) else _MOST_SOCKETS
