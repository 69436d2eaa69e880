# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a guest's Windows takes the signatures of the drivers chosen for it.

It is known by the release of virtio-win; nobody but Windows can check a signature.
Windows of 64 bits does not load a boot driver whose signature it does not know: it
stops with 0xC0000428 (kvm-guest-drivers-windows issues 485 and 1112).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from v2v.document import Finding

FINDINGS = ("virtio-driver-sha2", "virtio-driver-signature", "virtio-driver-unsigned")
LAST_OF_SHA1 = 173  # 0.1.173
_OF_SHA1 = ("win7", "win2k8r2")
_OF_CROSS = ("win8", "win2k12", "win8.1", "win2k12r2")
_OLDER = f"give virtio-win 0.1.{LAST_OF_SHA1} with --virtio-win"


class _Inf(Protocol):
    @property
    def catalog(self) -> str | None: ...


class _Driver(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def inf(self) -> _Inf: ...
    @property
    def files(self) -> Mapping[str, bytes]: ...


def findings(
    system: str, release: int | None, drivers: Sequence[_Driver]
) -> Iterator[Finding]:
    """Yield what Windows *system* may refuse of *drivers*, of 0.1.*release*.

    None is a release that is not public: Red Hat's own are signed for all.
    """
    if drivers and release is not None and release > LAST_OF_SHA1:
        if system in _OF_SHA1:
            yield Finding(
                code="virtio-driver-sha2",
                severity="warn",
                message=f"the drivers of virtio-win 0.1.{release} are signed by SHA-2, "
                f"which {system} does not know without updates of its own",
                remedy=f"install KB4474419 and KB4490628 on the source, or {_OLDER}",
            )
        if system in _OF_CROSS:
            yield Finding(
                code="virtio-driver-signature",
                severity="warn",
                message=f"the drivers of virtio-win 0.1.{release} are not "
                f"cross-signed, and {system} may stop with 0xC0000428",
                remedy=f"{_OLDER}, or Red Hat's own",
            )
    unsigned = [driver.name for driver in drivers if not _has_catalog(driver)]
    if unsigned:
        yield Finding(
            code="virtio-driver-unsigned",
            severity="warn",
            message=f"virtio-win has no signatures (.cat) for {', '.join(unsigned)}: "
            "Windows of 64 bits will not load them",
            remedy="give another release with --virtio-win",
        )


def _has_catalog(driver: _Driver) -> bool:
    return (driver.inf.catalog or "").lower() in driver.files
