# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a Windows takes the signatures of the chosen drivers (facts 2.3)."""

from __future__ import annotations

from collections.abc import Iterator

from v2v.document import Finding, Windows
from v2v.guests.windows import publisher
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.packages import MICROSOFT
from v2v.guests.windows.selection import Selection

FINDINGS = (
    *("driver-signature", "driver-not-cross-signed", "driver-no-catalogue"),
    *("driver-secure-boot", "driver-publisher"),
)
_OF_DISKS = ("viostor", "vioscsi")
_PACKAGES = r"Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages"
# Either lets Windows 7 and 2008 R2 check signatures of SHA-2.
_UPDATES = ("package_for_kb3033929", "package_for_kb4474419")
# The last release that those take without (virtio-win-pkg-scripts issue 40).
_LAST_SHA1 = (0, 1, 173)
_SHA1 = ("win7", "win2k8r2")
_CROSS_SIGNED = ("win8", "win8.1", "win2k12", "win2k12r2")


def is_refused(
    selection: Selection, windows: Windows, arch: str, software: Hive
) -> bool:
    """Whether *windows* would stop at its start for the signatures of the drivers.

    Of 64 bits it checks those of what it boots from (0xC0000428); of 32 it does not.
    """
    return arch != "i386" and _is_unknown(selection, windows, software)


def is_microsofts(catalogue: bytes) -> bool:
    """Whether *catalogue* has a certificate of who signs drivers at Microsoft."""
    return MICROSOFT.encode() in catalogue or (
        MICROSOFT.encode("utf-16-be") in catalogue
    )


def findings(
    selection: Selection,
    windows: Windows,
    arch: str,
    software: Hive,
    *,
    secure_boot: bool = False,
) -> Iterator[Finding]:
    """Yield the drivers that *windows* may refuse to load."""
    yield from _without_catalogue(selection)
    if secure_boot:
        yield from _others(selection)
    release = selection.release
    name = ".".join(map(str, release)) if release else "of an unknown release"
    if _is_unknown(selection, windows, software):
        refused = is_refused(selection, windows, arch, software)
        then = "they are left out" if refused else "it may not install all of them"
        yield Finding(
            code="driver-signature",
            severity="warn",
            message=f"the drivers of virtio-win {name} are signed by SHA-2, which this "
            f"Windows cannot check: {then}",
            remedy="install KB4474419 in the guest on the source, or give virtio-win "
            "0.1.173 with --virtio-win",
        )
    if windows.id in _CROSS_SIGNED and _is_later(selection):
        yield Finding(
            code="driver-not-cross-signed",
            severity="warn",
            message=f"the drivers of virtio-win {name} may not be cross-signed, and "
            f"then {windows.id} stops with 0xC0000428",
            remedy="give virtio-win 0.1.173, or a distribution's, with --virtio-win",
        )


def others(selection: Selection) -> Iterator[bytes]:
    """Yield the certificates, in DER, of those but Microsoft who signed drivers."""
    for driver in selection.drivers:
        catalogue = driver.files.get((driver.inf.catalog or "").lower(), b"")
        found = None if is_microsofts(catalogue) else publisher.signer(catalogue)
        if found:
            yield found


def untrusted(selection: Selection) -> Iterator[Finding]:
    """Yield that Windows would ask whether to trust the publisher of the drivers."""
    if any(others(selection)):
        yield Finding(
            code="driver-publisher",
            severity="warn",
            message="the drivers of virtio-win are not signed by Microsoft: before it "
            "installs them Windows asks whether to trust their publisher, and nobody "
            "answers at the first boot",
            remedy="trust it with --trust-publisher, or give a distribution's "
            "virtio-win",
        )


def _others(selection: Selection) -> Iterator[Finding]:
    """Yield that drivers of disks are signed by somebody else than Microsoft."""
    names = [
        driver.name
        for driver in selection.drivers
        if driver.name in _OF_DISKS
        and not is_microsofts(driver.files.get((driver.inf.catalog or "").lower(), b""))
    ]
    if names:
        yield Finding(
            code="driver-secure-boot",
            severity="warn",
            message=f"of virtio-win, {', '.join(names)} is not signed by Microsoft, "
            "and with secure boot Windows does not start with such drivers",
            remedy="give a distribution's virtio-win with --virtio-win, or define the "
            "VM without secure boot",
        )


def _is_later(selection: Selection) -> bool:
    """Whether the drivers are the community's, and later than those of SHA-1.

    Releases of a distribution (1.9.40) are signed by Microsoft for all; the community's
    begin with 0.  One whose number is unknown is taken for the latter.
    """
    release = selection.release
    if not selection.drivers or (release and release[0] > 0):
        return False
    return not release or release > _LAST_SHA1


def _is_unknown(selection: Selection, windows: Windows, software: Hive) -> bool:
    old = windows.id in _SHA1 and not _knows_sha2(software)
    return old and _is_later(selection)


def _knows_sha2(software: Hive) -> bool:
    return any(name.lower().startswith(_UPDATES) for name in software.keys(_PACKAGES))


def _without_catalogue(selection: Selection) -> Iterator[Finding]:
    names = [
        driver.name
        for driver in selection.drivers
        if (driver.inf.catalog or "").lower() not in driver.files
    ]
    if names:
        yield Finding(
            code="driver-no-catalogue",
            severity="warn",
            message=f"of virtio-win, {', '.join(names)} has no catalogue with its "
            "signature: Windows of 64 bits will not load it",
            remedy="use a release of virtio-win that is whole with --virtio-win",
        )
